"""The health card against closed forms, the published table, finite precision, and every catalogue entry."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.special import erf, erfc

import nonlin as nl
from nonlin.diagnosis.cost import transcendentals
from nonlin.diagnosis.landscape import survey
from nonlin.diagnosis.shape import shape
from nonlin.diagnosis.signals import Signals
from nonlin.errors import NonlinError
from nonlin.expr import parse

ODD_ONES = (
    "1", "0", "3*x - 2", "step", "exp(x)", "1/x", "log(abs(x))", "log(x)", "sqrt(x)", "sin", "tan(x)", "floor(x)",
    "x**2", "x**3", "exp(x**2)", "atanh(x)", "1/(x - 0.3)**2", "sign(x)", "sqrt(abs(x))", "x*sin(x)", "abs(x)",
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def card():
    """Cards by name, each made once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = nl.health(name)
        return made[name]

    return get


def normal_cdf(x):
    return 0.5 * erfc(-x / math.sqrt(2))


# Moments and signals


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


# Shape


def test_lipschitz_bounds(card):
    assert card("tanh").lipschitz == pytest.approx(1.0)
    assert card("tanh").lipschitz_at == 0.0
    assert card("gelu").lipschitz == pytest.approx(
        0.5 + 0.5 * erf(1) + math.sqrt(2) * math.exp(-1) / math.sqrt(2 * math.pi)
    )
    assert card("gelu").lipschitz_at == pytest.approx(math.sqrt(2), abs=1e-6)
    assert (card("softplus").lipschitz, card("softplus").lipschitz_at) == (1.0, None)
    assert card("selu").lipschitz == pytest.approx(1.7580993408473766)
    assert (card("step").lipschitz, card("step").lipschitz_at) == (None, 0.0)
    assert (card("x**2").lipschitz, card("x**2").lipschitz_at) == (None, None)
    assert card("tanh").max_curvature == pytest.approx(4 / (3 * math.sqrt(3)))
    assert card("siren").lipschitz == pytest.approx(30.0)


def test_bounds(card):
    gelu = card("gelu")
    assert gelu.lower == pytest.approx(-0.16997120747990369, rel=1e-12)
    assert gelu.lower_at == pytest.approx(-0.7517915246935645, abs=1e-9)
    assert (card("tanh").lower, card("tanh").lower_at, card("tanh").upper) == (-1.0, None, 1.0)
    assert (card("hard_tanh").lower, card("hard_tanh").lower_at) == (-1.0, -1.0)
    assert (card("silu").lower, card("silu").turns[0]) == pytest.approx((-0.2784645427610738, -1.2784645427610738))
    atan = card("atan(x)")
    assert (atan.upper, atan.right.limit) == pytest.approx((math.pi / 2, math.pi / 2), abs=1e-9)
    assert (card("sin").lower, card("sin").upper, card("sin").right.kind) == (-1.0, 1.0, "oscillates")


def test_zeros(card):
    assert card("cos(x) - x").zeros == pytest.approx((0.7390851332151607,))
    assert card("x**2 - 2*x + 1").zeros == pytest.approx((1.0,), abs=1e-7)
    assert card("(x - 1)*(x + 2)*x").zeros == pytest.approx((-2.0, 0.0, 1.0), abs=1e-12)
    assert card("leaky_relu").zeros == card("gelu").zeros == (0.0,)
    assert card("gelu").zero_intervals == ()  # underflow is no zero
    assert card("1/x").zeros == card("exp(x)").zeros == ()
    sine = card("sin")
    assert sine.countless_zeros
    assert sine.zeros == pytest.approx([k * math.pi for k in range(-3, 4)])


BREAKS = {
    "elu": ("C1", 2, 0.0), "hard_swish": ("C0", 1, 3.0), "abs(x)**3": ("C2", 3, 0.0), "gelu": ("smooth", None, None),
    "step": ("discontinuous", 0, 0.0), "max(x, sin(x))": ("C2", 3, 0.0), "sqrt((x - 1/3)**2)": ("C0", 1, 1 / 3),
    "1/(x - 0.3)**2": ("discontinuous", 0, 0.3), "smu": ("smooth", None, None), "selu": ("C0", 1, 0.0),
    "where(x < -1, -x*atan(1/x), x*(atan(x) + pi/2))": ("smooth", None, None),  # two formulas of one function
}  # fmt: skip


@pytest.mark.parametrize("formula", BREAKS)
def test_smoothness(formula):
    land = survey(nl.activation(formula))
    kind, order, x = BREAKS[formula]
    assert land.smoothness == kind
    if order is not None:
        assert any(b.order == order and b.x == pytest.approx(x, abs=1e-9) for b in land.breaks)
    else:
        assert not land.breaks


def test_dead_and_saturated(card):
    tanh = card("tanh")
    edge = math.acosh(math.sqrt(1000))  # sech² = 0.001
    assert tanh.dead[1] == (pytest.approx(edge, rel=1e-9), math.inf)
    assert tanh.dead_share == pytest.approx(2 * normal_cdf(-edge), rel=1e-9)
    assert card("hard_shrink").zero_share == pytest.approx(1 - 2 * normal_cdf(-0.5), rel=1e-9)
    assert card("relu").saturated_share == pytest.approx(0.5)


def test_monotone(card):
    assert [card(name).monotone for name in ("tanh", "gelu", "cos(x) - x", "1", "floor(x)", "1/x", "step")] == [
        "increasing", "no", "decreasing", "constant", "increasing", "no", "increasing",
    ]  # fmt: skip


# Half precision, cost


def test_overflow_in_half_precision(card):
    assert card("exp(x)").float16.value_overflows == 11.09375  # the first number of the format above ln 65520
    assert card("exp(x)").bfloat16.value_overflows == 89.0
    assert card("x**2").float16.value_overflows == 256.0
    assert card("x**2").float16.slope_overflows is None
    assert card("gelu").float16.value_overflows is None


def test_errors_in_half_precision_are_of_the_module():
    near = nl.health("cos(x) - 1").bfloat16  # float32 loses the digits of 1 - cos near 0
    assert near.largest_error > 1.0
    x = torch.tensor([near.error_at], dtype=torch.bfloat16)
    value = float(nl.activation("cos(x) - 1")(x)[0])
    exact = -2 * math.sin(near.error_at / 2) ** 2
    place = 2.0 ** (max(math.frexp(exact)[1] - 1, -24) - 7)
    assert abs(value - exact) / place == pytest.approx(near.largest_error, rel=1e-6)


@pytest.mark.parametrize(
    ("formula", "count"),
    [("relu(x)", 0), ("x*sigmoid(x)", 1), ("x*tanh(softplus(x))", 3), ("exp(x)*sin(x) + exp(x)", 2), ("x**2", 0),
     ("sin(x) + cos(x)", 2), ("sqrt(1 + x**2)", 0), ("abs(x)**1.3", 1), ("exp(2)*x", 0)],
)  # fmt: skip
def test_transcendentals(formula, count):
    assert transcendentals(parse(formula)) == count


def test_cost_is_measured_when_asked(card):
    assert card("mish").cost is None
    assert nl.health("mish", measure_cost=True).cost > 1.0


# The whole card


@pytest.mark.parametrize("formula", [*ODD_ONES, *nl.zoo.names()[::20]])
def test_cards_are_complete(formula, card):
    found = card(formula)
    text = json.dumps(found.as_dict(), allow_nan=False)
    assert json.loads(text)["name"] == found.name
    assert "Drawbacks" in str(found)
    assert "nan" not in str(found).replace("nan_", "").lower().split()
    advantages, drawbacks = found.words()
    assert all(any(letter.isdigit() for letter in line) for line in drawbacks + advantages if "endlessly" not in line
               and "grows without bound" not in line and "sign of its gradient" not in line)  # fmt: skip


def test_the_card_is_the_same_every_time():
    assert nl.health("mish").as_dict() == nl.health("mish").as_dict()


@pytest.mark.parametrize("name", nl.zoo.names()[::2])  # all of them pass, in twice the time
def test_catalogue(name):
    """What the shape claims holds at random points."""
    act = nl.activation(name)
    land = survey(act)
    found = shape(land)
    random = np.random.default_rng(5)
    x = np.sort(np.concatenate([random.normal(0, 2, 3000), random.uniform(-30, 30, 3000), random.normal(0, 1e-2, 500)]))
    f, slope = act(x), act.derivative()(x)
    assert np.all(np.abs(slope) <= found.lipschitz.value * (1 + 1e-9) + 1e-12)
    assert np.all(f >= found.lowest.value - 1e-12 * max(1.0, abs(found.lowest.value)))
    assert np.all(f <= found.highest.value + 1e-12 * max(1.0, abs(found.highest.value)))
    step = np.diff(f)
    if found.monotone == "increasing":
        assert step.min() >= -1e-13 * np.abs(f).max()
    elif found.monotone == "decreasing":
        assert step.max() <= 1e-13 * np.abs(f).max()
    elif any(abs(turn) < 29 for turn in found.turns):
        assert step.min() < 0 < step.max()
    for zero in found.zeros:
        assert abs(act(zero)) <= 1e-9 * max(1.0, abs(zero))
    for low, high in found.zero_intervals:
        inside = x[(x > low) & (x < high)]
        assert not act(inside).any()
    sign_changes = np.flatnonzero(np.sign(f[:-1]) * np.sign(f[1:]) < 0)
    for i in sign_changes if not found.countless_zeros else ():  # each sign change has its zero or its jump
        places = [*found.zeros, *(b.x for b in land.breaks if b.order == 0), *np.ravel(found.zero_intervals)]
        assert any(x[i] - 1e-6 <= place <= x[i + 1] + 1e-6 for place in places)
    for low, high in found.dead:
        inside = x[(x > low) & (x < high)]
        assert np.all(np.abs(act.derivative()(inside)) < 1e-3)
    for end in (found.lowest, found.highest):
        if end.at is not None and not any(b.x == end.at for b in land.breaks):
            assert act(end.at) == pytest.approx(end.value, rel=1e-9, abs=1e-12)


def test_shares_are_those_of_draws():
    z = np.random.default_rng(0).standard_normal(400_000)
    for name in ("hard_swish", "golu", "srelu", "apl", "cosine"):
        found = shape(survey(nl.activation(name)))
        share = (np.abs(nl.activation(name).derivative()(z)) < 1e-3).mean()
        assert found.dead_share == pytest.approx(share, abs=1.5e-3)


# Words


def test_words_follow_from_numbers(card):
    good, bad = card("relu").words()
    assert any(line.startswith("Dead for x < 0") and "50%" in line for line in bad)
    assert any("jumps by 1 at x = 0" in line for line in bad)
    assert any("is critical: chi = 1" in line for line in good)
    assert any("Self-normalising" in line and "0.7826" in line for line in card("selu").words()[0])
    assert any("affine" in line for line in card("3*x - 2").words()[1])
    assert any("constant: f = 1" in line for line in card("1").words()[1])
    assert any("50% of N(0,1)" in line for line in card("log(x)").words()[1])
    assert any("Infinite at 0" in line for line in card("1/x").words()[1])


def test_a_scaled_function_scales_its_sentences():
    """Nothing is known by name: 0.5·relu has half the slope and the same dead share."""
    good, bad = nl.health("0.5*relu(x)").words()
    assert any("sup|f'| = 0.5" in line for line in good)
    assert any("jumps by 0.5 at x = 0" in line for line in bad)


# Input


def test_parameters_and_bad_input():
    assert nl.health("swish", beta=2.0).lower == pytest.approx(-0.2784645427610738 / 2)
    assert nl.health(nl.activation("swish", beta=2.0)).as_dict() == nl.health("swish", beta=2.0).as_dict()
    for call, message in [
        (lambda: nl.health("swish", gamma=1.0), "gamma"),
        (lambda: nl.health("relu", q=0), "q=0"),
        (lambda: nl.health("relu", sigma_b=-1.0), "sigma_b"),
        (lambda: nl.health("nothing_like_it"), "unknown activation"),
        (lambda: nl.health(3), "activation is expected"),
    ]:
        with pytest.raises(NonlinError, match=message):
            call()


def test_a_table_has_a_card():
    worst = nl.entropy.worst(nl.density("student_t", df=5))
    found = nl.health(worst)
    assert found.transcendentals is None
    assert found.monotone == "increasing"
    json.dumps(found.as_dict(), allow_nan=False)


@pytest.mark.parametrize("formula", ["gelu", "1/x"])
def test_picture(card, formula, tmp_path):
    path = card(formula).plot(tmp_path / "card.svg")
    text = path.read_text()
    assert text.count('<g id="axes_') == 3
    assert "correlation map" in text


def test_picture_of_a_wrong_type(card, tmp_path):
    with pytest.raises(NonlinError, match=r"\.png"):
        card("gelu").plot(tmp_path / "card.gif")
