"""The style sheet: contrast that people can read (WCAG 2.2, AA), in both schemes and on paper."""

import itertools
import re

import pytest

from nonlin.report.html import asset

TEXT, GRAPHIC = 4.5, 3.0  # least contrast


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, two):
    high, low = sorted((luminance(one), luminance(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


SCHEMES = [
    dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6})", block))
    for block in re.findall(r":root \{(.*?)\}", asset("page.css"), re.DOTALL)
]


def test_the_measure():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_there_are_three_schemes():
    assert len(SCHEMES) == 3  # light, dark, paper
    assert all(set(scheme) == set(SCHEMES[0]) for scheme in SCHEMES)
    assert luminance(SCHEMES[1]["paper"]) < 0.05 < luminance(SCHEMES[0]["paper"])


@pytest.mark.parametrize("scheme", range(3))
def test_contrast(scheme):
    colours = SCHEMES[scheme]
    for ground in ("paper", "card"):
        for name in ("ink", "soft", "first", "second"):
            assert contrast(colours[name], colours[ground]) >= TEXT, (name, ground)
        for name in ("s1", "s2", "s3", "s4", "s5", "s6"):  # of lines and of their names
            assert contrast(colours[name], colours[ground]) >= TEXT, (name, ground)
        assert contrast(colours["null"], colours[ground]) >= GRAPHIC, ground


def test_every_variable_is_defined():
    used = set(re.findall(r"var\(--([a-z0-9]+)", asset("page.css")))
    assert used <= {*SCHEMES[0], "font", "mono", "c"}


@pytest.mark.parametrize("scheme", range(3))
def test_colours_of_lines_differ(scheme):
    lines = [SCHEMES[scheme][f"s{n}"] for n in range(1, 7)]
    for one, two in itertools.combinations(lines, 2):
        distance = sum((int(one[i : i + 2], 16) - int(two[i : i + 2], 16)) ** 2 for i in (1, 3, 5)) ** 0.5
        assert distance > 50, (one, two)


def test_a_table_that_goes_on_has_a_shadow_at_its_edge():
    """Two shadows that stay at the edges, and over them two covers of the page's colour that scroll with the table."""
    (rule,) = re.findall(r"^\.scroll \{(.*?)\}", asset("page.css"), re.DOTALL | re.MULTILINE)
    layers = re.findall(r"linear-gradient\((\d+deg), (.+?)\) (?:0|100%) 0 / \S+ 100% (local|scroll)", rule)
    assert [(angle, kind) for angle, _, kind in layers] == [
        ("90deg", "local"), ("270deg", "local"), ("90deg", "scroll"), ("270deg", "scroll"),
    ]  # fmt: skip
    assert all(("--paper" in colours) == (kind == "local") for _, colours, kind in layers)
