"""Activations over CPU tensors: values, derivatives and gradients, one function or K at once.

Every call works without the compiled core too: the torch kernels of `expr.codegen` then do the same.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_void_p
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nonlin.errors import NonlinError
from nonlin.expr.codegen import compile_kernel
from nonlin.native.library import FLOAT32, FLOAT64, Library, load
from nonlin.native.program import Function, Program
from nonlin.native.structures import CActivationCall, CProgram

Functions = Function | Sequence[Function]
_DTYPES = {torch.float32: FLOAT32, torch.float64: FLOAT64}
_HALF = (torch.float16, torch.bfloat16)


def forward(
    functions: Functions,
    x: Any,
    parameters: Sequence[Any] = (),
    *,
    dim: int | None = None,
    threads: int = 1,
    out: Tensor | None = None,
) -> Any:
    """The value of one function at x, or of K functions at the K rows of x.

    Parameters
    ----------
    functions : one `Function`, or K of them
    x : CPU tensor or NumPy array, float16/bfloat16/float32/float64; any shape, or (K, ...) for K functions
    parameters : the function's parameters in its order, numbers or tensors: () each, or (channels,) each
        where `dim` is given; for K functions a sequence of K such sequences
    dim : the dimension of one function's input that holds the channels (not counting K)
    threads : how many to use
    out : a contiguous tensor like x (float32 or float64) for the result; fresh memory costs more than the
        evaluation where x is large

    Returns
    -------
    Like x, which is not changed; contiguous.
    """
    call = _Call(functions, x, parameters, dim, threads)
    return call.give(call.values(derivatives=False, out=None if out is None else [out])[0])


def forward_with_derivatives(
    functions: Functions,
    x: Any,
    parameters: Sequence[Any] = (),
    *,
    dim: int | None = None,
    threads: int = 1,
    out: Sequence[Tensor] | None = None,
) -> tuple[Any, ...]:
    """(f, df/dx, df/dp, ...) at x in one pass, each like x. Arguments as for `forward`; `out` holds one
    tensor for each of them.

    With K functions there are as many df/dp as the function with most parameters has; the rows of a
    function with fewer hold zeros.
    """
    call = _Call(functions, x, parameters, dim, threads)
    return tuple(call.give(value) for value in call.values(derivatives=True, out=out))


def backward(
    functions: Functions,
    x: Any,
    gradient: Any,
    parameters: Sequence[Any] = (),
    *,
    dim: int | None = None,
    threads: int = 1,
) -> tuple[Any, list]:
    """The gradients by x and by the parameters, from x alone and the gradient by the value.

    Parameters
    ----------
    gradient : like x
    the others : as for `forward`

    Returns
    -------
    (gradient·df/dx, like x; the sums of gradient·df/dp, one per parameter and shaped like it, for K
    functions a list of K such lists)
    """
    call = _Call(functions, x, parameters, dim, threads)
    by_x, by_parameters = call.gradients(gradient)
    return call.give(by_x), by_parameters if call.several else by_parameters[0]


class _Call:
    """One call's arguments, checked and made contiguous: x as (K, count), parameters as (P, width)."""

    def __init__(self, functions: Functions, x: Any, parameters: Sequence[Any], dim: int | None, threads: int):
        self.several = not isinstance(functions, Function)
        self.functions = [functions] if isinstance(functions, Function) else list(functions)
        self.numpy = isinstance(x, np.ndarray)
        tensor = _tensor(x)
        self.dtype, self.shape, self.threads = tensor.dtype, tensor.shape, threads
        self.work_dtype = torch.float32 if tensor.dtype in _HALF else tensor.dtype
        children = len(self.functions)
        if self.several and (tensor.dim() == 0 or tensor.shape[0] != children):
            raise NonlinError(
                f"{children} functions need x of shape ({children}, ...), one row each; "
                f"got shape {tuple(tensor.shape)}."
            )
        self.x = tensor.to(self.work_dtype).contiguous().reshape(children, -1) if children else tensor
        row_shape = tensor.shape[1:] if self.several else tensor.shape
        self.channels, self.inner = 1, 1
        if dim is not None:
            if not -len(row_shape) <= dim < len(row_shape):
                raise NonlinError(f"dim={dim} is no dimension of an input of shape {tuple(row_shape)}.")
            dim %= len(row_shape)
            self.channels = row_shape[dim]
            self.inner = int(np.prod(row_shape[dim + 1 :], dtype=np.int64))
        self.per_channel = dim is not None
        given = list(parameters) if self.several else [parameters]
        if self.several and not given:
            given = [()] * children
        if len(given) != children:
            raise NonlinError(f"{children} functions need {children} groups of parameters; got {len(given)}.")
        self.parameters = [self._matrix(one, group) for one, group in zip(self.functions, given, strict=True)]

    def _matrix(self, one: Function, group: Sequence[Any]) -> Tensor:
        """One function's parameters as (P, width), width being 1 or the channels."""
        if len(group) != len(one.parameters):
            raise NonlinError(
                f"{one.expr} has the parameters {list(one.parameters)}; got {len(group)} values for them."
            )
        width = self.channels if self.per_channel else 1
        matrix = torch.empty(len(group), width, dtype=self.work_dtype)
        for row, (name, value) in enumerate(zip(one.parameters, group, strict=True)):
            flat = torch.as_tensor(value, dtype=self.work_dtype).detach().reshape(-1)
            if flat.numel() not in (1, width):
                raise NonlinError(
                    f"the parameter {name!r} of {one.expr} has {flat.numel()} values; expected 1"
                    + (f" or {width}, one per channel." if self.per_channel else " (give dim= for channels).")
                )
            matrix[row] = flat
        return matrix

    def give(self, value: Tensor) -> Any:
        """A result in the form that x had."""
        value = value.to(self.dtype).reshape(self.shape)
        return value.numpy() if self.numpy else value

    # Values

    def values(self, derivatives: bool, out: Sequence[Tensor] | None) -> list[Tensor]:
        extra = max((len(one.parameters) for one in self.functions), default=0)
        count = 2 + extra if derivatives else 1
        outputs = [torch.empty_like(self.x) for _ in range(count)] if out is None else self._given(out, count)
        library = self._library()
        if library is None:
            self._torch_values(outputs, derivatives)
            return outputs
        if derivatives:
            for k, one in enumerate(self.functions):
                for spare in outputs[2 + len(one.parameters) :]:
                    spare[k] = 0
        programs = [one.derivatives if derivatives else one.value for one in self.functions]
        call, _alive = self._prepare(programs)
        call.outputs = (c_void_p * count)(*(value.data_ptr() for value in outputs))
        call.output_count = count
        library.call("nl_activate", ctypes.byref(call))
        return outputs

    def _given(self, out: Sequence[Tensor], count: int) -> list[Tensor]:
        if len(out) != count:
            raise NonlinError(f"out holds {len(out)} tensors; expected {count}.")
        for one in out:
            if one.shape != self.shape or one.dtype != self.work_dtype or not one.is_contiguous():
                raise NonlinError(
                    f"out is {one.dtype} {tuple(one.shape)}; expected contiguous {self.work_dtype} {tuple(self.shape)}."
                )
            if one.numel() and one.data_ptr() == self.x.data_ptr():
                raise NonlinError("out is x itself; the core reads x again after it has written results.")
        return [one.detach().view(self.x.shape) for one in out]

    def _torch_values(self, outputs: Sequence[Tensor], derivatives: bool) -> None:
        for k, one in enumerate(self.functions):
            wanted = (one.expr, *one.partial_expressions) if derivatives else (one.expr,)
            values = self._torch_kernel(k, wanted)
            for number, output in enumerate(outputs):
                output[k] = values[number].reshape(-1) if number < len(values) else 0

    def _torch_kernel(self, k: int, wanted: tuple) -> tuple[Tensor, ...]:
        one = self.functions[k]
        x = self.x[k].reshape(-1, self.channels, self.inner)
        values = compile_kernel(wanted, one.parameters)(x, *(p.reshape(-1, 1) for p in self.parameters[k]))
        return tuple(torch.broadcast_to(value, x.shape) for value in values)

    # Gradients

    def gradients(self, gradient: Any) -> tuple[Tensor, list[list[Tensor]]]:
        incoming = _tensor(gradient)
        if incoming.shape != self.shape:
            raise NonlinError(
                f"the gradient has shape {tuple(incoming.shape)}; expected that of x, {tuple(self.shape)}."
            )
        incoming = incoming.to(self.work_dtype).contiguous().reshape(self.x.shape)
        by_x = torch.empty_like(self.x)
        sums = [torch.zeros_like(matrix) for matrix in self.parameters]
        library = self._library()
        if library is None:
            for k, one in enumerate(self.functions):
                by_x[k] = self._torch_gradients(k, one, incoming[k], sums[k])
        else:
            call, _alive = self._prepare([one.partials for one in self.functions])
            call.gradient, call.gradient_x = incoming.data_ptr(), by_x.data_ptr()
            call.gradient_parameters = (c_void_p * len(sums))(*(s.data_ptr() for s in sums))
            library.call("nl_activate", ctypes.byref(call))
        shape = (self.channels,) if self.per_channel else ()
        return by_x, [[row.to(self.dtype).reshape(shape) for row in matrix] for matrix in sums]

    def _torch_gradients(self, k: int, one: Function, incoming: Tensor, sums: Tensor) -> Tensor:
        by_x, *partials = self._torch_kernel(k, one.partial_expressions)
        g = incoming.reshape(by_x.shape)
        for row, partial in zip(sums, partials, strict=True):
            product = g * partial
            row.copy_(product.sum(dim=(0, 2)) if self.per_channel else product.sum())
        return (g * by_x).reshape(-1)

    # The compiled core

    def _library(self) -> Library | None:
        library = load()
        usable = library is not None and self.work_dtype in _DTYPES and self.x.device.type == "cpu"
        return library if usable and all(one.supported for one in self.functions) else None

    def _prepare(self, programs: Sequence[Program]) -> tuple[CActivationCall, tuple]:
        """The C call without its results, and what must stay alive while it runs."""
        children = len(programs)
        array = (CProgram * children)(*(program.c for program in programs))
        pointers = (c_void_p * children)(*(matrix.data_ptr() for matrix in self.parameters))
        call = CActivationCall(
            dtype=_DTYPES[self.work_dtype],
            children=children,
            threads=self.threads,
            per_channel=int(self.per_channel),
            count=self.x.shape[1] if children else 0,
            channels=max(self.channels, 1),
            inner=max(self.inner, 1),
            programs=ctypes.cast(array, POINTER(CProgram)),
            x=self.x.data_ptr(),
            parameters=ctypes.cast(pointers, POINTER(c_void_p)),
        )
        return call, (array, pointers, programs)


def _tensor(value: Any) -> Tensor:
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value))
    if not isinstance(value, Tensor) or not value.is_floating_point():
        kind = f"a tensor of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        raise NonlinError(f"expected a floating-point tensor or NumPy array; got {kind}.")
    return value.detach()
