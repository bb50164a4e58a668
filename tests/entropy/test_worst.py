"""Worst activations: their names, their entropy at the maximum, both kinds, and wrong bounds."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch

from nonlin.entropy import H, J, NumericActivation, density, entropy, worst
from nonlin.errors import EntropyError
from nonlin.zoo import Activation, activation


@pytest.mark.parametrize(
    ("p", "bounds", "name"),
    [
        (("logistic", {}), (0, 1), "sigmoid"),
        (("logistic", {"scale": 0.5}), (-1, 1), "tanh"),  # density sech²/2
        (("uniform", {"low": -1, "high": 1}), (-1, 1), "hard_tanh"),
    ],
)
def test_known_activations_are_named(p, bounds, name):
    found = worst(density(p[0], **p[1]), *bounds)
    assert isinstance(found, Activation)
    assert found.name == name
    assert found.same_as(name)


@pytest.mark.parametrize(
    ("p", "bounds", "formula"),
    [
        (("normal", {}), (0, 1), "Phi(x)"),
        (("normal", {}), (-1, 1), "erf(x/sqrt(2))"),
        (("cauchy", {}), (0, 1), "0.5 + atan(x)/pi"),
        (("uniform", {}), (0, 1), "clip(x, 0, 1)"),
        (("laplace", {}), (0, 1), "where(x < 0, exp(x)/2, 1 - exp(-x)/2)"),
        (("gumbel", {}), (0, 1), "exp(-exp(-x))"),
        (("student_t", {"df": 2}), (-1, 1), "x/sqrt(2 + x**2)"),
        (("normal", {"loc": 1, "scale": 2}), (-3, 5), "-3 + 8*Phi((x - 1)/2)"),
    ],
)
def test_symbolic_worst_activations(p, bounds, formula):
    assert worst(density(p[0], **p[1]), *bounds).same_as(formula)


@pytest.mark.parametrize("bounds", [(0, 1), (-1, 1), (-3, 0.5)])
def test_the_range_version_has_the_entropy_of_the_uniform(densities, bounds):
    for name, p in densities.items():
        measured = entropy(worst(p, *bounds), p)
        assert abs(measured.value - math.log(bounds[1] - bounds[0])) <= measured.error + 1e-7, name


def test_no_other_bounded_function_has_more():
    p = density("normal")
    best = H(worst(p, -1, 1), p)
    for f in ("tanh", "sin(x)", "x/(1 + abs(x))", "erf(x)", "2/pi*atan(x)"):
        assert H(f, p) < best


@pytest.mark.parametrize(
    "p",
    [
        density("student_t", df=7),
        density("normal").sample(3000, 0),
        density("(1 + cos(x))/(2*pi)", support=(-math.pi, math.pi)),
    ],
    ids=["student_t", "samples", "formula"],
)
def test_outside_the_language_it_is_a_monotone_spline(p):
    source = density(p)
    f = worst(source, -1, 3)
    assert isinstance(f, NumericActivation)
    x = source.quantile(np.linspace(0.001, 0.999, 501))
    np.testing.assert_allclose(f(x), -1 + 4 * source.cdf(x), atol=1e-7)
    np.testing.assert_allclose(f.derivative()(x), 4 * source.pdf(x), atol=1e-4)
    wide = np.linspace(-200, 200, 4001)
    assert (np.diff(f(wide)) >= 0).all()
    assert f(-1e9) == pytest.approx(-1, abs=1e-9)
    assert f(1e9) == pytest.approx(3, abs=1e-9)
    assert entropy(f, source).value == pytest.approx(math.log(4), abs=1e-5)


def test_a_numeric_activation_is_called_like_any_other():
    f = worst(density("student_t", df=7))
    assert isinstance(f(0.3), float)
    assert f(np.zeros((2, 3), dtype=np.float32)).dtype == np.float32
    x = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    f(x).sum().backward()
    np.testing.assert_allclose(x.grad, f.derivative()(x.detach()), atol=1e-12)
    module = f.module()
    assert module(torch.zeros(2, 3)).shape == (2, 3)
    assert "spline" in repr(module)
    assert pickle.loads(pickle.dumps(f))(0.3) == f(0.3)
    assert f.parameters == {}
    with pytest.raises(EntropyError, match="increasing"):
        NumericActivation("bad", [1, 0], [0, 1], [0, 0])


def test_the_variance_version_makes_the_output_gaussian(densities):
    assert worst("normal", fixed="variance").name == activation("x").name or worst("normal", fixed="variance").same_as(
        "x"
    )
    assert worst(density("normal", loc=1, scale=2), fixed="variance").same_as("x/2 - 0.5")
    for name in ("logistic", "gumbel", "student_t", "mixture"):
        p = densities[name]
        f = worst(p, fixed="variance")
        assert J(f, p) == pytest.approx(0, abs=1e-7), name
        assert J("x", p) < -0.001, name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 1, "high": 0}, "did you mean low=0, high=1"),
        ({"low": 1, "high": 1}, "constant"),
        ({"low": math.nan}, "finite"),
        ({"high": math.inf}, "finite"),
        ({"fixed": "mean"}, "'range' or 'variance'"),
    ],
)
def test_wrong_bounds(options, message):
    with pytest.raises(EntropyError, match=message):
        worst("normal", **options)
