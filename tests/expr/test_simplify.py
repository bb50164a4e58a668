"""Simplification keeps values, is stable, and finds the usual forms."""

import math

import numpy as np
import pytest
import torch
from expressions import expressions, tame_expressions, torch_node
from hypothesis import assume, given

from nonlin.expr import derivative, parse, simplify, to_text
from nonlin.expr import rules as table
from nonlin.expr.simplify import is_settled
from nonlin.expr.tree import substitute
from nonlin.strategies import space

X = torch.linspace(-2.3, 2.7, 23, dtype=torch.float64)
VALUES = {"beta": torch.tensor(0.7, dtype=torch.float64), "alpha": torch.tensor(1.3, dtype=torch.float64)}


def evaluate(tree):
    args = [evaluate(arg) for arg in tree.args]
    return torch_node(tree, args, X, VALUES) + torch.zeros_like(X)


@given(tame_expressions())
def test_simplify_keeps_the_value(tree):
    before, after = evaluate(tree), evaluate(simplify(tree))
    scale = max(float(evaluate(part).nan_to_num().abs().max()) for part in _parts(tree))
    assume(math.isfinite(scale) and scale < 1e8)
    both = torch.isfinite(before) & torch.isfinite(after)
    assert bool(both[torch.isfinite(before)].all())
    assert torch.allclose(before[both], after[both], rtol=1e-9, atol=1e-11 * (1 + scale))


def _parts(tree):
    yield tree
    for arg in tree.args:
        yield from _parts(arg)


@given(expressions())
def test_simplify_ends_and_is_stable(tree):
    once = simplify(tree)
    assert simplify(once) == once
    assert parse(to_text(once)) == once


ALL_RULES = [*table.WHOLE, *table.SUM, *table.PRODUCT, *table.RECIPROCAL]


@pytest.mark.parametrize(("left", "right"), ALL_RULES, ids=[left for left, _ in ALL_RULES])
def test_each_rule_keeps_the_value(left, right):
    values = {"a": parse("x"), "b": parse("0.3*x + 0.1")}
    a, b = evaluate(substitute(parse(left), values)), evaluate(substitute(parse(right), values))
    both = torch.isfinite(a) & torch.isfinite(b)
    assert int(both.sum()) > 5
    assert torch.allclose(a[both], b[both], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("left", "right"), ALL_RULES, ids=[left for left, _ in ALL_RULES])
def test_each_rule_is_used(left, right):
    values = {"a": parse("sin(beta*x)"), "b": parse("cos(x)")}
    if left.startswith(("relu(a) -", "relu(a) +", "softplus(a) -", "sigmoid(a) +", "Phi(a) +", "a + relu")):
        values["a"] = parse("x")
    if ("RECIPROCAL", left) and (left, right) in table.RECIPROCAL:
        left, right = f"1/({left})", f"1/({right})"
    simplified = simplify(substitute(parse(left), values))
    assert simplified == simplify(substitute(parse(right), values))


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("max(x, 0)", "relu(x)"),
        ("x/(1 + exp(-x))", "x*sigmoid(x)"),
        ("log(1 + exp(x))", "softplus(x)"),
        ("x*tanh(log(1 + exp(x)))", "x*tanh(softplus(x))"),
        ("exp(x)/(1 + exp(x))", "sigmoid(x)"),
        ("0.5*(1 + tanh(x/2))", "sigmoid(x)"),
        ("1 - tanh(x)**2", "sech(x)**2"),
        ("alpha*(exp(x) - 1)", "alpha*expm1(x)"),
        ("x + x", "2*x"),
        ("x*x*x/x", "x**2"),
        ("x - x", "0"),
        ("-(x - 1)", "1 - x"),
        ("sin(-x)", "-sin(x)"),
        ("cos(-2*x)", "cos(2*x)"),
        ("abs(-2*x)", "2*abs(x)"),
        ("exp(x)*exp(-x**2)", "exp(x - x**2)"),
        ("sin(x)/x", "sinc(x)"),
        ("x/6", "x/6"),
        ("sqrt(2)*sqrt(2)*x", "2*x"),
        ("2*(x + 1) - 2", "2*x"),
        ("min(relu(x), relu(x))", "relu(x)"),
        ("beta*tanh(x) + (1 - beta)*tanh(x)", "tanh(x)"),
        ("beta*-x**3 + (1 - beta)*-x**3", "-x**3"),
        ("cos(x) - beta*x*exp(x) - (1 - beta)*x*exp(x)", "cos(x) - x*exp(x)"),
        ("b*(x + a) + (1 - b)*(x + a)", "a + x"),
        ("beta*tanh(x) + (1 - beta)*sin(x)", "(1 - beta)*sin(x) + beta*tanh(x)"),
    ],
)
def test_normal_forms(text, normal):
    assert to_text(simplify(parse(text))) == normal


@pytest.mark.parametrize("function", ["cos", "sin", "tanh", "abs"])
def test_products_that_lead_negative_either_way(function):
    """A product with sums in it may have the sign in front with either sign: turning it over and over must end."""
    tree = parse(f"{function}(min(x, 0)*(x + beta))")
    once = simplify(tree)
    assert simplify(once) == once
    assert torch.allclose(evaluate(once), evaluate(tree))


def test_huge_powers_stay_readable():
    tree = simplify(parse("((x**60*sin(x))*x**60)**2"))
    assert parse(to_text(tree)) == tree


@pytest.mark.parametrize("name", ["core-1", "core-2", "surrogate-paper"])
def test_what_is_settled_stays_and_nothing_else_does(name):
    where, generator = space(name), np.random.default_rng(4)
    found = [simplify(where.sample(generator)) for _ in range(600)]
    found += [derivative(expr) for expr in found[:300]]
    found += [parse("2*(beta + x)*exp(x)"), parse("-(1 + x)*exp(x)")]
    assert [is_settled(expr) for expr in found] == [simplify(expr) == expr for expr in found]
    assert not all(map(is_settled, found))
