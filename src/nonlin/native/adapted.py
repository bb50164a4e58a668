"""An activation with its adaptive correction as one operator of a compiled graph.

The forward operators return the value and its derivative by x, so that the backward pass evaluates nothing a second
time: it is products and sums, in one pass too.
The base is named by its formula, which means the same in every process that loads the compiled graph.
"""

from __future__ import annotations

import struct
from functools import lru_cache

import torch
from torch import Tensor

from nonlin.errors import NonlinError
from nonlin.expr import Expr, parse
from nonlin.native.corrections import DTYPES, WIDE, dense, layout, like, operators
from nonlin.native.library import load
from nonlin.native.program import function

_GELU = "x*Phi(x)"  # by a function of its own; others by their program
_CALL = struct.Struct("@20q3d")  # core/interface.h: nl_adapted_call
_BACKWARD = struct.Struct("@14q1d")  # core/interface.h: nl_adapted_gradient_call


def formula(expr: Expr) -> str:
    """The name of a base without parameters for the operators here; empty where the core does not take it."""
    text = str(expr)
    try:
        same = not expr.parameters and parse(text) == expr
    except NonlinError:
        return ""
    return text if same and function(expr).supported else ""


@lru_cache(maxsize=4096)
def _program(base: str) -> int:
    return 0 if base == _GELU else function(parse(base)).derivatives.address


def _adapt(
    x: Tensor, base: str, numbers: Tensor, layout: tuple[int, int, int], mean: Tensor, deviation: Tensor,
    lines: Tensor | None, constants: tuple[float, float, float], due: Tensor, samples: int, spread: int,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:  # fmt: skip
    """The value, its derivative by x, that by rho (of a table), and the sample.

    In a compiled step little of Python is in the processor's caches, so that every object touched costs.
    """
    wide = x if x.dtype is torch.float32 and x.is_contiguous() else dense(x, WIDE[x.dtype])
    dtype = wide.dtype
    if numbers.dtype is not dtype or not numbers.is_contiguous():
        numbers = dense(numbers, dtype)
    if mean.dtype is not torch.float32 or deviation.dtype is not torch.float32:
        mean, deviation = dense(mean, torch.float32), dense(deviation, torch.float32)
    out, by_x = torch.empty_like(wide), torch.empty_like(wide)
    if lines is None:
        by_rho, order, segments, table = None, numbers.shape[0], 0, 0
        sample = due.new_empty((2, samples), dtype=torch.float32)
    else:
        if lines.dtype is not dtype or not lines.is_contiguous():
            lines = dense(lines, dtype)
        by_rho, order, segments, table = torch.empty_like(wide), 0, lines.shape[1], lines.data_ptr()
        sample = due.new_empty((samples,), dtype=torch.float32)
    call = _CALL.pack(
        DTYPES[dtype], torch.get_num_threads(), *layout, _program(base), wide.data_ptr(), mean.data_ptr(),
        deviation.data_ptr(), numbers.data_ptr(), table, segments, order, out.data_ptr(), by_x.data_ptr(),
        0 if by_rho is None else by_rho.data_ptr(), due.data_ptr(), samples, spread, sample.data_ptr(),
        *constants,
    )  # fmt: skip
    library = load()
    assert library is not None
    library.call("nl_adapt", call)
    return out if wide is x else out.to(x.dtype), by_x, by_rho, sample


def adapted_table_step(
    x: Tensor, base: str, rho: Tensor, lines: Tensor, mean: Tensor, deviation: Tensor, width: float, offset: float,
    due: Tensor, samples: int, spread: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """f0 and the table's step: (value, derivative by x, derivative by rho, a sample of f0's values if due).

    The derivatives are as wide as the core computes. lines : in deviations, whose positions are
    y/(deviation·width) + offset - mean/(deviation·width); due : () bool; samples, spread : see `adaptive_schedule`
    """
    constants = width, offset, 0.0
    value, by_x, by_rho, sample = _adapt(
        x, base, rho, layout(x, rho.shape), mean, deviation, lines, constants, due, samples, spread
    )
    assert by_rho is not None
    return value, by_x, by_rho, sample


def adapted_hermite_step(
    x: Tensor, base: str, coefficients: Tensor, mean: Tensor, deviation: Tensor, reach: float, due: Tensor,
    samples: int, spread: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """f0 and the Hermite terms: (value, derivative by x, a sample of x and f0's values if due)."""
    shape, constants = layout(x, coefficients.shape[1:]), (0.0, 0.0, reach)
    value, by_x, _, sample = _adapt(
        x, base, coefficients, shape, mean, deviation, None, constants, due, samples, spread
    )
    return value, by_x, sample


def _backward(
    gradient: Tensor, by_x: Tensor, by_rho: Tensor | None, x: Tensor, mean: Tensor | None, deviation: Tensor | None,
    numbers: Tensor, layout: tuple[int, int, int], order: int, reach: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The gradients by x and by the numbers."""
    dtype = by_x.dtype
    incoming = gradient if gradient.dtype is dtype and gradient.is_contiguous() else dense(gradient, dtype)
    if x.dtype is not dtype or not x.is_contiguous():
        x = dense(x, dtype)
    out = torch.empty_like(by_x)
    sums = torch.empty_like(numbers if numbers.dtype is dtype and numbers.is_contiguous() else dense(numbers, dtype))
    call = _BACKWARD.pack(
        DTYPES[dtype], torch.get_num_threads(), *layout, order, incoming.data_ptr(), by_x.data_ptr(),
        0 if by_rho is None else by_rho.data_ptr(), x.data_ptr(), 0 if mean is None else mean.data_ptr(),
        0 if deviation is None else deviation.data_ptr(), out.data_ptr(), sums.data_ptr(), reach,
    )  # fmt: skip
    library = load()
    assert library is not None
    library.call("nl_adapt_backward", call)
    return out if incoming is gradient else out.to(gradient.dtype), sums.to(numbers.dtype)


def adapted_table_backward(gradient: Tensor, by_x: Tensor, by_rho: Tensor, rho: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients by x and by rho, from the derivatives that `adapted_table_step` gave."""
    return _backward(gradient, by_x, by_rho, by_x, None, None, rho, layout(by_x, rho.shape), 0, 0.0)


def adapted_hermite_backward(
    gradient: Tensor, by_x: Tensor, x: Tensor, coefficients: Tensor, mean: Tensor, deviation: Tensor, reach: float
) -> tuple[Tensor, Tensor]:
    """The gradients by x and by the coefficients, from the derivative that `adapted_hermite_step` gave."""
    shape, order = layout(x, coefficients.shape[1:]), coefficients.shape[0]
    mean, deviation = dense(mean, torch.float32), dense(deviation, torch.float32)
    return _backward(gradient, by_x, None, x, mean, deviation, coefficients, shape, order, reach)


operators.define(
    "adapted_table_step(Tensor x, str base, Tensor rho, Tensor lines, Tensor mean, Tensor deviation, float width,"
    " float offset, Tensor due, SymInt samples, int spread) -> (Tensor, Tensor, Tensor, Tensor)"
)
operators.define(
    "adapted_hermite_step(Tensor x, str base, Tensor coefficients, Tensor mean, Tensor deviation, float reach,"
    " Tensor due, SymInt samples, int spread) -> (Tensor, Tensor, Tensor)"
)
operators.define("adapted_table_backward(Tensor gradient, Tensor by_x, Tensor by_rho, Tensor rho) -> (Tensor, Tensor)")
operators.define(
    "adapted_hermite_backward(Tensor gradient, Tensor by_x, Tensor x, Tensor coefficients, Tensor mean,"
    " Tensor deviation, float reach) -> (Tensor, Tensor)"
)
for _function in (adapted_table_step, adapted_hermite_step, adapted_table_backward, adapted_hermite_backward):
    operators.impl(_function.__name__, _function, "CPU")


def _wide_like(x: Tensor) -> Tensor:
    return torch.empty_like(x, dtype=WIDE[x.dtype], memory_format=torch.contiguous_format)


def _fake_table(x, base, rho, lines, mean, deviation, width, offset, due, samples, spread):
    return like(x), _wide_like(x), _wide_like(x), x.new_empty((samples,), dtype=torch.float32)


def _fake_hermite(x, base, coefficients, mean, deviation, reach, due, samples, spread):
    return like(x), _wide_like(x), x.new_empty((2, samples), dtype=torch.float32)


torch.library.register_fake("nonlin::adapted_table_step", _fake_table, lib=operators)
torch.library.register_fake("nonlin::adapted_hermite_step", _fake_hermite, lib=operators)
torch.library.register_fake(
    "nonlin::adapted_table_backward", lambda gradient, by_x, by_rho, rho: (like(gradient), like(rho)), lib=operators
)
torch.library.register_fake(
    "nonlin::adapted_hermite_backward",
    lambda gradient, by_x, x, coefficients, mean, deviation, reach: (like(gradient), like(coefficients)),
    lib=operators,
)
