"""Early stopping of children that are worse than half of their predecessors.

A child is stopped at a rung (10% and 25% of its epochs) if its validation loss there is above the median of
the children that reached that rung before it: successive halving (Jamieson & Talwalkar 2016,
arXiv:1502.07943) in the form of the median rule (Golovin et al. 2017, section 3.2). The thresholds are fixed
when the child is handed out, from the children told by then, so that the result does not depend on the number
of workers or on their speed. `benchmarks/halving.py` measures what it saves and what it loses.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median

from nonlin.run.store import Trial

LEAST_PREDECESSORS = 16


def rung_epochs(epochs: int) -> tuple[int, ...]:
    """The rungs of a training of `epochs`: none for fewer than 4 epochs."""
    if epochs < 4:
        return ()
    return tuple(sorted({max(1, round(0.1 * epochs)), max(2, round(0.25 * epochs))}))


def thresholds(told: Iterable[Trial], epochs: int) -> dict[int, float]:
    """{epoch: the largest validation loss to go on with}, from trials that the strategy was told."""
    limits: dict[int, float] = {}
    rungs = rung_epochs(epochs)
    reached: dict[int, list[float]] = {rung: [] for rung in rungs}
    for trial in told:
        curve = trial.curves.get("loss", [])
        for rung in rungs:
            if len(curve) >= rung:
                reached[rung].append(curve[rung - 1])
            elif trial.status in ("diverged", "failed"):
                reached[rung].append(math.inf)
                break
    for rung in rungs:
        if len(reached[rung]) >= LEAST_PREDECESSORS:
            limit = median(reached[rung])
            if math.isfinite(limit):
                limits[rung] = limit
    return limits
