"""Values of many codes of one shape at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nonlin.strategies.component import Component
from nonlin.strategies.shape import Fixed, Hole, Input, Pick, Shape

FEW = 24  # codes that are evaluated one by one

Tables = dict[int, Tensor]  # number of a step -> values of each function that may stand there


def evaluate(shape: Shape, codes: np.ndarray, x: Tensor, parameters: Tensor, tables: Tables | None = None) -> Tensor:
    """Values of many codes.

    Parameters
    ----------
    codes : integers (codes, slots)
    x : float64 (points,)
    parameters : float64 (any number, points), the values that parameters take, in turn
    tables : for calls with the same shape, x and parameters: what holes that read x alone may be. It is filled here;
        such holes, two of the three in a core unit, are looked up from then on

    Returns
    -------
    float64 (codes, points)
    """
    size = (len(codes), len(x))
    results: list[Tensor] = []
    for number, step in enumerate(shape.steps):
        if isinstance(step, Input):
            results.append(x.expand(size))
        elif isinstance(step, Pick):
            stacked = torch.stack([results[index] for index in step.reads])
            results.append(stacked[torch.from_numpy(codes[:, step.slot]), torch.arange(len(codes))])
        elif tables is not None and isinstance(step, Hole) and all(index == 0 for index in step.reads):
            if number not in tables:
                tables[number] = _table(shape, number, step, x, parameters)
            results.append(tables[number][torch.from_numpy(codes[:, step.slot])])
        else:
            arguments = [results[index] for index in step.reads]
            results.append(_filled(shape, number, step, codes, arguments, parameters))
    return results[-1]


def _filled(
    shape: Shape, number: int, step: Fixed | Hole, codes: np.ndarray, arguments: list[Tensor], parameters: Tensor
) -> Tensor:
    """Each function on the rows that chose it, (codes, points)."""
    if isinstance(step, Fixed):
        own = _own(number, step.component, parameters)
        return step.component.values(arguments, own).expand(arguments[0].shape)
    choice, options = codes[:, step.slot], shape.functions[shape.slots[step.slot].kind]
    out = torch.empty(arguments[0].shape, dtype=torch.float64)
    if len(codes) <= FEW:
        _fill_few(number, out.numpy(), choice.tolist(), options, [part.numpy() for part in arguments], parameters)
        return out
    order = np.argsort(choice, kind="stable")
    found, starts = np.unique(choice[order], return_index=True)
    for which, rows in zip(found, np.split(order, starts[1:]), strict=True):
        at = torch.from_numpy(rows)
        out[at] = options[which].values(
            [argument[at] for argument in arguments], _own(number, options[which], parameters)
        )
    return out


def _fill_few(
    number: int,
    out: np.ndarray,
    choice: Sequence[int],
    options: Sequence[Component],
    arguments: Sequence[np.ndarray],
    parameters: Tensor,
) -> None:
    """The same row by row, on arrays: of few rows hardly two have one function, and each step of torch takes longer."""
    for row, which in enumerate(choice):
        own = [value.numpy() for value in _own(number, options[which], parameters)]
        out[row] = options[which].array_values([argument[row] for argument in arguments], own)


def _table(shape: Shape, number: int, step: Hole, x: Tensor, parameters: Tensor) -> Tensor:
    """Values of all functions of a hole that reads x alone, (functions, points)."""
    options = shape.functions[shape.slots[step.slot].kind]
    arguments = [x[None] for _ in step.reads]
    return torch.cat([f.values(arguments, _own(number, f, parameters)).expand(1, len(x)) for f in options])


def _own(number: int, component: Component, parameters: Tensor) -> list[Tensor]:
    """The values that the parameters of step `number` take."""
    return [parameters[(3 * number + k) % len(parameters)] for k in range(len(component.parameters))]
