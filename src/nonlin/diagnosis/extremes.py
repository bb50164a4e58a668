"""Suprema and infima: of f, of its slope and of its curvature, and whether they are reached."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nonlin.diagnosis.landscape import REACH, Landscape, snap
from nonlin.diagnosis.tails import Tail, tail
from nonlin.entropy.curve import Values

Array = npt.NDArray[np.float64]
_MOST_PLACES = 20


@dataclass(frozen=True)
class Extreme:
    """A supremum or infimum: the value, infinite where there is no bound, and an x where it is reached.

    `at` is None where the value is only approached, at infinity or at a pole.
    """

    value: float
    at: float | None


def refine(function: Values, x: Array, y: Array, most: int = 24) -> tuple[float, float]:
    """The largest value of a function near its samples y at x, and where; the highest peaks are zoomed into."""
    y = np.where(np.isfinite(y), y, -np.inf)
    padded = np.concatenate([[-np.inf], y, [-np.inf]])
    peaks = np.flatnonzero((y >= padded[:-2]) & (y >= padded[2:]) & np.isfinite(y))
    if not peaks.size:
        return -math.inf, math.nan
    peaks = peaks[np.argsort(-y[peaks], kind="stable")[:most]]
    low, high = x[np.maximum(peaks - 1, 0)], x[np.minimum(peaks + 1, x.size - 1)]
    best_x, best = x[peaks].copy(), y[peaks].copy()
    for _ in range(24):
        points = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, 9)  # (peaks, 9)
        values = function(points.reshape(-1)).reshape(points.shape)
        values = np.where(np.isnan(values), -np.inf, values)
        index = values.argmax(axis=1)
        rows = np.arange(index.size)
        top = values[rows, index]
        better = top > best
        best, best_x = np.where(better, top, best), np.where(better, points[rows, index], best_x)
        step = (high - low) / 8
        low, high = best_x - step, best_x + step
    found = int(np.lexsort((np.abs(best_x), -best))[0])
    return float(best[found]), _short(function, float(best_x[found]), float(best[found]))


def _short(function: Values, x: float, value: float) -> float:
    """The shortest number near x, or 0, at which the function is as large to rounding."""
    candidates = np.array([0.0, *(round(x, digits) for digits in range(9)), x])
    good = function(candidates) >= value - 4e-15 * abs(value)
    good[-1] = True
    return float(candidates[int(np.argmax(good))]) + 0.0


def bound(land: Landscape, ends: tuple[Tail, Tail], sign: int) -> Extreme:
    """The supremum (sign = 1) or infimum (sign = -1)."""
    endless = [end.above if sign > 0 else end.below for end in ends]
    pole = any(_reaches_infinity(land, place, sign) for place in land.poles)
    if any(endless) or pole:
        return Extreme(sign * math.inf, None)

    def signed(x: Array) -> Array:
        return sign * land.curve.value(x)

    near = np.abs(land.x) <= REACH
    value, at = refine(signed, land.x[near], signed(land.x[near]))
    far_value, far_at = refine(signed, land.x, signed(land.x))
    if not far_value <= value + 1e-7 * abs(value):  # far peaks of a periodic function are rounding
        value, at = far_value, far_at
    limits = [sign * end.limit for end in ends if end.limit is not None]
    if limits and value <= max(limits) + 1e-12 * max(1.0, abs(max(limits))):
        return Extreme(sign * max(limits) + 0.0, _reached(land, land.curve.value, max(limits), sign))
    if not math.isfinite(value):
        return Extreme(math.nan, None)
    turns = [x for x in land.turns if abs(x - at) < 1e-6 * max(1.0, abs(at)) and x != 0]
    return Extreme(sign * value, turns[0] if turns and at != round(at, 6) else snap(at, [b.x for b in land.breaks]))


def _reaches_infinity(land: Landscape, place: float, sign: int) -> bool:
    near = land.curve.value(np.array([place - 1e-9, place, place + 1e-9]))
    return bool(np.any(sign * near[np.isfinite(near) | np.isinf(near)] > 0))


def _reached(land: Landscape, function: Values, value: float, sign: int) -> float | None:
    """Where a value that is also a limit is reached exactly: at a break, or at 0 by a constant."""
    places = sorted((*(b.x for b in land.breaks), *land.turns), key=abs)[:_MOST_PLACES]
    if np.ptp(function(np.linspace(-3.0, 3.0, 64))) == 0:
        places.append(0.0)
    for x in places:
        sides = function(np.array([x, x - 1e-9, x + 1e-9]))
        if np.any(np.abs(sign * sides - value) <= 1e-12 * max(1.0, abs(value))):
            return x
    return None


def steepest(land: Landscape, which: str) -> Extreme:
    """sup|f'| or sup|f''|, infinite at a break of a lower order and where it grows without bound."""
    order = 0 if which == "slope" else 1
    for b in sorted(land.breaks, key=lambda b: abs(b.x)):
        if b.order <= order or (b.order == order + 1 and math.isinf(b.size)):
            return Extreme(math.inf, b.x)

    def size(x: Array) -> Array:
        return np.abs(getattr(land.curve, which)(x))

    ends = (tail(size, -1), tail(size, 1))
    if any(end.above for end in ends):
        return Extreme(math.inf, None)
    # far out a formula of f'' is 0 over 0 too easily
    near = np.abs(land.x) <= (1e4 if which == "slope" else 100.0)
    value, at = refine(size, land.x[near], np.abs(getattr(land, which)[near]))
    largest = max((end.limit for end in ends if end.limit is not None), default=0.0)
    if value <= largest * (1 + 1e-12):
        return Extreme(largest, _reached(land, size, largest, 1))
    return Extreme(value, snap(at, [b.x for b in land.breaks]))
