"""`nonlin bench children`, `space`, `roofline` and `kernels`: how fast things are here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nonlin.cli.screen import check_picture, complain, console, print_json, table

if TYPE_CHECKING:
    from nonlin.benchmarks.children import Children
    from nonlin.benchmarks.kernels import Kernels
    from nonlin.benchmarks.roofline import Roofline
    from nonlin.benchmarks.space import WholeSpace

_TASKS = typer.Option([], "--task", help="Only this task; may repeat. Default: all four that are measured.")
_OUTPUT = typer.Option(None, "--output", "-o", help="Draw a picture too: .png, .svg or .pdf.")
_FEW = 40  # rows that are all printed
_JSON = typer.Option(False, "--json", help="Print JSON.")
_ROWS = typer.Option(None, help="Only so many rows of the data, for a quick look.", min=1)
_EPOCHS = typer.Option(None, help="Only so many epochs, for a quick look.", min=1)


def children(
    task: list[str] = _TASKS,
    rounds: int = typer.Option(3, help="Turns of each engine; medians are shown.", min=1),
    count: int = typer.Option(12, "--children", help="Children in each turn.", min=2, max=12),
    rows: int = _ROWS,
    epochs: int = _EPOCHS,
    output: Path = _OUTPUT,
    json: bool = _JSON,
) -> None:
    """How many children does each engine train a second, against plain PyTorch, and do the results agree?

    Example: nonlin bench children --task digits-mlp --output children.png
    """
    from nonlin.benchmarks.children import FORMULAS, SIZES, bench_children

    check_picture(output)
    say = None if json else lambda one: complain(f"{one.task} done", "note")
    found = bench_children(task or list(SIZES), rounds, FORMULAS[:count], rows, epochs, say)
    if output is not None:
        found.picture(output)
    if json:
        print_json(found.as_dict())
    else:
        _print_children(found)


def _print_children(found: Children) -> None:
    out = console()
    out.print(found.title(), soft_wrap=True)
    for one in found.tasks:
        out.print(
            f"\n{one.task}: {one.rows:,} rows, {one.epochs} epochs; cohorts of {one.cohort}, recorded once in "
            f"{one.recording_seconds:.1f} s; losses under permuted batches differ by {one.noise[0]:.1e} (median), "
            f"{one.noise[1]:.1e} (largest)",
            soft_wrap=True,
        )
        names = ("engine", "ms a child", "children/s", "over plain", "range", "target", "loss differs, median")
        shown = table(*names, "largest", "status", right=(*names[1:], "largest"))
        for engine in one.engines:
            plain = engine.engine == "plain"
            low, high = engine.ratio_range
            shown.add_row(
                engine.engine, f"{1e3 * engine.seconds:.1f}", f"{1 / engine.seconds:.2f}",
                "1" if plain else f"{engine.ratio:.2f}", "" if plain else f"{low:.2f} to {high:.2f}",
                f"{engine.target:g}" if engine.target else "",
                "" if plain else f"{engine.median_difference:.1e}",
                "" if plain else f"{engine.largest_difference:.1e}",
                "" if plain else "same" if engine.same_status else "DIFFERS",
            )  # fmt: skip
        out.print(shown)
    out.print(
        "\nover plain: children per second over those of a plain PyTorch loop in the same turn. loss differs: final "
        "validation loss from that of nonlin.train.fit, relative.",
        soft_wrap=True,
    )


def space(
    task: str = typer.Option("digits-mlp", help="What to train; see 'nonlin tasks'."),
    space: str = typer.Option("core-1", help="What to search; see 'nonlin spaces'."),
    sample: int = typer.Option(24, help="Children in plain PyTorch that are timed for the naive loop.", min=2),
    recall: bool = typer.Option(False, "--recall", help="Search without halving too: which good functions are lost?"),
    budget: int = typer.Option(None, help="Only so many functions, for a quick look.", min=1),
    seed: int = typer.Option(0, help="Of the search and the sample.", min=0),
    workers: int = typer.Option(None, help="Worker processes. Default: one for each core.", min=0),
    output: Path = _OUTPUT,
    json: bool = _JSON,
) -> None:
    """How long does the search of a whole space take, against training every expression in plain PyTorch?

    Example: nonlin bench space --recall
    """
    from nonlin.benchmarks.space import bench_space

    check_picture(output)
    say = None if json else lambda what: complain(what, "note")
    found = bench_space(task, space, workers, sample, recall, budget, seed, say)
    if output is not None:
        found.picture(output)
    if json:
        print_json(found.as_dict())
    else:
        _print_space(found, whole=budget is None)


def _print_space(found: WholeSpace, whole: bool) -> None:
    """`whole`: whether the targets, which are those of a whole space, can be compared with."""
    from nonlin.benchmarks.space import TARGET_RATIO, TARGET_RECALL, TARGET_SECONDS

    out = console()
    out.print(found.title(), soft_wrap=True)
    out.print(f"{found.expressions:,} expressions of {found.space} on {found.task}, {found.workers} workers\n")
    shown = table("what", "measured", "95% interval", "target", right=("measured", "95% interval", "target"))
    low, mean, high = found.naive
    shown.add_row(f"naive child, of {found.sample}", f"{1e3 * mean:.0f} ms", f"{1e3 * low:.0f} to {1e3 * high:.0f}", "")
    low, mean, high = found.naive_seconds
    shown.add_row("naive loop, estimated", f"{mean:,.0f} s", f"{low:,.0f} to {high:,.0f}", "")
    shown.add_row("the search", f"{found.seconds:.1f} s", "", f"below {TARGET_SECONDS:g} s" if whole else "")
    shown.add_row("  until its first child", f"{found.startup:.1f} s", "", "")
    low, mean, high = found.ratio
    target = f"{TARGET_RATIO:g}" if whole else ""
    shown.add_row("naive loop / search", f"{mean:.1f}", f"{low:.1f} to {high:.1f}", target)
    shown.add_row("CPU time of the search", f"{found.cpu_seconds:.1f} s", "", "")
    low, mean, high = found.cpu_ratio
    shown.add_row("naive loop / search, CPU time", f"{mean:.1f}", f"{low:.1f} to {high:.1f}", "")
    shown.add_row("functions trained", f"{found.trained:,}", "", "")
    shown.add_row("epochs, of full training", f"{found.cost:.2f}", "", "")
    shown.add_row("workers' time in training", f"{found.busy:.0%}", "", "")
    if found.full_seconds is not None:
        shown.add_row("search without halving", f"{found.full_seconds:.1f} s", "", "")
    for one in found.recalls:
        shown.add_row(
            f"recall of the best {one.share:.0%}", f"{one.kept} of {one.count}, {one.kept / one.count:.1%}",
            f"{one.low:.1%} to {one.high:.1%}", f"{TARGET_RECALL:.0%}" if whole and one.share == 0.01 else "",
        )  # fmt: skip
    out.print(shown)


def roofline(
    task: list[str] = _TASKS,
    rounds: int = typer.Option(5, help="Timings of each rate; the best counts.", min=1),
    rows: int = _ROWS,
    epochs: int = _EPOCHS,
    output: Path = _OUTPUT,
    json: bool = _JSON,
) -> None:
    """What can this machine do, and how near does each engine come?

    Example: nonlin bench roofline --output roofline.png
    """
    from nonlin.benchmarks.children import SIZES
    from nonlin.benchmarks.roofline import bench_roofline

    check_picture(output)
    say = None if json else lambda what: complain(what, "note")
    found = bench_roofline(task or list(SIZES), rounds, rows, epochs, say)
    if output is not None:
        found.picture(output)
    if json:
        print_json(found.as_dict())
    else:
        _print_roofline(found)


def _print_roofline(found: Roofline) -> None:
    out, peaks = console(), found.peaks
    out.print(found.title() + "\n", soft_wrap=True)
    shown = table("rate of one thread", "core", "torch", right=("core", "torch"))
    shown.add_row("product 1024x1024x1024", _giga(peaks.large_own, "op/s"), _giga(peaks.large_torch, "op/s"))
    for one in found.tasks:
        shown.add_row(f"products of {one.task}", _giga(one.own, "op/s"), _giga(one.torch, "op/s"))
    shown.add_row("exp, in cache", _giga(peaks.exp_own, "/s"), _giga(peaks.exp_torch, "/s"))
    shown.add_row("copy, in cache", "", _giga(peaks.copy_cache, "B/s"))
    shown.add_row("copy, 64 MiB", "", _giga(peaks.copy_memory, "B/s"))
    out.print(shown)
    names = ("task", "operations", "activations", "least time", "engine", "ms a child", "rate", "of the least")
    shown = table(*names, "at most", right=(*names[1:4], *names[5:], "at most"))
    for one in found.tasks:
        plain = one.engines["plain"][0]
        for number, (engine, (seconds, share)) in enumerate(one.engines.items()):
            first = (
                one.task, f"{1e-9 * one.work.operations:.3g} G", f"{1e-6 * one.work.activations:.3g} M",
                f"{1e3 * one.floor:.3g} ms",
            )  # fmt: skip
            shown.add_row(
                *(first if number == 0 else ("",) * 4), engine, f"{1e3 * seconds:.1f}",
                _giga(one.work.operations / seconds, "op/s"), f"{share:.0%}",
                f"{plain / one.floor:.0f} x plain" if number == 0 else "",
            )  # fmt: skip
    out.print()
    out.print(shown)
    out.print(
        "\nleast time: products, two exponentials for each activation and the optimiser's state, each at the rates "
        "above, and nothing else; of the least: its share of the engine's time; at most: plain PyTorch's time over it.",
        soft_wrap=True,
    )


def kernels(
    functions: list[str] = typer.Argument(None, metavar="[F]...", help="Functions. Default: the whole catalogue."),
    elements: list[int] = typer.Option([], "--elements", help="Size of the tensor; may repeat.", min=1),
    rounds: int = typer.Option(5, help="Turns; medians are shown.", min=1),
    threads: int = typer.Option(1, help="Threads of torch and of the core.", min=1),
    compiled: bool = typer.Option(False, "--compile", help="Under torch.compile: seconds more for each function."),
    every: bool = typer.Option(False, "--all", help="Print every function, not the ten farthest from the limit."),
    output: Path = typer.Option(None, "-o", "--output", help="A picture, .png, .svg or .pdf, or every row as .csv."),
    json: bool = _JSON,
) -> None:
    """How long do value and gradient of each function take, over F.silu, a copy and its transcendentals alone?

    Example: nonlin bench kernels relu gelu mish --elements 262144
    """
    from nonlin.benchmarks.kernels import SIZES, bench_kernels

    in_full = output is not None and output.suffix == ".csv"
    check_picture(None if in_full else output)
    found = bench_kernels(functions or (), elements or SIZES, rounds, threads, compiled)
    if output is not None:
        found.table(output) if in_full else found.picture(output)
    if json:
        print_json(found.as_dict())
    else:
        _print_kernels(found, every or len(found.rows) <= _FEW)


def _print_kernels(found: Kernels, every: bool) -> None:
    out = console()
    out.print(found.heading + "\n", soft_wrap=True)
    names = ("elements", "within", "1.1 x F.silu", "median over F.silu", "over limit", "F.relu", "F.silu", "kept")
    shown = table(*names, right=names)
    for one in found.summary():
        shown.add_row(
            f"{one.elements:,}", f"{one.within} of {one.functions}", f"{one.cheap} of {one.single}",
            f"{one.median_over_silu:.2f}", f"{one.median_over_limit:.2f}", f"{one.relu_over_limit:.2f}",
            f"{one.silu_over_limit:.2f}", f"{one.bytes_kept:g} B",
        )  # fmt: skip
    out.print(shown)
    columns = ("elements", "ns each", "over F.silu", "over copy", "over limit", "transcendentals")
    shown = table("function" if every else "farthest from the limit", *columns, right=columns)
    for row in found.rows if every else found.worst():
        shown.add_row(
            row.name, f"{row.elements:,}", f"{row.nanoseconds:.2f}", f"{row.over_silu:.2f}", f"{row.over_copy:.2f}",
            f"{row.over_limit:.2f}", str(row.transcendentals),
        )  # fmt: skip
    out.print()
    out.print(shown)
    out.print(
        "\nlimit: the larger of a copy and the function's transcendentals alone. within: functions of at most 1.3 "
        "times that. 1.1 x F.silu: of those with one transcendental or none, functions of at most that. median over "
        "F.silu, over limit: of all functions. F.relu, F.silu: what torch's own take of their limit. kept: bytes an "
        "element for the backward pass, at most. transcendentals: instructions, in value and slope.",
        soft_wrap=True,
    )


def _giga(rate: float, unit: str) -> str:
    return f"{1e-9 * rate:.3g} G{unit}"


SPEED: dict[str, Callable[..., None]] = {
    "children": children, "space": space, "roofline": roofline, "kernels": kernels,
}  # fmt: skip
