"""Expressions over a tensor by the compiled core, for the eager mode of `module`: little between torch and the core.

On a GPU, where `triton_activation.for_modules` says so, Triton's kernel takes the core's place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import Parameter

from nonlin.native import triton_activation
from nonlin.native.corrections import observed, ordinary
from nonlin.native.library import FLOAT32, FLOAT64, load
from nonlin.native.program import Function, Program, compile_program

_DTYPES = {torch.float32: FLOAT32, torch.float64: FLOAT64}
_HALF = (torch.float16, torch.bfloat16)


def layout(x: Tensor, parameters: Sequence[Tensor]) -> tuple[int, int] | None:
    """(channels, elements per channel) if every parameter is one number or all lie along one dimension of x."""
    found = (1, 1)
    for parameter in parameters:
        if parameter.numel() == 1 and parameter.dim() <= x.dim():
            continue
        shape = (1,) * (x.dim() - parameter.dim()) + tuple(parameter.shape)
        wide = [place for place, size in enumerate(shape) if size != 1]
        if len(shape) != x.dim() or len(wide) != 1 or shape[wide[0]] != x.shape[wide[0]]:
            return None
        own = shape[wide[0]], math.prod(x.shape[wide[0] + 1 :])
        if found not in ((1, 1), own):
            return None
        found = own
    return found


def fits(function: Function, x: Tensor, parameters: Sequence[Tensor]) -> bool:
    """Whether the core may compute this function of x now: see `corrections.ordinary` for when it may not.

    A parameter per channel needs contiguous memory; otherwise any order of x's elements will do that leaves no gaps.
    """
    if x.is_cuda:
        return _fits_triton(function, x, parameters)
    if not ordinary(x) or load() is None or not function.supported:
        return False
    if x.is_contiguous():
        return not parameters or layout(x, parameters) is not None
    return all(parameter.numel() == 1 and parameter.dim() <= x.dim() for parameter in parameters) and _dense(x)


def _fits_triton(function: Function, x: Tensor, parameters: Sequence[Tensor]) -> bool:
    if not triton_activation.for_modules(x) or type(x) not in (Tensor, Parameter) or observed() or x.is_neg():
        return False
    there = x.layout is torch.strided and all(parameter.device == x.device for parameter in parameters)
    found = layout(x, parameters) if there and x.is_contiguous() else None
    return found is not None and triton_activation.takes(x[None], found[0]) and triton_activation.supported(function)


@lru_cache(maxsize=4096)
def _launch(function: Function, device: torch.device) -> triton_activation.Stacked:
    return triton_activation.Stacked([function], device)


def _dense(x: Tensor) -> bool:
    """Whether x's elements fill one stretch of memory, in whatever order."""
    expected = 1
    for stride, size in sorted((stride, size) for stride, size in zip(x.stride(), x.shape, strict=True) if size != 1):
        if stride != expected:
            return False
        expected *= size
    return True


def value(function: Function, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """f(x), of x's shape, strides and dtype; half precision is computed in float32."""
    if x.is_cuda:
        return _triton_value(function, x, parameters)
    wide = x.float() if x.dtype in _HALF else x
    out = torch.empty_like(wide)
    channels, inner = _layout(wide, parameters)
    theta = _table(parameters, channels, wide.dtype) if parameters else None
    _run(function.value, wide, channels, inner, theta, None, out, None)
    return out if wide is x else out.to(x.dtype)


def gradients(
    function: Function, x: Tensor, gradient: Tensor, parameters: Sequence[Tensor], trained: bool = True
) -> tuple[Tensor, Sequence[Tensor | None]]:
    """The gradients by x and by each parameter, shaped like them; those None unless `trained`."""
    if x.is_cuda:
        return _triton_gradients(function, x, gradient, parameters)
    wide = x.float() if x.dtype in _HALF else x
    if gradient.dtype != wide.dtype or gradient.stride() != wide.stride() or gradient.is_neg():
        gradient = torch.empty_like(wide).copy_(gradient)
    out = torch.empty_like(wide)
    channels, inner = _layout(wide, parameters)
    results: list[Tensor | None] = []
    if parameters and not trained:
        _run(_slope(function), wide, channels, inner, _table(parameters, channels, wide.dtype), gradient, out, None)
        results = [None] * len(parameters)
    elif parameters:
        theta = _table(parameters, channels, wide.dtype)
        sums = torch.zeros(len(parameters), channels, dtype=wide.dtype)  # what an empty gradient leaves
        _run(function.partials, wide, channels, inner, theta, gradient, out, sums)
        for row, parameter in zip(sums.unbind(), parameters, strict=True):
            # one number among parameters per channel has a sum for each
            total = row.sum() if parameter.numel() == 1 and channels != 1 else row
            results.append(total.view(parameter.shape).to(parameter.dtype))
    else:
        _run(function.partials, wide, 1, 1, None, gradient, out, None)
    return out if wide is x else out.to(x.dtype), results


@lru_cache(maxsize=4096)
def _slope(function: Function) -> Program:
    """df/dx alone, where no parameter is trained."""
    return compile_program(function.partial_expressions[:1], function.parameters)


def _triton_value(function: Function, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    channels, inner = _layout(x, parameters)
    return _launch(function, x.device).forward(x[None], _stacked_table(parameters, channels, x), inner)[0]


def _triton_gradients(
    function: Function, x: Tensor, gradient: Tensor, parameters: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    channels, inner = _layout(x, parameters)
    gradient = gradient.to(x.dtype).contiguous().resolve_neg()
    by_x, (sums,) = _launch(function, x.device).backward(
        gradient[None], x[None], _stacked_table(parameters, channels, x), inner
    )
    totals = (row.sum() if one.numel() == 1 else row for row, one in zip(sums, parameters, strict=True))
    return by_x[0], [total.reshape(one.shape).to(one.dtype) for total, one in zip(totals, parameters, strict=True)]


def _stacked_table(parameters: Sequence[Tensor], channels: int, x: Tensor) -> Tensor:
    """The parameters as (1, parameters, channels) of float32."""
    rows = [one.detach().reshape(-1).float().expand(channels) for one in parameters]
    return torch.stack(rows)[None] if rows else x.new_empty(1, 0, 1, dtype=torch.float32)


def _layout(x: Tensor, parameters: Sequence[Tensor]) -> tuple[int, int]:
    channels, inner = (layout(x, parameters) or (1, 1)) if parameters else (1, 1)
    return max(channels, 1), max(inner, 1)


def _table(parameters: Sequence[Tensor], channels: int, dtype: torch.dtype) -> Tensor:
    """The parameters as a dense (parameters, channels)."""
    if all(parameter.numel() == channels and parameter.dtype == dtype for parameter in parameters):
        rows = [parameter.detach().reshape(-1) for parameter in parameters]
        return rows[0] if len(rows) == 1 else torch.cat(rows)
    table = torch.empty(len(parameters), channels, dtype=dtype)
    for row, parameter in zip(table.unbind(), parameters, strict=True):
        row.copy_(parameter.detach().reshape(-1))
    return table


def _run(
    program: Program, x: Tensor, channels: int, inner: int, theta: Tensor | None, gradient: Tensor | None, out: Tensor,
    sums: Tensor | None,
) -> None:  # fmt: skip
    library = load()
    assert library is not None
    library.call(
        "nl_apply", program.address, _DTYPES[x.dtype], torch.get_num_threads(), x.numel(), channels, inner,
        x.data_ptr(), None if theta is None else theta.data_ptr(), None if gradient is None else gradient.data_ptr(),
        out.data_ptr(), None if sums is None else sums.data_ptr(),
    )  # fmt: skip
