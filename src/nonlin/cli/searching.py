"""`nonlin search` and `nonlin resume`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nonlin.cli.screen import INTERRUPTED, complain, complain_of_interruption, console, print_json
from nonlin.errors import NonlinError

if TYPE_CHECKING:
    from nonlin.run import Study
    from nonlin.run.executor import Executor
    from nonlin.run.halving import Rule
    from nonlin.run.loop import Watcher

_WORKERS = typer.Option(None, help="Worker processes; 0 trains in this process. Default: one for each core.")
_ADDRESS = typer.Option(
    None,
    metavar="ADDRESS",
    help="Train on a Ray cluster: 'auto', 'host:port', 'ray://host:port'; 'local' starts Ray here. docs/cluster.md",
)
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
    address: str = _ADDRESS,
    window: int = typer.Option(
        16, help="How far to run ahead of unknown outcomes: give more than there are workers. Part of the search."
    ),
    halving: str = typer.Option(
        "on",
        help="Stop children early that are among the worst so far: 'on', 'off', or 'async' (no worker waits).",
    ),
    no_halving: bool = typer.Option(False, "--no-halving", help="The same as --halving off."),
    normalise: bool = typer.Option(True, help="Scale initial weights by each function's own gain."),
    per: str = typer.Option(
        None, help="Trainable parameters per 'channel' or 'tensor'. Default: what the space says, else channel."
    ),
    engine: str = typer.Option("auto", help="'torch', 'core' (perceptrons), 'cohort' (many as one) or 'auto'."),
    also: list[str] = typer.Option([], metavar="F", help="Train this name or formula as a baseline too; may repeat."),
    report: Path = _REPORT,
    number: int = _NUMBER,
    json: bool = typer.Option(False, "--json", help="Print the list as JSON, and no progress."),
) -> None:
    """Search for activations: train a child network for every candidate and rank them.

    Every search also trains the usual functions (relu, gelu, silu, ...) and nulls (linear, constant, random
    functions). It may be interrupted at any time, even by kill -9, and continued with 'nonlin resume STORE'.

    Examples: nonlin search --task digits-mlp --space core-1 --budget 300 --store a.db

      nonlin search --space core-2 --strategy ppo --budget 5000 --store a.db --address auto --window 128
    """

    def begin(crew: Executor, watcher: Watcher) -> Study:
        from nonlin.run import search as run_search

        if 0 < window < crew.slots():
            complain(
                f"of {crew.slots()} workers only {window} can be busy at once: --window {2 * crew.slots()} or so uses "
                "them all (another window is another search)",
                "note",
            )
        return run_search(
            task,
            space,
            strategy,
            budget,
            seed,
            store,
            crew,
            _halving("off" if no_halving else halving),
            normalise,
            per,  # type: ignore[arg-type]
            engine,  # type: ignore[arg-type]
            also,
            watcher,
            window=window,
        )

    _run(begin, workers, address, store, report, number, json)


def _halving(text: str) -> Rule:
    found: dict[str, Rule] = {"on": True, "off": False, "async": "async"}
    if text not in found:
        raise NonlinError(f"--halving is one of {', '.join(found)}; got {text!r}.")
    return found[text]


def resume(
    store: Path = typer.Argument(..., help="The store of an interrupted search or comparison."),
    study: int = typer.Option(None, help="Which search of the store. Default: the latest search or comparison."),
    comparison: int = typer.Option(None, help="Which comparison of the store."),
    workers: int = _WORKERS,
    address: str = _ADDRESS,
    report: Path = _REPORT,
    number: int = _NUMBER,
    json: bool = typer.Option(False, "--json", help="Print the list as JSON, and no progress."),
) -> None:
    """Continue what was interrupted. The result is that of an uninterrupted search or comparison.

    Examples: nonlin resume a.db  |  nonlin resume a.db --address auto
    """
    from nonlin.cli.comparing import run_comparison
    from nonlin.cli.results import open_store
    from nonlin.run import Study

    opened = open_store(store, study, comparison)
    if isinstance(opened, Study):
        _run(opened.run, workers, address, store, report, number, json)
    else:
        run_comparison(opened.run, workers, store, "score", report, json, address)


def _run(
    begin: Callable[[Executor, Watcher], Study],
    workers: int | None,
    address: str | None,
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

    if workers is None:
        workers = 0 if address else default_workers()
    if report is not None:
        from nonlin.report.html import checked_path

        checked_path(report)
    progress = Silence() if json else Progress()
    again = f"nonlin resume {store}" + (f" --address {address}" if address else "")
    try:
        # the workers first, so that they and this process load torch at the same time
        with start(workers, address) as crew, progress:
            study = begin(crew, progress)
    except KeyboardInterrupt:
        complain_of_interruption(store, again)
        raise typer.Exit(INTERRUPTED) from None
    if json:
        print_json(results_json(study, number))
    else:
        print_results(study, number)
    if report is not None:
        path = study.report(report)
        if not json:
            console().print(f"\nreport: {path}", soft_wrap=True)
