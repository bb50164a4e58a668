"""What a search's own results say about four findings of the Swish paper.

Ramachandran, Zoph & Le (2017, section 3.1) read from their searches that simple functions do better than
complex ones, that the best often have the form b(x, g(x)), that periodic functions enter by + or - with x, and
that division does badly. Each is put to the test here on the candidates of one search: by ranks, so that
stopped and diverged children count as what they are, worse.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nonlin.errors import FormulaError
from nonlin.expr import Call, Expr, parse
from nonlin.expr.tree import X, walk
from nonlin.report.forest import Forest

if TYPE_CHECKING:
    from nonlin.run.store import Trial

LEAST = 10  # candidates in a group, under which nothing is claimed
ALPHA = 0.05
PERIODIC = frozenset({"sin", "cos", "sinc"})
RESAMPLES = 2000


@dataclass(frozen=True)
class Group:
    """Candidates of one kind against the others.

    Attributes
    ----------
    count, others : numbers of candidates
    chance : that one of the group ranks above one of the others, ties counted half (the common-language effect
        size, U/(n·m)); 1/2 is no difference. NaN where a side is empty
    low, high : its 95% bootstrap interval
    p : two-sided Mann-Whitney test, Holm-adjusted over all groups of the section
    score : median score of those trained to the end
    """

    name: str
    count: int
    others: int
    chance: float
    low: float
    high: float
    p: float
    score: float
    picture: str = ""

    @property
    def enough(self) -> bool:
        return self.count >= LEAST and self.others >= LEAST


@dataclass(frozen=True)
class Finding:
    """One finding of the paper, the groups that test it, and what they say in a sentence."""

    claim: str
    groups: tuple[Group, ...]
    words: str


@dataclass(frozen=True)
class Trends:
    """All findings; `count` candidates."""

    count: int
    findings: tuple[Finding, ...]
    axis: str


@dataclass(frozen=True)
class _Candidate:
    expr: Expr
    place: float  # 0 the best, rising; equal for children that cannot be ordered
    score: float

    @property
    def size(self) -> int:
        return sum(isinstance(node, Call) for node in walk(self.expr))

    @property
    def root(self) -> str:
        """The binary operator at the root, or empty."""
        return self.expr.name if isinstance(self.expr, Call) and len(self.expr.args) == 2 else ""

    @property
    def takes_x(self) -> bool:
        return bool(self.root) and X in self.expr.args

    def has(self, names: frozenset[str]) -> bool:
        return any(isinstance(node, Call) and node.name in names for node in walk(self.expr))


def trends(trials: Sequence[Trial]) -> Trends | None:
    """The findings on the candidates among `trials`, which are in order, best first; None if they are too few."""
    candidates = _candidates(trials)
    if len(candidates) < 2 * LEAST:
        return None
    middle = float(np.median([c.size for c in candidates]))
    plans: list[tuple[str, list[tuple[str, Callable[[_Candidate], bool], Callable[[_Candidate], bool] | None]]]] = [
        ("Simple functions do better than complex ones",
         [(f"at most {middle:g} operators", lambda c: c.size <= middle, None)]),
        ("The best often have the form b(x, g(x)), with x itself an argument of the last operator",
         [("b(x, g(x))", lambda c: c.takes_x, lambda c: bool(c.root))]),
        ("Periodic functions (sin, cos, sinc) enter by + or − with x",
         [("x ± a periodic function", _plus_periodic, lambda c: c.has(PERIODIC)),
          ("any periodic function", lambda c: c.has(PERIODIC), None)]),
        ("Division does badly", [("with a division", lambda c: c.has(frozenset({"div"})), None)]),
        ("And by the operator at the root",
         [(f"{name} at the root", lambda c, name=name: c.root == name, None)  # type: ignore[misc]
          for name in sorted({c.root for c in candidates if c.root})]),
    ]  # fmt: skip
    raw = [(claim, [_group(name, candidates, test, among) for name, test, among in rows]) for claim, rows in plans]
    adjusted = iter(_holm([group.p for _, groups in raw for group in groups if group.enough]))
    forest = Forest.fixed(0.0, 1.0, 0.5)
    findings = []
    for claim, groups in raw:
        done = tuple(_drawn(group, next(adjusted) if group.enough else math.nan, forest) for group in groups)
        findings.append(Finding(claim, done, _words(claim, done)))
    return Trends(len(candidates), tuple(findings), forest.axis())


def _candidates(trials: Sequence[Trial]) -> list[_Candidate]:
    """Candidates with their places; diverged and failed children share the last one."""
    found = []
    chosen = [trial for trial in trials if trial.role == "candidate" and trial.status != "running"]
    for place, trial in enumerate(chosen):
        last = trial.status in ("diverged", "failed")
        score = trial.score if trial.status == "ok" else math.nan
        try:
            found.append(_Candidate(parse(trial.formula), float(len(chosen) if last else place), score))
        except FormulaError:  # an operator of a later version
            continue
    return found


def _plus_periodic(candidate: _Candidate) -> bool:
    return candidate.root in ("add", "sub") and candidate.takes_x and candidate.has(PERIODIC)


def _group(
    name: str,
    candidates: Sequence[_Candidate],
    test: Callable[[_Candidate], bool],
    among: Callable[[_Candidate], bool] | None,
) -> Group:
    """The group against the others, of all candidates or of those that `among` picks; p as it is."""
    pool = [c for c in candidates if among is None or among(c)]
    inside = np.array([c.place for c in pool if test(c)])
    outside = np.array([c.place for c in pool if not test(c)])
    scores = [c.score for c in pool if test(c) and math.isfinite(c.score)]
    score = float(np.median(scores)) if scores else math.nan
    if not inside.size or not outside.size:
        return Group(name, inside.size, outside.size, math.nan, math.nan, math.nan, math.nan, score)
    low, high = _bootstrap(inside, outside)
    return Group(
        name, inside.size, outside.size, chance_above(inside, outside), low, high, _mann_whitney(inside, outside), score
    )


def chance_above(inside: np.ndarray, outside: np.ndarray) -> float:
    """Share of pairs in which the one inside has the smaller place, ties counted half."""
    ordered = np.sort(outside)
    after = ordered.size - np.searchsorted(ordered, inside, side="right")
    equal = np.searchsorted(ordered, inside, side="right") - np.searchsorted(ordered, inside, side="left")
    return float((after + 0.5 * equal).sum() / (inside.size * outside.size))


def _bootstrap(inside: np.ndarray, outside: np.ndarray) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    resamples = min(RESAMPLES, max(200, 20_000_000 // (inside.size + outside.size)))
    drawn = [chance_above(rng.choice(inside, inside.size), rng.choice(outside, outside.size)) for _ in range(resamples)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def _mann_whitney(inside: np.ndarray, outside: np.ndarray) -> float:
    from scipy.stats import mannwhitneyu

    if np.ptp(np.concatenate([inside, outside])) == 0:
        return 1.0
    return float(mannwhitneyu(inside, outside, alternative="two-sided").pvalue)


def _holm(values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the order given."""
    adjusted = [1.0] * len(values)
    worst = 0.0
    for step, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        worst = max(worst, min(1.0, (len(values) - step) * values[index]))
        adjusted[index] = worst
    return adjusted


def _drawn(group: Group, p: float, forest: Forest) -> Group:
    words = f"{group.name}: chance {group.chance:.2f} of ranking above, interval {group.low:.2f} to {group.high:.2f}"
    picture = forest.row(group.chance, group.low, group.high, words, "" if group.enough else "null")
    return Group(group.name, group.count, group.others, group.chance, group.low, group.high, p, group.score, picture)


def _words(claim: str, groups: Sequence[Group]) -> str:
    """The claim's first group decides; too few candidates decide nothing."""
    if claim.startswith("And "):
        told = [g for g in groups if g.enough and g.p <= ALPHA]
        if not told:
            return "No operator can be told from the others here."
        better = ", ".join(g.name.removesuffix(" at the root") for g in told if g.chance > 0.5)
        worse = ", ".join(g.name.removesuffix(" at the root") for g in told if g.chance < 0.5)
        return f"Better than the rest: {better or 'none'}; worse: {worse or 'none'}."
    group = groups[0]
    if not group.enough:
        return f"Nothing can be said: {group.count} of them against {group.others} others are too few."
    if group.p > ALPHA:
        return "These results do not show it, nor the opposite: the difference could be chance."
    expected = group.chance < 0.5 if claim.startswith("Division") else group.chance > 0.5
    verdict = "These results agree" if expected else "These results say the opposite"
    return (
        f"{verdict}: such a function ranks above another with chance {group.chance:.2f} "
        f"(95% interval {group.low:.2f} to {group.high:.2f})."
    )
