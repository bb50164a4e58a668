"""The symbolic derivative against finite differences, autograd's conventions at kinks, and overflow."""

import pytest
import torch
from expressions import tame_expressions
from hypothesis import assume, given

from nonlin.expr import derivative, parse, to_text
from nonlin.expr.codegen import compile_kernel


def values(tree, x, **parameters):
    names = tuple(parameters)
    tensors = [torch.tensor(value, dtype=x.dtype) for value in parameters.values()]
    return compile_kernel((tree,), names)(x, *tensors)[0]


@given(tame_expressions(6))
def test_against_finite_differences(tree):
    x = torch.linspace(-1.93, 2.11, 17, dtype=torch.float64)
    step = 1e-5
    exact = values(derivative(tree), x, beta=0.7)
    around = [values(tree, x + k * step, beta=0.7) for k in (-2, -1, 1, 2)]
    assume(all(bool(torch.isfinite(part).all()) for part in around))
    scale = max(float(part.abs().max()) for part in around)
    assume(scale < 1e5)
    difference = (8 * (around[2] - around[1]) - (around[3] - around[0])) / (12 * step)
    coarse = (around[3] - around[0]) / (4 * step)
    smooth = (difference - coarse).abs() <= 1e-6 * (1 + scale)  # no kink between the points
    assert torch.allclose(exact[smooth], difference[smooth], rtol=1e-6, atol=1e-7 * (1 + scale))


def test_by_a_parameter():
    assert to_text(derivative(parse("x*sigmoid(beta*x)"), "beta")) == "x**2*sigmoid(-beta*x)*sigmoid(beta*x)"
    assert to_text(derivative(parse("x*sigmoid(x)"), "beta")) == "0"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("relu(x)", 0.0),
        ("max(x, 0)", 0.0),
        ("abs(x)", 0.0),
        ("max(x, 2*x)", 1.5),
        ("min(x, -x)", 0.0),
        ("clip(x, 0, 1)", 1.0),
    ],
)
def test_conventions_at_ties(text, expected):
    assert values(derivative(parse(text)), torch.zeros(1)).item() == expected


@pytest.mark.parametrize(
    "text", ["x*tanh(exp(x))", "exp(-cosh(x)**2)", "x*exp(-exp(-x))", "erf(exp(2*x))", "exp(-(x - sinh(x))**2)"]
)
def test_no_nan_where_an_underflow_meets_an_overflow(text):
    x = torch.tensor([-300.0, -90.0, -30.0, 30.0, 90.0, 300.0])
    assert bool(torch.isfinite(values(derivative(parse(text)), x)).all())


def test_untaken_branch_makes_no_nan():
    x = torch.tensor([-2.0, 3.0])
    assert values(derivative(parse("where(x > 0, sqrt(x), 0)")), x).tolist() == pytest.approx([0.0, 0.5 / 3**0.5])
    assert bool(torch.isfinite(values(derivative(parse("where(x < 0, expm1(x), x)")), torch.tensor([300.0]))).all())
