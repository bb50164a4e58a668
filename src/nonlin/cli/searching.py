"""`nonlin search` and `nonlin resume`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nonlin.cli.screen import complain, console, print_json

if TYPE_CHECKING:
    from nonlin.run import Study
    from nonlin.run.local import Executor
    from nonlin.run.loop import Watcher

_WORKERS = typer.Option(None, help="Worker processes; 0 trains in this process. Default: one for each core.")
_REPORT = typer.Option(None, help="Write the HTML report here when done.")
_NUMBER = typer.Option(15, "-n", help="How many functions to list at the end.", min=1)


def search(
    task: str = typer.Option("digits-mlp", help="What to train; see 'nonlin tasks'."),
    space: str = typer.Option("core-1", help="Where to search: a name (see 'nonlin spaces') or a .toml file."),
    strategy: str = typer.Option("exhaustive", help="How to choose; see 'nonlin spaces'."),
    budget: int = typer.Option(
        None, help="Train this many candidates; with 'exhaustive' a random part of the space. Default: all."
    ),
    seed: int = typer.Option(0, help="Seed of weights, batches and choices."),
    store: Path = typer.Option(
        Path("nonlin.db"), help="File that keeps everything. The same search on it again continues it."
    ),
    workers: int = _WORKERS,
    halving: bool = typer.Option(True, help="Stop children in the worst third of their predecessors early."),
    normalise: bool = typer.Option(True, help="Scale initial weights by each function's own gain."),
    per: str = typer.Option(
        None, help="Trainable parameters per 'channel' or 'tensor'. Default: what the space says, else channel."
    ),
    engine: str = typer.Option("auto", help="'torch', 'core' (compiled; multilayer perceptrons), or 'auto'."),
    also: list[str] = typer.Option([], metavar="F", help="Train this name or formula as a baseline too; may repeat."),
    report: Path = _REPORT,
    number: int = _NUMBER,
    json: bool = typer.Option(False, "--json", help="Print the list as JSON, and no progress."),
) -> None:
    """Search for activations: train a child network for every candidate and rank them.

    Every search also trains the usual functions (relu, gelu, silu, ...) and nulls (linear, constant, random
    functions). It may be interrupted at any time, even by kill -9, and continued with 'nonlin resume STORE'.

    Example: nonlin search --task digits-mlp --space core-1 --budget 300 --store a.db
    """

    def begin(crew: Executor, watcher: Watcher) -> Study:
        from nonlin.run import search as run_search

        return run_search(
            task,
            space,
            strategy,
            budget,
            seed,
            store,
            crew,
            halving,
            normalise,
            per,  # type: ignore[arg-type]
            engine,  # type: ignore[arg-type]
            also,
            watcher,
        )

    _run(begin, workers, store, report, number, json)


def resume(
    store: Path = typer.Argument(..., help="The store of an interrupted search or comparison."),
    study: int = typer.Option(None, help="Which search of the store. Default: the latest search or comparison."),
    comparison: int = typer.Option(None, help="Which comparison of the store."),
    workers: int = _WORKERS,
    report: Path = _REPORT,
    number: int = _NUMBER,
    json: bool = typer.Option(False, "--json", help="Print the list as JSON, and no progress."),
) -> None:
    """Continue what was interrupted. The result is that of an uninterrupted search or comparison.

    Example: nonlin resume a.db
    """
    from nonlin.cli.comparing import run_comparison
    from nonlin.cli.results import open_store
    from nonlin.run import Study

    opened = open_store(store, study, comparison)
    if isinstance(opened, Study):
        _run(opened.run, workers, store, report, number, json)
    else:
        run_comparison(opened.run, workers, store, "score", report, json)


def _run(
    begin: Callable[[Executor, Watcher], Study],
    workers: int | None,
    store: Path,
    report: Path | None,
    number: int,
    json: bool,
) -> None:
    """Run with progress, then print the list and write the report."""
    from nonlin.cli.progress import Progress, Silence
    from nonlin.cli.results import print_results, results_json
    from nonlin.run import start
    from nonlin.run.local import default_workers

    if report is not None:
        from nonlin.report.html import checked_path

        checked_path(report)
    progress = Silence() if json else Progress()
    try:
        # the workers first, so that they and this process load torch at the same time
        with start(default_workers() if workers is None else workers) as crew, progress:
            study = begin(crew, progress)
    except KeyboardInterrupt:
        complain(f"interrupted; what was trained is kept. Continue with: nonlin resume {store}")
        raise typer.Exit(1) from None
    if json:
        print_json(results_json(study, number))
    else:
        print_results(study, number)
    if report is not None:
        path = study.report(report)
        if not json:
            console().print(f"\nreport: {path}", soft_wrap=True)
