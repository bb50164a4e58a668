"""Two classes through an activation: closed forms, what can and cannot change, and the entropy relation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats as stats

from nonlin.entropy import H, density, overlap
from nonlin.errors import EntropyError

LEFT, RIGHT = density("normal", loc=-1.0), density("normal", loc=1.0)


def test_two_gaussians():
    seen = overlap("x", LEFT, RIGHT)
    assert seen.bayes_error == pytest.approx(stats.norm.cdf(-1), abs=1e-9)
    assert seen.coefficient == pytest.approx(2 * stats.norm.cdf(-1), abs=1e-9)
    both = density("mixture", weights=[0.5, 0.5], locs=[-1.0, 1.0], scales=[1.0, 1.0])
    assert seen.entropy == pytest.approx(H("x", both), abs=1e-9)
    assert seen.within == pytest.approx(stats.norm.entropy(), abs=1e-8)  # H(Y|C)


@pytest.mark.parametrize("f", ["tanh", "softplus(x)", "leaky_relu", "3 - 2*x", "sigmoid"])
def test_an_invertible_function_changes_nothing(f):
    before, after = overlap("x", LEFT, RIGHT), overlap(f, LEFT, RIGHT)
    assert after.bayes_error == pytest.approx(before.bayes_error, abs=1e-8)
    assert after.information == pytest.approx(before.information, abs=1e-7)


@pytest.mark.parametrize("f", ["relu", "silu", "abs(x)", "sin(x)", "clip(x, -0.5, 0.5)", "step", "exp(-x**2)"])
def test_no_function_adds_information(f):
    before, after = overlap("x", LEFT, RIGHT), overlap(f, LEFT, RIGHT)
    assert after.bayes_error >= before.bayes_error - 1e-8
    assert after.information <= before.information + 1e-8
    assert after.bayes_error <= after.error_bound + 1e-9  # Hellman and Raviv
    assert after.information + after.equivocation == pytest.approx(math.log(2))


def test_a_symmetric_fold_loses_everything():
    seen = overlap("x**2", LEFT, RIGHT)
    assert seen.bayes_error == pytest.approx(0.5, abs=1e-8)
    assert seen.information == pytest.approx(0, abs=1e-8)


def test_a_step_keeps_the_decision_but_not_the_information():
    before, after = overlap("x", LEFT, RIGHT), overlap("step", LEFT, RIGHT)
    assert after.bayes_error == pytest.approx(before.bayes_error, abs=1e-9)
    assert after.information < before.information - 0.05
    assert after.entropy == -math.inf
    p = stats.norm.cdf(1)
    channel = math.log(2) + p * math.log(p) + (1 - p) * math.log(1 - p)
    assert after.information == pytest.approx(channel, abs=1e-9)


def test_entropy_alone_does_not_say_how_well_the_classes_part():
    # relu lowers H to -inf and keeps the decision; x**2 raises nothing but loses it
    assert overlap("relu", LEFT, RIGHT).bayes_error == pytest.approx(stats.norm.cdf(-1), abs=1e-8)
    assert overlap("10*x", LEFT, RIGHT).entropy > overlap("x**2", LEFT, RIGHT).entropy


def test_priors_and_samples():
    seen = overlap("x", LEFT, RIGHT, priors=(0.9, 0.1))
    cut = math.log(9) / 2
    expected = 0.9 * stats.norm.sf(cut + 1) + 0.1 * stats.norm.cdf(cut - 1)
    assert seen.bayes_error == pytest.approx(expected, abs=1e-9)
    random = np.random.default_rng(0)
    drawn = overlap("x", random.normal(-1, 1, 1000), random.normal(1, 1, 1000))
    assert drawn.bayes_error == pytest.approx(stats.norm.cdf(-1), abs=0.03)


@pytest.mark.parametrize("priors", [(0.5, 0.6), (1.0, 0.0), (0.5,)])
def test_wrong_priors(priors):
    with pytest.raises(EntropyError, match="two positive numbers"):
        overlap("x", LEFT, RIGHT, priors)
