"""The function found against baselines, with runs made by hand."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest

from nonlin.errors import ComparisonError
from nonlin.run.judgement import best_of, judge
from nonlin.run.runs import Run
from nonlin.run.standings import Arm


def comparison(scores, validation=None, nulls=()):
    """A comparison whose arms had these test scores, one for each seed; None for a run that diverged."""
    runs = []
    for label, values in scores.items():
        for seed, value in enumerate(values):
            status = "diverged" if value is None else "ok"
            valid = (validation or scores)[label][seed]
            runs.append(
                Run("final", "t", label, 0.1, seed, status, valid or math.nan, 1 - (valid or 0), value or math.nan)
            )
    arms = [Arm(label, label, label, {}, "null" if label in nulls else "given") for label in scores]
    setting = SimpleNamespace(name="t", metric="accuracy")
    return SimpleNamespace(runs=lambda: runs, config=SimpleNamespace(arms=arms, tasks=[setting]))


def exact_p(differences):
    """Two-sided signed-rank p of small samples without equal sizes: all sign patterns counted."""
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    seen = ranks[np.array(differences) > 0].sum()
    sums = [sum(r for r, sign in zip(ranks, signs, strict=True) if sign)
            for signs in itertools.product((0, 1), repeat=len(ranks))]  # fmt: skip
    tail = min(np.mean([s <= seen for s in sums]), np.mean([s >= seen for s in sums]))
    return min(1.0, 2 * tail)


BASE = [0.90, 0.91, 0.92, 0.89, 0.93, 0.90, 0.91, 0.92]
STEPS = [0.011, 0.012, 0.013, 0.014, 0.015, 0.016, 0.017, 0.018]


def test_better_worse_and_tied():
    above, below = ([b + sign * s for b, s in zip(BASE, STEPS, strict=True)] for sign in (1, -1))
    mixed = [b + s * (-1) ** k for k, (b, s) in enumerate(zip(BASE, STEPS, strict=True))]
    found = judge(
        comparison({"f": BASE, "low": below, "high": above, "mixed": mixed}), "f", ["low", "high", "mixed"], "t"
    )
    assert [row.outcome for row in found.against] == ["better", "worse", "tied"]
    assert found.outcome == "worse"
    assert found.labels("tied") == ["mixed"]
    assert found.against[0].difference.median == pytest.approx(np.median(STEPS))


def test_p_is_exact_and_holm_corrected():
    below = [b - s for b, s in zip(BASE, STEPS, strict=True)]
    mixed = [b + s * (-1) ** k for k, (b, s) in enumerate(zip(BASE, STEPS, strict=True))]
    rows = judge(comparison({"f": BASE, "low": below, "mixed": mixed}), "f", ["low", "mixed"], "t").against
    raw = [exact_p(np.array(BASE) - np.array(other)) for other in (below, mixed)]
    assert rows[0].p == pytest.approx(min(1, 2 * raw[0]))  # the smaller of two
    assert rows[1].p == pytest.approx(max(2 * raw[0], raw[1]))


def test_better_than_every_baseline():
    below = [b - s for b, s in zip(BASE, STEPS, strict=True)]
    found = judge(comparison({"f": BASE, "low": below}), "f", ["low"], "t")
    assert found.outcome == "better"
    assert any(line.startswith("Better than low") for line in found.lines())
    assert math.isnan(found.seeds_needed)


def test_too_few_seeds_are_said():
    found = judge(comparison({"f": [0.9, 0.9], "relu": [0.1, 0.1]}), "f", ["relu"], "t")
    assert found.outcome == "tied"
    assert "2 seeds cannot show a difference" in " ".join(found.lines())


def test_a_run_that_diverged_counts_as_worst():
    broken = [None] * 8
    assert judge(comparison({"f": BASE, "broken": broken}), "f", ["broken"], "t").outcome == "better"
    assert judge(comparison({"f": broken, "relu": BASE}), "f", ["relu"], "t").outcome == "worse"


def test_a_null_as_good_is_said():
    below = [b - s for b, s in zip(BASE, STEPS, strict=True)]
    lines = judge(comparison({"f": BASE, "low": below, "x": BASE}, nulls=["x"]), "f", ["low"], "t").lines()
    assert "not better than x" in lines[-1]
    lines = judge(comparison({"f": BASE, "low": below, "x": below}, nulls=["x"]), "f", ["low"], "t").lines()
    assert "all worse" in lines[-1]


def test_the_choice_is_made_by_validation_and_not_by_test():
    test = {"a": [0.5] * 4, "b": [0.9] * 4}
    validation = {"a": [0.8] * 4, "b": [0.7] * 4}
    assert best_of(comparison(test, validation), ["a", "b"], "t") == "a"


def test_unknown_arm():
    with pytest.raises(ComparisonError, match="no function 'g'"):
        judge(comparison({"f": BASE}), "g", [], "t")
