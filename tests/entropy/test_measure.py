"""H and J: closed forms, invariances, atoms, heavy tails, batches of samples, and speed as ratios."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch

from nonlin.entropy import H, J, batch_entropy, density, entropy, moments, scale_free
from nonlin.entropy.curve import as_curve
from nonlin.errors import DensityError, EntropyError
from nonlin.zoo import activation, names

GAUSSIAN = 0.5 * math.log(2 * math.pi * math.e)


@pytest.mark.parametrize(
    ("f", "p", "exact"),
    [
        ("x", "normal", GAUSSIAN),
        ("3*x - 1", "normal", GAUSSIAN + math.log(3)),
        ("abs(x)", "normal", GAUSSIAN - math.log(2)),
        ("x**2", "normal", 0.7837571104739337),  # chi-squared of one degree
        ("exp(x)", "normal", GAUSSIAN),  # log-normal: H(X) + E[X]
        ("exp(x)", "logistic", 2.0),
        ("log(abs(x))", "cauchy", math.log(2 * math.pi)),  # sech law: H of sech(t)/pi
        ("x", "cauchy", math.log(4 * math.pi)),
        ("x**2", "cauchy", math.log(4 * math.pi)),
        ("sigmoid", "logistic", 0.0),
        ("cos(pi*x)", "uniform", math.log(math.pi / 2)),  # arcsine law
        ("x + floor(x)", "normal", GAUSSIAN),  # jumps do not matter
    ],
)
def test_closed_forms(f, p, exact):
    measured = entropy(f, p)
    assert abs(measured.value - exact) <= measured.error + 1e-9
    assert measured.error < 1e-5


def test_sine_under_a_raised_cosine():
    p = density("(1 + cos(x))/(2*pi)", support=(-math.pi, math.pi))
    assert H("sin(x)", p) == pytest.approx(math.log(math.pi / 2), abs=1e-8)


def test_scaling_and_shifting(densities):
    for name in ("normal", "uniform", "gumbel", "cauchy", "mixture"):
        p = densities[name]
        for f in ("tanh(x)", "x*sigmoid(x)", "sin(x)", "where(x < 0, 0.1*x, x)", "x/(1 + abs(x))"):
            scaled = f"-2.5*({f}) + 3"
            if f == "sin(x)" and name in ("gumbel", "cauchy"):
                continue  # many folds are slow, thousands are estimated from draws, tested apart
            assert H(scaled, p) == pytest.approx(H(f, p) + math.log(2.5), abs=2e-7), (f, name)
            assert H(scaled, p, 0.25) == pytest.approx(H(f, p, 0.1) + math.log(2.5), abs=1e-9), (f, name)
            if name != "cauchy" or f in ("tanh(x)", "x/(1 + abs(x))"):  # the others have no variance there
                assert J(scaled, p) == pytest.approx(J(f, p), abs=1e-9), (f, name)


def test_monotone_functions_have_h_of_x_plus_expected_log_slope(densities):
    for name, p in densities.items():
        plain = H("x", p)
        for f in ("softplus(x)", "where(x < 0, 0.1*x, x)", "asinh(x)", "x + 0.5*sin(x)"):
            if (name == "cauchy" and "sin" in f) or (name in ("cauchy", "student_t") and "plus" in f):
                continue  # endless turns; and log of a slope that has underflowed
            curve = as_curve(f)
            shift = p.expect(curve.log_slope, (0.0,))
            assert H(f, p) == pytest.approx(plain + shift.value, abs=1e-8 + 10 * shift.error), (f, name)


def test_every_catalogue_function_obeys_the_upper_bounds():
    p, bounded = density("normal"), 0
    for name in names():
        assert J(name, p) <= 1e-9, name
        y = activation(name)(np.linspace(-9, 9, 20_001))
        if np.ptp(y) < 2.5:
            assert H(name, p) <= math.log(np.ptp(y)) + 1e-6, name
            bounded += 1
    assert bounded > 15
    assert J("x", p, 0.0) == pytest.approx(0, abs=1e-12)


def test_moments_are_those_of_the_output():
    assert moments("relu") == pytest.approx((1 / math.sqrt(2 * math.pi), 0.5 - 0.5 / math.pi))
    assert moments("x**2", "logistic")[0] == pytest.approx(math.pi**2 / 3)


def test_the_known_table_of_scale_free_entropies():
    table = {
        "x": 0.0, "sigmoid": -0.04, "softplus": -0.14, "elu": -0.14, "tanh": -0.21, "silu": -0.41,
        "where(x < 0, 0.1*x, x)": -0.49, "gelu": -0.55, "relu": -0.68, "step": -1.61,
    }  # fmt: skip
    for f, expected in table.items():
        assert J(f) == pytest.approx(expected, abs=0.0051), f


def test_atoms_are_minus_infinity_without_smoothing_and_finite_with():
    for f in ("relu", "step", "clip(x, -1, 1)", "max(x, 0) + 1", "where(x > 1, x, 0)"):
        assert H(f) == -math.inf, f
        assert math.isfinite(H(f, "normal", 0.05)), f
    assert H("relu", density("uniform", low=1, high=2)) == pytest.approx(0, abs=1e-12)  # its atom is outside


def test_a_step_smoothed_is_two_gaussians():
    sigma = 0.05  # far apart: log 2 and the entropy of the noise
    assert H("step", "normal", sigma) == pytest.approx(math.log(2) + GAUSSIAN + math.log(sigma), abs=1e-12)


def test_a_gaussian_smoothed_is_a_wider_gaussian():
    for sigma in (0.01, 0.3, 2.0):
        assert H("x", "normal", sigma) == pytest.approx(GAUSSIAN + 0.5 * math.log(1 + sigma**2), abs=1e-12)


def test_heavy_tails_are_integrated_or_refused_never_nonsense():
    assert H("tanh", "cauchy") == -math.inf  # E[log f'] diverges
    t3 = entropy("tanh", density("student_t", df=3))
    assert 0 < t3.error < 1e-3
    assert math.isfinite(t3.value)
    noisy = entropy("x", "cauchy", 0.1)
    assert math.log(4 * math.pi) < noisy.value < math.log(4 * math.pi) + 0.01
    with pytest.raises(EntropyError, match="no finite variance"):
        J("x", "cauchy")
    with pytest.raises(EntropyError, match="overflows"):
        H("exp(x)", "cauchy")
    with pytest.raises(EntropyError, match="not defined"):
        H("log(x)", "normal")


def test_thousands_of_folds_are_estimated_from_draws():
    measured = entropy("sin(x)", "cauchy")
    rho = math.exp(-1)  # Cauchy modulo 2·pi is the wrapped Cauchy law, which has three pieces only
    wrapped = density(f"{1 - rho**2}/(2*pi*({1 + rho**2} - {2 * rho}*cos(x)))", support=(-math.pi, math.pi))
    assert measured.method == "spacings"
    assert abs(measured.value - H("sin(x)", wrapped)) < measured.error < 0.02
    assert H("sin(x)", "cauchy", 0.1) == pytest.approx(H("sin(x)", wrapped, 0.1), abs=1e-4)


@pytest.mark.parametrize("f", ["tanh", "gelu", "silu", "softplus", "x**2", "sin(x)", "selu"])
def test_samples_agree_with_the_density(f):
    draw = density("normal").sample(200_000, 3)
    exact, batch = entropy(f), entropy(f, draw)
    assert abs(batch.value - exact.value) < 4 * batch.error + exact.error
    smoothed = entropy(f, draw, 0.1)
    assert abs(smoothed.value - H(f, "normal", 0.1)) < 4 * smoothed.error
    assert J(f, torch.tensor(draw)) == pytest.approx(J(f), abs=0.01)


def test_samples_with_atoms_and_with_rounding():
    draw = torch.randn(100_000, generator=torch.Generator().manual_seed(1))
    for f in ("relu", "step", "clip(x, -1, 1)"):
        assert H(f, draw) == -math.inf, f
        assert J(f, draw) == pytest.approx(J(f), abs=0.02), f
    # float32 rounds neighbours together at SiLU's fold: no atom
    assert H("silu", draw) == pytest.approx(H("silu"), abs=0.01)
    assert math.isfinite(H("silu", draw.half(), 0.05))


def test_a_batch_entropy_is_differentiable_and_its_gradient_is_the_score():
    y = torch.randn(4000, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True)
    value = batch_entropy(y)
    assert value.item() == pytest.approx(GAUSSIAN, abs=0.05)
    value.backward()
    # for N(0, 1) the gradient by y_i is -s(y_i)/n = y_i/n: Gaussian outputs gain by spreading
    slope = float((y.grad * y.detach()).sum())
    assert slope == pytest.approx(1.0, abs=0.05)  # dH/dlog(scale) = 1
    with pytest.raises(EntropyError, match="at least 4"):
        batch_entropy(torch.zeros(2))


def test_error_estimates_cover_the_difference_to_a_finer_measurement():
    for f in ("gelu", "tanh", "x*tanh(softplus(x))", "exp(-x**2)"):
        for sigma in (0.0, 0.1):
            measured = entropy(f, "logistic", sigma)
            assert measured.error < 1e-6, f
            assert str(measured).count("±") == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("relu", "normal", -1.0), EntropyError, "smoothing=-1.0"),
        (("relu", "normal", True), EntropyError, "smoothing=True"),
        (("relu", []), DensityError, "empty"),
        (("relu", [1.0, math.nan]), DensityError, "NaN"),
        (("relu", [1.0, 2.0, 3.0]), DensityError, "at least 4"),
        (("1/x", [0.0, 1.0, 2.0, 3.0]), EntropyError, "not finite at 1"),
        ((3.0, "normal"), EntropyError, "activation is expected"),
        (("x", np.linspace(0, 1e9, 100), 1e-3), EntropyError, "too fine"),
    ],
)
def test_wrong_inputs(arguments, error, message):
    with pytest.raises(error, match=message):
        entropy(*arguments)


def test_a_constant_has_no_scale_free_entropy():
    for p in ("normal", np.linspace(-1, 1, 50)):
        with pytest.raises(EntropyError, match="constant"):
            J("0*x + 2", p)


def test_a_million_samples_cost_a_few_sorts():
    draw = density("normal").sample(1_000_000, 0).astype(np.float32)
    entropy("tanh", draw[:1000])

    def best(function):
        times = []
        for _ in range(3):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
        return min(times)

    reference = best(lambda: (np.sort(draw), np.log(np.abs(draw.astype(np.float64)) + 1)))
    assert best(lambda: entropy("tanh", draw)) < 8 * reference
    assert best(lambda: scale_free("tanh", draw)) < 8 * reference


@pytest.mark.parametrize("formula", ["log(abs(x) + 1e-05)/(1e-05 - x)", "erf(x)/(min(x, 0) + 1e-05)"])
def test_outputs_too_wide_for_a_grid_are_refused(formula):
    with pytest.raises(EntropyError, match="no grid of noise"):
        H(formula, "normal", smoothing=0.1)
