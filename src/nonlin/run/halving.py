"""Early stopping of children that are worse than most of their predecessors.

A child is stopped at a rung (25% and 50% of its epochs) if its validation loss there is in the worst third of
the children that reached that rung before it: successive halving (Jamieson & Talwalkar 2016,
arXiv:1502.07943) with a quantile of the predecessors, as in the median rule (Golovin et al. 2017, section
3.2). The limits are fixed when the child is handed out, from the children told by then, so that the result does
not depend on the number of workers or on their speed.

Stopping earlier, or half of the children, saves more and loses good functions: those that start slowly. What
either costs is measured by `benchmarks/halving.py`; docs/search.md has the figures.
"""

from __future__ import annotations

import math
from bisect import insort

from nonlin.run.store import Trial

LEAST_PREDECESSORS = 16
KEPT = 2 / 3


def rung_epochs(epochs: int) -> tuple[int, ...]:
    """The rungs of a training of `epochs`: none for fewer than 4 epochs."""
    if epochs < 4:
        return ()
    return tuple(sorted({max(1, round(0.25 * epochs)), max(2, round(0.5 * epochs))}))


class QuantileRule:
    """The losses at each rung of the children told so far, and the limits that follow from them."""

    def __init__(self, epochs: int):
        self.reached: dict[int, list[float]] = {rung: [] for rung in rung_epochs(epochs)}  # each list sorted

    def tell(self, trial: Trial) -> None:
        """Count a child at every rung that it reached; one that diverged before a rung is the worst there."""
        curve = trial.curves.get("loss", [])
        for rung, losses in self.reached.items():
            if len(curve) >= rung:
                insort(losses, curve[rung - 1])
            elif trial.status in ("diverged", "failed"):
                losses.append(math.inf)
                break

    def limits(self) -> dict[int, float]:
        """{epoch: the largest validation loss to go on with}; empty while there are too few predecessors."""
        found: dict[int, float] = {}
        for rung, losses in self.reached.items():
            if len(losses) >= LEAST_PREDECESSORS:
                limit = losses[int(KEPT * len(losses))]
                if math.isfinite(limit):
                    found[rung] = limit
        return found
