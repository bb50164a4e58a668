"""`nonlin export`: a function in another language."""

from __future__ import annotations

from pathlib import Path

import typer

from nonlin.cli.screen import print_json
from nonlin.errors import NonlinError


def export(
    formula: str = typer.Argument(..., metavar="F", help="A name or a formula."),
    to: str = typer.Option("torch", "--to", metavar="TARGET", help="torch, latex, c, jax, keras or onnx."),
    output: Path = typer.Option(None, "--output", "-o", metavar="FILE", help="Write to this file; needed for onnx."),
    values: list[str] = typer.Option(
        None, "--set", metavar="NAME=NUMBER", help="Value of a parameter or of a constant; may be repeated."
    ),
    trainable: bool = typer.Option(
        None, "--trainable/--fixed", help="Parameters stay parameters, or become numbers of the formula."
    ),
    rank: int = typer.Option(None, help="Dimensions of the input of an ONNX model (2); their sizes are free."),
    json: bool = typer.Option(False, "--json", help='Print JSON: {"target", "formula", "path", "text"}.'),
) -> None:
    """Export an activation: standalone torch source, LaTeX, C, JAX, Keras 3, ONNX.

    Examples: nonlin export swish --to torch -o swish.py  |  nonlin export 'x*tanh(x)' --to c  |
    nonlin export gelu --to onnx -o gelu.onnx
    """
    from nonlin.exporters import export as write
    from nonlin.zoo import activation

    if to == "onnx" and output is None:
        raise NonlinError("an ONNX model is not text; name a file: nonlin export ... --to onnx -o model.onnx")
    act = activation(formula, **dict(map(_pair, values or [])))
    result = write(act, to, output, trainable=trainable, rank=rank)
    if json:
        text = result if isinstance(result, str) else None
        shown = {"target": to, "formula": act.formula, "parameters": act.parameters}
        print_json({**shown, "path": str(output) if output else None, "text": text})
    elif output is None:
        print(result.rstrip("\n"))
    else:
        print(f"{act.name} as {to}: {output}")


def _pair(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError:
        raise NonlinError(f"--set {text!r} is not NAME=NUMBER, such as --set beta=1.5.") from None
