"""`nonlin bench ...`: what the project measures of itself, one verb for each benchmark."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nonlin.cli.bench_speed import SPEED
from nonlin.cli.screen import check_picture, console, print_json, table
from nonlin.errors import NonlinError

if TYPE_CHECKING:
    from nonlin.benchmarks import Measured

_WORKERS = typer.Option(None, help="Worker processes. Default: one for each core.")
_JSON = typer.Option(False, "--json", help="Print JSON.")


def strategies(
    task: str = typer.Option("digits-mlp", help="The project's table of this task."),
    table: Path = typer.Option(None, help="Or a table of your own; see 'nonlin bench table'."),
    only: list[str] = typer.Option([], "--strategy", help="Measure this one only; may repeat."),
    repeats: int = typer.Option(50, help="Runs of each strategy.", min=1),
    budget: int = typer.Option(200, help="Functions that a run may try.", min=1),
    window: int = typer.Option(1, help="Functions out at a time; a search has 16.", min=1),
    output: Path = typer.Option(None, "--output", "-o", help="Draw the regret curves: .png, .svg or .pdf."),
    workers: int = typer.Option(None, help="Processes, one strategy each. Default: one for each core.", min=1),
    json: bool = _JSON,
) -> None:
    """How many functions does each strategy try until it has one of the best 1%? Nothing is trained.

    Example: nonlin bench strategies --task digits-mlp --repeats 50 --output strategies.png
    """
    from nonlin.benchmarks import bench_strategies
    from nonlin.run.local import default_workers
    from nonlin.strategies import STRATEGIES

    check_picture(output)
    out = console()
    watcher = None if json or not out.is_terminal else lambda standing: out.print(f"[dim]{standing.name} done[/dim]")
    found = bench_strategies(
        task, table, only or list(STRATEGIES), repeats, budget, window, workers or default_workers(), watcher
    )
    if output is not None:
        found.picture(output)
    if json:
        print_json(found.as_dict())
    else:
        _print_strategies(found)


def _print_strategies(found: Measured) -> None:
    out = console()
    out.print(found.title(), soft_wrap=True)
    names = (
        "strategy", "to the best 1%", "not found", "better at the end", "regret", "ms each", "of training", "of plain"
    )  # fmt: skip
    shown = table(*names, right=names[1:])
    for row in found.rows():
        low, high = row["first_of_best_interval"]
        shown.add_row(
            row["strategy"],
            f"{row['first_of_best']:.0f} ({low:.0f} to {high:.0f})",
            f"{row['not_found']:.0%}",
            _percent(row["better_at_the_end"], row["better_at_the_end_interval"]),
            _percent(row["regret"], row["regret_interval"]),
            f"{row['milliseconds']:.2f}",
            _share(row["milliseconds"], found.training_milliseconds, 1),
            _share(row["milliseconds"], found.training["torch"], 2),
        )
    out.print(shown)
    own, plain = found.training_milliseconds, found.training["torch"]
    shares = [f"of training: its share of the {own:.1f} ms that a training takes here"] if math.isfinite(own) else []
    shares += [f"of plain: of the {plain:.0f} ms that it takes in plain torch"] if math.isfinite(plain) else []
    out.print(
        "\nto the best 1%: functions tried until the first of them, median; better at the end: functions at least as "
        "good as the best found, mean; regret: the same over the whole budget, geometric mean; 95% intervals. ms each: "
        f"{'; '.join(['CPU time of a proposal', *shares])}.",
        soft_wrap=True,
    )


def _share(milliseconds: float, training: float, digits: int) -> str:
    """What a proposal takes of a training; nothing where no training could be timed."""
    return f"{milliseconds / training:.{digits}%}" if math.isfinite(training) else ""


def _percent(value: float, interval: tuple[float, float]) -> str:
    return f"{100 * value:.2f}% ({100 * interval[0]:.2f} to {100 * interval[1]:.2f})"


def make_table(
    task: str = typer.Option("digits-mlp", help="What to train; see 'nonlin tasks'."),
    seeds: str = typer.Option("0,1,2", metavar="A,B,...", help="Seeds, each a column."),
    limit: int = typer.Option(None, help="Only this many functions, drawn at random: a partial table.", min=1),
    store: Path = typer.Option(None, help="Keeps what is trained; the same call again continues. Default: .db"),
    output: Path = typer.Option(None, "--output", "-o", help="Default: core-1-TASK.csv.gz"),
    check: int = typer.Option(None, metavar="N", help="Train N functions of a table again and compare.", min=1),
    workers: int = _WORKERS,
    json: bool = _JSON,
) -> None:
    """Train the functions of core-1 for 'nonlin bench strategies', and write the table; or check one with --check N.

    Example: nonlin bench table --task digits-cnn --seeds 0 --limit 400 --output digits-cnn.csv.gz
    """
    from nonlin.benchmarks import find_table, read_table
    from nonlin.benchmarks import make_table as make
    from nonlin.cli.progress import Progress, Silence
    from nonlin.run import start
    from nonlin.run.local import default_workers

    if check is not None:
        _check(read_table(output or find_table(task)), check, json)
        return
    path = output or Path(f"core-1-{task}.csv.gz")
    kept = store or path.with_name(path.name.removesuffix(".csv.gz") + ".db")
    progress = Silence() if json else Progress()
    with start(default_workers() if workers is None else workers) as crew, progress:
        made = make(task, _whole_numbers(seeds), path, kept, limit, crew, progress)
    found = {"path": str(path), "functions": len(made.formulas), "complete": made.is_complete, "table": made.header}
    if json:
        print_json(found)
    else:
        console().print(f"{path}: {found['functions']:,} functions{'' if made.is_complete else ' (partial)'}")


def _check(table_read: Any, count: int, json: bool) -> None:
    from nonlin.benchmarks import check_table

    rows = check_table(table_read, count)
    if json:
        print_json({"task": table_read.task, "rows": rows})
        return
    shown = table("function", "seed", "loss in the table", "loss now", right=("seed", "loss in the table", "loss now"))
    for row in rows:
        shown.add_row(row["formula"], str(row["seed"]), f"{row['loss']:.5f}", f"{row['again']:.5f}")
    out = console()
    out.print(shown)
    same = sum(f"{row['loss']:.5f}" == f"{row['again']:.5f}" for row in rows)
    out.print(f"\n{same} of {len(rows)} equal to the five digits kept; another processor rounds otherwise.")


def _whole_numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise NonlinError(f"--seeds takes whole numbers with commas between, as in 0,1,2; got {text!r}.") from None


# verb of `nonlin bench`: what it calls
BENCHMARKS: dict[str, Callable[..., None]] = {
    "strategies": strategies,
    "table": make_table,
    **SPEED,
}
bench = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich",
    help="What the project measures of itself.\n\nExample: nonlin bench strategies --output strategies.png",
)  # fmt: skip
for verb, function in BENCHMARKS.items():
    bench.command(verb)(function)
