"""`nonlin tasks` and `nonlin spaces`."""

from __future__ import annotations

import typer
from rich.markup import escape

from nonlin.cli.screen import console, print_json, table


def tasks(json: bool = typer.Option(False, "--json", help='Print JSON: {"tasks": [...]}.')) -> None:
    """List the tasks: a model, data and a training budget each.

    A task of your own: see nonlin.Task and examples/own_data.py.
    """
    from dataclasses import asdict

    from nonlin.tasks import TASKS

    if json:
        rows = [{"name": t.name, "remark": t.remark, "budget": asdict(t.budget)} for t in TASKS.values()]
        print_json({"tasks": rows})
        return
    shown = table("task", "training", "what it is")
    for task in TASKS.values():
        budget = task.budget
        training = f"{budget.epochs} epochs, batch {budget.batch_size}, {budget.optimizer} {budget.learning_rate:g}"
        shown.add_row(task.name, training, escape(task.remark))
    console().print(shown)


def spaces(
    count: bool = typer.Option(False, "--count", help="Tell distinct functions apart (a few seconds)."),
    json: bool = typer.Option(False, "--json", help='Print JSON: {"spaces": [...]}.'),
) -> None:
    """List the search spaces and the search strategies.

    Example: nonlin spaces --count
    """
    from nonlin.strategies import SPACES, STRATEGIES, census

    if json:
        rows = []
        for space in SPACES.values():
            row = {"name": space.name, "expressions": len(space), "remark": space.remark}
            row |= {"unary": list(space.unary), "binary": list(space.binary)}
            rows.append(row | ({"census": census(space).counts()} if count else {}))
        print_json({"spaces": rows, "strategies": list(STRATEGIES)})
        return
    shown = table("space", "expressions", "what it is", right=("expressions",))
    for space in SPACES.values():
        shown.add_row(space.name, f"{len(space):,}", escape(space.remark))
    out = console()
    out.print(shown)
    for space in SPACES.values() if count else ():
        out.print(f"\n{space.name}: {census(space)}")
    out.print(f"\n[bold]strategies[/bold]  {', '.join(STRATEGIES)}")
