"""`nonlin compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from nonlin.cli.screen import INTERRUPTED, complain_of_interruption, console, print_json, table
from nonlin.errors import NonlinError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nonlin.cli.progress import RunProgress
    from nonlin.run import Comparison
    from nonlin.run.executor import Executor
    from nonlin.run.standings import By, Standing
    from nonlin.run.statistics import Interval


def compare(
    formulas: list[str] = typer.Argument(..., metavar="F...", help="Names or formulas; two or more to compare."),
    task: list[str] = typer.Option(["digits-cnn"], help="What to train; see 'nonlin tasks'. May repeat."),
    seeds: int = typer.Option(10, help="How many seeds; every function is trained with each of them."),
    store: Path = typer.Option(
        Path("nonlin.db"), help="File that keeps everything. The same comparison on it again continues it."
    ),
    rates: str = typer.Option(
        "1", metavar="A,B,...", help="Factors on the learning rate; each function gets its best, by validation data."
    ),
    epochs: int = typer.Option(None, help="Instead of the task's own."),
    clip_value: float = typer.Option(None, help="Clip every element of the gradient to this size."),
    clip_norm: float = typer.Option(None, help="Clip the norm of the gradient to this size."),
    normalise: bool = typer.Option(True, help="Scale initial weights by each function's own gain."),
    nulls: bool = typer.Option(True, help="Also train linear, constant and a random function, which should lose."),
    protocols: bool = typer.Option(True, help="Train SELU also as its authors require (LeCun normal, AlphaDropout)."),
    per: str = typer.Option("channel", help="Trainable parameters per 'channel' or per 'tensor'."),
    engine: str = typer.Option("auto", help="'torch', 'core' (perceptrons), 'cohort' (many as one) or 'auto'."),
    by: str = typer.Option("score", help="Rank and test by 'score' (accuracy, R²) or by 'loss'."),
    workers: int = typer.Option(None, help="Worker processes; 0 trains in this process. Default: one for each core."),
    report: Path = typer.Option(None, help="Write the HTML report here when done."),
    json: bool = typer.Option(False, "--json", help="Print the tables as JSON, and no progress."),
) -> None:
    """Compare activations fairly: one network, the same seeds and batches, everything fixed but the activation.

    Differences are tested on test data, paired by seed; functions that cannot be told apart are shown as ties.
    It may be interrupted at any time and continued by the same command.

    Examples: nonlin compare relu gelu swish crrelu selu sigmoid --task digits-cnn --seeds 10

      nonlin compare relu 'x*tanh(x)' --task digits-mlp --rates 0.5,1,2 --report compare.html
    """
    from nonlin.run.statistics import least_seeds

    factors = numbers(rates)
    checked_by(by)

    def begin(crew: Executor, watcher: RunProgress) -> Comparison:
        from nonlin.run import compare as run_compare

        return run_compare(
            formulas,
            task,
            seeds,
            store,
            crew,
            rates=factors,
            normalise=normalise,
            per=per,  # type: ignore[arg-type]
            nulls=nulls,
            protocols=protocols,
            epochs=epochs,
            clip_value=clip_value,
            clip_norm=clip_norm,
            engine=engine,  # type: ignore[arg-type]
            watcher=watcher,
        )

    least = least_seeds(len(formulas) - 1)
    if not json and len(formulas) > 1 and 0 < seeds < least:
        out = console()
        out.print(
            f"[yellow]{seeds} seeds cannot show any of {len(formulas)} functions to be worse than another; "
            f"--seeds {least} can.[/yellow]"
        )
    run_comparison(begin, workers, store, by, report, json)


def run_comparison(
    begin: Callable[[Executor, RunProgress], Comparison],
    workers: int | None,
    store: Path,
    by: str,
    report: Path | None,
    json: bool,
    address: str | None = None,
) -> None:
    """Run with progress, then print the tables and write the report."""
    from nonlin.cli.progress import RunProgress
    from nonlin.run import start
    from nonlin.run.local import default_workers

    if report is not None:
        from nonlin.report.html import checked_path

        checked_path(report)
    try:
        if workers is None:
            workers = 0 if address else default_workers()
        with start(workers, address) as crew, RunProgress(quiet=json) as progress:
            comparison = begin(crew, progress)
    except KeyboardInterrupt:
        complain_of_interruption(store, f"nonlin resume {store}")
        raise typer.Exit(INTERRUPTED) from None
    show_comparison(comparison, checked_by(by), json)
    if report is not None:
        path = comparison.report(report, by=checked_by(by))
        if not json:
            console().print(f"\nreport: {path}", soft_wrap=True)


def show_comparison(comparison: Comparison, by: By, json: bool) -> None:
    """Print every task's table and verdict, or JSON."""
    if json:
        print_json(comparison_json(comparison, by))
        return
    for name in comparison.tasks:
        _print_task(comparison, name, by)


def comparison_json(comparison: Comparison, by: By) -> dict[str, Any]:
    """The tables, ties and verdicts of every task, and what they were measured on."""
    return {
        "comparison": comparison.id, "finished": comparison.finished, "config": comparison.config.as_dict(),
        "provenance": comparison.provenance,
        "tasks": {
            name: {
                "by": by,
                "table": [row.as_dict() for row in comparison.table(name, by)],
                "ties": comparison.ties(name, by),
                "verdict": comparison.verdict(name, by),
            }
            for name in comparison.tasks
        },
    }  # fmt: skip


def checked_by(by: str) -> By:
    """NonlinError unless it is a measure to rank by."""
    if by not in ("score", "loss"):
        raise NonlinError(f"--by must be 'score' or 'loss'; got {by!r}.")
    return by  # type: ignore[return-value]


def numbers(text: str) -> list[float]:
    """The numbers of `--rates`; NonlinError for anything else."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise NonlinError(f"--rates takes numbers with commas between them, such as 0.5,1,2; got {text!r}.") from None


def _print_task(comparison: Comparison, name: str, by: By) -> None:
    out = console()
    setting = next(setting for setting in comparison.config.tasks if setting.name == name)
    rows = comparison.table(name, by)
    out.print(f"\n[bold]{name}[/bold]: test {setting.metric} and loss, medians over seeds with 95% intervals")
    tuned = len(comparison.config.rates) > 1
    columns = ["", "function", setting.metric, "loss", "p", "groups", "ms/epoch", "MiB"]
    right = (setting.metric, "loss", "p", "ms/epoch", "MiB")
    shown = table(*columns, *(["rate"] if tuned else []), right=right)
    for row in rows:
        cells = _cells(row)
        shown.add_row(*cells, *([f"{row.rate:g}"] if tuned else []))
    out.print(shown)
    out.print()
    for line in comparison.verdict(name, by):
        out.print(escape(line))
    out.print(
        "[dim]= cannot be told apart from the best. p: signed-rank test of the difference to the best, paired by seed, "
        "corrected for the number of functions. Functions that share a letter cannot be told apart from each other. "
        "MiB: kept for the backward pass of a batch.[/dim]"
    )


def _cells(row: Standing) -> list[str]:
    name = escape(row.label)
    if row.role == "null":
        name = f"{name} [magenta]null[/magenta]"
    if trouble := row.diverged + row.failed:
        name = f"{name} [yellow]{trouble} of {row.seeds} runs diverged or failed[/yellow]"
    return [
        "=" if row.tied else "",
        name,
        _interval(row.score),
        _interval(row.loss),
        "" if row.p != row.p else f"{row.p:.3f}",
        row.groups,
        _number(1000 * row.seconds_per_epoch, 1),
        _number(row.saved_bytes / 2**20, 2) if row.saved_bytes else "-",
    ]


def _interval(value: Interval) -> str:
    middle = _number(value.median, 4)
    if value.low != value.low:
        return middle
    return f"{middle} [{_number(value.low, 4)}, {_number(value.high, 4)}]"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if abs(value) < float("inf") else "-"
