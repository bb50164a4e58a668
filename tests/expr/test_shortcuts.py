"""The shorter ways give the same value, by mpmath at 50 digits, and save what they promise."""

from __future__ import annotations

import mpmath
import pytest
import torch

import nonlin as nl
from nonlin import native
from nonlin.expr import parse, simplify
from nonlin.expr.codegen import compile_kernel, kernel_source
from nonlin.expr.shortcuts import shortened

POINTS = [-600.0, -80.0, -20.0, -3.7, -1.0, -1e-3, 0.0, 1e-3, 0.9, 2.5, 17.0, 90.0, 600.0]
FORMULAS = {
    "tanh(softplus(x))": lambda x: mpmath.tanh(mpmath.log(1 + mpmath.exp(x))),
    "sech(softplus(x))": lambda x: mpmath.sech(mpmath.log(1 + mpmath.exp(x))),
    "tanh(softplus(-x))": lambda x: mpmath.tanh(mpmath.log(1 + mpmath.exp(-x))),
    "sech(softplus(3*x)) - x": lambda x: mpmath.sech(mpmath.log(1 + mpmath.exp(3 * x))) - x,
}


@pytest.mark.parametrize("text", FORMULAS)
def test_the_value_is_the_same(text):
    """Relative to the number: the far left of tanh(softplus(x)) is e^x."""
    x = torch.tensor(POINTS, dtype=torch.float64)
    got = compile_kernel((parse(text),), ())(x)[0].tolist()
    with mpmath.workdps(400):
        want = [FORMULAS[text](mpmath.mpf(point)) for point in POINTS]
        assert all(abs(mpmath.mpf(a) - b) <= 4e-15 * abs(b) for a, b in zip(got, want, strict=True))


def test_it_is_taken_wherever_it_stands():
    short = str(shortened(parse("x*tanh(softplus(beta*x)) + sech(softplus(x))**2")))
    assert "softplus" not in short
    assert "tanh" not in short
    assert shortened(parse("tanh(softplus(x) + x)")) == parse("tanh(softplus(x) + x)")


def test_mish_needs_one_exponential():
    """Its value and slope, and the formula that users read stays."""
    mish = nl.activation("mish")
    assert "tanh(softplus(x))" in mish.formula
    assert "log1p" not in kernel_source((mish.expr,), ())
    if native.available():
        function = native.function(mish.expr)
        for program in (function.value, function.partials):
            names = [line.split()[0] for line in program.listing]
            assert names.count("decay") == 1
            assert not {"softplus", "tanh", "sech"} & set(names)


@pytest.mark.parametrize(
    ("text", "nested"),
    [
        ("135135 + 62370*x**2 + 3150*x**4 + 28*x**6", "((28*x**2 + 3150)*x**2 + 62370)*x**2 + 135135"),
        ("3 + x + 5*x**2 - x**4", "((-x*x + 5)*x + 1)*x + 3"),
        ("2*x**3 - 3*x**2", "(2*x - 3)*x**2"),
        ("sin(x)**2 + sin(x) + 1", "(sin(x) + 1)*sin(x) + 1"),
    ],
)
def test_polynomials_are_nested(text, nested):
    short = shortened(simplify(parse(text)))
    assert simplify(short) == simplify(parse(nested))
    assert str(short).count("*") <= str(simplify(parse(text))).count("*")
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)
    got, want = (compile_kernel((tree,), ())(x)[0] for tree in (short, parse(text)))
    torch.testing.assert_close(got, want, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    "text", ["x + 0.044715*x**3", "1 + x**2", "x**2 + sin(x)", "x**6 - x**3", "x**2*exp(x) + x", "beta + x + x**2"]
)
def test_other_sums_stay(text):
    assert shortened(simplify(parse(text))) == simplify(parse(text))
