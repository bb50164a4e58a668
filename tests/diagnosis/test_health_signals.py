"""The health card's moments, gains and maps of signals: closed forms, the published table, deep networks."""

import math

import numpy as np
import pytest
import torch
from scipy.special import erfc

import nonlin as nl
from nonlin.diagnosis.landscape import survey
from nonlin.diagnosis.signals import Signals


def normal_cdf(x):
    return 0.5 * erfc(-x / math.sqrt(2))


def test_relu_is_all_closed_forms(card):
    relu = card("relu")
    assert relu.second_moment == pytest.approx(0.5, rel=1e-12)
    assert relu.mean == pytest.approx(1 / math.sqrt(2 * math.pi), rel=1e-12)
    assert (relu.edge.sigma_w, relu.edge.sigma_b) == (pytest.approx(math.sqrt(2), rel=1e-12), 0.0)
    assert relu.every_variance_fixed
    assert (relu.phase, relu.chi, relu.depth_scale) == ("critical", pytest.approx(1.0), None)
    assert (relu.lipschitz, relu.lower, relu.lower_at, relu.bounded_above) == (1.0, 0.0, 0.0, False)
    assert relu.max_curvature is None
    assert relu.zero_share == relu.dead_share == pytest.approx(0.5, rel=1e-12)
    assert relu.zero_intervals == relu.dead == ((-math.inf, 0.0),)
    assert [(b.x, b.order, b.size) for b in relu.breaks] == [(0.0, 1, pytest.approx(1.0))]
    assert (relu.smoothness, relu.monotone, relu.transcendentals) == ("C0", "increasing", 0)
    assert relu.float16.largest_error == relu.bfloat16.largest_error == 0.0


def test_correlation_map_of_relu_is_the_arc_cosine_kernel(card):
    c, mapped = np.array(card("relu").correlation_map).T  # Cho & Saul 2009, degree 1
    exact = (np.sqrt(1 - c * c) + c * (math.pi - np.arccos(c))) / math.pi
    assert np.abs(mapped - exact).max() < 2e-7


def test_correlation_map_of_a_step_is_the_arc_cosine_kernel_of_degree_0(card):
    c, mapped = np.array(card("step").correlation_map).T
    exact = 1 - np.arccos(c) / math.pi
    assert np.abs(mapped - exact)[c <= 0.8].max() < 1e-9
    assert np.abs(mapped - exact).max() < 3e-3  # a jump's series converges slowly near 1


def test_correlation_map_of_erf():
    signals = Signals(survey(nl.activation("erf(x)")))
    c, q = np.linspace(0, 1, 11), 0.7
    exact = 2 / math.pi * np.arcsin(2 * q * c / (1 + 2 * q)) * 1.3**2 / q  # Williams 1997
    assert signals.correlation_map(c, q, 1.3, 0.0) == pytest.approx(exact, abs=1e-12)


EDGES = {  # (sigma_b, sigma_w) at q = 1
    "tanh": (0.3885, 1.4674), "silu": (0.2499, 1.6233), "gelu": (0.2592, 1.4811), "mish": (0.2363, 1.4448),
    "erf": (0.4291, 1.3252), "relu": (0.0, math.sqrt(2)),
}  # fmt: skip


@pytest.mark.parametrize("name", EDGES)
def test_edge_of_chaos(card, name):
    edge = card(name).edge
    assert (edge.sigma_b, edge.sigma_w) == pytest.approx(EDGES[name], abs=6e-5)


def test_edge_of_chaos_of_elu_in_closed_form(card):
    # E[exp(kz); z < 0] = exp(k²/2)·Φ(-k)
    one, two = math.exp(0.5) * normal_cdf(-1), math.exp(2) * normal_cdf(-2)
    slope, second = 0.5 + two, 0.5 + two - 2 * one + 0.5
    edge = card("elu").edge
    assert edge.sigma_w == pytest.approx(1 / math.sqrt(slope), rel=1e-10)
    assert edge.sigma_b == pytest.approx(math.sqrt(1 - second / slope), rel=1e-10)


def test_edge_of_chaos_at_another_variance():
    edge = nl.health("exp(x)", q=0.25).edge  # E[f²] = E[f'²] = exp(2q), so sigma_b² = q - 1 < 0
    assert (edge.sigma_w, edge.sigma_b) == (None, None)
    assert "-0.75" in edge.reason
    erf_edge = nl.health("erf(x)", q=2.0).edge
    slope = 4 / (math.pi * math.sqrt(1 + 4 * 2.0))
    second = 2 / math.pi * math.asin(2 * 2.0 / (1 + 2 * 2.0))
    assert erf_edge.sigma_w == pytest.approx(slope**-0.5, rel=1e-10)
    assert erf_edge.sigma_b == pytest.approx(math.sqrt(2 - second / slope), rel=1e-9)


GAINS = {  # 1/sqrt E[f²], 1/std
    "gelu": (1.53353, 1.70093), "silu": (1.67653, 1.78719), "mish": (1.48685, 1.59203), "elu": (1.24520, 1.27084),
    "tanhexp": (1.37478, 1.47381), "serf": (1.41221, 1.50881), "logish": (2.26767, 2.39108),
    "smish": (2.51295, 2.63577), "gish": (2.00213, 2.12207), "golu": (1.76878, 1.98957), "relu2": (0.81650, 0.89443),
    "hard_swish": (1.73666, 1.81387), "sigmoid": (1.84623, 4.80131), "softplus": (1.04187, 1.91913),
    "crrelu": (1.40921, 1.70400), "xielu": (0.75908, 0.82866), "tanh": (1.59254, 1.59254), "sin": (1.52087, 1.52087),
}  # fmt: skip


@pytest.mark.parametrize("name", GAINS)
def test_gains(name):
    signals = Signals(survey(nl.activation(name)))
    mean, second = signals.moments()
    assert (second**-0.5, (second - mean**2) ** -0.5) == pytest.approx(GAINS[name], abs=6e-6)


def test_fixed_points_of_exp(card):
    # V(q) = exp(2q - 2): q = 1 with slope 2, and q = -W(-2/e²)/2 with slope 2q
    points = card("exp(x)").fixed_points
    assert [p.stable for p in points] == [True, False]
    assert math.exp(2 * points[0].q - 2) == pytest.approx(points[0].q, rel=1e-9)
    assert [p.slope for p in points] == pytest.approx([2 * points[0].q, 2.0], rel=1e-5)


def test_fixed_point_at_zero(card):
    zero = card("tanh").fixed_points[0]
    assert (zero.q, zero.stable) == (0.0, False)
    assert zero.slope == pytest.approx(card("tanh").sigma_w ** 2)  # f'(0) = 1
    assert card("gelu").fixed_points[0].stable


def test_phases(card):
    erf_card = card("erf")
    sigma_w, q = erf_card.sigma_w, 1.0
    chi = sigma_w**2 * 4 / (math.pi * math.sqrt(1 + 4 * q))
    assert erf_card.chi == pytest.approx(chi, rel=1e-9)
    assert erf_card.phase == "chaotic"
    assert erf_card.depth_scale == pytest.approx(1 / math.log(chi), rel=1e-9)
    ordered = nl.health("tanh", sigma_w=0.9, sigma_b=0.3)
    assert ordered.phase == "ordered"
    assert ordered.correlation_limit == 1.0
    assert ordered.fixed_points[0].stable


def test_edge_is_critical(card):
    edge = card("gelu").edge
    at_edge = nl.health("gelu", sigma_w=edge.sigma_w, sigma_b=edge.sigma_b)
    assert any(p.q == pytest.approx(1.0, rel=1e-9) and p.chi == pytest.approx(1.0) for p in at_edge.fixed_points)


def test_deep_network_agrees_with_the_theory(card):
    """A random network of width 1500: variance and correlation of two inputs after 5 layers."""
    tanh = nl.health("tanh", sigma_w=1.5, sigma_b=0.4)
    generator = torch.Generator().manual_seed(0)
    width, c, q = 1500, 0.3, 0.8
    noise = torch.randn(2, width, generator=generator, dtype=torch.float64)
    h = math.sqrt(q) * torch.stack([noise[0], c * noise[0] + math.sqrt(1 - c * c) * noise[1]])
    signals = Signals(survey(nl.activation("tanh")))
    for _ in range(5):
        weights = torch.randn(width, width, generator=generator, dtype=torch.float64) * 1.5 / math.sqrt(width)
        h = torch.tanh(h) @ weights.T + 0.4 * torch.randn(width, generator=generator, dtype=torch.float64)
        q = signals.variance_map(q, 1.5, 0.4)
    assert float((h * h).mean()) == pytest.approx(q, rel=0.05)
    limit = tanh.correlation_limit
    mapped = float(signals.correlation_map(np.array([limit]), tanh.fixed_points[0].q, 1.5, 0.4)[0])
    assert mapped == pytest.approx(limit, abs=1e-4)


def test_selu_is_self_normalising(card):
    found = card("selu").normalisation
    assert (found.mean, found.variance) == pytest.approx((0.0, 1.0), abs=1e-9)
    assert found.radius == pytest.approx(0.782648, abs=1e-6)  # Klambauer et al. 2017, section 2
    assert found.mean_slope == pytest.approx(0.088834, abs=1e-6)
    assert found.self_normalising


COMMON = ("relu", "leaky_relu", "prelu", "elu", "celu", "gelu", "silu", "mish", "tanh", "sigmoid", "softplus",
          "softsign", "hard_swish", "hard_tanh", "relu6", "linear", "sin", "crrelu", "star_relu")  # fmt: skip


@pytest.mark.parametrize("name", COMMON)
def test_nothing_common_else_is(name):
    found = Signals(survey(nl.activation(name))).normalisation()
    assert found is None or not found.self_normalising
