"""Statistics of paired runs: intervals, tests, and groups that cannot be told apart.

Every comparison pairs by seed: runs with one seed share initial weights and batches, so that the difference
of two functions is not blurred by what the seed alone does.

References
----------
[Wilcoxon1945] F. Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1, 1945
[Holm1979] S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6, 1979
[Piepho2004] H.-P. Piepho, "An algorithm for a letter-based representation of all-pairwise comparisons",
    J. Comput. Graph. Statist. 13, 2004
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

ALPHA = 0.05
POWER = 0.80
LEAST_PILOT = 5  # differences, to estimate from them how many it would take
RESAMPLES = 10_000
_WILCOXON_EFFICIENCY = 3 / math.pi  # of the signed-rank test relative to the t test, for normal differences


@dataclass(frozen=True)
class Interval:
    """A median with a 95% bootstrap interval of it; the bounds are NaN for fewer than three values."""

    median: float
    low: float
    high: float


def interval(values: Sequence[float], seed: int = 0) -> Interval:
    """Median and percentile bootstrap interval; infinite values stand for runs that diverged."""
    data = np.asarray(values, dtype=float)
    if not data.size:
        return Interval(math.nan, math.nan, math.nan)
    middle = float(np.median(data))
    if data.size < 3:
        return Interval(middle, math.nan, math.nan)
    drawn = np.random.default_rng(seed).choice(data, (RESAMPLES, data.size))
    with np.errstate(invalid="ignore"):  # the mean of two infinite middle values of opposite sign
        medians = np.nan_to_num(np.median(drawn, axis=1), nan=middle, posinf=np.inf, neginf=-np.inf)
    low, high = np.quantile(medians, [0.025, 0.975], method="inverted_cdf")
    return Interval(middle, float(low), float(high))


def differences(first: Mapping[int, float], second: Mapping[int, float]) -> np.ndarray:
    """first - second for every seed that both have; 0 where both diverged (infinite alike)."""
    shared = sorted(set(first) & set(second))
    pairs = [(first[seed], second[seed]) for seed in shared]
    return np.array([0.0 if one == two else one - two for one, two in pairs])


def signed_rank_p(difference: Sequence[float] | np.ndarray) -> float:
    """Two-sided p value of the Wilcoxon signed-rank test [Wilcoxon1945], exact also with equal differences.

    Differences of 0 are left out; 1 if nothing is left. Under the null hypothesis each difference is as likely
    positive as negative, so the sum of the positive ones' ranks is a sum of independent halves of ranks; its
    distribution is built up rank by rank (in units of 1/2, which makes ranks of ties whole).
    """
    from scipy.stats import rankdata

    values = np.asarray(difference, dtype=float)
    values = values[values != 0]
    if not values.size:
        return 1.0
    ranks = np.rint(2 * rankdata(np.abs(values))).astype(int)
    chance = np.zeros(ranks.sum() + 1)
    chance[0] = 1.0
    for rank in ranks:
        moved = np.zeros_like(chance)
        moved[rank:] = chance[: chance.size - rank]
        chance = 0.5 * (chance + moved)
    positive = int(ranks[values > 0].sum())
    tail = min(chance[: positive + 1].sum(), chance[positive:].sum())
    return float(min(1.0, 2 * tail))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values [Holm1979], in the order given."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    steps = p[order] * (p.size - np.arange(p.size))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted.tolist()


def tied_groups(count: int, different: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The largest groups of 0 … count-1 in which no pair is `different`, by insert-and-absorb [Piepho2004].

    Every pair that is not different shares a group, every different pair shares none. Groups are in the order
    of their members.
    """
    groups: list[frozenset[int]] = [frozenset(range(count))]
    for one, two in different:
        split: list[frozenset[int]] = []
        for group in groups:
            split += [group - {one}, group - {two}] if {one, two} <= group else [group]
        unique = list(dict.fromkeys(split))
        groups = [group for group in unique if not any(group < other for other in unique)]
    return sorted(sorted(group) for group in groups)


def seeds_needed(difference: Sequence[float] | np.ndarray, alpha: float = ALPHA, power: float = POWER) -> float:
    """How many seeds would tell two functions apart with probability `power` at level `alpha`.

    From the mean and deviation of the paired differences seen, as if they were normal:
    n = [((z_{1-α/2} + z_power)·sd/mean)² + z²_{1-α/2}/2]·π/3: the second term is for the t distribution of small
    samples (Guenther 1981), the last factor for the signed-rank test. Infinite where the mean difference is 0, NaN
    for fewer than five differences, of which mean and deviation say next to nothing. It is a rough number: the mean
    itself is uncertain.
    """
    from scipy.stats import norm

    values = np.asarray(difference, dtype=float)
    values = values[np.isfinite(values)]
    if values.size < LEAST_PILOT:
        return math.nan
    mean, deviation = abs(values.mean()), values.std(ddof=1)
    if mean == 0:
        return math.inf
    two_sided = norm.ppf(1 - alpha / 2)
    normal = ((two_sided + norm.ppf(power)) * deviation / mean) ** 2 + two_sided**2 / 2
    return max(least_seeds(1, alpha), math.ceil(normal / _WILCOXON_EFFICIENCY))


def seed_count(number: int) -> str:
    """ "1 seed", "2 seeds"."""
    return f"{number} seed" if number == 1 else f"{number} seeds"


def least_seeds(pairs: int, alpha: float = ALPHA) -> int:
    """The fewest seeds with which the test can call any of `pairs` differences real, were it in every seed.

    The smallest two-sided p of n differences is 2/2ⁿ, and Holm's procedure multiplies it by the number of pairs.
    """
    return math.ceil(math.log2(2 * max(pairs, 1) / alpha))
