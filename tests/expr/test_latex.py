"""LaTeX: hand-checked forms, and that matplotlib's own reader accepts every function of the catalogue."""

import pytest

from nonlin.expr import parse, to_latex
from nonlin.zoo import activation, names


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("x*sigmoid(beta*x)", r"x \, \sigma\left(\beta \, x\right)"),
        ("x**2", "{x}^{2}"),
        ("tanh(x)**2", r"{\tanh\left(x\right)}^{2}"),
        ("exp(-x**2)", r"e^{-{x}^{2}}"),
        ("x/(1 + abs(x))", r"\frac{x}{1 + \left|x\right|}"),
        ("relu(x)", r"\operatorname{relu}\left(x\right)"),
        ("x - (1 - x)", r"x - \left(1 - x\right)"),
        ("x*(x + 1)", r"x \, \left(x + 1\right)"),
        ("2*3*x", r"2 \, \cdot 3 \, x"),
        ("1e-05*x", r"1 \cdot 10^{-5} \, x"),
        ("beta1*x", r"\beta_{1} \, x"),
        ("my_slope*x", r"\mathit{my\_slope} \, x"),
        ("(x + 1)**2", r"{\left(x + 1\right)}^{2}"),
        ("exp(x)**2", r"{\left(e^{x}\right)}^{2}"),
    ],
)
def test_forms(text, latex):
    assert to_latex(parse(text)) == latex


@pytest.mark.parametrize("name", names())
def test_braces_balance(name):
    for text in (activation(name).latex(), activation(name).derivative().latex()):
        depth = 0
        for before, letter in zip(" " + text, text, strict=False):
            if before != "\\":
                depth += {"{": 1, "}": -1}.get(letter, 0)
            assert depth >= 0
        assert depth == 0
        assert text.count(r"\left") - text.count(r"\left\lfloor") >= 0
        assert text.count(r"\left") == text.count(r"\right")
