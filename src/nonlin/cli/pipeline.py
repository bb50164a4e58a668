"""`nonlin pipeline`: search, confirm, transfer and export in one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from nonlin.cli.comparing import numbers
from nonlin.cli.progress import Progress, RunProgress, Silence
from nonlin.cli.screen import INTERRUPTED, complain, console, print_json
from nonlin.errors import NonlinError

if TYPE_CHECKING:
    from nonlin.run import Pipeline


def pipeline(
    script: str = typer.Argument(
        None,
        metavar="[TRAIN.py]",
        help="Your script with build(activation) and data; or give --task instead.",
    ),
    task: str = typer.Option(None, help="What to train instead of a script; see 'nonlin tasks'."),
    output: Path = typer.Option(
        None, "--output", "-o", metavar="FOLDER", help="Where everything goes. Default: pipeline-TASK."
    ),
    space: str = typer.Option("core-1", help="Where to search: a name (see 'nonlin spaces') or a .toml file."),
    strategy: str = typer.Option("exhaustive", help="How to choose; see 'nonlin spaces'."),
    budget: int = typer.Option(100, help="How many candidates the search trains."),
    seed: int = typer.Option(0, help="Seed of the search."),
    top: int = typer.Option(3, help="How many of the best are confirmed."),
    seeds: int = typer.Option(10, help="Fresh seeds of the confirmation."),
    rates: str = typer.Option("0.5,1,2", metavar="A,B,...", help="Factors on the learning rate; each gets its best."),
    baseline: list[str] = typer.Option(
        ["relu", "gelu", "swish"], metavar="F", help="Measure against this; may repeat."
    ),
    transfer: list[str] = typer.Option([], metavar="TASK", help="Also try the finalists on this task; may repeat."),
    transfer_seeds: int = typer.Option(5, help="Fresh seeds on those tasks."),
    to: list[str] = typer.Option(["torch"], metavar="TARGET", help="Export to torch, latex, c, jax, keras, onnx."),
    workers: int = typer.Option(None, help="Worker processes; 0 trains in this process. Default: one for each core."),
    json: bool = typer.Option(False, "--json", help="Print the summary as JSON, and no progress."),
) -> None:
    """Search, confirm, try elsewhere and export, in one command and one folder.

    The same command again continues what was interrupted, even by kill -9, and trains nothing twice. At the end it
    says what was found, whether it beats the baselines on test data, and what to do next.

    Examples: nonlin pipeline train.py  |  nonlin pipeline --task digits-cnn --budget 60 --transfer digits-mlp  |
    nonlin pipeline train.py --top 5 --seeds 20 --to torch --to onnx -o results
    """
    factors = numbers(rates)
    chosen = _one(script, task)
    from nonlin.run import pipeline as run_pipeline
    from nonlin.run.local import default_workers

    stages = Stages(quiet=json)
    try:
        result = run_pipeline(
            chosen,
            output,
            space=space,
            strategy=strategy,
            budget=budget,
            seed=seed,
            top=top,
            seeds=seeds,
            rates=factors,
            baselines=baseline,
            transfer=transfer,
            transfer_seeds=transfer_seeds,
            to=to,
            workers=default_workers() if workers is None else workers,
            watcher=stages,
        )
    except KeyboardInterrupt:
        complain("interrupted; what was trained is kept. The same command continues.")
        raise typer.Exit(INTERRUPTED) from None
    _show(result, json)


def _one(script: str | None, task: str | None) -> str:
    """The script or the task's name, whichever was given."""
    if script is not None and task is not None:
        raise NonlinError(f"{script} and --task {task} are two things to train; give one of them.")
    if script is None and task is None:
        raise NonlinError(
            "name what to train: your script, as in 'nonlin pipeline train.py', or a task, as in "
            "'nonlin pipeline --task digits-cnn'."
        )
    if script is not None and not script.endswith(".py"):
        raise NonlinError(f"{script!r} is no Python script. For a task by name: nonlin pipeline --task {script}")
    return script if script is not None else str(task)


class Stages:
    """A heading for each stage, and its progress."""

    def __init__(self, quiet: bool):
        self.quiet = quiet
        self.out = console()
        self.number = 0

    def search(self) -> Silence:
        self._head("search")
        return Silence() if self.quiet else Progress()

    def runs(self, stage: str) -> RunProgress:
        self._head(stage)
        return RunProgress(quiet=self.quiet)

    def writing(self) -> None:
        self._head("export and report")

    def step(self, what: str) -> None:
        if not self.quiet:
            self.out.print(f"   {what}", soft_wrap=True)

    def _head(self, stage: str) -> None:
        self.number += 1
        if not self.quiet:
            self.out.print(f"[bold]{self.number}. {stage}[/bold]")


def _show(result: Pipeline, json: bool) -> None:
    if json:
        print_json(result.as_dict())
    else:
        console().print(f"\n{escape(result.summary())}", soft_wrap=True)
