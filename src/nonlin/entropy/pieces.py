"""Where an activation turns, kinks, jumps or is flat: its monotone pieces under a density.

Kinks come from the expression (each piecewise operator changes its piece where its argument changes
sign), turning points from changes of sign of f'. Both are bracketed on a fine grid and bisected to
neighbouring float64 numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nonlin.entropy.base import Density
from nonlin.entropy.curve import Curve, Values
from nonlin.errors import EntropyError

Array = npt.NDArray[np.float64]
MOST_PIECES = 120
_LARGEST = 1e300
_FAR, _MOST_FAR = 25.0, 8  # turns this many spreads out show oscillations that the grid does not resolve
_LOST = 1e-6  # probability on which f may overflow before that is an error


@dataclass(frozen=True)
class Piece:
    """An interval on which f is monotone or constant.

    Attributes
    ----------
    low, high : its ends, the piece being closed
    direction : +1 increasing, -1 decreasing, 0 constant
    mass : its probability
    x, y : a table of f on the piece for bracketing, x increasing, y monotone
    """

    low: float
    high: float
    direction: int
    mass: float
    x: Array
    y: Array

    @property
    def range(self) -> tuple[float, float]:
        return min(self.y[0], self.y[-1]), max(self.y[0], self.y[-1])

    def inverse(self, y: Array, curve: Curve) -> Array:
        """The x on this piece with f(x) = y, for y in its range; shape (n,). Newton, kept in a bracket."""
        rising = self.y if self.direction > 0 else self.y[::-1]
        along = self.x if self.direction > 0 else self.x[::-1]
        place = np.clip(np.searchsorted(rising, y), 1, rising.size - 1)
        below, above = along[place - 1], along[place]  # f(below) <= y <= f(above)
        gap = rising[place] - rising[place - 1]
        share = np.where(gap > 0, (y - rising[place - 1]) / np.where(gap > 0, gap, 1.0), 0.5)
        return _newton(curve, y, below, above, below + np.clip(share, 0.0, 1.0) * (above - below))


def _newton(curve: Curve, y: Array, below: Array, above: Array, start: Array) -> Array:
    """Roots of f(x) = y with f(below) <= y <= f(above), all at once; finished ones leave the loop."""
    found = start.copy()
    active = np.arange(y.size)
    x = start
    floor = 1e-19 * np.maximum(np.abs(below), np.abs(above))
    for step in range(100):
        with np.errstate(all="ignore"):
            miss = curve.value(x) - y
            below, above = np.where(miss < 0, x, below), np.where(miss < 0, above, x)
            # f' comes out wrong by rounding where f is nearly flat: every fourth step bisects
            newton = x - miss / curve.slope(x) if step % 4 != 3 else np.full(x.shape, np.nan)
            inside = (newton - below) * (newton - above) < 0
        new = np.where(miss == 0, x, np.where(inside, newton, 0.5 * (below + above)))
        found[active] = new
        going = np.abs(new - x) > 4e-16 * np.abs(x) + floor[active]
        if not going.any():
            break
        active, x, y = active[going], new[going], y[going]
        below, above = below[going], above[going]
    return found


def detection_grid(density: Density) -> Array:
    """Where to look for kinks and turns: quantiles far into the tails, the middle finely, whole numbers."""
    panels = density.panels()
    share = np.linspace(0.0, 1.0, 13)[:-1]
    fine = (panels[:-1, None] + np.diff(panels)[:, None] * share).reshape(-1)
    low, high = panels[0], panels[-1]
    middle, width = density.centre, density.spread
    even = np.linspace(max(low, middle - 12 * width), min(high, middle + 12 * width), 2001)
    whole = np.arange(-12.0, 13.0) / 2
    grid = np.unique(np.concatenate([fine, panels, even, whole[(whole > low) & (whole < high)]]))
    return grid


def find_pieces(curve: Curve, density: Density) -> list[Piece] | None:
    """The pieces in order, or None if there are more than MOST_PIECES.

    Raises
    ------
    EntropyError : if f is not defined on a part of the density's support.
    """
    grid = detection_grid(density)
    values = curve.value(grid)
    grid, values = _defined(curve, density, grid, values)
    breaks: set[tuple[float, float]] = {(kink, kink) for kink in density.kinks if grid[0] < kink < grid[-1]}
    for switch in curve.switches:
        breaks |= set(_crossings(switch, grid))
    if len(breaks) > MOST_PIECES:
        return None
    slopes = np.sign(curve.slope(grid))
    turns = set(_turns(curve, grid, slopes, breaks))
    far = [left for left, _ in turns if abs(left - density.centre) > _FAR * density.spread]
    breaks |= turns
    if len(breaks) > MOST_PIECES or len(far) > _MOST_FAR:
        return None
    ordered = sorted(breaks)
    lows = [float(grid[0]), *(right for _, right in ordered)]
    highs = [*(left for left, _ in ordered), float(grid[-1])]
    pieces = []
    for low, high in zip(lows, highs, strict=True):
        if high > low:
            pieces.append(_piece(curve, density, grid, low, high))
    return pieces


def _defined(curve: Curve, density: Density, grid: Array, values: Array) -> tuple[Array, Array]:
    """The part of the grid on which f is finite; an error if more than _LOST of the mass is not on it."""
    good = np.isfinite(values)
    if good.all():
        return grid, values
    # single holes such as 0 in log|x| carry no probability
    holes = np.flatnonzero(~good)
    lone = [i for i in holes if 0 < i < grid.size - 1 and good[i - 1] and good[i + 1]]
    bad = np.setdiff1d(holes, lone)
    lost = sum(density.mass(grid[max(i - 1, 0)], grid[min(i + 1, grid.size - 1)]) for i in bad) / 2
    if lost > _LOST:
        nan = np.isnan(values[bad]).any()
        what = "is not defined" if nan else "overflows"
        raise EntropyError(
            f"{curve.name} {what} on about {100 * lost:.2g}% of the density {density.name} (for example at "
            f"x={grid[bad[0]]:.4g}). Use a density whose support lies where the activation is finite."
        )
    return grid[good], values[good]


def _crossings(function: Values, grid: Array) -> list[tuple[float, float]]:
    """Neighbouring numbers between which a function changes sign."""
    with np.errstate(all="ignore"):
        signs = np.sign(function(grid))
    found = []
    change = np.flatnonzero(signs[:-1] * signs[1:] < 0)
    if change.size > MOST_PIECES:
        return [(float(x), float(x)) for x in grid[change]]
    for low, high in zip(*_bisect(function, grid[change], grid[change + 1]), strict=True):
        found.append((float(low), float(high)))
    zero = np.flatnonzero(signs == 0)
    if zero.size <= MOST_PIECES:
        for index in zero:
            if 0 < index < grid.size - 1 and not (signs[index - 1] == 0 == signs[index + 1]):
                x = float(grid[index])
                # the zero itself belongs to either side: leave it out of both
                found.append((math.nextafter(x, -math.inf), math.nextafter(x, math.inf)))
    return found


def _bisect(function: Values, low: Array, high: Array) -> tuple[Array, Array]:
    """Brackets shrunk to neighbouring numbers (or to an exact zero, widened by one number each side)."""
    with np.errstate(all="ignore"):
        sign = np.sign(function(low)) if low.size else low
        for _ in range(1100):
            middle = 0.5 * (low + high)
            if np.all((middle <= low) | (middle >= high)):
                break
            now = np.sign(function(middle))
            low, high = np.where(now == sign, middle, low), np.where(now == sign, high, middle)
    return low, high


def _turns(curve: Curve, grid: Array, slopes: Array, breaks: set[tuple[float, float]]) -> list[tuple[float, float]]:
    """Turning points, and the borders of flat parts, between the known breaks."""
    lefts, rights = (np.array(sorted(pair[side] for pair in breaks)) for side in (0, 1))

    def crosses_kink(i: int) -> bool:
        at = np.searchsorted(rights, grid[i])
        return bool(at < rights.size and lefts[at] <= grid[i + 1])

    found = []
    for i in np.flatnonzero(slopes[:-1] != slopes[1:]):
        if crosses_kink(int(i)) or np.isnan(slopes[i] + slopes[i + 1]):
            continue
        if slopes[i] and slopes[i + 1]:
            low, high = _bisect(curve.slope, grid[i : i + 1], grid[i + 1 : i + 2])
            found.append((float(low[0]), float(high[0])))
        elif (slopes[i + 1] == 0 and 0 < i + 2 < grid.size and slopes[i + 2] == 0) or (
            slopes[i] == 0 and i > 0 and slopes[i - 1] == 0
        ):
            # the border of a flat part: f' is 0 on one side only
            low, high = _bisect(lambda x: np.abs(np.sign(curve.slope(x))) - 0.5, grid[i : i + 1], grid[i + 1 : i + 2])
            found.append((float(low[0]), float(high[0])))
        elif slopes[i + 1] == 0 and i + 2 < grid.size and slopes[i + 2] != slopes[i]:
            found.append((float(grid[i + 1]), float(grid[i + 1])))
    return found


def _piece(curve: Curve, density: Density, grid: Array, low: float, high: float) -> Piece:
    inside = grid[(grid > low) & (grid < high)]
    if inside.size < 8:
        inside = low + (high - low) * np.linspace(0.0, 1.0, 18)[1:-1]
        inside = inside[(inside > low) & (inside < high)]
    x = np.unique(np.concatenate([[low], inside, [high]]))
    with np.errstate(all="ignore"):
        y = curve.value(x)
        slopes = np.sign(curve.slope(inside)) if inside.size else np.zeros(1)
    # an end at which f is infinite, as log|x| at 0, stays in the table with the largest number
    y = np.clip(y, -_LARGEST, _LARGEST)
    x, y = x[~np.isnan(y)], y[~np.isnan(y)]
    if y.size < 2:
        x, y = np.array([low, high]), np.zeros(2)
    flat = not np.any(slopes) and np.ptp(y) <= 1e-12 * np.abs(y).max(initial=0.0)
    direction = 0 if flat else (1 if y[-1] >= y[0] else -1)
    # rounding must not break the table's order
    y = np.maximum.accumulate(y) if direction >= 0 else np.minimum.accumulate(y)
    return Piece(low, high, direction, density.mass(low, high), x, y)
