"""Early stopping of children that are worse than most of their predecessors.

A child is stopped at a rung (see `RUNGS`, shares of its epochs) if its validation loss there is among the worst of
the children that reached that rung before it: successive halving (Jamieson & Talwalkar 2016,
arXiv:1502.07943) with a quantile of the predecessors, as in the median rule (Golovin et al. 2017, section
3.2). The limits are fixed when the child is handed out, from the children told by then, so that the result does
not depend on the number of workers or on their speed.

Stopping after a single epoch, or half of the children, saves more and loses good functions: those that start slowly.
Many rungs at which few are stopped lose fewer of them, at the same cost, than few at which many are; from 60% of
the epochs on losses are nearly in their final order. What a rule costs is measured by `benchmarks/halving.py`;
docs/searching.md has the figures.

With `halving="async"` outcomes count in the order in which they come, and no worker waits for a slow child:
asynchronous successive halving (Li et al. 2020, arXiv:1810.05934, algorithm 2, in the form that stops children instead
of pausing them; the limits are those of the moment when a child is handed out, since a worker is told nothing later).
A child is promoted at a rung if it would be among the best of all that reached it, itself included.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from nonlin.errors import SearchError
from nonlin.run.store import Trial

LEAST_PREDECESSORS = 16
# {share of the epochs: share of the children that go on}
RUNGS = {
    0.1: 2 / 3,
    **dict.fromkeys((0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5), 5 / 6),
    **dict.fromkeys((0.6, 0.7, 0.8, 0.9), 2 / 3),
}
FEW_RUNGS = {0.25: 2 / 3, 0.5: 2 / 3}  # of a short training
HALVING = (True, False, "async")  # what a search may be given
Rule = Literal["async"] | bool


def rungs_of(epochs: int) -> dict[int, float]:
    """{epoch: share that goes on} of a training of `epochs`: none for fewer than 4, and two where 10% is less than two.

    Of the rungs that fall on one epoch the strictest holds.
    """
    if epochs < 4:
        return {}
    found: dict[int, float] = {}
    for share, kept in (RUNGS if round(min(RUNGS) * epochs) >= 2 else FEW_RUNGS).items():
        epoch = round(share * epochs)
        found[epoch] = min(kept, found.get(epoch, 1))
    return found


class QuantileRule:
    """The losses at each rung of the children told so far, and the limits that follow from them.

    kept : {epoch: share that goes on}, in the order of the epochs
    """

    def __init__(self, kept: Mapping[int, float]):
        self.kept = kept
        self.reached: dict[int, list[float]] = {rung: [] for rung in kept}  # each list sorted

    def tell(self, trial: Trial) -> None:
        """Count a child at every rung that it reached; one that diverged before a rung is the worst there."""
        curve = trial.curves.get("loss", [])
        for rung, losses in self.reached.items():
            if len(curve) < rung:
                if trial.status in ("diverged", "failed"):
                    losses.append(math.inf)
                break
            insort(losses, curve[rung - 1])

    def limits(self) -> dict[int, float]:
        """{epoch: the largest validation loss to go on with}; empty while there are too few predecessors."""
        limits = {rung: self.limit(losses, self.kept[rung]) for rung, losses in self.reached.items() if losses}
        return {rung: limit for rung, limit in limits.items() if limit < math.inf}

    def limit(self, losses: Sequence[float], kept: float) -> float:
        """The largest loss to go on with after predecessors of these, the smallest first; infinite for any."""
        return losses[int(kept * len(losses))] if len(losses) >= LEAST_PREDECESSORS else math.inf


class AsynchronousRule(QuantileRule):
    """Promotion as in asynchronous successive halving: among the best of those that reached the rung so far."""

    def limit(self, losses: Sequence[float], kept: float) -> float:
        """The loss of the last predecessor that a promoted child may stand beside."""
        promoted = int(kept * (len(losses) + 1))
        return losses[promoted - 1] if 0 < promoted <= len(losses) else math.inf


@dataclass(frozen=True)
class Agreement:
    """How well the loss at a rung foretold the final one, among the children that were trained to the end.

    Attributes
    ----------
    epoch : of the rung
    children, stopped : trained to the end, and stopped at this rung
    correlation : Spearman's, of the two losses; NaN for fewer than four children
    low, high : its 95% interval by Fisher's transformation, with the variance of Bonett & Wright (2000)
    """

    epoch: int
    children: int
    stopped: int
    correlation: float
    low: float
    high: float


def agreements(trials: Sequence[Trial], epochs: int) -> list[Agreement]:
    """One for each rung of a search's candidates. Children stopped at a rung have no final loss and are not in it."""
    from scipy.stats import spearmanr

    candidates = [trial for trial in trials if trial.role == "candidate"]
    full = [trial for trial in candidates if trial.status == "ok"]
    found = []
    for rung in rungs_of(epochs):
        early, final = [trial.curves["loss"][rung - 1] for trial in full], [trial.loss for trial in full]
        varied = len(full) >= 4 and len(set(early)) > 1 and len(set(final)) > 1
        rho = float(spearmanr(early, final).statistic) if varied else math.nan
        half = 1.959964 * math.sqrt((1 + rho**2 / 2) / (len(full) - 3)) if varied else math.nan
        middle = math.atanh(min(max(rho, -1 + 1e-12), 1 - 1e-12)) if varied else math.nan
        stopped = sum(trial.status == "stopped" and trial.epochs == rung for trial in candidates)
        found.append(Agreement(rung, len(full), stopped, rho, math.tanh(middle - half), math.tanh(middle + half)))
    return found


def rule_for(halving: Rule, epochs: int) -> QuantileRule:
    """What stops the children of a search."""
    return (AsynchronousRule if halving == "async" else QuantileRule)(rungs_of(epochs))


def checked(halving: Rule) -> Rule:
    """What was given for `halving`; SearchError unless it is one of `HALVING`."""
    if not (isinstance(halving, bool) or halving == "async"):
        raise SearchError(f"halving must be True, False or 'async'; got {halving!r}.")
    return halving
