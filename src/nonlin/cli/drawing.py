"""`nonlin plot`: activations and their derivatives as a picture."""

from __future__ import annotations

from pathlib import Path

import typer

from nonlin.errors import NonlinError


def plot(
    formulas: list[str] = typer.Argument(..., metavar="F...", help="Names or formulas."),
    output: Path = typer.Option(
        None, "--output", "-o", help="File to write; .png, .svg or .pdf. Default: named after the functions."
    ),
    low: float = typer.Option(-5.0, help="Left end of the x axis."),
    high: float = typer.Option(5.0, help="Right end of the x axis."),
    derivative: bool = typer.Option(True, help="Draw the derivatives beside the functions."),
) -> None:
    """Draw activations, and their derivatives beside them.

    Example: nonlin plot swish gelu crrelu -o shapes.svg
    """
    from nonlin import zoo
    from nonlin.report.plot import plot_activations

    if not low < high:
        raise NonlinError(f"--low must be below --high; got {low:g} and {high:g}.")
    acts = [zoo.activation(formula) for formula in formulas]
    path = plot_activations(acts, output or Path(_file_name([act.name for act in acts])), (low, high), derivative)
    typer.echo(path)


def _file_name(names: list[str]) -> str:
    """swish-gelu-crrelu.png; characters that files cannot have are left out."""
    kept = ["".join(letter for letter in name if letter.isalnum() or letter in "_+") for name in names]
    return f"{'-'.join(kept)[:80]}.png"
