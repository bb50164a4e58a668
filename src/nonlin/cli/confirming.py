"""`nonlin confirm` and `nonlin transfer`: a search's finalists, trained again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nonlin.cli.comparing import checked_by, numbers, run_comparison

if TYPE_CHECKING:
    from nonlin.cli.progress import RunProgress
    from nonlin.run import Comparison
    from nonlin.run.executor import Executor

_STORE = typer.Argument(..., help="A store written by 'nonlin search'; the result is kept in it too.")
_STUDY = typer.Option(None, help="Which search of the store. Default: the latest.")
_TOP = typer.Option(10, help="How many of its best candidates.", min=1)
_BASELINE = typer.Option(["relu", "gelu", "swish"], metavar="F", help="Measure against this; may repeat.")
_BY = typer.Option("score", help="Rank and test by 'score' or by 'loss'.")
_WORKERS = typer.Option(None, help="Worker processes; 0 trains in this process. Default: one for each core.")
_REPORT = typer.Option(None, help="Write the HTML report here when done.")
_JSON = typer.Option(False, "--json", help="Print the tables as JSON, and no progress.")


def confirm(
    store: Path = _STORE,
    study: int = _STUDY,
    top: int = _TOP,
    seeds: int = typer.Option(10, help="How many fresh seeds.", min=1),
    rates: str = typer.Option("0.5,1,2", metavar="A,B,...", help="Factors on the learning rate; each gets its best."),
    baseline: list[str] = _BASELINE,
    by: str = _BY,
    workers: int = _WORKERS,
    report: Path = _REPORT,
    json: bool = _JSON,
) -> None:
    """Train a search's finalists again with fresh seeds, beside baselines and nulls, and say what is real.

    Each function gets its own gain and its best learning rate; test data are evaluated once, at the end.

    Example: nonlin confirm a.db --top 5 --seeds 12 --report confirm.html
    """
    factors = numbers(rates)

    def begin(crew: Executor, watcher: RunProgress) -> Comparison:
        from nonlin.run import Study
        from nonlin.run import confirm as run_confirm

        return run_confirm(
            Study.open(store, study), top, seeds, rates=factors, baselines=baseline, workers=crew, watcher=watcher
        )

    _again(begin, workers, store, by, report, json)


def transfer(
    store: Path = _STORE,
    task: list[str] = typer.Option(["digits-cnn", "digits-vit"], help="Where to train them; may repeat."),
    study: int = _STUDY,
    top: int = _TOP,
    seeds: int = typer.Option(5, help="How many fresh seeds.", min=1),
    rates: str = typer.Option("1", metavar="A,B,...", help="Factors on the learning rate; each gets its best."),
    baseline: list[str] = _BASELINE,
    by: str = _BY,
    workers: int = _WORKERS,
    report: Path = _REPORT,
    json: bool = _JSON,
) -> None:
    """Train a search's finalists on other tasks, beside baselines and nulls: does what was found generalise?

    Example: nonlin transfer a.db --task digits-cnn --task tabular-cancer --top 5
    """
    factors = numbers(rates)

    def begin(crew: Executor, watcher: RunProgress) -> Comparison:
        from nonlin.run import Study
        from nonlin.run import transfer as run_transfer

        return run_transfer(
            Study.open(store, study), top, task, seeds, rates=factors, baselines=baseline, workers=crew, watcher=watcher
        )

    _again(begin, workers, store, by, report, json)


def _again(
    begin: Callable[[Executor, RunProgress], Comparison],
    workers: int | None,
    store: Path,
    by: str,
    report: Path | None,
    json: bool,
) -> None:
    checked_by(by)
    run_comparison(begin, workers, store, by, report, json)
