"""What a function does far out: a limit, growth, or endless oscillation.

It is sampled at 64 irregular points in [X, 2X] for X = 10, 100, ..., 1e10, and the windows are compared.
Functions that move more slowly than a logarithm are beyond this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nonlin.entropy.curve import Values

Array = npt.NDArray[np.float64]
_WINDOWS = 10.0 ** np.arange(1, 11)
_SHARES = np.mod(np.arange(64) * 0.6180339887498949, 1.0)  # irregular, so that no period is hit by all


@dataclass(frozen=True)
class Tail:
    """One end of a function.

    Attributes
    ----------
    kind : "limit", "grows", "falls" (without bound), "oscillates" (within bounds),
        "oscillates without bound", or "undefined"
    limit : the limit where there is one, else None
    above, below : whether values go to +inf, to -inf
    """

    kind: str
    limit: float | None = None
    above: bool = False
    below: bool = False


def tail(function: Values, side: int) -> Tail:
    """The end of a function at -inf (side = -1) or +inf (side = 1)."""
    x = side * _WINDOWS[:, None] * (1 + _SHARES)  # (windows, points)
    with np.errstate(all="ignore"):
        y = function(x.reshape(-1)).reshape(x.shape)
    if np.isnan(y[0]).mean() > 0.5:
        return Tail("undefined")
    broken = ~np.isfinite(y).all(axis=1)
    if broken.any():
        return _overflow(y, int(np.argmax(broken)))
    low, high, middle = y.min(axis=1), y.max(axis=1), np.median(y, axis=1)
    spread = high - low
    size = max(1.0, abs(float(middle[-1])))
    shrinks = spread[-1] <= 1e-9 * size or (spread[-1] < 0.5 * spread[-3] and spread[-3] < 0.5 * spread[-5])
    steps = np.abs(np.diff(middle))
    settles = steps[-1] <= 1e-9 * size or steps[-1] < 0.7 * steps[-3]
    if shrinks and settles:
        return Tail("limit", _extrapolate(middle))
    up = bool(high[-1] - high[-2] > 0.5 * spread[-2] and high[-1] > high[-3])
    down = bool(low[-2] - low[-1] > 0.5 * spread[-2] and low[-1] < low[-3])
    if up and low[-1] > high[-3]:
        return Tail("grows", above=True)
    if down and high[-1] < low[-3]:
        return Tail("falls", below=True)
    return Tail("oscillates without bound" if up or down else "oscillates", above=up, below=down)


def _overflow(y: Array, window: int) -> Tail:
    """The end of a function that overflows in a window; its sign is that of the growth."""
    signs = set(np.sign(y[window][np.isinf(y[window])])) or set(np.sign(y[max(window - 1, 0)]))
    above, below = 1.0 in signs, -1.0 in signs
    kind = "oscillates without bound" if above and below else "falls" if below else "grows"
    return Tail(kind, above=above, below=below)


def _extrapolate(values: Array) -> float:
    """The limit of the last three values by Aitken's rule; rounding alone is no trend."""
    a, b, c = (float(value) for value in values[-3:])
    change = (c - b) - (b - a)
    small = 1e-12 * max(1.0, abs(c))
    limit = c - (c - b) ** 2 / change if abs(c - b) > small and abs(change) > small else c
    nearest = round(limit, 9)
    return nearest + 0.0 if abs(limit - nearest) < 1e-11 * max(1.0, abs(limit)) or abs(limit) < 1e-9 else limit
