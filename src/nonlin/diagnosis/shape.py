"""The shape of an activation in numbers: bounds, slope, monotony, zeros, dead and saturated parts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nonlin.diagnosis.extremes import Extreme, bound, steepest
from nonlin.diagnosis.landscape import REACH, Landscape, bisect, snap
from nonlin.diagnosis.tails import Tail, tail
from nonlin.entropy.curve import Values

Array = npt.NDArray[np.float64]
Interval = tuple[float, float]
DEAD = 1e-3  # a slope below this passes no gradient to speak of
SATURATED = 0.1  # of the root mean square of the slope
MOST_LISTED = 20
_WIDE = 0.05  # dead intervals narrower than this are turning points


@dataclass(frozen=True)
class Shape:
    """Everything about the graph of f; see `HealthCard` for what each number means."""

    left: Tail
    right: Tail
    lowest: Extreme
    highest: Extreme
    lipschitz: Extreme
    curvature: Extreme
    monotone: str
    turns: tuple[float, ...]
    countless_turns: bool
    zeros: tuple[float, ...]
    zero_intervals: tuple[Interval, ...]
    countless_zeros: bool
    dead: tuple[Interval, ...]
    dead_share: float
    zero_share: float
    undefined: tuple[Interval, ...]
    undefined_share: float


def shape(land: Landscape) -> Shape:
    """The shape of a surveyed function."""
    ends = (tail(land.curve.value, -1), tail(land.curve.value, 1))
    with np.errstate(all="ignore"):
        sampled = np.isfinite(land.f)
        flat = sampled & (land.f == 0)
        zero_intervals = _zero_intervals(land, flat)
        zeros, many = _zeros(land, zero_intervals)
        turns = land.turns
        # open intervals have no |f'| < DEAD at a place where f' does not exist
        dull = np.isfinite(land.slope) & (np.abs(land.slope) < DEAD)
        dead = _intervals(land, dull, lambda x: np.abs(land.curve.slope(x)) - DEAD)
        undefined = _intervals(land, np.isnan(land.f), lambda x: np.where(np.isnan(land.curve.value(x)), -1.0, 1.0))
        undefined = tuple(part for part in undefined if part[1] > part[0])
        oscillating = [end.kind.startswith("oscillates") for end in ends]
        lowest, highest = bound(land, ends, -1), bound(land, ends, 1)
        return Shape(
            *ends, lowest, highest, steepest(land, "slope"), steepest(land, "curvature"),
            _monotone(land, ends, undefined), _listed(turns, any(oscillating)), any(oscillating),
            _listed(zeros, many), zero_intervals, many,
            _wide(dead),
            float(sum(normal_mass(*part) for part in dead)), float(sum(normal_mass(*part) for part in zero_intervals)),
            undefined, float(sum(normal_mass(*part) for part in undefined)),
        )  # fmt: skip


def _listed(places: tuple[float, ...], countless: bool) -> tuple[float, ...]:
    """The places nearest to 0, in order; of countless ones those within the fine grid."""
    kept = [x for x in places if not countless or abs(x) <= REACH]
    return tuple(sorted(sorted(kept, key=abs)[:MOST_LISTED]))


def _wide(parts: tuple[Interval, ...]) -> tuple[Interval, ...]:
    """Intervals that are no turning points, of those that reach into the fine grid or to infinity."""
    near = [(low, high) for low, high in parts if (low < REACH and high > -REACH) or math.isinf(high - low)]
    return tuple((low, high) for low, high in near if high - low > _WIDE)[:MOST_LISTED]


def normal_mass(low: float, high: float) -> float:
    """P(low < Z < high) for Z ~ N(0, 1), accurate in both tails."""
    if low > 0:
        low, high = -high, -low
    return 0.5 * (math.erfc(-high / math.sqrt(2)) - math.erfc(-low / math.sqrt(2)))


def saturated_share(land: Landscape, mean_square_slope: float) -> float:
    """P(|f'(Z)| < SATURATED·√E[f'²])."""
    level = SATURATED * math.sqrt(mean_square_slope)
    with np.errstate(all="ignore"):
        low = np.isfinite(land.slope) & (np.abs(land.slope) < level)
        parts = _intervals(land, low, lambda x: np.abs(land.curve.slope(x)) - level)
    return sum(normal_mass(*part) for part in parts)


def _intervals(land: Landscape, inside: npt.NDArray[np.bool_], border: Values) -> tuple[Interval, ...]:
    """Runs of samples as intervals, their ends bisected by `border` (negative inside), infinite at the last sample."""
    marks = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(int)))
    starts, stops = marks[::2], marks[1::2] - 1
    x = land.x
    outer, inner = x[np.maximum(starts - 1, 0)], x[starts]
    low = np.where(starts == 0, -np.inf, bisect(border, inner, outer))
    after = x[np.minimum(stops + 1, x.size - 1)]
    high = np.where(stops == x.size - 1, np.inf, bisect(border, x[stops], after))
    places = [b.x for b in land.breaks]
    return tuple((snap(float(a), places), snap(float(b), places)) for a, b in zip(low, high, strict=True))


# Order


def _monotone(land: Landscape, ends: tuple[Tail, Tail], undefined: tuple[Interval, ...]) -> str:
    """ "constant", "increasing" or "decreasing" (both not strictly), or "no"."""
    good = np.isfinite(land.f) & (np.abs(land.x) <= 1e4)
    x, f, slope = land.x[good], land.f[good], land.slope[good]
    if f.size < 2:
        return "no"
    step = np.diff(f)
    noise = 1e-13 * np.maximum(np.abs(f[:-1]), np.abs(f[1:])) + 2e-15 * np.maximum(1.0, np.abs(x[1:]))
    size = float(np.max(np.abs(slope[np.isfinite(slope) & (np.abs(x) <= 12)]), initial=0.0))
    level = 1e-9 * min(size, 1.0)
    up = bool(np.any(step > noise) or np.any(slope > level) or ends[0].below or ends[1].above)
    down = bool(np.any(step < -noise) or np.any(slope < -level) or ends[0].above or ends[1].below)
    if not land.poles and not undefined and not down and not up:
        return "constant"
    return "no" if up and down else "decreasing" if down else "increasing"


# Zeros


def _zero_intervals(land: Landscape, flat: npt.NDArray[np.bool_]) -> tuple[Interval, ...]:
    """Intervals on which f is exactly 0. Underflow makes zeros too, but not with an end at a break."""
    runs = _intervals(land, flat, lambda x: np.where(land.curve.value(x) == 0, -1.0, 1.0))
    places = {b.x for b in land.breaks}
    everywhere = bool(flat.all())
    return tuple(
        (low, high) for low, high in runs if high - low > 1e-7 and (everywhere or low in places or high in places)
    )


def _zeros(land: Landscape, intervals: tuple[Interval, ...]) -> tuple[tuple[float, ...], bool]:
    """Zeros outside the zero intervals, in order, and whether they go on for ever."""
    x, f = land.x, land.f
    signs = np.sign(f)
    change = np.flatnonzero(signs[:-1] * signs[1:] < 0)
    places = bisect(land.curve.value, x[change], x[change + 1])
    broken = np.array([b.x for b in land.breaks if b.order == 0])
    jumped = np.isclose(places[:, None], broken, rtol=1e-9, atol=1e-9).any(axis=1)
    near = np.abs(x) <= 30.0  # beyond, an exact 0 is an underflow more often than not
    hit = np.flatnonzero((f == 0) & near)
    beside = 1e-9 * np.maximum(1.0, np.abs(x[hit]))
    alone = (land.curve.value(x[hit] - beside) != 0) & (land.curve.value(x[hit] + beside) != 0)
    found = np.concatenate([places[~jumped], x[hit[alone]], _touching(land)])
    found = found[~_in_any(found, intervals)]
    at_zero = float(land.curve.value(np.zeros(1))[0]) == 0
    values = sorted(0.0 if at_zero and abs(v) < 1e-7 else float(v) for v in found)
    distinct = [v for i, v in enumerate(values) if not i or v - values[i - 1] > 1e-6 * max(1.0, abs(v))]
    far = [_keeps_changing_sign(land, side) for side in (-1, 1)]
    return tuple(distinct), any(far)


def _in_any(x: Array, intervals: tuple[Interval, ...]) -> npt.NDArray[np.bool_]:
    inside = np.zeros(x.size, dtype=bool)
    for low, high in intervals:
        inside |= (x >= low - 1e-7) & (x <= high + 1e-7)
    return inside


def _touching(land: Landscape) -> Array:
    """Zeros that f touches without crossing: minima of |f| that are 0 to rounding, and turning points."""
    places = np.array([t for t in land.turns if abs(t) <= 30.0])
    if not places.size:
        return places
    values = np.abs(land.curve.value(places))
    beside = np.abs(land.curve.value(places + 1e-3)) + np.abs(land.curve.value(places - 1e-3))
    return places[(values <= 1e-12 * np.maximum(1.0, np.abs(places))) & (beside > 1e3 * values) & (beside > 0)]


def _keeps_changing_sign(land: Landscape, side: int) -> bool:
    """Whether f changes sign in each of three far windows."""
    shares = 1 + np.mod(np.arange(64) * 0.6180339887498949, 1.0)
    for start in (1e2, 1e3, 1e4):
        y = land.curve.value(side * start * shares)
        if not (np.any(y > 1e-12) and np.any(y < -1e-12)):
            return False
    return True
