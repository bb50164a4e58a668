"""The two corrections as differentiable operations that keep little and read memory seldom.

On a CPU the compiled core does the work (`nonlin.native.corrections`); what is written here in torch's own
operators runs where it is not there, on other devices, under transforms, and for gradients of gradients.
In eager mode the cost of an elementwise operation is mostly that of fresh memory, so accumulators are
updated in place. Half-precision inputs are computed in float32 and rounded once. Derivatives of any order
exist; the table's second derivative is 0, as that of every piecewise linear function.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from nonlin.native import corrections
from nonlin.nn.adaptive_direction import BINS

REACH = 6.0  # the Hermite terms stop here: z^5·exp(-z²/2) is NaN in float16 for |z| ≥ 12
_AT_REACH = math.exp(-0.5 * REACH * REACH) * (1 + 1e-5)
_HALF = (torch.float16, torch.bfloat16)


def widened(x: Tensor) -> Tensor:
    return x.float() if x.dtype in _HALF else x


def _operations():
    """The core's functions: called in eager mode, put into the graph of a compiled one."""
    return torch.ops.nonlin if torch.compiler.is_compiling() else corrections


def _differentiable() -> bool:
    """Whether a gradient of this gradient may be asked for. Compiled graphs have none."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling()


class TableStep(torch.autograd.Function):
    """y + rho·lerp(table, y). Kept for backward: y alone.

    y : any shape; rho : broadcasts against y; lines : (2, BINS + 1), see `adaptive_direction.segments`,
    its values in units of y; stretch, shift : () each, the position of y is y·stretch + shift.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor, rho: Tensor, lines: Tensor, stretch: Tensor, shift: Tensor) -> Tensor:
        if corrections.fits(y, rho):
            return _operations().table_step(y, rho, lines, stretch, shift)
        wide = widened(y)
        place, index = _place(wide, stretch, shift)
        move = _select(lines[0], index, wide).add_(_select(lines[1], index, wide).mul_(place))
        return move.mul_(rho.to(wide.dtype)).add_(wide).to(y.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        y, rho, lines, stretch, shift = ctx.saved_tensors
        if corrections.fits(y, rho) and not _differentiable():
            by_y, by_rho = _operations().table_step_backward(gradient, y, rho, lines, stretch, shift)
            return by_y, by_rho if ctx.needs_input_grad[1] else None, None, None, None
        wide = widened(y)
        place, index = _place(wide, stretch, shift)
        slope = _select(lines[1], index, wide)
        by_y = (slope * (rho * stretch).to(wide.dtype)).add_(1.0).mul_(gradient).to(y.dtype)
        if not ctx.needs_input_grad[1]:
            return by_y, None, None, None, None
        move = _select(lines[0], index, wide).add_(slope * place)
        return by_y, sum_to(move.mul_(gradient), rho).to(rho.dtype), None, None, None


def _place(wide: Tensor, stretch: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Positions, and the number of the segment that holds each."""
    # hardtanh_ is clamp_ with a rule for torch.func.vmap
    place = F.hardtanh_((wide * stretch.to(wide.dtype)).add_(shift.to(wide.dtype)), 0.0, BINS + 0.5)
    return place, place.detach().to(torch.int32).clamp_min_(0)  # NaN may convert to the least whole number


def _select(values: Tensor, index: Tensor, like: Tensor) -> Tensor:
    """values[index] in the dtype of `like`; on a CPU `index_select` is four times as fast as brackets."""
    return values.to(like.dtype).index_select(0, index.reshape(-1)).view(index.shape)


class HermiteStep(torch.autograd.Function):
    """y + s·Σ a_k z^k e^{-z²/2}, z = (x - m)/s clamped to ±6. Kept for backward: x alone.

    x, y : one shape and dtype; mean, deviation : () each; coefficients : (order, ...), each broadcasts
    against x.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, y: Tensor, mean: Tensor, deviation: Tensor, coefficients: Tensor) -> Tensor:
        if corrections.fits(x, coefficients[0]):
            return _operations().hermite_step(x, y, mean, deviation, coefficients, REACH)
        z, bell = standardised(widened(x), mean, deviation)
        scaled = coefficients.to(z.dtype) * deviation.to(z.dtype)
        return _horner(list(scaled), z).mul_(bell).add_(y).to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        x, _, mean, deviation, coefficients = inputs
        ctx.save_for_backward(x, mean, deviation, coefficients)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, mean, deviation, coefficients = ctx.saved_tensors
        if corrections.fits(x, coefficients[0]) and not _differentiable():
            by_x, sums = _operations().hermite_step_backward(gradient, x, mean, deviation, coefficients, REACH)
            return by_x, gradient, None, None, sums if ctx.needs_input_grad[4] else None
        z, bell = standardised(widened(x), mean, deviation)
        weighted = bell * gradient
        by_x = None
        if ctx.needs_input_grad[0]:
            slope = _horner(_derivative(list(coefficients.to(z.dtype))), z)
            by_x = slope.mul_(weighted).mul_(bell > _AT_REACH).to(x.dtype)  # constant beyond the clamp
        if not ctx.needs_input_grad[4]:
            return by_x, gradient, None, None, None
        parts = [sum_to(weighted, coefficients[0])]
        for _ in range(1, len(coefficients)):
            # a gradient of this gradient needs every power
            weighted = weighted * z if torch.is_grad_enabled() else weighted.mul_(z)
            parts.append(sum_to(weighted, coefficients[0]))
        by_coefficients = (torch.stack(parts) * deviation).to(coefficients.dtype)
        return by_x, gradient, None, None, by_coefficients


def standardised(wide: Tensor, mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """z and e^{-z²/2}."""
    inverse = deviation.to(wide.dtype).reciprocal()
    z = F.hardtanh_((wide - mean.to(wide.dtype)).mul_(inverse), -REACH, REACH)
    return z, (z * z).mul_(-0.5).exp_()


def _horner(coefficients: list[Tensor], z: Tensor) -> Tensor:
    """Σ a_k z^k, for at least one coefficient."""
    if len(coefficients) == 1:
        return coefficients[0] + torch.zeros_like(z)
    value = z * coefficients[-1]
    for coefficient in coefficients[-2:0:-1]:
        value.add_(coefficient).mul_(z)
    return value.add_(coefficients[0])


def _derivative(a: list[Tensor]) -> list[Tensor]:
    """Coefficients of e^{z²/2}·d/dz (Σ a_k z^k e^{-z²/2}): b_k = (k+1)·a_{k+1} - a_{k-1}."""
    zero = torch.zeros_like(a[0])
    padded = [zero, *a, zero, zero]  # padded[k + 1] = a_k
    return [(k + 1) * padded[k + 2] - padded[k] for k in range(len(a) + 1)]


def sum_to(value: Tensor, like: Tensor) -> Tensor:
    return value.sum() if like.dim() == 0 else value.sum_to_size(like.shape)
