"""An activation in float16 and bfloat16, on every number of the format."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nonlin.entropy.curve import Curve

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[np.float64]
LARGEST_INPUT = 1e4
# Format: bits of the fraction, and the exponent below which numbers are held to one distance: that of the
# smallest normal number of float16, and 2^-24 for bfloat16, since what is smaller may be flushed to 0 in float32.
_FORMATS = {"float16": (10, -14), "bfloat16": (7, -24)}


@dataclass(frozen=True)
class HalfPrecision:
    """What half precision does to an activation, over all finite inputs of the format with |x| <= 1e4.

    Inputs are exact numbers of the format: the errors are those of the function, not of its input.

    Attributes
    ----------
    format : "float16" or "bfloat16"
    largest_error : of a finite value, in units of the last place of the exact value, or of 2^-14 (float16) and
        2^-24 (bfloat16) where that is smaller; 0.5 is perfect
    error_at : the input where it occurs
    value_overflows : smallest |x| at which the value is infinite though f is finite; None for nowhere
    slope_overflows : the same for the gradient that backpropagation returns
    not_a_number : smallest |x| at which value or gradient is NaN though f and f' exist; None for nowhere
    """

    format: str
    largest_error: float | None
    error_at: float | None
    value_overflows: float | None
    slope_overflows: float | None
    not_a_number: float | None


def half_precision(act: Any, curve: Curve, kind: str) -> HalfPrecision:
    """Forward and backward on every number of a format ("float16" or "bfloat16")."""
    import torch

    x = _numbers(kind).clone().requires_grad_()
    y = act(x)
    (gradient,) = torch.autograd.grad(y, x, torch.ones_like(y)) if y.requires_grad else (torch.zeros_like(x),)
    inputs, value, slope = (part.detach().double().numpy() for part in (x, y, gradient))
    with np.errstate(all="ignore"):
        exact, exact_slope = curve.value(inputs), curve.slope(inputs)
        # where the exact number is too large for any float, no format is at fault
        has_value, has_slope = np.isfinite(exact), np.isfinite(exact) & np.isfinite(exact_slope)
        sound = has_value & np.isfinite(value)
        error = np.where(sound, np.abs(value - exact) / _last_place(exact, kind), -1.0)
    worst = int(error.argmax())
    size = np.abs(inputs)
    return HalfPrecision(
        kind,
        float(error[worst]) if error[worst] >= 0 else None,
        float(inputs[worst]) + 0.0 if error[worst] >= 0 else None,
        _smallest(size, has_value & np.isinf(value)),
        _smallest(size, has_slope & np.isinf(slope)),
        _smallest(size, (has_value & np.isnan(value)) | (has_slope & np.isnan(slope))),
    )


@lru_cache(maxsize=2)
def _numbers(kind: str) -> torch.Tensor:
    """All finite numbers of a format up to `LARGEST_INPUT`, a tensor of shape (n,)."""
    import torch

    every = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16).view(getattr(torch, kind))
    return every[torch.isfinite(every) & (every.abs().double() <= LARGEST_INPUT)]


def _last_place(y: Array, kind: str) -> Array:
    """The distance between numbers of a format near y; constant near 0."""
    fraction, smallest = _FORMATS[kind]
    exponent = np.frexp(y)[1] - 1.0
    return np.exp2(np.maximum(np.where(y == 0, smallest, exponent), smallest) - fraction)


def _smallest(size: Array, where: npt.NDArray[np.bool_]) -> float | None:
    return float(size[where].min()) if where.any() else None
