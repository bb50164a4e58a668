"""A base and its correction as one operation of a compiled graph (`nonlin.native.adapted`).

`torch.compile` would write the base's values to memory for the correction to read, and compute both again for their
gradients. Here the forward pass also gives the derivatives, and puts aside the layer's sample only at the
steps that need it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nonlin.native import adapted  # noqa: F401  (it defines the operators)
from nonlin.nn.adaptive_direction import LOW, WIDTH
from nonlin.nn.adaptive_operations import REACH
from nonlin.nn.adaptive_schedule import SPREAD

_OFFSET = 0.5 - LOW / WIDTH  # the position of 0, if that is the mean


class TablePass(torch.autograd.Function):
    """(f0(x) + rho·T(f0(x)), a sample of f0(x) if `due`); lines in deviations. For the others see `TableStep`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, base: str, rho: Tensor, lines: Tensor, mean: Tensor, deviation: Tensor, due: Tensor,
        samples: int,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        out, by_x, by_rho, sample = torch.ops.nonlin.adapted_table_step(
            x, base, rho, lines, mean, deviation, WIDTH, _OFFSET, due, samples, SPREAD
        )
        ctx.save_for_backward(by_x, by_rho, rho)
        ctx.mark_non_differentiable(sample)
        return out, sample

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _):
        by_x, by_rho, rho = ctx.saved_tensors
        theirs = None
        if ctx.needs_input_grad[2]:
            mine, theirs = torch.ops.nonlin.adapted_table_backward(gradient, by_x, by_rho, rho)
        else:
            mine = (gradient * by_x).to(gradient.dtype)
        return mine, None, theirs, None, None, None, None, None


class HermitePass(torch.autograd.Function):
    """(f0(x) + s·Σ a_k z^k e^{-z²/2}, a sample of x and f0(x) if `due`); for the arguments see `HermiteStep`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, base: str, mean: Tensor, deviation: Tensor, coefficients: Tensor, due: Tensor, samples: int
    ) -> tuple[Tensor, Tensor]:
        out, by_x, sample = torch.ops.nonlin.adapted_hermite_step(
            x, base, coefficients, mean, deviation, REACH, due, samples, SPREAD
        )
        ctx.save_for_backward(by_x, x, mean, deviation, coefficients)
        ctx.mark_non_differentiable(sample)
        return out, sample

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _):
        by_x, x, mean, deviation, coefficients = ctx.saved_tensors
        theirs = None
        if ctx.needs_input_grad[4]:
            mine, theirs = torch.ops.nonlin.adapted_hermite_backward(
                gradient, by_x, x, coefficients, mean, deviation, REACH
            )
        else:
            mine = (gradient * by_x).to(gradient.dtype)
        return mine, None, None, None, theirs, None, None
