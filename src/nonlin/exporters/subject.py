"""What is exported: an expression, its parameters' values, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

import nonlin
from nonlin.errors import ExportError
from nonlin.expr import Const, Expr, simplify, substitute, to_latex, to_text
from nonlin.native.module import ActivationModule
from nonlin.zoo import activation, entry, names

Values = dict[str, float | list[float]]


@dataclass(frozen=True)
class Subject:
    """A function ready for export.

    Attributes
    ----------
    name : its name or its formula
    values : each parameter's value; a list for one value per channel
    dim : the dimension of the channels, where there are some
    """

    name: str
    expr: Expr
    values: Values
    dim: int = 1

    @property
    def per_channel(self) -> bool:
        return any(isinstance(value, list) for value in self.values.values())

    def numbers(self, target: str) -> dict[str, float]:
        """The values, one for each parameter."""
        if self.per_channel:
            raise ExportError(
                f"{self.name} has values for each channel, and {target} takes one function: choose a channel, as in "
                f"export(module, {target!r}, channel=0)."
            )
        return {name: value for name, value in self.values.items() if not isinstance(value, list)}

    def fixed(self, target: str) -> Subject:
        """The same with its parameters' values put into the formula."""
        values = {name: Const(value) for name, value in self.numbers(target).items()}
        return Subject(self.name, simplify(substitute(self.expr, values)), {})

    def description(self) -> list[str]:
        """Lines on what it is and where it comes from, for a docstring or a comment."""
        lines = [
            f"{self.name}: f(x) = {to_text(self.expr)}" if self.name != to_text(self.expr) else f"f(x) = {self.name}"
        ]
        lines += [f"LaTeX: {to_latex(self.expr)}"]
        if self.values:
            lines.append(
                f"Parameters: {', '.join(f'{name} = {_shown(value)}' for name, value in self.values.items())}."
            )
        if self.name in names():
            found = entry(self.name)
            lines += [f"Source: {found.source}."] if found.source else []
            lines += [found.remark] if found.remark else []
        return [*lines, f"Written by nonlin {nonlin.__version__}; needs nothing of it."]


def _shown(value: float | list[float]) -> str:
    return f"{value:.9g}" if not isinstance(value, list) else f"{len(value)} values"


def subject(f: Any, channel: int | None, tolerance: float = 0.002) -> Subject:
    """What `f` stands for: a name, a formula, an activation, or a trained module."""
    if getattr(f, "finished", False) and isinstance(getattr(f, "new", None), torch.nn.Module):
        f = f.new  # a blend that has arrived
    if hasattr(f, "freeze"):  # an adaptive layer
        frozen = activation(f.freeze(channel=channel, tolerance=tolerance))
        f = replace(frozen, expr=simplify(frozen.expr))  # an added function that came to nothing leaves "+ 0"
    elif isinstance(f, ActivationModule):
        return _of_module(f, channel)
    elif isinstance(f, torch.nn.Module):
        raise ExportError(
            f"export takes an activation: a name, a formula, or a module made by nonlin; got {type(f).__name__}. "
            "For a whole model use torch.onnx.export."
        )
    act = activation(f)
    return Subject(act.name, act.expr, dict(act.parameters))


def _of_module(module: ActivationModule, channel: int | None) -> Subject:
    values: Values = {}
    for name, tensor in zip(module.parameter_names, module.parameters(), strict=True):
        numbers = [float(f"{v:.9g}") for v in tensor.detach().double().reshape(-1)]  # what a float32 holds
        if channel is not None and tensor.dim():
            if not -len(numbers) <= channel < len(numbers):
                raise ExportError(f"channel={channel!r} is not one of the {len(numbers)} channels of this module.")
            values[name] = numbers[channel]
        else:
            values[name] = numbers if tensor.dim() else numbers[0]
    return Subject(module.label or to_text(module.expr), module.expr, values, module.dim)
