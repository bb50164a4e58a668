"""Piecewise linear units that are more than one formula of x: random slopes, learned hinges.

References
----------
[Xu2015] B. Xu et al., "Empirical evaluation of rectified activations in convolutional network", 2015
    (arXiv:1505.00853)
[Agostinelli2014] F. Agostinelli et al., "Learning activation functions to improve deep neural networks", 2014
    (arXiv:1412.6830)
[Jin2015] X. Jin et al., "Deep learning with S-shaped rectified linear activation units", 2015 (arXiv:1512.07030)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nonlin.errors import NonlinError


def along(values: Tensor, x: Tensor, dim: int) -> Tensor:
    """Values (channels,) or (1,) in a shape that broadcasts against x along `dim`."""
    if values.numel() == 1:
        return values.reshape(())
    if not -x.dim() <= dim < x.dim() or x.shape[dim] != len(values):
        raise NonlinError(
            f"this layer has parameters for {len(values)} channels along dimension {dim}, but its input has shape "
            f"{tuple(x.shape)}. Pass channels= and dim= that fit it."
        )
    shape = [1] * x.dim()
    shape[dim] = len(values)
    return values.reshape(shape)


class RReLU(nn.Module):
    """x, and a·x for negative x: a is drawn anew for each number in training, and is the mean in eval [Xu2015].

    The paper divides by a number from 3 to 8; here and in torch the slope itself is drawn.

    Parameters
    ----------
    lower, upper : a ~ U(lower, upper)
    """

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3):
        super().__init__()
        if not lower <= upper:
            raise NonlinError(f"lower={lower!r} must not be above upper={upper!r}.")
        self.lower, self.upper = lower, upper

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape. Same shape and dtype out."""
        slope: Tensor | float = (self.lower + self.upper) / 2
        if self.training:
            slope = torch.rand_like(x) * (self.upper - self.lower) + self.lower
        return torch.where(x < 0, slope * x, x)

    def extra_repr(self) -> str:
        return f"lower={self.lower:g}, upper={self.upper:g}"


class APL(nn.Module):
    """relu(x) + Σ_s a_s·relu(-x + b_s), with S hinges of each channel's own [Agostinelli2014].

    The hinges start at a = 0.2·N(0, 1) and b = N(0, 1): the paper leaves the start open.

    Parameters
    ----------
    hinges : S
    channels, dim : None for one set for all; else how many, and the input's dimension that holds them
    """

    def __init__(self, hinges: int = 2, channels: int | None = None, dim: int = 1):
        super().__init__()
        if hinges < 1:
            raise NonlinError(f"hinges={hinges!r} must be a whole number above 0.")
        self.dim = dim
        self.slope = nn.Parameter(0.2 * torch.randn(hinges, channels or 1))  # a, (S, channels)
        self.place = nn.Parameter(torch.randn(hinges, channels or 1))  # b, (S, channels)

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape, with `channels` along `dim`. Same shape out."""
        result = torch.relu(x)
        for a, b in zip(self.slope, self.place, strict=True):
            result = result + along(a, x, self.dim) * torch.relu(along(b, x, self.dim) - x)
        return result


class SReLU(nn.Module):
    """Three straight pieces: slopes a_l and a_r outside of [t_l, t_r], 1 inside [Jin2015].

    t_r + a_r(x - t_r) for x ≥ t_r;  x between;  t_l + a_l(x - t_l) for x ≤ t_l.

    It starts as a leaky ReLU: t_l = 0, a_l = 0.2, t_r = 1, a_r = 1. Written as x plus two hinges, so that the
    gradient is right also where training has moved t_l above t_r.

    Parameters
    ----------
    channels, dim : None for one set for all; else how many, and the input's dimension that holds them
    """

    def __init__(self, channels: int | None = None, dim: int = 1):
        super().__init__()
        width = channels or 1
        self.dim = dim
        self.left, self.left_slope = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.full((width,), 0.2))
        self.right, self.right_slope = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape, with `channels` along `dim`. Same shape out."""
        left, low, right, high = (
            along(v, x, self.dim) for v in (self.left, self.left_slope, self.right, self.right_slope)
        )
        return x + (high - 1) * torch.relu(x - right) - (low - 1) * torch.relu(left - x)
