"""The three steps: CRReLU, the general normal, the exact inverse, the bound, and what has no inverse."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nonlin.entropy import J, density, improve
from nonlin.errors import EntropyError, NonlinError
from nonlin.expr import parse
from nonlin.expr.identity import same_function
from nonlin.zoo import Activation

LARGEST = math.exp(1.5) / 2  # 2.2408: g increases exactly for -1 < eps < this


def u(x):
    return x * np.exp(-x * x / 2)


def test_relu_and_a_standard_normal_give_crrelu():
    result = improve("relu", "normal", eps=0.02)
    assert result.activation.name == "crrelu"
    assert list(result.activation.parameters.values()) == [0.02]
    x = np.linspace(-4, 4, 81)
    np.testing.assert_allclose(result.activation(x), np.maximum(x, 0) + 0.02 * u(x), atol=1e-15)
    assert str(result.inverse.expression) == "x"
    assert same_function(result.eta.shape, parse("x*exp(-x**2/2)"))
    assert "known as crrelu" in str(result)
    assert any(r"\eta" in line or "eta(x) = x" in line for line in result.steps(latex=True))


def test_a_general_normal_gives_the_general_form():
    loc, scale = 0.8, 1.7
    result = improve("relu", density("normal", loc=loc, scale=scale))
    x = np.linspace(0.1, 6, 60)
    expected = (x - loc) / scale**2 * np.exp(-((x - loc) ** 2) / (2 * scale**2))
    np.testing.assert_allclose(result.direction(x), expected, rtol=1e-12)
    np.testing.assert_allclose(result.activation(x), x + 0.01 * expected, rtol=1e-14)


def test_g_increases_exactly_in_the_stated_range():
    low, high = improve("relu").monotone
    assert low == pytest.approx(-1, abs=1e-6)
    assert high == pytest.approx(LARGEST, abs=1e-5)
    x = np.linspace(0, 6, 6001)
    for eps, increases in ((-0.999, True), (-1.01, False), (LARGEST - 0.001, True), (LARGEST + 0.01, False)):
        assert bool((np.diff(x + eps * u(x)) > 0).all()) == increases


@pytest.mark.parametrize("eps", [-0.9, -0.3, 0.01, 0.5, 1.5])
def test_the_exact_inverse_and_proposition_2(eps):
    result = improve("relu", eps=eps)
    x = np.linspace(0, 6, 601)
    exact = result.exact(x)
    np.testing.assert_allclose(exact + eps * u(exact), x, atol=1e-12)  # g(g^-1(x)) = x
    approximate = result.approximate(x)
    np.testing.assert_allclose(approximate, x - eps * u(x), atol=1e-14)
    miss = np.abs(approximate + eps * u(approximate) - x)
    assert (miss <= eps**2 * np.abs(u(x)) + 1e-15).all()  # pointwise
    assert miss.max() <= result.bound.value + 1e-15
    assert result.bound.proved
    assert result.bound.value <= eps**2 * math.exp(-0.5) * (1 + 1e-6)


def test_the_second_bound_is_the_smaller_one_for_small_eps():
    eps = 0.01
    second = eps**2 * 0.2936 + 0.5 * eps**3 * 1.3801 * math.exp(-1)
    assert improve("relu", eps=eps).bound.value == pytest.approx(second, rel=1e-3)


def test_the_iteration_converges_and_starts_with_the_approximate_inverse():
    eps, x = 0.6, np.linspace(0, 5, 101)
    t = x - eps * u(x)
    np.testing.assert_allclose(t, improve("relu", eps=eps).approximate(x))
    for _ in range(200):
        t = x - eps * u(t)
    np.testing.assert_allclose(t, improve("relu", eps=eps).exact(x), atol=1e-12)


def test_the_exact_and_the_approximate_form_differ_by_second_order():
    x = np.linspace(-3, 3, 121)
    for f in ("x", "tanh(x)", "softplus(x)", "sigmoid", "1 - sigmoid(x)"):
        misses = []
        for eps in (0.02, 0.01):
            result = improve(f, eps=eps)
            misses.append(np.abs(result.exact(x) - result.approximate(x)).max())
        assert misses[0] / misses[1] == pytest.approx(4, rel=0.15), f


@pytest.mark.parametrize("f", ["silu", "gelu", "sin(x)", "x**2*tanh(x)*exp(-abs(x))"])
def test_without_an_inverse_the_fitted_direction_still_moves_j(f):
    result = improve(f)
    assert result.inverse is None
    assert result.bound is None
    assert 0 < result.misfit < 1
    name = next(iter(result.activation.parameters))
    js = [J(Activation("bent", result.activation.expr, ((name, t),))) for t in (-0.01, 0.0, 0.01)]
    assert js[0] < js[1] < js[2]
    assert parse(result.activation.formula) == result.activation.expr
    with pytest.raises(EntropyError, match="no inverse"):
        result.exact(1.0)


def test_samples_give_a_formula_near_that_of_their_density():
    result = improve("relu", density("normal").sample(20_000, 1))
    x = np.linspace(0.2, 2.5, 24)
    assert np.abs(result.direction(x) - u(x)).max() < 0.15
    assert result.activation.parameters == {"eps": 0.01}
    assert result.eta.expression is None


def test_trainable_parameters_of_the_start_stay_trainable():
    result = improve("prelu", eps=0.05)
    assert len(result.activation.parameters) == 2
    assert 0.05 in result.activation.parameters.values()


def test_what_is_wrong_is_said():
    with pytest.raises(EntropyError, match="at its maximum"):
        improve("sigmoid", "logistic")
    with pytest.raises(EntropyError, match=r"choose eps between -1 and 2\.24"):
        improve("relu").exact(1.0, eps=3)
    with pytest.raises(EntropyError, match="eps=nan"):
        improve("relu", eps=math.nan)
    with pytest.raises(NonlinError, match="unknown"):
        improve("rellu")
    with pytest.raises(EntropyError, match="flat"):
        improve("step")


def test_a_jump_of_the_correction_limits_the_range():
    # eta jumps down at 0 for ELU: no positive eps keeps g increasing
    low, high = improve("elu").monotone
    assert high == 0
    assert low == pytest.approx(-math.exp(-0.5), abs=1e-3)
