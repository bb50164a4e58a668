"""Densities against scipy.stats, their formulas against their numbers, and every wrong input."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats as stats
import torch

from nonlin.entropy import density
from nonlin.entropy.analytic import evaluator
from nonlin.errors import DensityError, FormulaError, NonlinError, UnknownNameError

REFERENCES = {
    "normal": stats.norm, "logistic": stats.logistic, "laplace": stats.laplace, "uniform": stats.uniform,
    "cauchy": stats.cauchy, "gumbel": stats.gumbel_r, "student_t": stats.t,
}  # fmt: skip
PLACES = [(0.0, 1.0), (0.3, 1.7), (-4.0, 0.05)]
CASES = [
    (family, loc, scale, df)
    for family in REFERENCES
    for loc, scale in PLACES
    for df in ((1, 2, 3, 4, 5.5, 300) if family == "student_t" else (None,))
]


def pair(family, loc, scale, df):
    shape = {} if df is None else {"df": df}
    return density(family, loc=loc, scale=scale, **shape), REFERENCES[family](*shape.values(), loc=loc, scale=scale)


@pytest.mark.parametrize(("family", "loc", "scale", "df"), CASES)
def test_a_family_is_scipys(family, loc, scale, df):
    ours, reference = pair(family, loc, scale, df)
    x = reference.ppf(np.array([1e-8, 1e-3, 0.1, 0.3, 0.5, 0.8, 0.99, 1 - 1e-6]))
    for mine, theirs in (
        (ours.pdf(x), reference.pdf(x)),
        (ours.log_pdf(x), reference.logpdf(x)),
        (ours.cdf(x), reference.cdf(x)),
        (ours.survival(x), reference.sf(x)),
    ):
        np.testing.assert_allclose(mine, theirs, rtol=2e-9, atol=1e-12)
    np.testing.assert_allclose(
        ours.quantile(np.array([0.01, 0.5, 0.999])), reference.ppf([0.01, 0.5, 0.999]), rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(
        ours.variance(), reference.var() if family != "cauchy" and df != 1 else np.inf, rtol=1e-9
    )
    entropy = ours.expect(lambda x: -ours.log_pdf(x))
    assert entropy.value == pytest.approx(float(reference.entropy()), abs=1e-8)


@pytest.mark.parametrize("name", ["normal-moved", "logistic", "laplace", "student_t", "gumbel", "cauchy", "mixture"])
def test_formulas_are_the_numbers(densities, name):
    p = densities[name]
    x = p.quantile(np.linspace(0.003, 0.997, 101))
    for formula, values in (
        (p.formulas.pdf, p.pdf),
        (p.formulas.log_pdf, p.log_pdf),
        (p.formulas.score, p.score),
        (p.formulas.cdf, p.cdf),
        (p.formulas.survival, p.survival),
    ):
        if formula is not None:
            np.testing.assert_allclose(evaluator(formula)(x), values(x), rtol=1e-10, atol=1e-13)
    if name != "mixture":
        assert evaluator(p.formulas.kernel)(p.quantile(np.linspace(0.001, 0.999, 4001))).max() == pytest.approx(
            1, abs=1e-4
        )


def test_every_density_integrates_to_one_and_its_score_to_zero(densities):
    for name, p in densities.items():
        assert p.expect(np.ones_like).value == pytest.approx(1, abs=1e-12), name
        if name not in ("uniform",):
            assert p.expect(p.score).value == pytest.approx(0, abs=1e-9), name


def test_the_score_is_the_slope_of_the_log_density(densities):
    for name, p in densities.items():
        x = p.quantile(np.linspace(0.02, 0.98, 41)) + 1e-3
        step = 1e-5
        slope = (p.log_pdf(x + step) - p.log_pdf(x - step)) / (2 * step)
        np.testing.assert_allclose(p.score(x), slope, rtol=1e-6, atol=1e-7, err_msg=name)


def test_quantile_inverts_the_distribution_function(densities):
    u = np.array([1e-12, 1e-4, 0.2, 0.5, 0.9, 0.99999])
    for name, p in densities.items():
        np.testing.assert_allclose(p.cdf(p.quantile(u)), u, rtol=1e-8, atol=1e-15, err_msg=name)
    assert densities["normal"].quantile(1.0) == np.inf
    assert densities["uniform"].quantile(0.0) == -2.0


def test_types_and_shapes_are_kept():
    p = density("logistic")
    assert isinstance(p.pdf(0.0), float)
    assert p.pdf(np.zeros((2, 3), dtype=np.float32)).dtype == np.float32
    values = torch.zeros(2, 3, requires_grad=True)
    out = p.log_pdf(values)
    assert out.shape == (2, 3)
    out.sum().backward()
    np.testing.assert_allclose(values.grad, p.score(values.detach()), atol=1e-7)
    assert density("uniform").pdf(torch.tensor([-1.0, 0.5, 2.0])).tolist() == [0.0, 1.0, 0.0]
    assert np.isnan(p.pdf(np.nan))


def test_a_sample_follows_its_density_and_its_generator(densities):
    for name, p in densities.items():
        draw = p.sample(2000, np.random.default_rng(5))
        assert stats.kstest(draw, p.cdf).pvalue > 1e-3, name
        assert np.array_equal(draw, p.sample(2000, np.random.default_rng(5)))
    tensor = density("normal").sample((3, 4), torch.Generator().manual_seed(0))
    assert tensor.shape == (3, 4)
    assert torch.equal(tensor, density("normal").sample((3, 4), torch.Generator().manual_seed(0)))


def test_a_users_density_by_formula_and_by_function():
    pi = np.pi
    cosine = density("(1 + cos(x))/(2*pi)", support=(-pi, pi))
    assert cosine.cdf(0.0) == pytest.approx(0.5, abs=1e-13)
    assert cosine.pdf(4.0) == 0.0
    assert cosine.score(1.0) == pytest.approx(-np.sin(1) / (1 + np.cos(1)))
    normal = density(lambda x: np.exp(-x * x / 2) / np.sqrt(2 * pi))
    assert normal.quantile(0.975) == pytest.approx(stats.norm.ppf(0.975), abs=1e-9)
    assert normal.score(1.5) == pytest.approx(-1.5, abs=1e-8)
    scalar = density(lambda x: 2.0 if 0 <= x <= 0.5 else 0.0, support=(0, 0.5))
    assert scalar.mean() == pytest.approx(0.25, abs=1e-9)


def test_a_density_of_samples_is_smooth_and_close():
    draw = np.random.default_rng(0).normal(size=50_000)
    p = density(draw)
    x = np.linspace(-2.5, 2.5, 51)
    assert np.abs(p.pdf(x) - stats.norm.pdf(x)).max() < 0.015
    assert np.abs(p.cdf(x) - stats.norm.cdf(x)).max() < 0.01
    assert p.expect(np.ones_like).value == pytest.approx(1, abs=1e-9)
    step = 1e-5
    slope = (p.log_pdf(x + step) - p.log_pdf(x - step)) / (2 * step)
    np.testing.assert_allclose(p.score(x), slope, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(p.cdf(p.quantile(np.array([0.01, 0.5, 0.99]))), [0.01, 0.5, 0.99], rtol=1e-9)
    assert np.isfinite(p.log_pdf(50.0))  # far beyond the samples
    assert p.score(50.0) < 0


def test_two_modes_keep_their_width_with_botevs_bandwidth():
    random = np.random.default_rng(1)
    draw = np.concatenate([random.normal(0, 0.1, 2000), random.normal(5, 0.1, 2000)])
    assert density(draw).parameters["bandwidth"] < 0.05
    assert density(draw, bandwidth="silverman").parameters["bandwidth"] > 0.2
    assert density(draw, bandwidth=0.3).parameters["bandwidth"] == 0.3
    tensor = density(torch.tensor(draw, dtype=torch.float32).reshape(40, 100))
    assert tensor.parameters["count"] == 4000


@pytest.mark.parametrize(
    ("source", "parameters", "error", "message"),
    [
        ("norml", {}, UnknownNameError, "Did you mean 'normal'"),
        ("normal", {"df": 3}, DensityError, "no parameter 'df'"),
        ("normal", {"scale": -1}, DensityError, "scale=-1 must be above 0"),
        ("normal", {"loc": float("nan")}, DensityError, "not a finite number"),
        ("student_t", {}, DensityError, "degrees of freedom"),
        ("uniform", {"low": 1, "high": 0}, DensityError, "low < high"),
        ("mixture", {}, DensityError, "needs 'weights'"),
        ("mixture", {"weights": [0.5, 0.6], "locs": [0, 1], "scales": [1, 1]}, DensityError, "add up to 1.1"),
        ("mixture", {"weights": [1.0], "locs": [0, 1], "scales": [1, 1]}, DensityError, "2 locs"),
        ("exp(-x**2)", {}, DensityError, "integrates to 1.77245"),
        ("a*exp(-x**2)", {}, DensityError, "free name 'a'"),
        ("x", {"support": (-1, 1)}, DensityError, "negative"),
        ("1/(", {}, FormulaError, "never closed"),
        ([], {}, DensityError, "empty"),
        ([1.0, float("nan")], {}, DensityError, "1 of 2 samples"),
        ([2.0, 2.0, 2.0], {}, DensityError, "all 3 samples equal 2"),
        (torch.zeros(0), {}, DensityError, "empty"),
        ([[1.0], [2.0]], {"bandwidth": -1}, DensityError, "bandwidth=-1"),
        ([1.0, 2.0], {"bandwidth": "scott"}, DensityError, "'botev', 'silverman'"),
        ({"a": 1}, {}, DensityError, "real numbers"),
        (np.cos, {"support": (1, 0)}, DensityError, "low < high"),
    ],
)  # fmt: skip
def test_wrong_inputs_say_what_was_wrong(source, parameters, error, message):
    with pytest.raises(error, match=message) as caught:
        density(source, **parameters)
    assert isinstance(caught.value, NonlinError)


def test_the_normal_quantile_is_exact_in_both_tails_and_in_the_middle():
    from mpmath import mp, mpf

    from nonlin.entropy.families import normal_quantile

    given = np.concatenate(
        [np.logspace(-300, -1, 41), np.linspace(0.01, 0.99, 34), [0.5 + 1e-10, 0.5 - 1e-12, 1 - 1e-16]]
    )
    with mp.workdps(40):
        # at the very numbers found, a Newton step of the true function says how far the true quantile is
        for u, x in zip(given, normal_quantile(given), strict=True):
            missing = (mp.ncdf(mpf(x)) - mpf(u)) / mp.npdf(mpf(x))
            assert abs(missing) <= 4e-16 * abs(x), u
    assert normal_quantile(np.array([0.0, 0.5, 1.0])).tolist() == [-np.inf, 0, np.inf]
