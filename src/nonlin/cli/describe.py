"""`nonlin show`: everything about one activation."""

from __future__ import annotations

import math

import typer
from rich.markup import escape

from nonlin.cli.screen import console, print_json, table
from nonlin.errors import NonlinError

_POINTS = (-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0)


def show(
    formula: str = typer.Argument(..., metavar="F", help="A name or a formula."),
    json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Show an activation: formula, derivative, LaTeX, gain, what it is known as, values.

    Examples: nonlin show crrelu  |  nonlin show 'x*sigmoid(x)'
    """
    from nonlin import zoo
    from nonlin.nn import gain
    from nonlin.zoo.recognise import recognise

    act = zoo.activation(formula)
    slope = act.derivative()
    known = [str(name) for name in recognise(act.expr)]
    entry = next((zoo.entry(name) for name in zoo.names() if name == act.name), None)
    try:
        size: float | None = gain(act)
    except NonlinError:
        size = None
    values = [(x, act(x), slope(x, **_shared(act, slope))) for x in _POINTS]
    if json:
        print_json(
            {
                "name": act.name, "formula": act.formula, "parameters": act.parameters,
                "constants": dict(entry.constants) if entry else {}, "derivative": slope.formula,
                "latex": act.latex(), "gain": size, "known_as": known,
                "aliases": list(entry.aliases) if entry else [], "source": entry.source if entry else "",
                "remark": entry.remark if entry else "",
                "values": [{"x": x, "f": f, "derivative": d} for x, f, d in values],
            }
        )  # fmt: skip
        return
    out = console()
    rows = table("", "")
    rows.show_header = False
    rows.add_row("[bold]formula[/bold]", escape(act.formula))
    rows.add_row("[bold]derivative[/bold]", escape(slope.formula))
    rows.add_row("[bold]LaTeX[/bold]", escape(act.latex()))
    if act.parameters:
        text = ", ".join(f"{name} = {value:g}" for name, value in act.parameters.items())
        rows.add_row("[bold]trainable[/bold]", f"{text} (initial)")
    if entry and entry.constants:
        rows.add_row("[bold]constants[/bold]", ", ".join(f"{name} = {value:g}" for name, value in entry.constants))
    rows.add_row(
        "[bold]gain[/bold]", escape(f"{size:.5f} = 1/√E[f²] under N(0,1)") if size else "none: no finite second moment"
    )
    others = [name for name in known if name != act.name]
    if others:
        rows.add_row("[bold]same function[/bold]", escape("; ".join(others)))
    if entry:
        if entry.aliases:
            rows.add_row("[bold]also called[/bold]", escape(", ".join(entry.aliases)))
        rows.add_row("[bold]source[/bold]", escape(entry.source))
        rows.add_row("[bold]remark[/bold]", escape(entry.remark))
    if warning := _warning([f for _, f, _ in values]):
        rows.add_row("[yellow]note[/yellow]", warning)
    out.print(f"[bold]{escape(act.name)}[/bold]")
    out.print(rows)
    shown = table("x", "f(x)", "f'(x)", right=("x", "f(x)", "f'(x)"))
    for x, f, d in values:
        shown.add_row(f"{x:g}", f"{f:.6g}", f"{d:.6g}")
    out.print()
    out.print(shown)


def _warning(found: list[float]) -> str:
    """What makes a function of these values useless as an activation, or nothing."""
    finite = sum(map(math.isfinite, found))
    if finite < len(found):
        where = len(found) - finite if finite else "any"
        return f"no finite value at {where} of the points below: a network that meets such inputs diverges"
    return "constant at the points below: nothing of x comes through" if len(set(found)) == 1 else ""


def _shared(act, slope) -> dict[str, float]:
    """Initial values for the parameters that the derivative still has."""
    return {name: act.parameters[name] for name in slope.parameters}
