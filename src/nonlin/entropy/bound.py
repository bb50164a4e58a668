"""Step 3 of the improvement in numbers: when g = y + eps·eta increases, its inverse, and the error bound.

All is written in the input z: g(f(z)) = z + eps·v(z) with v = eta o f. Where f is the identity on its
moving branch, v = u and

    |g(x - eps·u(x)) - x| = |eps|·|u(x - eps·u(x)) - u(x)| <= eps²·|u(x)|·max|u'|                    (14)
                         <= eps²·max|u·u'| + |eps|³/2·max|u''|·max u²                                (15)

by the mean value theorem and by Taylor's formula (Proposition 2 of Sun et al. 2024 gives the order).

Equation numbers are those of docs/theory.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nonlin.entropy.base import Density
from nonlin.entropy.curve import Curve
from nonlin.errors import EntropyError

Array = npt.NDArray[np.float64]
Values = Callable[[Array], Array]
_POINTS = 20_001


@dataclass(frozen=True)
class Bound:
    """The largest |g(f~(x)) - x|.

    `proved` tells whether it follows from (14) and (15) for every x, with maxima taken on a fine grid,
    or is the largest value that was found under the density.
    """

    value: float
    proved: bool

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:.4g} ({'proved' if self.proved else 'measured'})"


def probe(source: Density, domain: tuple[float, float]) -> Array:
    """A fine grid over what the density reaches of a domain, evenly spaced, shape (points,)."""
    panels = source.panels()
    inside = 1e-9 * source.spread  # at a border the value may be that of the other side
    low, high = max(panels[0], domain[0] + inside), min(panels[-1], domain[1] - inside)
    middle, reach = source.centre, 40.0 * source.spread
    return np.linspace(max(low, middle - reach), min(high, middle + reach), _POINTS)


def derivatives(function: Values, x: Array) -> tuple[Array, Array, Array]:
    """Values, first and second differences of a smooth function on an even grid."""
    values = function(x)
    step = float(x[1] - x[0])
    first = np.gradient(values, step, edge_order=2)
    return values, first, np.gradient(first, step, edge_order=2)


def monotone_range(
    change: Values, source: Density, domain: tuple[float, float], borders: list[float]
) -> tuple[float, float]:
    """The eps for which z + eps·v(z) increases: between -1/max v' and -1/min v'.

    At a border between branches v may jump; then eps of one sign would fold g there.
    """
    z = probe(source, domain)
    nudge = 1e-9 * source.spread
    with np.errstate(all="ignore"):
        slope = derivatives(change, z)[1]
        jumps = change(np.array(borders) + nudge) - change(np.array(borders) - nudge)
        size = float(np.nanmax(np.abs(change(z))))
    for border in borders:  # the difference across a jump is not a slope
        slope[np.abs(z - border) <= 2 * (z[1] - z[0])] = 0.0
    steepest, lowest = _extreme(change, z, slope), -_extreme(lambda x: -change(x), z, -slope)
    low = -1 / steepest if steepest > 0 else -math.inf
    high = -1 / lowest if lowest < 0 else math.inf
    if (jumps > 1e-6 * size).any():
        low = 0.0
    if (jumps < -1e-6 * size).any():
        high = 0.0
    return low, high


def _extreme(function: Values, z: Array, slope: Array) -> float:
    """The largest slope, refined on a finer grid around where it lies."""
    at = int(np.nanargmax(slope))
    if not 2 <= at < z.size - 2:
        return float(slope[at])
    near = np.linspace(z[at - 2], z[at + 2], 801)
    with np.errstate(all="ignore"):
        finer = derivatives(function, near)[1][2:-2]
    return float(np.nanmax(finer)) if np.isfinite(finer).all() else float(slope[at])


def exact_inverse(change: Values, x: Array, eps: float, source: Density) -> Array:
    """The z with z + eps·v(z) = x, shape (n,), by bisection in a bracket that grows until it holds z."""

    def miss(z: Array) -> Array:
        with np.errstate(all="ignore"):
            shift = change(z)
        return z + eps * np.where(np.isfinite(shift), shift, 0.0) - x

    width = np.full(x.shape, abs(eps) + 1e-3 * source.spread)
    low, high = x - width, x + width
    for _ in range(200):
        too_high, too_low = miss(low) > 0, miss(high) < 0
        if not (too_high.any() or too_low.any()):
            break
        width = np.where(too_high | too_low, 2 * width, width)
        low, high = np.where(too_high, x - width, low), np.where(too_low, x + width, high)
    else:
        raise EntropyError(f"g has no inverse at x={float(x[(too_high | too_low)][0]):g} for eps={eps:g}.")
    for _ in range(200):
        middle = 0.5 * (low + high)
        below = miss(middle) < 0
        low, high = np.where(below, middle, low), np.where(below, high, middle)
        if np.all((high - low) <= 4e-16 * np.abs(middle) + 1e-18):
            break
    return 0.5 * (low + high)


def remainder_bound(
    curve: Curve, change: Values, direction: Values, source: Density, eps: float,
    domain: tuple[float, float], identity: bool,
) -> Bound:  # fmt: skip
    """The bound for eps: proved by (14) and (15) where f is the identity on its branch, else measured."""
    z = probe(source, domain)
    with np.errstate(all="ignore"):
        if identity:
            u, slope, curvature = (np.abs(part) for part in derivatives(direction, z))
            first = eps**2 * u.max() * slope.max()
            second = eps**2 * (u * slope).max() + 0.5 * abs(eps) ** 3 * curvature.max() * u.max() ** 2
            return Bound(float(min(first, second)), True)
        # f~(z) = f(w) for the w that we seek by following f: to first order in a chain of small steps
        target = curve.value(z) - eps * direction(z)
        w = z.copy()
        for _ in range(60):
            slope = curve.slope(w)
            step = np.where(slope != 0, (curve.value(w) - target) / np.where(slope != 0, slope, 1.0), 0.0)
            w = w - np.clip(step, -1.0, 1.0)
        reached = np.abs(curve.value(w) - target) <= 1e-9 * (1 + np.abs(target))
        found = np.abs(w + eps * change(w) - z)[reached]
    finite = found[np.isfinite(found)]
    return Bound(float(finite.max(initial=0.0)), False)
