"""Small pictures written as SVG by hand: real text, the page's own colours, and lines that CSS can pick out.

Colours are classes ("s1" … "s6", "null") and dashes too ("d0" … "d3"); the style sheet knows both schemes. A
nested <svg> clips what lies outside the frame, so that no picture needs ids.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

COLOURS, DASHES = 6, 4


def look(number: int) -> str:
    """CSS classes of the series with this number: first all colours with full lines, then dashed."""
    return f"s{number % COLOURS + 1} d{number // COLOURS % DASHES}"


@dataclass(frozen=True)
class Scale:
    """Maps values from low … high to places from start … end, linearly or by logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place; a value of no place (not finite, or not above 0 on a logarithmic scale) is NaN."""
        if not math.isfinite(value) or (self.log and value <= 0):
            return math.nan
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        share = (at - low) / (high - low) if high != low else 0.5
        # far outside is as good as just outside, and keeps the file small
        return self.start + min(max(share, -2.0), 3.0) * (self.end - self.start)

    def ticks(self, wanted: int = 5) -> list[float]:
        """Round values inside low … high."""
        if self.log:
            return _log_ticks(self.low, self.high, wanted)
        return round_values(self.low, self.high, wanted)


def round_values(low: float, high: float, wanted: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten between low and high, about `wanted` of them."""
    if not high > low:
        return [low]
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) + 0.0 for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float, wanted: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        found = [f * 10.0**d for d in decades for f in factors if low <= f * 10.0**d <= high]
        if len(found) >= min(wanted, 3):
            return found[:: max(1, round(len(found) / wanted))]
    return round_values(low, high, wanted)


def near(distances: Sequence[float], least: float) -> float:
    """How far a common scale should reach: past the largest distance before a gap by a factor of eight.

    So one function that is worse by far does not squeeze all others into a dot. Distances under `least` are as
    good as none.
    """
    reach = least
    for distance in sorted(distances):
        if distance > 8 * reach:
            break
        reach = max(reach, distance)
    return reach


def number(value: float) -> str:
    """A tick's label, as short as it can be."""
    text = f"{value:.6g}"
    return text.replace("e-0", "e-").replace("e+0", "e").replace("-", "−")


def path(xs: Sequence[float], ys: Sequence[float]) -> str:
    """The `d` of a line through places; it breaks where one is NaN."""
    parts, pen = [], "M"
    for x, y in zip(xs, ys, strict=True):
        if math.isnan(x) or math.isnan(y):
            pen = "M"
            continue
        parts.append(f"{pen}{_place(x)} {_place(y)}")
        pen = "L"
    return "".join(parts)


def _place(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


class Picture:
    """A frame with axes, into which lines are drawn in units of the data.

    Parameters
    ----------
    width, height : of the view box, in CSS pixels at full size
    xs, ys : (low, high) of the axes
    log : whether the y axis is logarithmic
    margins : left, right, top, bottom
    """

    def __init__(
        self,
        width: float,
        height: float,
        xs: tuple[float, float],
        ys: tuple[float, float],
        *,
        log: bool = False,
        margins: tuple[float, float, float, float] = (44, 10, 10, 34),
    ):
        self.width, self.height = width, height
        self.left, right, self.top, bottom = margins
        self.right, self.bottom = width - right, height - bottom
        self.x = Scale(*xs, self.left, self.right)
        self.y = Scale(*ys, self.bottom, self.top, log)
        self.behind: list[str] = []  # axes and words, not clipped
        self.inside: list[str] = []  # clipped to the frame

    def grid(self, xlabel: str = "", ylabel: str = "", xticks: Sequence[float] | None = None) -> None:
        """Grid lines with numbers, and the names of the axes."""
        for value in self.y.ticks():
            y = _place(self.y(value))
            self.behind.append(f'<path class="grid" d="M{_place(self.left)} {y}H{_place(self.right)}"/>')
            self.behind.append(f'<text class="tick" x="{self.left - 6:g}" y="{y}" dy=".32em" text-anchor="end">'
                               f"{number(value)}</text>")  # fmt: skip
        for value in self.x.ticks() if xticks is None else xticks:
            self.text(self.x(value), self.bottom + 14, number(value), "tick", "middle")
        if xlabel:
            self.text((self.left + self.right) / 2, self.height - 4, xlabel, "tick", "middle")
        if ylabel:
            middle = (self.top + self.bottom) / 2
            self.behind.append(f'<text class="tick" transform="translate(10 {middle:g}) rotate(-90)" '
                               f'text-anchor="middle">{escape(ylabel)}</text>')  # fmt: skip

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        """Words at a place of the view box."""
        self.behind.append(f'<text class="{kind}" x="{_place(x)}" y="{_place(y)}" text-anchor="{anchor}">'
                           f"{escape(words)}</text>")  # fmt: skip

    def line(self, xs: Sequence[float], ys: Sequence[float], kind: str) -> str:
        """A line through points of the data, as an element."""
        return f'<path class="line {kind}" d="{path([self.x(x) for x in xs], [self.y(y) for y in ys])}"/>'

    def band(self, xs: Sequence[float], low: Sequence[float], high: Sequence[float], kind: str) -> str:
        """The area between two lines."""
        there = [(x, a, b) for x, a, b in zip(xs, low, high, strict=True) if math.isfinite(a + b)]
        if len(there) < 2:
            return ""
        across = [self.x(x) for x, _, _ in there]
        edges = [*(self.y(above) for *_, above in there), *(self.y(below) for _, below, _ in there[::-1])]
        outline = path([*across, *across[::-1]], edges)
        return f'<path class="band {kind}" d="{outline}Z"/>'

    def add(self, *elements: str) -> None:
        """Elements that are cut at the frame."""
        self.inside += elements

    def svg(self, description: str, kind: str = "") -> str:
        """The picture with a text alternative."""
        wide, high = self.right - self.left, self.bottom - self.top
        clip = (
            f'<svg x="{self.left:g}" y="{self.top:g}" width="{wide:g}" height="{high:g}" '
            f'viewBox="{self.left:g} {self.top:g} {wide:g} {high:g}">{"".join(self.inside)}</svg>'
        )
        return frame(self.width, self.height, "".join(self.behind) + clip, description, kind)


def frame(width: float, height: float, content: str, description: str, kind: str = "") -> str:
    """An <svg> element that scales and tells what it shows."""
    label = escape(description, quote=True)
    box = f"0 0 {width:g} {height:g}"
    return f'<svg class="picture {kind}" viewBox="{box}" role="img" aria-label="{label}">{content}</svg>'
