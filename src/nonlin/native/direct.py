"""Expressions over a tensor by the compiled core, for the eager mode of `module`: little between torch and the core."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from ctypes import POINTER, c_void_p

import torch
from torch import Tensor

from nonlin.native.corrections import plain
from nonlin.native.library import FLOAT32, FLOAT64, CActivationCall, CProgram, load
from nonlin.native.program import Function, Program

_DTYPES = {torch.float32: FLOAT32, torch.float64: FLOAT64}


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
    """Whether the core may compute this function of x now; see `corrections.plain` for when it may not."""
    return plain(x) and load() is not None and function.supported and layout(x, parameters) is not None


def value(function: Function, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """f(x), of x's shape and dtype; half precision is computed in float32."""
    wide = x.float() if x.dtype.itemsize == 2 else x
    call, alive = _prepare(function.value, wide, parameters)
    out = torch.empty_like(wide)
    call.outputs, call.output_count = (c_void_p * 1)(out.data_ptr()), 1
    _run(call)
    del alive
    return out.to(x.dtype)


def gradients(
    function: Function, x: Tensor, gradient: Tensor, parameters: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """The gradients by x and by each parameter, shaped like them."""
    wide = x.float() if x.dtype.itemsize == 2 else x
    call, alive = _prepare(function.partials, wide, parameters)
    incoming, by_x = gradient.to(wide.dtype).contiguous(), torch.empty_like(wide)
    sums = torch.zeros_like(alive[1])
    call.gradient, call.gradient_x = incoming.data_ptr(), by_x.data_ptr()
    call.gradient_parameters = (c_void_p * 1)(sums.data_ptr())
    _run(call)
    results = []
    for row, parameter in zip(sums, parameters, strict=True):
        # one number among parameters per channel has a sum for each
        total = row.sum() if parameter.numel() == 1 and row.numel() != 1 else row
        results.append(total.reshape(parameter.shape).to(parameter.dtype))
    return by_x.to(x.dtype), results


def _prepare(program: Program, x: Tensor, parameters: Sequence[Tensor]) -> tuple[CActivationCall, tuple]:
    """The call without its results, and what must stay alive while it runs."""
    channels, inner = layout(x, parameters) or (1, 1)
    matrix = torch.empty(len(parameters), channels, dtype=x.dtype)
    for row, parameter in zip(matrix, parameters, strict=True):
        row.copy_(parameter.detach().reshape(-1))
    pointers = (c_void_p * 1)(matrix.data_ptr())
    call = CActivationCall(
        _DTYPES[x.dtype], 1, torch.get_num_threads(), int(channels > 1), x.numel(), channels, max(inner, 1),
        ctypes.cast(ctypes.pointer(program.c), POINTER(CProgram)), x.data_ptr(), pointers,
    )  # fmt: skip
    return call, (pointers, matrix, program)


def _run(call: CActivationCall) -> None:
    library = load()
    assert library is not None
    library.call("nl_activate", ctypes.byref(call))
