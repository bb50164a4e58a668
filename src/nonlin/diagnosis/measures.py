"""Numbers from what passed through a layer.

A *unit* is a channel: a column of a (batch, features) matrix, a channel of an image, a feature of a
transformer. Everything is measured on one batch and says nothing about inputs that are not in it.

References
----------
[Lu2020] L. Lu et al., "Dying ReLU and initialization", 2020 (arXiv:1903.06733)
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from nonlin.entropy import scale_free
from nonlin.errors import NonlinError

LEVELS = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
BINS = 40
TINY = 1e-6  # a slope, or an output in units of its scale, that counts as zero
SATURATED = 0.05  # of the function's largest slope on [-4, 4]
SMOOTHING = 0.1  # of the outputs' deviation: the noise through which H and J are seen
_MOST = 1 << 16  # values for quantiles and entropies


@dataclass(frozen=True)
class Distribution:
    """How values are spread.

    Attributes
    ----------
    count : number of values; mean and std over the finite ones
    finite : share of values that are finite
    quantiles : at the `LEVELS`; the first and the last are the extremes
    edges, counts : a histogram of equal bins between the quantiles 0.001 and 0.999, the values beyond counted in
        the outermost bins; `BINS` of them, fewer for few values
    """

    count: int
    finite: float
    mean: float
    std: float
    quantiles: tuple[float, ...]
    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, values: Tensor) -> Distribution:
        """Of a tensor of any shape."""
        flat = values.detach().reshape(-1).double().cpu()
        kept = flat[torch.isfinite(flat)]
        share = kept.numel() / max(flat.numel(), 1)
        if not kept.numel():
            nothing = (math.nan,) * len(LEVELS)
            return cls(flat.numel(), share, math.nan, math.nan, nothing, (0.0, 1.0), (0,))
        some = thin(kept, _MOST)
        inner = np.quantile(some.numpy(), [0.001, *LEVELS[1:-1], 0.999])
        low, high = float(inner[0]), float(inner[-1])
        if not high - low > 1e-9 * max(abs(low), abs(high), 1e-30):
            pad = max(abs(low), 1.0) * 1e-3
            low, high = low - pad, high + pad
        bins = min(BINS, max(8, 2 * math.isqrt(some.numel())))
        edges = torch.linspace(low, high, bins + 1, dtype=torch.float64)
        counts = torch.histc(some.clamp(low, high), bins, low, high)
        return cls(
            flat.numel(), share, float(kept.mean()), float(kept.std(unbiased=False)),
            (float(kept.min()), *inner[1:-1].tolist(), float(kept.max())),
            tuple(edges.tolist()), tuple(int(count) for count in counts),
        )  # fmt: skip


@dataclass(frozen=True)
class Units:
    """Shares of units: `constant` ones give the same output for the whole batch; `dead` ones are constant,
    or have no slope anywhere in it, so that no gradient passes [Lu2020]. None where it cannot be told."""

    dead: float | None
    constant: float | None


def units(output: Tensor, slope: Tensor | None, dim: int) -> Units:
    """Dead and constant units of a layer.

    Parameters
    ----------
    output : what the layer returned, any shape
    slope : f' at the pre-activations, of the output's shape; None where the layer is not elementwise
    dim : the dimension of units
    """
    rows = _by_unit(output, dim)
    if rows.shape[1] < 2:
        blocked = None if slope is None else _share(_by_unit(slope, dim).abs().amax(dim=1) <= TINY)
        return Units(blocked, None)
    spread = rows.amax(dim=1) - rows.amin(dim=1)
    constant = spread <= TINY * _scale(rows)
    dead = constant if slope is None else constant | (_by_unit(slope, dim).abs().amax(dim=1) <= TINY)
    return Units(_share(dead), _share(constant))


def slope_of(module: nn.Module, x: Tensor) -> Tensor:
    """f'(x) of an elementwise module, by autograd, without its hooks; shape of x, float32 or wider.

    The module is copied, and runs in eval mode: neither its state nor any random numbers are touched.
    """
    alone = copy.deepcopy(module).eval()
    for part in alone.modules():
        part._forward_hooks.clear()
        part._forward_pre_hooks.clear()
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        value = alone(leaf * 1)  # the product may be overwritten by modules that work in place
        if not value.requires_grad:  # a step function: autograd has no path through it
            return torch.zeros_like(leaf)
        (slope,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True)
    return torch.zeros_like(leaf) if slope is None else slope.detach()


def saturated(module: nn.Module, slope: Tensor) -> float:
    """Share of places where |f'| is below `SATURATED` of the largest slope the function has on [-4, 4]."""
    grid = torch.linspace(-4, 4, slope.numel(), device=slope.device, dtype=slope.dtype).reshape(slope.shape)
    largest = float(slope_of(module, grid).abs().max())
    if not largest > 0:
        return 1.0
    return _share(slope.abs() < SATURATED * largest)


def zeros(output: Tensor) -> tuple[float, float]:
    """Share of outputs that are exactly 0, and of those within `TINY` of the outputs' scale."""
    size = output.abs()
    return _share(output == 0), _share(size <= TINY * _scale(output))


def entropies(output: Tensor) -> tuple[float | None, float | None]:
    """(H, J) of the outputs in nats, seen through noise of `SMOOTHING` deviations; None for constants.

    The two differ by the log of the scale: H = J + ½·log(Var·(1 + SMOOTHING²)) + ½·log(2πe).
    """
    values = thin(output.detach().reshape(-1).double(), _MOST).cpu()
    if values.numel() < 4 or not bool(torch.isfinite(values).all()):
        return None, None
    try:
        free = scale_free("x", values, SMOOTHING).value
    except NonlinError:  # constant, or so heavy a tail that no histogram reaches from end to end
        return None, None
    variance = float(values.var(unbiased=False)) * (1 + SMOOTHING**2)
    return free + 0.5 * math.log(2 * math.pi * math.e * variance), free


def moments(output: Tensor) -> tuple[float, float, float]:
    """Mean, deviation and share of the finite outputs."""
    flat = output.detach().reshape(-1).float()
    finite = torch.isfinite(flat)
    kept = flat if bool(finite.all()) else flat[finite]
    if not kept.numel():
        return math.nan, math.nan, 0.0
    return float(kept.mean()), float(kept.std(unbiased=False)), _share(finite)


def rms(values: Tensor | None) -> float | None:
    """Root of the mean square: the size of a typical element, whatever the number of elements."""
    if values is None:
        return None
    wide = values.detach().double() if values.device.type != "mps" else values.detach().float()
    return float(wide.square().mean().sqrt())


def thin(flat: Tensor, most: int) -> Tensor:
    """At most `most` values, at places that no arrangement of channels and positions can beat with."""
    if flat.numel() <= most:
        return flat
    places = torch.arange(1, most + 1, device=flat.device, dtype=torch.float64) * 0.6180339887498949 % 1.0
    return flat[(places * flat.numel()).long()]


def _by_unit(values: Tensor, dim: int) -> Tensor:
    """(..., units, ...) to (units, values of each)."""
    table = values.detach() if values.dim() > 1 else values.detach().reshape(1, -1)
    return table.movedim(dim if values.dim() > 1 else 1, 0).flatten(1)


def _scale(values: Tensor) -> float:
    """Root mean square, and never 0."""
    return max(float(values.detach().float().square().mean().sqrt()), 1e-30)


def _share(which: Tensor) -> float:
    return float(which.float().mean())
