"""`nonlin tasks` and `nonlin spaces`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from nonlin.cli.screen import console, print_json, table

if TYPE_CHECKING:
    from nonlin.tasks import Budget


def tasks(
    download: str = typer.Option("", metavar="TASK", help="Download and check the data of this task."),
    json: bool = typer.Option(False, "--json", help='Print JSON: {"tasks": [...]}.'),
) -> None:
    """List the tasks: a model, data and a training budget each, and whether the data is on this machine.

    Data that is downloaded goes to the folder that NONLIN_DATA names, else to ~/.cache/nonlin; a download that
    broke off goes on where it stopped.

    Any model of timm is a task: imagenet-NAME, or timm:NAME@cifar10 on other data; so is any config of Hugging
    Face's transformers: hf:FOLDER@cifar10. A task of your own: see nonlin.Task and examples/own_data.py.

    Example: nonlin tasks --download mnist-cnn

    Example: nonlin tasks --download cifar10-resnet20
    """
    from dataclasses import asdict

    from nonlin.tasks import TASKS, data_title, is_there

    if download:
        _download(download, json)
        return
    if json:
        rows = [
            {
                "name": t.name,
                "remark": t.remark,
                "parameters": t.parameters or None,
                "budget": asdict(t.budget),
                "data": data_title(t) or None,
                "data_is_there": is_there(t),
            }
            for t in TASKS.values()
        ]
        print_json({"tasks": rows})
        return
    shown = table("task", "size", "training", "data", "what it is", right=("size",))
    for task in TASKS.values():
        data = "ready" if is_there(task) else f"to download: {data_title(task)}"
        shown.add_row(task.name, _size(task.parameters), _training(task.budget), data, escape(task.remark))
    console().print(shown)


def _size(parameters: int) -> str:
    if not parameters:
        return ""
    return f"{parameters / 1e6:.1f}M" if parameters >= 1e6 else f"{parameters / 1e3:.0f}k"


def _training(budget: Budget) -> str:
    length = f"{budget.steps:,} steps" if budget.steps else f"{budget.epochs} epochs"
    text = f"{length}, batch {budget.batch_size}, {budget.optimizer} {budget.learning_rate:g}"
    clipped = budget.clip_value or budget.clip_norm
    return f"{text}, clip {clipped:g}" if clipped else text


def _download(name: str, json: bool) -> None:
    from nonlin.tasks import data_title, download, is_there, task

    chosen = task(name)
    if json or is_there(chosen):
        folder = download(chosen)
    else:
        out = console()
        out.print(f"downloading the data of {name} ({data_title(chosen)}); this may take some minutes")
        with out.status("") as line:
            folder = download(chosen, lambda there: line.update(f"{there / 1e6:,.0f} MB"))
    if json:
        print_json({"task": name, "folder": str(folder)})
    else:
        console().print(f"{name}: its data is in {folder}", soft_wrap=True, markup=False)


def spaces(
    count: bool = typer.Option(
        False, "--count", help="Tell distinct functions apart; of large spaces, in a sample (a few seconds each)."
    ),
    json: bool = typer.Option(False, "--json", help='Print JSON: {"spaces": [...]}.'),
) -> None:
    """List the search spaces and the search strategies.

    There is also core-N and core-N-free for any other N, and a space of your own in a .toml file: docs/searching.md.

    Example: nonlin spaces --count
    """
    from nonlin.strategies import SPACES, STRATEGIES
    from nonlin.strategies import count as census

    if json:
        rows = []
        for space in SPACES.values():
            row = {"name": space.name, "expressions": space.size, "remark": space.remark}
            row |= {"unary": list(space.unary), "binary": list(space.binary), "nary": list(space.nary)}
            row |= {"units": space.units, "wiring": space.wiring, "templates": list(space.templates)}
            rows.append(row | ({"census": census(space).counts()} if count else {}))
        print_json({"spaces": rows, "strategies": list(STRATEGIES)})
        return
    shown = table("space", "expressions", "what it is", right=("expressions",))
    for space in SPACES.values():
        shown.add_row(space.name, f"{space.size:,}", escape(space.remark))
    out = console()
    out.print(shown)
    for space in SPACES.values() if count else ():
        out.print(f"\n{space.name}: {census(space)}")
    chosen = table("strategy", "what it does")
    for name, (_, remark) in STRATEGIES.items():
        chosen.add_row(name, remark)
    out.print()
    out.print(chosen)
