"""`export`: one function, written in another language."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nonlin.errors import ExportError, suggest
from nonlin.exporters.array_source import write_jax, write_keras
from nonlin.exporters.c_source import write_c
from nonlin.exporters.onnx_model import build_onnx
from nonlin.exporters.subject import Subject, subject
from nonlin.exporters.torch_source import write_torch
from nonlin.expr import Const, Symbol, to_latex


def write_latex(found: Subject) -> str:
    """f(x) = ..., with the values of the parameters."""
    text = f"f(x) = {to_latex(found.expr)}"
    for name, value in found.numbers("latex").items():
        text += rf", \quad {to_latex(Symbol(name))} = {to_latex(Const(value))}"
    return text


# target -> (writer, whether the parameters stay parameters unless asked otherwise, ending of a file)
TARGETS: dict[str, tuple[Callable[[Subject], Any], bool, str]] = {
    "torch": (write_torch, True, ".py"),
    "latex": (write_latex, True, ".tex"),
    "c": (write_c, False, ".c"),
    "jax": (write_jax, True, ".py"),
    "keras": (write_keras, True, ".py"),
    "onnx": (build_onnx, False, ".onnx"),
}


def export(
    f: Any,
    target: str,
    path: str | Path | None = None,
    *,
    channel: int | None = None,
    trainable: bool | None = None,
    tolerance: float = 0.002,
    rank: int | None = None,
) -> Any:
    """A function as source or as a model of another system, with its parameters' values.

    Parameters
    ----------
    f : a name, a formula, an activation; or a module made by nonlin, whose trained parameters are used (an
        adaptive layer is frozen into its formula first)
    target : "torch" (one file, no dependency on nonlin: a function, and a module with trainable parameters),
        "latex", "c" (float and double, value and derivative), "jax" (with exact derivatives), "keras" (Keras 3:
        a function and a layer), "onnx" (one input with free dimensions; needs the extra ``nonlin[onnx]``)
    path : a file to write to as well
    channel : which channel's values, for a module with values per channel; "torch" takes all of them without it
    trainable : whether the parameters stay parameters (arguments, weights) or become numbers of the formula;
        default: they become numbers in C and ONNX
    tolerance : of an adaptive layer's frozen form, see `nonlin.nn.Adaptive.freeze`
    rank : how many dimensions the input of an ONNX model has, 2 unless given; their sizes are free

    Returns
    -------
    The text; for "onnx" an `onnx.ModelProto`.

    Raises
    ------
    ExportError : for an unknown target, a module that is no activation, values per channel where a target
        takes one function, or a path that cannot be written
    MissingExtraError : for "onnx" without the package onnx
    """
    if target not in TARGETS:
        close = suggest(str(target), TARGETS)
        hint = f"Did you mean {close}?" if close else f"Known: {', '.join(TARGETS)}."
        raise ExportError(f"target={target!r} is not known. {hint}")
    writer, stay, _ = TARGETS[target]
    found = subject(f, channel, tolerance)
    if not (stay if trainable is None else trainable):
        found = found.fixed(target)
    if rank is not None and target != "onnx":
        raise ExportError(
            f"rank={rank!r} is of the input of an ONNX model; target {target!r} takes any shape. Leave it."
        )
    rank = 2 if rank is None else rank
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 0:
        raise ExportError(f"rank={rank!r} must be the number of dimensions of the input, such as 4 for images.")
    result = build_onnx(found, rank) if target == "onnx" else writer(found)
    if path is not None:
        _write(result, Path(path))
    return result


def _write(result: Any, path: Path) -> None:
    try:
        if isinstance(result, str):
            path.write_text(result if result.endswith("\n") else f"{result}\n", encoding="utf-8")
        else:
            path.write_bytes(result.SerializeToString())
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror or error}.") from None
