"""E[f] and E[f²] from few points are those of the rule with very many."""

import math

import numpy as np
import pytest

import nonlin as nl
from nonlin import native
from nonlin.expr import parse
from nonlin.native.moments import BORDERS, RULES, midpoints, moments

pytestmark = pytest.mark.skipif(not native.available(), reason=native.reason())

SMOOTH = ["x", "x*Phi(x)", "exp(-x**2)", "cos(3*x)", "x**3 - x", "log(1 + exp(x))", "1/(1 + x**2)", "erf(x)*x"]
KINKS = ["relu(x)", "abs(x - 1.2345)", "max(x, sin(x) + 0.3)", "min(cos(x), sigmoid(x))", "abs(abs(x - 4.9) - 0.3)"]
STEPS = ["x > 0", "sign(x - 0.77)", "floor(3*x)"]
NARROW = ["x/(abs(x) + 1e-05)", "x*log(abs(x) + 1e-05)", "1/(0.001 + (x - 1.7)**2)"]
FAST = ["sin(40*x)", "cos(1000*x)", "sin(exp(x))", "x*cos(exp(2*x))"]
LARGE = ["exp(x)", "sinh(x)*x", "x**12", "exp(x**2/8)"]


def by_the_rule(formula: str, reach: float, panels: int) -> tuple[float, float]:
    z, weight = midpoints(reach, panels)
    with np.errstate(all="ignore"):
        values = np.asarray(nl.activation(formula)(z))
        return float(weight @ values), float(weight @ (values * values))


@pytest.mark.parametrize("formula", [*SMOOTH, *KINKS, *STEPS, *NARROW, *FAST, *LARGE])
def test_equals_the_rule(formula):
    mean, second = by_the_rule(formula, *RULES[0])
    found = moments(native.function(parse(formula)), ())
    assert found[1] == pytest.approx(second, rel=1e-11)
    assert found[0] == pytest.approx(mean, abs=1e-11 * math.sqrt(second))


@pytest.mark.parametrize("beyond", [1e-3, 1e-4])
def test_a_kink_beside_a_border_is_seen(beyond):
    for border in BORDERS[3:12]:
        formula = f"abs(x - {border * (1 + beyond)!r})"
        found = moments(native.function(parse(formula)), ())
        assert found == pytest.approx(by_the_rule(formula, *RULES[0]), rel=1e-9)


@pytest.mark.parametrize(
    "formula", ["1/x", "tan(x)", "exp(x**2/4)", "exp(x**4)", "sqrt(x)", "1/(x - 1.5)", "log(abs(x) + 1e-05)"]
)
def test_nothing_where_the_rules_disagree(formula):
    (_, fine), (_, coarse) = (by_the_rule(formula, *rule) for rule in RULES)
    assert not abs(fine - coarse) <= 1e-3 * abs(fine)  # the case is one
    assert all(map(math.isnan, moments(native.function(parse(formula)), ())))


def test_parameters_have_their_values():
    swish = nl.activation("swish")
    found = moments(native.function(swish.expr, ("beta",)), (1.702,))
    assert found == pytest.approx(by_the_rule("x*sigmoid(1.702*x)", *RULES[0]), rel=1e-12)
