"""Corrections: their formulas against their numbers, the three metrics against each other, wrong inputs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nonlin.entropy import correction, density, worst
from nonlin.entropy.analytic import evaluator
from nonlin.entropy.curve import as_curve
from nonlin.entropy.invert import invert, on_branch
from nonlin.entropy.pushforward import pushforward
from nonlin.errors import EntropyError
from nonlin.expr import parse, to_text
from nonlin.expr.identity import same_function
from nonlin.zoo import activation, names

MONOTONE = ["relu", "leaky_relu", "elu", "softplus", "sigmoid", "tanh", "exp(x)", "asinh(x)", "x", "1 - 2*x"]


def test_relu_under_a_standard_normal():
    c = correction("relu", "normal")
    assert same_function(c.shape, parse("-x*exp(-x**2/2)"))
    assert c.domain == (0.0, math.inf)
    x = np.linspace(0.1, 4, 40)
    ratio = evaluator(c.expression)(x) / (x * np.exp(-x * x / 2))
    np.testing.assert_allclose(ratio, -1 / math.sqrt(2 * math.pi), rtol=1e-14)
    np.testing.assert_allclose(c(x), evaluator(c.expression)(x), rtol=1e-14)
    assert (c(-x) == 0).all()  # flat there
    assert same_function(correction("relu", "normal", "inverse").shape, parse("x*exp(-x**2/2)"))


def test_relu_under_a_general_normal():
    shape = correction("relu", density("normal", loc=1.5, scale=0.5), "inverse").shape
    x = np.linspace(0.1, 3, 30)
    np.testing.assert_allclose(evaluator(shape)(x), (x - 1.5) / 0.25 * np.exp(-((x - 1.5) ** 2) / 0.5), rtol=1e-12)


@pytest.mark.parametrize(
    ("family", "bounds"),
    [
        ("logistic", (0, 1)), ("logistic", (-1, 1)), ("normal", (0, 1)), ("normal", (-2, 5)),
        ("cauchy", (-1, 1)), ("laplace", (0, 1)), ("gumbel", (0, 1)), ("uniform", (0, 3)),
    ],
)  # fmt: skip
def test_the_worst_activation_needs_no_correction(family, bounds):
    p = density(family)
    f = worst(p, *bounds)
    x = p.quantile(np.linspace(0.01, 0.99, 99))
    for metric, points in (("forward", x), ("inverse", f(x))):
        c = correction(f, p, metric)
        size = np.abs(p.pdf(x) * p.score(x)).max()
        assert np.abs(c(points)).max() <= 1e-12 * (1 + size), metric


@pytest.mark.parametrize("p", ["normal", "logistic", "gumbel", "cauchy"])
@pytest.mark.parametrize("f", MONOTONE)
def test_the_forward_form_is_the_inverse_form_seen_in_f(f, p):
    source = density(p)
    if (f, p) == ("exp(x)", "cauchy"):
        pytest.skip("exp overflows under Cauchy")
    forward, inverse = correction(f, source), correction(f, source, "inverse")
    x = source.quantile(np.linspace(0.03, 0.97, 60))
    curve = as_curve(f)
    x = x[curve.slope(x) != 0]
    slope = curve.slope(x)
    y = curve.value(x)
    np.testing.assert_allclose(-slope * inverse(y), forward(x), rtol=1e-6, atol=1e-11)
    for c, points in ((forward, x), (inverse, y)):
        if c.expression is not None:
            values = c.as_activation()(points)
            np.testing.assert_allclose(values, c(points), rtol=1e-6, atol=1e-11)
            assert parse(to_text(c.expression)) == c.expression  # usable as a formula again
    assert forward.expression is not None


def test_the_forward_form_is_the_score_of_the_output(densities):
    for name, p in densities.items():
        x = p.quantile(np.linspace(0.05, 0.95, 31))
        for f in ("softplus(x)", "x + 0.3*sin(x)"):
            exact = pushforward(as_curve(f), p)
            expected = as_curve(f).slope(x) * p.pdf(x) * exact.score(x)
            np.testing.assert_allclose(correction(f, p, smoothing=0)(x), expected, rtol=1e-9, atol=1e-12, err_msg=name)


def test_the_score_of_a_folded_output():
    p = density("(1 + cos(x))/(2*pi)", support=(-math.pi, math.pi))
    x = np.array([-2.5, -0.7, 0.3, 1.0, 2.9])
    y = np.sin(x)
    np.testing.assert_allclose(pushforward(as_curve("sin(x)"), p).score(x), y / (1 - y * y), rtol=1e-10)


def test_closed_forms_of_the_log_slope():
    # s_q o f = (s_p - (log f')')/f' with the derivatives that theory.md lists
    x = np.linspace(-3, 3, 25)
    x = x[np.abs(x) > 0.01]
    s = 1 / (1 + np.exp(-x))
    forms = {"softplus": 1 - s, "sigmoid": -np.tanh(x / 2), "tanh": -2 * np.tanh(x)}
    for f, log_slope in forms.items():
        curve = as_curve(f)
        expected = (-x - log_slope) / curve.slope(x)
        np.testing.assert_allclose(pushforward(curve, density("normal")).score(x), expected, rtol=1e-9)


def test_every_correction_of_the_catalogue_lowers_entropy():
    p = density("normal")
    for name in names():
        if name == "step":
            continue
        c = correction(name, p, "forward", smoothing=0.1)
        assert c.slope() <= 1e-12, name
        assert np.isfinite(c(np.linspace(-5, 5, 101))).all(), name


def test_smoothing_is_used_exactly_where_the_exact_form_does_not_exist():
    assert correction("silu").sigma > 0  # folds
    assert correction("relu").sigma == 0  # forward: f' = 0 on the atom
    for f in ("relu", "leaky_relu", "sin(x)", "floor(x)", "clip(x, -1, 1)"):
        assert correction(f, "normal", "scale-free").sigma > 0, f
    assert correction("sigmoid", "logistic", "scale-free").sigma > 0  # edges
    assert correction("tanh", "normal", "scale-free").sigma == 0
    assert correction("silu").expression is None


def test_samples_give_numbers_near_the_density():
    draw = density("normal").sample(20_000, 0)
    x = np.array([0.3, 1.0, 2.0])
    np.testing.assert_allclose(correction("relu", draw)(x), correction("relu")(x), atol=0.05)


def test_types_are_kept_and_formulas_shown():
    c = correction("relu")
    assert isinstance(c(0.5), float)
    assert c(torch.ones(2, 3)).shape == (2, 3)
    assert c.formula == "-x*phi(x)"
    assert c.latex() == r"-x \, \varphi\left(x\right)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("silu", "normal", "inverse"), "not monotone.*metric='forward'"),
        (("relu", "normal", "sideways"), "'forward', 'inverse' or 'scale-free'"),
        (("silu", "normal", "forward", 0.0), "folds"),
        (("relu", "normal", "inverse", 0.1), "no smoothed form"),
        (("relu", "normal", "forward", -1.0), "0 or above"),
        (("step", "normal"), "flat"),
        (("0*x + 1", "normal", "scale-free"), "constant"),
        (("x", "cauchy", "scale-free"), "no finite variance"),
    ],
)
def test_wrong_inputs(arguments, message):
    with pytest.raises(EntropyError, match=message):
        correction(*arguments)


def test_a_correction_without_a_formula_says_so():
    with pytest.raises(EntropyError, match="has no formula"):
        correction("silu").as_activation()
    with pytest.raises(EntropyError, match="metric='forward'"):
        correction("relu", "normal", "inverse").slope()


@pytest.mark.parametrize(
    ("formula", "point"),
    [
        ("3*x - 2", 0.3), ("exp(2*x)", 0.1), ("tanh(x/2) + 1", 0.5), ("softplus(x)", -1.0),
        ("log1p(exp(x))", 0.2), ("1/(1 + exp(-x))", 0.7), ("asinh(x)", 2.0), ("x**2", 1.5),
        ("x**2", -1.5), ("2/x", 0.4), ("atan(x)", 1.0), ("where(x < 0, 0.1*x, x)", -2.0),
        ("relu(x)", 1.0), ("abs(x)", -1.0), ("max(x, 0.5*x)", -1.0), ("clip(x, -1, 1)", 0.2),
    ],
)  # fmt: skip
def test_symbolic_inverses(formula, point):
    branch = on_branch(parse(formula), point)
    inverse = invert(branch, point)
    assert inverse is not None
    y = evaluator(parse(formula))(np.array([point]))
    assert evaluator(inverse)(y)[0] == pytest.approx(point, rel=1e-12)


def test_what_cannot_be_inverted_in_the_language_is_none():
    assert invert(parse("x*exp(x)")) is None
    assert invert(parse("erf(x)")) is None


def test_pieces_of_the_catalogue_cover_the_mass():
    p = density("normal")
    for name in names():
        exact = pushforward(as_curve(name), p)
        if exact.pieces is None:
            continue
        assert sum(piece.mass for piece in exact.pieces) == pytest.approx(1, abs=1e-9), name
        x = p.quantile(np.array([0.013, 0.37, 0.61, 0.93]))
        y = activation(name)(x)
        for piece in exact.moving:
            here = (y > piece.range[0]) & (y < piece.range[1])
            found = activation(name)(piece.inverse(y[here], exact.curve))
            np.testing.assert_allclose(found, y[here], rtol=1e-9, atol=1e-12, err_msg=name)
