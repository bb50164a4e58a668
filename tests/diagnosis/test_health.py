"""The health card against closed forms, finite precision, and every catalogue entry; and its words."""

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
from nonlin.errors import NonlinError
from nonlin.expr import parse


def normal_cdf(x):
    return 0.5 * erfc(-x / math.sqrt(2))


ODD_ONES = (
    "1", "0", "3*x - 2", "step", "exp(x)", "1/x", "log(abs(x))", "log(x)", "sqrt(x)", "sin", "tan(x)", "floor(x)",
    "x**2", "x**3", "exp(x**2)", "atanh(x)", "1/(x - 0.3)**2", "sign(x)", "sqrt(abs(x))", "x*sin(x)", "abs(x)",
)  # fmt: skip


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
