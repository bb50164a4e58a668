"""Trends: measured against pairs counted one by one, planted trends found, and nothing said of little."""

import itertools

import numpy as np
import pytest

from nonlin.report.trends import LEAST, chance_above, trends
from nonlin.run import Trial


def trial(number, formula, score, status="ok", role="candidate"):
    return Trial(number, role, formula, formula, str(number), {}, {}, 0, status, score, 1 - score, 4)


def ranked(trials):
    return sorted(trials, key=Trial.rank_key)


def finding(found, start):
    return next(item for item in found.findings if item.claim.startswith(start))


def test_chance_is_the_share_of_pairs():
    rng = np.random.default_rng(0)
    inside, outside = rng.integers(0, 9, 13).astype(float), rng.integers(0, 9, 17).astype(float)
    pairs = [(a < b) + 0.5 * (a == b) for a, b in itertools.product(inside, outside)]
    assert chance_above(inside, outside) == pytest.approx(np.mean(pairs))
    assert chance_above(np.array([0.0]), np.array([1.0])) == 1.0


def test_a_planted_trend_is_found_and_its_opposite_told():
    good = [trial(n, f"x*sigmoid({n + 2}*x)", 0.9 - 0.001 * n) for n in range(30)]
    bad = [trial(50 + n, f"x/(1 + exp({n + 2}*x))", 0.5 - 0.001 * n) for n in range(30)]
    found = finding(trends(ranked(good + bad)), "Division")
    (group,) = found.groups
    assert group.chance == 0.0
    assert (group.count, group.others) == (30, 30)
    assert group.p < 0.001
    assert found.words.startswith("These results agree")
    swapped = [trial(t.number, t.formula, 1.4 - t.score) for t in good + bad]
    assert finding(trends(ranked(swapped)), "Division").words.startswith("These results say the opposite")


def test_chance_is_not_called_a_trend():
    rng = np.random.default_rng(1)
    formulas = [f"x*sigmoid({n + 2}*x)" if n % 2 else f"x/(1 + exp({n + 2}*x))" for n in range(60)]
    found = trends(ranked([trial(n, formula, rng.uniform()) for n, formula in enumerate(formulas)]))
    assert "could be chance" in finding(found, "Division").words


def test_nothing_is_said_of_few():
    trials = [trial(n, f"x*sigmoid({n + 2}*x)", 0.9 - 0.001 * n) for n in range(30)]
    trials += [trial(90 + n, f"x/(2 + {n})", 0.1) for n in range(LEAST - 1)]
    found = finding(trends(ranked(trials)), "Division")
    assert "Nothing can be said: 9 of them against 30" in found.words
    assert trends(ranked(trials[: 2 * LEAST - 1])) is None


def test_roles_and_bad_ends():
    """Baselines have no say; what diverged is worst, and equal."""
    good = [trial(n, f"x + sin({n + 2}*x)", 0.5) for n in range(12)]
    bad = [trial(50 + n, f"max(cos({n + 2}*x), 0)", 0.99, "diverged") for n in range(12)]
    others = [trial(90 + n, f"x/{n + 2}", 0.99, role="baseline") for n in range(12)]
    found = trends(ranked(good + bad + others))
    assert found.count == 24
    periodic = finding(found, "Periodic").groups[0]
    assert (periodic.count, periodic.others, periodic.chance) == (12, 12, 1.0)
