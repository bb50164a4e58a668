"""`nonlin reproduce`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from nonlin.cli.screen import INTERRUPTED, complain, console, print_json, table
from nonlin.errors import NonlinError

if TYPE_CHECKING:
    from nonlin.experiments import Cost, Experiment, Reproduction


def reproduce(
    name: str = typer.Argument(None, metavar="[NAME]", help="Which experiment; without one, all are listed."),
    task: list[str] = typer.Option([], help="Only this of its tasks; may repeat."),
    seeds: int = typer.Option(None, help="How many seeds, in place of the experiment's.", min=1),
    store: Path = typer.Option(
        None, help="File that keeps everything; the same command continues. Default: NAME.db; of a smoke run, none."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Count parameters, operations and GPU hours; train nothing."),
    gpu_tflops: float = typer.Option(None, metavar="X", help="With --dry-run: the GPU's peak. Default: an A100's."),
    utilisation: float = typer.Option(0.4, help="With --dry-run: what share of the peak is reached."),
    smoke: bool = typer.Option(
        False, "--smoke", help="Two functions, one seed, one step on tiny data in the true formats: does it work here?"
    ),
    precision: str = typer.Option(None, help="bfloat16 or float16: mixed precision on CUDA."),
    checkpoint: Path = typer.Option(None, metavar="DIR", help="Keep each run's state here while it lasts."),
    workers: int = typer.Option(
        None, help="Worker processes; 0 trains in this process. Default: one for each core, 0 with a GPU."
    ),
    address: str = typer.Option(None, help="Train on this Ray cluster: auto, host:port, ray://host:port, or local."),
    gpus: float = typer.Option(0.0, help="With --address: GPUs for each run."),
    report: Path = typer.Option(None, help="Write an HTML report here when done."),
    json: bool = typer.Option(False, "--json", help="Print JSON, and no progress."),
) -> None:
    """Run an experiment of a paper, and print its figures beside ours.

    All of its functions, networks and seeds, through one store. It may be interrupted at any time and continued by
    the same command; nothing is trained twice. What was not published was chosen by us: docs/reproduce.md

    Examples: nonlin reproduce swish-table1 --dry-run

      nonlin reproduce swish-cifar --smoke

      nonlin reproduce relu-to-gelu --checkpoint runs --report gelu.html

      nonlin reproduce crrelu-vit --task cifar10-vit-tiny --address auto --gpus 1
    """
    from nonlin.experiments import experiment, experiments

    if name is None:
        _list(list(experiments().values()), json)
        return
    found = experiment(name)
    if dry_run:
        from nonlin.experiments import cost

        counted = cost(name, tasks=task, seeds=seeds, gpu_tflops=gpu_tflops, utilisation=utilisation,
                       precision=_checked(precision))  # fmt: skip
        print_json(counted.as_dict()) if json else _print_cost(found, counted)
        return
    kept = store if store is not None or smoke else Path(f"{name}.db")
    done = _run(name, task, seeds, kept, smoke, _checked(precision), checkpoint, workers, address, gpus, report, json)
    if json:
        print_json(done.as_dict())
    else:
        _print(done)
    if report is not None:
        path = done.report(report)
        if not json:
            console().print(f"\nreport: {path}", soft_wrap=True)


def _run(
    name: str, tasks: list[str], seeds: int | None, store: Path | None, smoke: bool, precision: str | None,
    checkpoint: Path | None, workers: int | None, address: str | None, gpus: float, report: Path | None, json: bool,
) -> Reproduction:  # fmt: skip
    from nonlin.cli.progress import RunProgress
    from nonlin.experiments import reproduce as run
    from nonlin.run import start

    if report is not None:
        from nonlin.report.html import checked_path

        checked_path(report)
    if smoke and address is not None:
        raise NonlinError("--smoke runs on this machine, where its data are made; leave out --address.")
    count = _default_workers(address, smoke) if workers is None else workers
    try:
        with start(count, address, gpus) as crew, RunProgress(quiet=json) as progress:
            return run(name, tasks=tasks, seeds=seeds, store=store, workers=crew, smoke=smoke, precision=precision,
                       checkpoints=checkpoint, watcher=progress)  # fmt: skip
    except KeyboardInterrupt:
        kept = f"what was trained is kept in {store}; the same command continues" if store else "nothing was kept"
        complain(f"interrupted; {kept}.")
        raise typer.Exit(INTERRUPTED) from None


def _default_workers(address: str | None, smoke: bool) -> int:
    import torch

    from nonlin.run.local import default_workers

    return 0 if address or smoke or torch.cuda.is_available() else default_workers()


def _checked(precision: str | None) -> str | None:
    if precision not in (None, "float32", "bfloat16", "float16"):
        raise NonlinError(f"--precision must be float32, bfloat16 or float16; got {precision!r}.")
    return precision


# Printing


def _list(found: list[Experiment], json: bool) -> None:
    if json:
        from dataclasses import asdict

        print_json({"experiments": [asdict(one) for one in found]})
        return
    shown = table("experiment", "what it is", "after", "functions", "cells", "seeds",
                  right=("functions", "cells", "seeds"))  # fmt: skip
    for one in found:
        counts = (len(one.functions), len(one.cells), one.seeds)
        shown.add_row(one.name, escape(one.title), escape(one.reference), *map(str, counts))
    out = console()
    out.print(shown)
    out.print("\nBegin with: nonlin reproduce NAME --dry-run, then --smoke. A cell is one network on one data set.")


def _print(done: Reproduction) -> None:
    from nonlin.report.reproduction import COLUMNS, cells, conclusions, smoke_words

    out, found = console(), done.experiment
    if words := smoke_words(done):
        out.print(f"[bold yellow]{escape(words)}[/bold yellow]", soft_wrap=True)
    out.print(f"[bold]{found.name}[/bold]: {escape(found.title)}\nafter {escape(found.reference)}", soft_wrap=True)
    for one in done.tables():
        source = f"; the paper's: {one.source}" if one.source else "; no published figure was read"
        out.print(f"\n[bold]{escape(one.cell)}[/bold]: test {one.measure}{' in %' if one.unit else ''}{escape(source)}")
        shown = table(*COLUMNS, right=COLUMNS[2:])
        for row in one.rows:
            shown.add_row(*map(escape, cells(row, one.unit)))
        out.print(shown)
        for line in conclusions(one, done.smoke):
            out.print(escape(line))
    if not done.smoke:
        out.print("\n[dim]= cannot be told apart from the best of ours; p: of that difference, paired by seed, "
                  "corrected for the number of functions.[/dim]")  # fmt: skip
    _print_sources(found)
    if words:
        out.print(f"[bold yellow]{escape(words)}[/bold yellow]", soft_wrap=True)


def _print_sources(found: Experiment) -> None:
    out = console()
    out.print()
    for title, lines in (("as published", found.paper), ("ours", found.ours)):
        for line in lines:
            out.print(f"[dim]{title}: {escape(line)}[/dim]")


def _print_cost(found: Experiment, counted: Cost) -> None:
    out = console()
    out.print(f"[bold]{found.name}[/bold]: what it costs; nothing was trained")
    right = ("parameters", "GFLOP/example", "examples", "PFLOP/run", "runs", "GPU h/run", "GPU h")
    shown = table("task", *right, right=right)
    for cell in counted.cells:
        if cell.problem:
            shown.add_row(cell.task, *["–"] * 4, str(cell.runs), "–", "–")
            continue
        shown.add_row(
            cell.task, f"{cell.parameters:,.0f}", f"{cell.forward / 1e9:.3f}", f"{cell.examples:,.0f}",
            _hours(cell.flops / 1e15), str(cell.runs), _hours(cell.hours), _hours(cell.total_hours),
        )  # fmt: skip
    out.print(shown)
    for problem in dict.fromkeys(cell.problem for cell in counted.cells if cell.problem):
        out.print(f"[yellow]not counted: {escape(problem)}[/yellow]", soft_wrap=True)
    out.print(
        f"In all: {counted.flops / 1e18:,.3g} EFLOP, about {_hours(counted.hours)} GPU hours; "
        f"data {counted.disk / 1e9:,.1f} GB on the disk."
    )
    for line in counted.assumptions:
        out.print(f"[dim]{escape(line)}[/dim]")
    _print_sources(found)


def _hours(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
