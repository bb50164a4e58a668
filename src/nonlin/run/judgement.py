"""What a search found, against the functions everybody has: better, tied or worse.

The function is chosen by validation data and judged on test data, with seeds that the search did not use, so that the
choice does not flatter the figures. It is tested against each baseline: signed-rank tests of the differences, paired
by seed, corrected for their number (Holm). What is not shown to differ is called a tie.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from nonlin.errors import ComparisonError
from nonlin.run.comparison import Comparison
from nonlin.run.runs import Run
from nonlin.run.standings import Arm
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
)

Outcome = Literal["better", "tied", "worse"]


@dataclass(frozen=True)
class Against:
    """The function found against one other, on test data.

    Attributes
    ----------
    role : "given" for a baseline, or "null"
    score : of the other
    difference : found minus the other, paired by seed: positive where the function found is better
    p : adjusted for the number of tests of this role
    outcome : of the function found
    """

    label: str
    role: str
    score: Interval
    difference: Interval
    p: float
    outcome: Outcome


@dataclass(frozen=True)
class Judgement:
    """The function found, on one task.

    Attributes
    ----------
    outcome : "better" than every baseline; "worse" than one of them at least; else "tied"
    seeds, least_seeds : how many there were, and how few could have shown anything
    seeds_needed : a rough estimate of how many would tell it from the nearest of the baselines it is tied with
    """

    task: str
    metric: str
    label: str
    score: Interval
    against: tuple[Against, ...]
    seeds: int
    least_seeds: int
    seeds_needed: float

    @property
    def outcome(self) -> Outcome:
        found = [row.outcome for row in self.against if row.role == "given"]
        if "worse" in found:
            return "worse"
        return "better" if found and set(found) == {"better"} else "tied"

    def labels(self, outcome: Outcome, role: str = "given") -> list[str]:
        """What it is better than, tied with, or worse than."""
        return [row.label for row in self.against if row.role == role and row.outcome == outcome]

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "outcome": self.outcome}

    def lines(self) -> list[str]:
        """What can be said, in sentences."""
        value = f"{self.score.median:.4f}"
        if math.isfinite(self.score.low):
            value += f" (95% interval {self.score.low:.4f} to {self.score.high:.4f})"
        first = f"Test {self.metric} of {self.label}: median {value} over {seed_count(self.seeds)}."
        return [first, *self._baselines(), *self._nulls()]

    def _baselines(self) -> list[str]:
        rows = [row for row in self.against if row.role == "given"]
        if not rows:
            return ["No baseline was trained beside it, so nothing can be said about its worth."]
        if self.seeds < self.least_seeds:
            others = f"{len(rows)} baselines" if len(rows) > 1 else "the baseline"
            ties = ", ".join(row.label for row in rows)
            return [
                f"{seed_count(self.seeds)} cannot show a difference to {others}, were it in every seed: that takes at "
                f"least {self.least_seeds}. So all count as ties: {ties}."
            ]
        words: dict[Outcome, str] = {"better": "Better than", "tied": "Tied with", "worse": "Worse than"}
        lines = []
        for outcome, word in words.items():
            listed = [f"{r.label} ({r.difference.median:+.4f}, p {r.p:.3f})" for r in rows if r.outcome == outcome]
            lines += [f"{word} {', '.join(listed)}."] if listed else []
        return lines

    def _nulls(self) -> list[str]:
        nulls = [row for row in self.against if row.role == "null"]
        if not nulls:
            return []
        if self.seeds < least_seeds(len(nulls)):
            return [f"{seed_count(self.seeds)} cannot show that the nulls are worse."]
        if level := [row.label for row in nulls if row.outcome != "better"]:
            return [f"It is not better than {', '.join(level)}: the task says little about which activation to choose."]
        return ["The nulls are all worse, as they should be."]


def best_of(comparison: Comparison, labels: Sequence[str], task: str) -> str:
    """The label with the best median validation score over the final runs, by median validation loss among equals."""
    runs = _final(comparison, task)

    def badness(label: str) -> tuple[float, float]:
        rows = runs[label]
        score = [run.score if run.status == "ok" else -math.inf for run in rows]
        loss = [run.loss if run.status == "ok" else math.inf for run in rows]
        return -float(np.median(score)), float(np.median(loss))

    return min(labels, key=badness)


def judge(comparison: Comparison, label: str, baselines: Sequence[str], task: str) -> Judgement:
    """The arm `label` of a comparison against its baselines and its nulls, on test data.

    Parameters
    ----------
    baselines : labels of the arms it must beat

    Raises
    ------
    ComparisonError : an arm that the comparison does not have
    """
    runs = _final(comparison, task)
    known = {arm.label: arm for arm in comparison.config.arms}
    if missing := [name for name in (label, *baselines) if name not in known]:
        raise ComparisonError(f"this comparison has no function {missing[0]!r}; it has {', '.join(known)}.")
    score = {name: {run.seed: _score(run) for run in rows} for name, rows in runs.items()}
    nulls = [arm.label for arm in comparison.config.arms if arm.role == "null"]
    rows = [*_tested(score, label, baselines, known), *_tested(score, label, nulls, known)]
    tied = [row.label for row in rows if row.role == "given" and row.outcome == "tied"]
    nearest = min(tied, key=lambda name: _middle(differences(score[label], score[name])), default=None)
    alpha = ALPHA / max(len(baselines), 1)
    needed = math.nan if nearest is None else seeds_needed(differences(score[label], score[nearest]), alpha)
    return Judgement(
        task=task,
        metric=next(setting.metric for setting in comparison.config.tasks if setting.name == task),
        label=label,
        score=interval(list(score[label].values())),
        against=tuple(rows),
        seeds=len(score[label]),
        least_seeds=least_seeds(len(baselines)),
        seeds_needed=needed,
    )


def _tested(
    score: dict[str, dict[int, float]], label: str, others: Sequence[str], known: dict[str, Arm]
) -> list[Against]:
    found = [differences(score[label], score[name]) for name in others]
    adjusted = holm([signed_rank_p(values) for values in found])
    rows = []
    for name, values, p in zip(others, found, adjusted, strict=True):
        outcome: Outcome = "tied" if p > ALPHA else "better" if _signed_rank_sum(values) > 0 else "worse"
        other = interval(list(score[name].values()))
        rows.append(Against(name, known[name].role, other, interval(values.tolist()), p, outcome))
    return rows


def _signed_rank_sum(values: np.ndarray) -> float:
    """The direction of a signed-rank test: positive where the larger differences are."""
    from scipy.stats import rankdata

    kept = values[values != 0]
    return float((np.sign(kept) * rankdata(np.abs(kept))).sum()) if kept.size else 0.0


def _middle(values: np.ndarray) -> float:
    return abs(float(np.median(values)))


def _score(run: Run) -> float:
    return run.test_score if run.status == "ok" else -math.inf


def _final(comparison: Comparison, task: str) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in comparison.runs():
        if run.phase == "final" and run.task == task:
            found.setdefault(run.arm, []).append(run)
    return found
