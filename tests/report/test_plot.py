"""Pictures for papers: right curves, one style, vector files, and errors in words."""

import numpy as np
import pytest

import nonlin as nl
from nonlin.errors import NonlinError
from nonlin.report import plot
from nonlin.report.plot import curve, plot_activations, plot_family, value_range


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved."""
    figures = []
    saved = plot.save
    monkeypatch.setattr(plot, "save", lambda figure, path: figures.append(figure) or saved(figure, path))
    return figures


def test_curve():
    x, y, slope = curve(nl.activation("swish", beta=2.0), -1, 1)
    assert x.shape == y.shape == slope.shape
    assert np.allclose(np.gradient(y, x)[1:-1], slope[1:-1], atol=1e-3)


@pytest.mark.parametrize(("ending", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")])
def test_file_types(ending, start, tmp_path):
    path = plot_activations([nl.activation("relu"), nl.activation("gelu")], tmp_path / f"a.{ending}")
    assert path.read_bytes().startswith(start)


def test_a_family_is_drawn_at_its_values(tmp_path, drawn):
    """Swish at 0 is x/2, at 5 nearly ReLU; the panel beside has the derivatives."""
    plot_family(nl.activation("swish"), "beta", [0.0, 5.0], tmp_path / "a.svg")
    left, right = drawn[0].axes
    x, half = left.lines[0].get_data()
    assert np.allclose(half, x / 2)
    x, sharp = left.lines[1].get_data()
    assert np.allclose(sharp, x / (1 + np.exp(-5 * x)))
    x, slope = right.lines[0].get_data()
    assert np.allclose(slope, 0.5)
    assert [line.get_label() for line in left.lines] == ["beta = 0", "beta = 5"]


def test_an_exploding_function_does_not_flatten_the_others(tmp_path, drawn):
    acts = [nl.activation(f) for f in ("relu", "gelu", "exp(x)", "exp(exp(x))", "exp(x**2)", "tanh")]
    plot_activations(acts, tmp_path / "a.png")
    low, high = drawn[0].axes[0].get_ylim()
    assert -3 < low < 0
    assert 5 < high < 25
    assert drawn[0].axes[1].get_ylim()[1] < 4


def test_thirteen_functions_are_told_apart(tmp_path, drawn):
    acts = [nl.activation(f"x*sigmoid({k}*x)") for k in range(1, 14)]
    plot_activations(acts, tmp_path / "a.png")
    looks = {(line.get_color(), line.get_linestyle()) for line in drawn[0].axes[0].lines}
    assert len(looks) == 13


def test_range_of_nothing_finite():
    assert value_range([np.array([np.nan, np.inf])], (-5, 5)) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: plot_activations([], p / "a.png"), "no function to draw"),
        (lambda p: plot_activations([nl.activation("relu")], p / "a.gif"), r"\.png, \.svg, \.pdf"),
        (lambda p: plot_activations([nl.activation("relu")], p / "no" / "a.png"), "cannot write"),
        (lambda p: plot_activations([nl.activation("relu")], p / "a.png", (1, 1)), "smaller to a larger"),
        (lambda p: plot_family(nl.activation("swish"), "gamma", [1], p / "a.png"), "'gamma'; it has: beta"),
        (lambda p: plot_family(nl.activation("relu"), "beta", [1], p / "a.png"), "nothing to vary"),
        (lambda p: plot_family(nl.activation("swish"), "beta", [], p / "a.png"), "one or more finite"),
        (lambda p: plot_family(nl.activation("swish"), "beta", [np.nan], p / "a.png"), "one or more finite"),
    ],
)
def test_errors(call, words, tmp_path):
    with pytest.raises(NonlinError, match=words):
        call(tmp_path)
    assert list(tmp_path.iterdir()) == []
