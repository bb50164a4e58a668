"""How good each outcome is among those so far, kept up to date as outcomes come one at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

LOSS_SHARE = 0.75  # of an outcome's merit; the score has the rest


class Ranks:
    """Ranks of values that come one at a time: O(values) for each, where sorting anew would cost more.

    Those that came since ranks were asked for wait; of several waiting ones sorting anew costs less.

    Attributes
    ----------
    count : how many there are, without those that wait
    sums : for each how many are smaller, and how many are not larger, together: twice the mean place of equal ones
    """

    def __init__(self) -> None:
        self.count = 0
        self.values, self.sums = np.empty(64), np.empty(64)
        self.waiting: list[float] = []

    def add(self, value: float) -> None:
        self.waiting.append(value)

    def _take(self, value: float) -> None:
        n = self.count
        if n == len(self.values):
            self.values, self.sums = (
                np.concatenate([array, np.empty_like(array)]) for array in (self.values, self.sums)
            )
        above, not_below = self.values[:n] > value, self.values[:n] >= value
        self.sums[:n] += above
        self.sums[:n] += not_below
        self.values[n] = value
        self.sums[n] = 2 * n + 1 - np.count_nonzero(not_below) - np.count_nonzero(above)
        self.count = n + 1

    def _sort(self) -> None:
        values = np.concatenate([self.values[: self.count], self.waiting])
        n = self.count = len(values)
        if n > len(self.values):
            self.values, self.sums = np.empty((2, 2 * n))
        ordered = np.sort(values)
        self.values[:n] = values
        self.sums[:n] = ordered.searchsorted(values, "left") + ordered.searchsorted(values, "right")

    def ranks(self) -> np.ndarray:
        """Shares of the others that are smaller, ties counted half; (count,) in 0..1."""
        if len(self.waiting) == 1:
            self._take(self.waiting[0])
        elif self.waiting:
            self._sort()
        self.waiting = []
        if self.count < 2:
            return np.ones(self.count)
        return (self.sums[: self.count] - 1) / (2 * self.count - 2)


class Merits:
    """How good each outcome is among all, from 0 for the worst to 1 for the best.

    A mean of two ranks, by loss and by score: scores of small tasks are coarse and noisy, so the loss has the larger
    part; a loss alone would punish a confident network. Children that diverged are 0.
    """

    def __init__(self, results: Iterable[tuple[float, float]] = ()):
        self.by_loss, self.by_score, self.count = Ranks(), Ranks(), 0
        self.diverged: list[int] = []
        self.known: np.ndarray | None = None
        for score, loss in results:
            self.add(score, loss)

    def add(self, score: float, loss: float) -> None:
        self.by_loss.add(-math.inf if math.isnan(loss) else -loss)
        self.by_score.add(-math.inf if math.isnan(score) else score)
        if not math.isfinite(loss):
            self.diverged.append(self.count)
        self.count += 1
        self.known = None

    def values(self) -> np.ndarray:
        """(outcomes,), in the order in which they came; not to be written to."""
        if self.known is None:
            mean = LOSS_SHARE * self.by_loss.ranks() + (1 - LOSS_SHARE) * self.by_score.ranks()
            mean[self.diverged] = 0
            self.known = mean
        return self.known


def merit(results: Iterable[tuple[float, float]]) -> np.ndarray:
    """The merits of these outcomes, (n,)."""
    return Merits(results).values()


def rank(values: np.ndarray) -> np.ndarray:
    """Shares of the others that are smaller, ties counted half; (n,) in 0..1."""
    if len(values) < 2:
        return np.ones(len(values))
    ordered = np.sort(values)
    low, high = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return (low + high - 1) / 2 / (len(values) - 1)
