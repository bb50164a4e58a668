"""`nonlin plot`: activations and their derivatives as a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nonlin.errors import NonlinError

if TYPE_CHECKING:
    from nonlin.zoo import Activation


def plot(
    formulas: list[str] = typer.Argument(..., metavar="F...", help="Names or formulas."),
    output: Path = typer.Option(
        None, "--output", "-o", help="File to write; .png, .svg or .pdf. Default: named after the functions."
    ),
    low: float = typer.Option(-5.0, help="Left end of the x axis."),
    high: float = typer.Option(5.0, help="Right end of the x axis."),
    derivative: bool = typer.Option(True, help="Draw the derivatives beside the functions."),
    vary: str = typer.Option(
        "", metavar="NAME=V1,V2,...", help="Draw one function for several values of one of its parameters."
    ),
) -> None:
    """Draw activations, and their derivatives beside them; .svg and .pdf are vector files for papers.

    Examples:

      nonlin plot swish gelu crrelu -o shapes.svg

      nonlin plot swish --vary beta=0,0.5,1,2,5 -o swish.pdf
    """
    from nonlin import zoo
    from nonlin.report.plot import plot_activations, plot_family

    if not low < high:
        raise NonlinError(f"--low must be below --high; got {low:g} and {high:g}.")
    if not vary:
        acts = [zoo.activation(formula) for formula in formulas]
        path = output or Path(_file_name([act.name for act in acts]))
        typer.echo(plot_activations(acts, path, (low, high), derivative))
        return
    if len(formulas) > 1:
        raise NonlinError(f"--vary draws one function for several values; got {len(formulas)}: {', '.join(formulas)}.")
    name, values = _values(vary)
    act = _with_parameter(formulas[0], name, values)
    path = output or Path(_file_name([act.name, name]))
    typer.echo(plot_family(act, name, values, path, (low, high), derivative))


def _values(text: str) -> tuple[str, list[float]]:
    """ "beta=0,1,2" as ("beta", [0.0, 1.0, 2.0])."""
    name, equals, listed = text.partition("=")
    try:
        values = [float(value) for value in listed.split(",") if value.strip()]
    except ValueError:
        values = []
    if not name.strip() or not equals or not values or not all(map(math.isfinite, values)):
        raise NonlinError(f"--vary {text!r} must be a name and numbers, such as --vary beta=0,0.5,1,2,5.")
    return name.strip(), values


def _with_parameter(formula: str, name: str, values: list[float]) -> Activation:
    """The activation with `name` free: trainable as it is, or a constant of the catalogue's entry."""
    from nonlin import zoo
    from nonlin.expr import parse

    act = zoo.activation(formula)
    entry = next((zoo.entry(known) for known in zoo.names() if known == act.name), None)
    if name in act.parameters or entry is None or name not in dict(entry.constants):
        return act
    fixed = {key: value for key, value in entry.constants if key != name}
    tree = parse(entry.formula)
    free = zoo.Activation(act.name, tree, tuple((key, fixed.get(key, 1.0)) for key in tree.parameters))
    return free


def _file_name(names: list[str]) -> str:
    """swish-gelu-crrelu.png; characters that files cannot have are left out."""
    kept = ["".join(letter for letter in name if letter.isalnum() or letter in "_+") for name in names]
    return f"{'-'.join(kept)[:80]}.png"
