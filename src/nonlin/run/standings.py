"""What the final runs of a comparison say: order, intervals, and which differences are real.

Two questions, with a correction each for the number of tests they need:

- *Which may be the best?* Every given function is tested against the first of the list; k functions make k-1
  tests (Bonferroni). The truly best function is among those not shown to be worse with 95% confidence:
  it is wrongly left out only if one of at most k-1 true null hypotheses is rejected (multiple comparisons with
  the best, J. C. Hsu, "Constrained simultaneous confidence intervals for multiple comparisons with the best",
  Ann. Statist. 12, 1984).
- *Which differ among each other?* Every pair is tested, k(k-1)/2 tests (Holm), and shown as letters. That takes
  more seeds; where there are too few for any letter to differ, there are none.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from nonlin.run.row import Row
from nonlin.run.runs import Run
from nonlin.run.statistics import (
    ALPHA,
    Interval,
    differences,
    holm,
    interval,
    least_seeds,
    seed_count,
    seeds_needed,
    signed_rank_p,
    tied_groups,
)

By = Literal["score", "loss"]


@dataclass(frozen=True)
class Arm:
    """What is compared: a function, and how its network is initialised.

    Attributes
    ----------
    label : unique in its comparison
    role : "given" by the user, or a "null"
    protocol : "common", or "selu" for what SELU's authors require; see `nonlin.train.fit`
    """

    label: str
    name: str
    formula: str
    initial: Mapping[str, float]
    role: Literal["given", "null"] = "given"
    protocol: Literal["common", "selu"] = "common"


@dataclass(frozen=True)
class Standing(Row):
    """One row of the table. Also reads like a mapping.

    Attributes
    ----------
    rank : from 1, by the median over seeds on test data
    score, loss : on test data
    difference : to the best, paired by seed, in the measure ranked by, positive where this one is worse
    p : of that difference, adjusted for the number of functions; NaN for the best itself
    tied : whether it cannot be told apart from the best
    groups : letters; of the given arms those that share a letter cannot be told apart. Empty for nulls, and
        where the seeds are too few to tell any pair apart
    rate : the learning rate of the final runs
    seconds_per_epoch : median; runs of all arms took turns on one machine
    saved_bytes : kept by autograd for the backward pass of one batch
    seeds, diverged, failed : numbers of final runs, and of those among them that did not end well
    parameters : of the activation after training, mean over layers, channels and seeds
    """

    rank: int
    label: str
    name: str
    formula: str
    role: str
    protocol: str
    rate: float
    score: Interval
    loss: Interval
    difference: Interval
    p: float
    tied: bool
    groups: str
    seconds_per_epoch: float
    saved_bytes: int
    seeds: int
    diverged: int
    failed: int
    parameters: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Standings:
    """The final runs of one task, ranked.

    All tests are signed-rank tests on test data, paired by seed. The nulls are tested against the best given arm
    as a family of their own (Holm). A run that diverged or failed counts as worse than every other.

    Parameters
    ----------
    arms : all of the comparison; those without a run are left out
    runs : the final runs of one task
    by : the measure that ranks and tests, "score" or "loss"
    """

    def __init__(self, arms: Sequence[Arm], runs: Sequence[Run], by: By = "score"):
        self.by: By = by
        self.runs: dict[str, list[Run]] = {}
        for run in runs:
            self.runs.setdefault(run.arm, []).append(run)
        present = [arm for arm in arms if arm.label in self.runs]
        # Smaller is better for the loss and, negated, for the score.
        self.badness = {arm.label: self._badness(arm.label) for arm in present}
        self.arms = sorted(present, key=lambda arm: self._order(arm.label))
        self.given = [arm for arm in self.arms if arm.role == "given"]
        self.pairs = list(itertools.combinations(range(len(self.given)), 2))
        self.adjusted = self._test_pairs()
        self.null_p = self._test_nulls()

    def _badness(self, label: str) -> dict[int, float]:
        sign = -1.0 if self.by == "score" else 1.0
        values = {run.seed: sign * run[f"test_{self.by}"] for run in self.runs[label]}
        return {seed: value if math.isfinite(value) else math.inf for seed, value in values.items()}

    def _order(self, label: str) -> tuple[float, float, str]:
        middle = float(np.median(list(self.badness[label].values())))
        loss = float(np.median([run.test_loss if run.status == "ok" else math.inf for run in self.runs[label]]))
        return middle, loss, label

    def _difference(self, one: Arm, two: Arm) -> np.ndarray:
        return differences(self.badness[one.label], self.badness[two.label])

    def _test_pairs(self) -> dict[tuple[int, int], float]:
        raw = [signed_rank_p(self._difference(self.given[i], self.given[j])) for i, j in self.pairs]
        return dict(zip(self.pairs, holm(raw), strict=True))

    def _test_nulls(self) -> dict[str, float]:
        nulls = [arm for arm in self.arms if arm.role == "null"]
        if not self.given:
            return {arm.label: math.nan for arm in nulls}
        raw = [signed_rank_p(self._difference(arm, self.given[0])) for arm in nulls]
        return dict(zip((arm.label for arm in nulls), holm(raw), strict=True))

    def groups(self) -> list[list[str]]:
        """Largest groups of given arms that cannot be told apart pair by pair, best first."""
        different = [pair for pair, p in self.adjusted.items() if p <= ALPHA]
        return [[self.given[index].label for index in group] for group in tied_groups(len(self.given), different)]

    def rows(self) -> list[Standing]:
        """One row per arm, best first."""
        letters: dict[str, str] = {}
        enough = self.seeds >= least_seeds(len(self.pairs))
        for number, group in enumerate(self.groups() if enough else []):
            for label in group:
                letters[label] = letters.get(label, "") + _letter(number)
        return [self._row(rank, arm, letters.get(arm.label, "")) for rank, arm in enumerate(self.arms, start=1)]

    def p_against_best(self, arm: Arm) -> float:
        """Adjusted p of the difference to the best given arm; NaN for that arm itself."""
        if arm.role == "null":
            return self.null_p[arm.label]
        if arm is self.given[0]:
            return math.nan
        return min(1.0, (len(self.given) - 1) * signed_rank_p(self._difference(arm, self.given[0])))

    def _row(self, rank: int, arm: Arm, letters: str) -> Standing:
        runs = self.runs[arm.label]
        good = [run for run in runs if run.status == "ok"]
        p = self.p_against_best(arm)
        epochs = [run.seconds_per_epoch for run in good if math.isfinite(run.seconds_per_epoch)]
        names = sorted({name for run in good for name in run.parameters})
        return Standing(
            rank=rank,
            label=arm.label,
            name=arm.name,
            formula=arm.formula,
            role=arm.role,
            protocol=arm.protocol,
            rate=runs[0].rate,
            score=interval([run.test_score if run.status == "ok" else -math.inf for run in runs]),
            loss=interval([run.test_loss if run.status == "ok" else math.inf for run in runs]),
            difference=interval(self._difference(arm, self.given[0]).tolist() if self.given else []),
            p=p,
            tied=not p <= ALPHA,
            groups=letters,
            seconds_per_epoch=float(np.median(epochs)) if epochs else math.nan,
            saved_bytes=max((run.saved_bytes or 0 for run in good), default=0),
            seeds=len(runs),
            diverged=sum(run.status == "diverged" for run in runs),
            failed=sum(run.status == "failed" for run in runs),
            parameters={
                name: float(np.mean([run.parameters[name] for run in good if name in run.parameters]))
                for name in names
            },
        )  # fmt: skip

    # In words

    @property
    def seeds(self) -> int:
        """The least number of seeds that any arm has."""
        return min((len(runs) for runs in self.runs.values()), default=0)

    @property
    def least_seeds(self) -> int:
        """The fewest seeds with which any given arm could be shown to be worse than the best."""
        return least_seeds(len(self.given) - 1)

    @property
    def seeds_for_first_two(self) -> float:
        """Estimated seeds to tell the first two apart; see `statistics.seeds_needed`."""
        if len(self.given) < 2:
            return math.nan
        return seeds_needed(self._difference(self.given[1], self.given[0]), alpha=ALPHA / (len(self.given) - 1))

    def verdict(self, metric: str) -> list[str]:
        """What can be concluded, in sentences; ties called ties."""
        rows = self.rows()
        if not self.given:
            return ["No given activation has been trained yet."]
        best = next(row for row in rows if row.role == "given")
        measure = metric if self.by == "score" else "loss"
        value = best.score if self.by == "score" else best.loss
        lines = [f"Best by test {measure}: {best.label}, median {_shown(value)} over {seed_count(best.seeds)}."]
        lines += self._ties(rows, best)
        lines += self._nulls(rows, best)
        if troubled := [row for row in rows if row.diverged or row.failed]:
            listed = ", ".join(f"{row.label} ({row.diverged + row.failed} of {row.seeds})" for row in troubled)
            lines.append(f"Did not end well, and counted as worst: {listed}.")
        return lines

    def _ties(self, rows: list[Standing], best: Standing) -> list[str]:
        others = [row for row in rows if row.role == "given" and row.label != best.label]
        if not others:
            return []
        tied = [row.label for row in others if row.tied]
        lines = []
        if self.seeds < self.least_seeds:
            lines.append(
                f"With {seed_count(self.seeds)} none of {len(self.given)} functions can be shown to be worse than the "
                f"best, were it so in every seed: that takes at least {self.least_seeds}. So all are shown as ties."
            )
        elif not tied:
            lines.append("It is better than every other function given.")
        else:
            rest = (
                f"; worse: {', '.join(row.label for row in others if not row.tied)}" if len(tied) < len(others) else ""
            )
            lines.append(f"Tied with it: {', '.join(tied)}{rest}.")
        needed = self.seeds_for_first_two
        second = self.given[1].label
        if second in tied and math.isfinite(needed):
            lines.append(f"To tell {best.label} and {second} apart would take about {needed:,.0f} seeds.")
        return lines

    def _nulls(self, rows: list[Standing], best: Standing) -> list[str]:
        nulls = [row for row in rows if row.role == "null"]
        if not nulls:
            return []
        if self.seeds < least_seeds(len(nulls)):
            above = [row.label for row in nulls if row.rank < best.rank]
            few = f"{seed_count(self.seeds)} cannot show that the nulls are worse"
            return [f"{few}, and {', '.join(above)} even stands above the best." if above else f"{few}."]
        tied = [row.label for row in nulls if row.tied or row.rank < best.rank]
        if tied:
            return [
                f"Not worse than the best: {', '.join(tied)}. Where a network does as well without a well-chosen "
                "activation, the task says little about which one to choose."
            ]
        return [f"The nulls ({', '.join(row.label for row in nulls)}) are all worse, as they should be."]


def _letter(number: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    first, last = divmod(number, 26)
    return (_letter(first - 1) if first else "") + "abcdefghijklmnopqrstuvwxyz"[last]


def _shown(value: Interval) -> str:
    if math.isnan(value.low):
        return f"{value.median:.4f}"
    return f"{value.median:.4f} (95% interval {value.low:.4f} to {value.high:.4f})"
