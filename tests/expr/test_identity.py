"""Recognising one function in many clothes."""

import pytest
from expressions import tame_expressions
from hypothesis import given

from nonlin.expr import parse, simplify
from nonlin.expr.identity import IdentityIndex, canonical, kind, same_function

SAME = [
    ("max(x, 0)", "relu(x)"),
    ("x*sigmoid(x)", "sigmoid(x)*x"),
    ("x*sigmoid(x)", "x/(1 + exp(-x))"),
    ("x*sigmoid(x)", "0.5*x*(1 + tanh(x/2))"),
    ("x*Phi(x)", "0.5*x*(1 + erf(x/sqrt(2)))"),
    ("min(max(x, 0), 6)", "clip(x, 0, 6)"),
    ("abs(x)", "max(x, -x)"),
    ("x**2", "abs(x)**2"),
    ("log(1 + exp(x))", "softplus(x)"),
    ("beta*x", "2*beta*x"),
    ("beta*x", "-beta*x"),
    ("beta*x", "gamma*beta*x"),
    ("x + beta", "x - beta"),
    ("x + beta", "3 + x + 2*beta"),
    ("x*sigmoid(beta*x)", "x*sigmoid(-gamma*x)"),
    ("exp(-beta*x**2)", "exp(-beta*(2*x)**2)"),
    ("a*sin(x) + b*cos(x)", "b*sin(x) + a*cos(x)"),
    ("relu(x) - 0.1*relu(-x)", "where(x < 0, 0.1*x, x)"),
    ("min(x, 0)", "beta*min(x, 0) + (1 - beta)*min(x, 0)"),
    ("sinc(cosh(x)) + cos(x)", "sinc(beta*cosh(x) + (1 - beta)*cosh(x)) + cos(x)"),
]
DIFFERENT = [
    ("relu(x)", "x"),
    ("x*sigmoid(x)", "x*sigmoid(beta*x)"),
    ("x*sigmoid(x)", "x*sigmoid(1.0001*x)"),
    ("tanh(x)", "erf(x)"),
    ("beta**2*x", "beta*x"),  # a square is never negative
    ("x/beta", "beta*x"),  # 1/beta is never 0
    ("beta*x + beta", "beta*x + gamma"),
    ("sqrt(x)", "sqrt(-x)"),
    ("min(x, 0)", "max(x, 0)"),
    ("sin(x)", "beta*sin(x) + (1 + beta)*sin(x)"),
]


@pytest.mark.parametrize(("left", "right"), SAME)
def test_same(left, right):
    assert same_function(parse(left), parse(right))
    index = IdentityIndex()
    key, new = index.add(parse(left))
    assert new
    assert index.add(parse(right)) == (key, False)
    assert index.find(parse(right)) == key
    assert len(index) == 1


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_different(left, right):
    assert not same_function(parse(left), parse(right))
    index = IdentityIndex()
    index.add(parse(left))
    assert index.find(parse(right)) is None
    assert index.add(parse(right))[1]


def test_any_number_of_parameters():
    formula = " + ".join(f"b{k}*sin({k}*x)" for k in range(40))
    assert same_function(parse(formula), parse(formula.replace("b", "c")))
    assert kind(parse(formula)) == "ordinary"


@given(tame_expressions())
def test_simplified_is_the_same(tree):
    assert same_function(tree, simplify(tree))


@given(tame_expressions())
def test_canonical_is_stable(tree):
    form = canonical(tree)
    assert all(name in ("x", "p0", "p1") for name in form.symbols)
    assert same_function(form, tree)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x*sigmoid(x)", "ordinary"),
        ("3", "constant"),
        ("beta", "constant"),
        ("sin(x)**2 + cos(x)**2", "constant"),
        ("x", "affine"),
        ("relu(x) - relu(-x)", "affine"),
        ("beta*x + 1", "affine"),
        ("sqrt(x)", "undefined"),
        ("log(x)*x", "undefined"),
        ("abs(x)", "ordinary"),
        ("1e-6*sin(x) + 1", "ordinary"),
    ],
)
def test_kind(text, expected):
    assert kind(parse(text)) == expected


@pytest.mark.parametrize(
    "formula",
    [
        "exp(-beta*(exp(x) - x**3)**2)",
        "exp(-beta2*(exp(-beta1*(sinc(x) - x**2)**2) - x)**2)",
        "exp(-beta3*abs(exp(-beta2*(x - beta1)**2) + atan(x)))",
        "(exp(-beta1*(exp(x) - x**3)**2) + beta2)*(beta3*x)",
    ],
)
def test_what_decays_at_first_is_worth_training(formula):
    """With a parameter of another sign it would overflow; training begins where it does not."""
    assert kind(parse(formula)) == "ordinary"


def test_kinds_are_judged_where_training_begins():
    assert kind(parse("log(beta - 2)*x")) == "undefined"
    assert kind(parse("beta*x + (1 - beta)*tanh(x)")) == "ordinary"  # a line at first, and not for long
    assert kind(parse("exp(beta*x**5)")) == "ordinary"
    assert kind(parse("exp(x**7)")) == "undefined"
