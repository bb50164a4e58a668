"""The activation layer of K stacked children, each with a function of its own: one operator, programs as data.

Two things share this file's idea: `Activations`, which computes values and gradients of K functions over K rows,
and `Slot`, the module that stands in a model's places for activations while its operations are recorded.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from ctypes import POINTER, c_void_p

import torch
from torch import Tensor, nn

from nonlin.expr.codegen import compile_kernel
from nonlin.native.library import FLOAT32, FLOAT64, load
from nonlin.native.program import Function, Program
from nonlin.native.structures import CActivationCall, CProgram
from nonlin.native.triton_activation import Stacked, supported, takes, usable

_DTYPES = {torch.float32: FLOAT32, torch.float64: FLOAT64}


def sort_key(function: Function) -> int:
    """The order of children in a cohort: those without parameters, those with, those that the core does not know."""
    return 2 if not function.supported else int(bool(function.parameters))


class Activations:
    """K functions, in the order of `sort_key`.

    Parameters are (K, P, channels), P being the most that any of them has; a function with fewer uses the first
    rows. Functions without parameters keep their derivative for the backward pass, the others keep x.
    """

    def __init__(self, functions: Sequence[Function]):
        self.functions = list(functions)
        keys = [sort_key(one) for one in functions]
        assert keys == sorted(keys), "children of a cohort are sorted"
        self.plain, self.native = keys.count(0), keys.count(0) + keys.count(1)
        forward = [
            one.derivatives if key == 0 else one.value for one, key in zip(functions, keys, strict=True) if key < 2
        ]
        self._forward = _programs(forward)
        self._values = _programs([one.value for one in self.functions[: self.native]])
        self._backward = _programs([one.partials for one in self.functions[self.plain : self.native]])
        self._launches: dict[torch.device, Stacked | None] = {}
        self._all = None if self.native == 0 else _programs([one.partials for one in self.functions[: self.native]])

    def forward(
        self, x: Tensor, values: Tensor, channels: int, inner: int, differentiated: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """f(x), and for the backward pass, if there is one, the derivatives of the first `plain` children.

        x : (K, ...), contiguous, (channels, inner) being its last dimensions; values : (K, P, channels or 1)
        """
        if (stacked := self._triton(x, channels)) is not None:
            return stacked.forward(x, values.contiguous(), inner), None
        y = torch.empty_like(x)
        native = self._known(x)
        kept = torch.empty_like(x) if native and differentiated else None  # rows with parameters stay untouched
        if native:
            programs = self._values if kept is None else self._forward
            call = self._call(x, values, channels, inner, programs, 0, native)
            outputs = (c_void_p * 2)(y.data_ptr(), None if kept is None else kept.data_ptr())
            both = kept is not None and self.plain
            call.outputs, call.output_count = ctypes.cast(outputs, POINTER(c_void_p)), 2 if both else 1
            _run(call)
        for k in range(native, len(self.functions)):
            y[k] = self._kernel(k, (self.functions[k].expr,), x, values, channels, inner)[0].reshape(x.shape[1:])
        return y, kept

    def backward(
        self, gradient: Tensor, x: Tensor, values: Tensor, channels: int, inner: int, kept: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The gradients by x and by the values. `kept` is from `forward`, and written over, or None: computed again."""
        if (stacked := self._triton(x, channels)) is not None:
            return stacked.backward(gradient.contiguous(), x, values.contiguous(), inner)
        by_x, by_values = torch.empty_like(x) if kept is None else kept, torch.zeros_like(values)
        native = self._known(x)
        begin = 0 if kept is None else min(self.plain, native)
        if kept is not None and begin:
            by_x[:begin].mul_(gradient[:begin])
        if begin < native:
            programs = self._backward if begin else self._all
            call = self._call(x, values, channels, inner, programs, begin, native)
            step = by_values.stride(0) * by_values.element_size()
            sums = (c_void_p * (native - begin))(*(by_values.data_ptr() + k * step for k in range(begin, native)))
            call.gradient, call.gradient_x = gradient[begin].data_ptr(), by_x[begin].data_ptr()
            call.gradient_parameters = ctypes.cast(sums, POINTER(c_void_p))
            _run(call)
        for k in range(native, len(self.functions)):
            slope, *partials = self._kernel(k, self.functions[k].partial_expressions, x, values, channels, inner)
            g = gradient[k].reshape(slope.shape)
            by_x[k] = (g * slope).reshape(x.shape[1:])
            for row, partial in zip(by_values[k], partials, strict=False):
                row.copy_((g * partial).sum(dim=(0, 2)) if len(row) > 1 else (g * partial).sum())
        return by_x, by_values

    def _known(self, x: Tensor) -> int:
        """How many children the core computes."""
        return self.native if x.dtype in _DTYPES and x.device.type == "cpu" else 0

    def _triton(self, x: Tensor, channels: int) -> Stacked | None:
        """All children in one launch on a GPU, if Triton is there and its kernel knows them all."""
        if not (usable(x) and takes(x, channels)):
            return None
        if x.device not in self._launches:
            known = all(map(supported, self.functions))
            self._launches[x.device] = Stacked(self.functions, x.device) if known else None
        return self._launches[x.device]

    def _kernel(
        self, k: int, wanted: tuple, x: Tensor, values: Tensor, channels: int, inner: int
    ) -> tuple[Tensor, ...]:
        """Expressions of child k by torch, as (rows, channels, inner)."""
        one, rows = self.functions[k], x[k].reshape(-1, channels, inner)
        own = [value.reshape(-1, 1) for value in values[k][: len(one.parameters)]]
        results = compile_kernel(wanted, one.parameters)(rows, *own)
        return tuple(torch.broadcast_to(result, rows.shape) for result in results)

    def _call(self, x, values, channels, inner, programs, begin, end) -> CActivationCall:
        step = values.stride(0) * values.element_size()
        places = (c_void_p * (end - begin))(*(values.data_ptr() + k * step for k in range(begin, end)))
        call = CActivationCall(
            _DTYPES[x.dtype], end - begin, 1, int(values.shape[-1] > 1), math.prod(x.shape[1:]), channels,
            max(inner, 1),
            programs, x[begin].data_ptr(), ctypes.cast(places, POINTER(c_void_p)),
        )  # fmt: skip
        return call


def _programs(programs: Sequence[Program]):
    array = (CProgram * len(programs))(*(program.c for program in programs))
    setattr(array, "alive", list(programs))  # noqa: B010 - the C structures point into them
    return array


def _run(call: CActivationCall) -> None:
    library = load()
    assert library is not None
    library.call("nl_activate", ctypes.byref(call))


# The place of an activation in a recorded graph. Its value there is x itself: the graph's operations count, not what
# they gave.

_operators = torch.library.Library("nonlin", "FRAGMENT")
_operators.define("slot(Tensor x, Tensor values, int dim) -> Tensor")
_operators.define("slot_backward(Tensor gradient, Tensor x, Tensor values, int dim) -> (Tensor, Tensor)")
_operators.impl("slot", lambda x, values, dim: x.clone(memory_format=torch.contiguous_format), "CPU")
_operators.impl(
    "slot_backward",
    lambda gradient, x, values, dim: (gradient.clone(memory_format=torch.contiguous_format), torch.zeros_like(values)),
    "CPU",
)


class _Slot(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, values: Tensor, dim: int) -> Tensor:
        return torch.ops.nonlin.slot(x, values, dim)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.dim = inputs[2]

    @staticmethod
    def backward(ctx, gradient: Tensor):
        by_x, by_values = torch.ops.nonlin.slot_backward(gradient, *ctx.saved_tensors, ctx.dim)
        return by_x, by_values if ctx.needs_input_grad[1] else None, None


class Slot(nn.Module):
    """Stands for an activation with up to `count` parameters, per tensor or for `channels` along `dim`."""

    def __init__(self, count: int, channels: int | None, dim: int):
        super().__init__()
        self.dim = dim
        self.values = nn.Parameter(torch.ones(count, channels or 1)) if count else None

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; the same out."""
        return _Slot.apply(x, x.new_empty(0, 1) if self.values is None else self.values, self.dim)
