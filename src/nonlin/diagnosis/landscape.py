"""A function on the whole line: samples with its first derivatives, and where it is not smooth.

Candidates for breaks come from the expression (each piecewise operator changes its piece where its
argument changes sign), and, for what the expression does not show, from the samples (a step of f or f'
that does not shrink when its interval does). Exact derivatives on both sides then say what breaks.

Features narrower than the grid, 0.001 on [-12, 12], that are no breaks can be missed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from nonlin.entropy import NumericActivation
from nonlin.entropy.curve import Curve, Values, as_curve, fixed_expression
from nonlin.expr import derivative
from nonlin.zoo import Activation

Array = npt.NDArray[np.float64]
REACH, FAR = 12.0, 1e8
MOST_BREAKS, _MOST_CANDIDATES, _FARTHEST = 64, 2048, 1e4
SMOOTHNESS = ("discontinuous", "C0", "C1", "C2", "smooth")  # by the lowest order that breaks


@dataclass(frozen=True)
class Break:
    """A place where f is not smooth.

    Attributes
    ----------
    x : where
    order : the lowest derivative that breaks: 0 for f itself, 1 for f' (a kink), at most 3
    size : the jump, right minus left; infinite at a pole (order 0), a cusp or a vertical tangent (order 1)
    """

    x: float
    order: int
    size: float


@dataclass(frozen=True)
class Landscape:
    """Samples of f, f' and f'' in order of x, each of shape (points,), and the breaks."""

    curve: Curve
    x: Array
    f: Array
    slope: Array
    curvature: Array
    breaks: tuple[Break, ...]
    countless_breaks: bool

    @property
    def smoothness(self) -> str:
        """One of SMOOTHNESS: C1 has a continuous derivative whose derivative breaks."""
        return SMOOTHNESS[min((b.order for b in self.breaks), default=4)]

    @property
    def poles(self) -> tuple[float, ...]:
        return tuple(b.x for b in self.breaks if b.order == 0 and math.isinf(b.size))

    @cached_property
    def turns(self) -> tuple[float, ...]:
        """Where f' changes sign within |x| <= 100, in order."""
        return _turning_points(self)


def survey(act: Activation | NumericActivation) -> Landscape:
    """Samples and breaks of an activation, its parameters at their initial values."""
    curve = as_curve(act)
    grid = _grid()
    with np.errstate(all="ignore"):
        f, slope = curve.value(grid), curve.slope(grid)
        candidates = _candidates(curve, grid, f, slope)
        breaks = _classify(_derivatives(act, curve), candidates) if candidates.size else []
        countless = len(breaks) > MOST_BREAKS
        breaks = sorted(sorted(breaks, key=lambda b: abs(b.x))[:MOST_BREAKS], key=lambda b: b.x)
        places = [b.x for b in breaks]
        near = [x + step for x in places for step in (-1e-6, -1e-9, 0.0, 1e-9, 1e-6)]
        near += [math.nextafter(x, side) for x in places for side in (-math.inf, math.inf)]
        x = np.unique(np.concatenate([grid, np.array(near)]))
        return Landscape(curve, x, curve.value(x), curve.slope(x), curve.curvature(x), tuple(breaks), countless)


@lru_cache(maxsize=1)
def _grid() -> Array:
    even = np.arange(-12_000, 12_001) / 1000.0
    far = np.geomspace(REACH, FAR, 900)[1:]
    near = np.geomspace(1e-8, 1e-3, 40)[:-1]
    return np.unique(np.concatenate([-far[::-1], even, far, -near, near]))


def _derivatives(act: Activation | NumericActivation, curve: Curve) -> list[Values]:
    """f to f'''."""
    if isinstance(act, Activation):
        from nonlin.entropy.analytic import evaluator

        third = evaluator(derivative(derivative(derivative(fixed_expression(act)))))
    else:
        third = act.derivative().derivative().derivative().value
    return [curve.value, curve.slope, curve.curvature, third]


# Candidates


def _candidates(curve: Curve, grid: Array, f: Array, slope: Array) -> Array:
    """Places where f may break, in order; of very many those nearest to 0."""
    found = [_crossings(switch, grid) for switch in curve.switches]
    found.append(grid[1:-1][~np.isfinite(f[1:-1]) & np.isfinite(f[:-2]) & np.isfinite(f[2:])])
    exact = _distinct(np.concatenate(found))
    seen = [_steps(function, grid, y) for function, y in ((curve.value, f), (curve.slope, slope))]
    steps = _distinct(np.concatenate(seen))
    known = np.isclose(steps[:, None], exact, rtol=1e-7, atol=1e-7).any(axis=1)
    places = np.concatenate([exact, steps[~known]])
    places = places[np.abs(places) <= _FARTHEST]
    return np.sort(places[np.argsort(np.abs(places), kind="stable")[:_MOST_CANDIDATES]])


def _distinct(places: Array) -> Array:
    """Sorted, one of neighbours within 1e-7, and short numbers put right where rounding missed them.

    The sign of x - sin(x), for one, is lost to rounding some way before 0.
    """
    if not places.size:
        return places
    short = np.round(places, 9)
    places = np.where(np.abs(places) < 1e-7, 0.0, places)
    places = np.unique(np.where(np.abs(places - short) <= 1e-14 * np.maximum(1.0, np.abs(places)), short, places))
    starts = np.flatnonzero(np.diff(places, prepend=-np.inf) > 1e-7 * np.maximum(1.0, np.abs(places)))
    return np.array([group[np.argmin(np.abs(group))] for group in np.split(places, starts[1:])])


def _crossings(function: Values, grid: Array) -> Array:
    """Where a function changes sign or touches 0 on the grid."""
    signs = np.sign(function(grid))
    change = np.flatnonzero(signs[:-1] * signs[1:] < 0)
    touched = np.flatnonzero(signs == 0)
    lone = [i for i in touched if not (0 < i < grid.size - 1 and signs[i - 1] == 0 == signs[i + 1])]
    return np.concatenate([bisect(function, grid[change], grid[change + 1]), grid[lone]])


def bisect(function: Values, low: Array, high: Array) -> Array:
    """Places between low and high, shape (n,), where the sign of a function changes from its sign at low."""
    if not low.size:
        return low
    low, high = low.copy(), high.copy()
    with np.errstate(all="ignore"):
        sign = np.sign(function(low))
        for _ in range(80):
            middle = 0.5 * (low + high)
            same = np.sign(function(middle)) == sign
            low, high = np.where(same, middle, low), np.where(same, high, middle)
            if np.all(np.abs(high - low) <= 2e-16 * np.maximum(np.abs(low), np.abs(high))):
                break
    # a crossing at 0 is bracketed by ever smaller numbers
    return np.where(np.abs(high) < 1e-15, 0.0, high)


def _steps(function: Values, grid: Array, y: Array) -> Array:
    """Where y steps by much more than beside, and the step stays when the interval shrinks to 1e-12."""
    core = np.flatnonzero(np.abs(grid[:-1]) < REACH)
    step = np.abs(np.diff(np.clip(np.nan_to_num(y, nan=0.0), -1e12, 1e12)))[core]
    finite = (np.isfinite(y[:-1]) & np.isfinite(y[1:]))[core]
    beside = np.maximum(np.roll(step, 2), np.roll(step, -2))
    size = float(np.median(np.abs(y[np.isfinite(y)]))) if np.isfinite(y).any() else 1.0
    odd = finite & (step > 5 * beside) & (step > 1e-6 * max(size, 1e-3))
    chosen = core[odd]
    if chosen.size > 4 * MOST_BREAKS:
        chosen = chosen[np.argsort(np.abs(grid[chosen]), kind="stable")[: 4 * MOST_BREAKS]]
    if not chosen.size:
        return np.empty(0)
    low, high = grid[chosen].copy(), grid[chosen + 1].copy()
    first = np.abs(function(high) - function(low))
    for _ in range(60):
        middle = 0.5 * (low + high)
        left, right = np.abs(function(middle) - function(low)), np.abs(function(high) - function(middle))
        goes_left = left > right
        low, high = np.where(goes_left, low, middle), np.where(goes_left, middle, high)
        if np.all(high - low <= 1e-12 * np.maximum(1.0, np.abs(low))):
            break
    last = np.abs(function(high) - function(low))
    stays = ~(last < 0.2 * first)  # a NaN at the place itself stays too
    place = 0.5 * (low + high)
    return np.where(np.abs(place) < 1e-12, 0.0, place)[stays]


# What breaks


def _classify(functions: list[Values], places: Array) -> list[Break]:
    """The breaks among the candidates, by one-sided values of f, f', f'' and f''' at two distances."""
    orders = np.full(places.size, 9)
    sizes = np.zeros(places.size)
    scale = np.maximum(1.0, np.abs(places) / 100.0)
    for order, function in enumerate(functions):
        # nearer for f and f'; farther where formulas of higher derivatives cancel
        far, close = (1e-9, 1e-11) if order < 2 else (1e-4, 1e-6)
        left = [function(places - h * scale) for h in (far, close)]
        right = [function(places + h * scale) for h in (far, close)]
        jump = [r - l for l, r in zip(left, right, strict=True)]  # noqa: E741
        most = [np.maximum(np.abs(l), np.abs(r)) for l, r in zip(left, right, strict=True)]  # noqa: E741
        inside = np.isfinite(left[0]) & np.isfinite(right[0])
        jumps = (np.abs(jump[1]) > 0.3 * np.abs(jump[0])) & (np.abs(jump[1]) > 1e-6 * np.maximum(most[1], 1e-2))
        singular = (most[1] > 3 * most[0]) & (most[1] > 10.0)
        logarithmic = singular & (np.abs(most[1] / (100 * most[0]) - 1) < 0.1) & (order > 0)  # f^(k-1) ~ log
        new = inside & (jumps | singular) & (orders > 3)
        orders = np.where(new, order - logarithmic, orders)
        limit = jump[1] - (jump[0] - jump[1]) * close / (far - close)
        sizes = np.where(new, np.where(singular, np.inf, limit), sizes)
    return [
        Break(float(x), int(order), float(size))
        for x, order, size in zip(places, orders, sizes, strict=True)
        if order <= 3
    ]


# Places


def snap(x: float, places: list[float]) -> float:
    """The break within 1e-8 of x, if there is one, else x."""
    near = [place for place in places if abs(place - x) <= 1e-8 * max(1.0, abs(place))]
    return near[0] if near else (0.0 if abs(x) < 1e-14 else x)


def _turning_points(land: Landscape) -> tuple[float, ...]:
    """Where f' changes sign within |x| <= 100, in order."""
    near = np.abs(land.x) <= 100.0
    x, slope = land.x[near], land.slope[near]
    size = float(np.max(np.abs(slope[np.isfinite(slope)]), initial=0.0))
    signs = np.where(np.abs(slope) <= 1e-13 * size, 0.0, np.sign(slope))
    kept = np.flatnonzero((signs != 0) & np.isfinite(slope))
    change = np.flatnonzero(signs[kept][:-1] * signs[kept][1:] < 0)
    left, right = x[kept[change]], x[kept[change + 1]]
    places = bisect(land.curve.slope, left, right)
    return tuple(snap(float(place), [b.x for b in land.breaks]) for place in places if place not in land.poles)
