"""Small pictures: scales, ticks, what is cut, and functions that explode."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nonlin as nl
from nonlin.report.forest import Forest
from nonlin.report.shapes import shape_svg
from nonlin.report.svg import Picture, Scale, near, path, round_values


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_round_inside_and_few(low, width):
    high = low + width
    ticks = round_values(low, high)
    if high > low:
        assert 1 <= len(ticks) <= 11
        steps = np.diff(ticks)
        assert np.allclose(steps, steps[0] if len(steps) else 0, rtol=1e-6, atol=1e-9)
        assert all(low - 1e-6 * width - 1e-9 <= tick <= high + 1e-6 * width + 1e-9 for tick in ticks)


def test_ticks():
    assert round_values(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert Scale(0.01, 10, 0, 1, log=True).ticks() == [0.01, 0.1, 1.0, 10.0]


def test_scale():
    scale = Scale(1, 100, 0, 10, log=True)
    assert [scale(v) for v in (1, 10, 100)] == pytest.approx([0, 5, 10])
    assert math.isnan(scale(0))
    assert math.isnan(Scale(0, 1, 0, 1)(math.inf))
    assert Scale(0, 1, 10, 0)(0.25) == 7.5


def test_near_stops_at_a_gap():
    assert near([0.001, 0.004, 0.02, 0.9], 0.001) == 0.02
    assert near([0.0, 0.5, 0.9], 0.1) == 0.9
    assert near([], 0.1) == 0.1


def test_lines_break_where_there_is_nothing():
    assert path([0, 1, 2, 3], [0, math.nan, 2, 3]) == "M0 0M2 2L3 3"


def test_a_picture_is_xml_with_its_words():
    picture = Picture(200, 100, (0, 1), (0, 1))
    picture.grid("<x>", "a & b")
    picture.add(picture.line([0, 1], [0, 1], "s1"), picture.band([0, 1], [0, 0], [1, 1], "s1"))
    root = ElementTree.fromstring(picture.svg('what "it" shows'))
    assert root.get("aria-label") == 'what "it" shows'
    assert {"<x>", "a & b"} <= {text.text for text in root.iter("text")}


def test_forest_draws_to_scale_and_marks_what_is_off():
    forest = Forest.of([(0.9, 0.8, 1.0), (0.85, 0.8, 0.9), (0.1, 0.1, 0.1)], 0.9)
    inside = forest.row(0.9, 0.8, 1.0, "words")
    left, right = map(float, re.search(r'interval" d="M([\d.]+) 11H([\d.]+)', inside).groups())
    middle = float(re.search(r'cx="([\d.]+)"', inside).group(1))
    assert middle == pytest.approx((left + right) / 2, abs=0.1)
    assert "arrow" in forest.row(0.1, 0.1, 0.1, "words")
    assert "dot" not in forest.row(0.1, 0.1, 0.1, "words")
    assert "arrow" in forest.row(-math.inf, -math.inf, -math.inf, "words")
    assert "dot" not in forest.row(math.nan, math.nan, math.nan, "words")


@pytest.mark.parametrize("formula", ["exp(x**2)", "1/x", "sqrt(x)", "1", "exp(exp(exp(x)))", "x", "1e5*x", "1000 + x"])
def test_pictures_of_explosive_functions_keep_their_frame(formula):
    picture = shape_svg(nl.activation(formula), formula)
    root = ElementTree.fromstring(picture)
    assert "nan" not in picture
    assert "inf" not in picture
    lines = [item for item in root.iter("path") if "value" in item.get("class", "")]
    assert len(lines) == 1
    assert lines[0].get("d")


def test_a_shape_is_the_function():
    """Reading the drawn line back gives f: at the left end of ReLU's picture 0, at the right end 4."""
    root = ElementTree.fromstring(shape_svg(nl.activation("relu"), "relu"))
    line = next(item for item in root.iter("path") if "value" in item.get("class", ""))
    places = [tuple(map(float, pair.split())) for pair in re.findall(r"[ML]([\d.-]+ [\d.-]+)", line.get("d"))]
    ticks = {t.text: float(t.get("y")) for t in root.iter("text") if t.get("text-anchor") == "end"}
    per_unit = ticks["0"] - ticks["1"]
    assert places[0][1] == pytest.approx(ticks["0"], abs=0.2)
    assert (ticks["0"] - places[-1][1]) / per_unit == pytest.approx(4, abs=0.02)
