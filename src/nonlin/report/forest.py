"""A dot and an interval in a table's row, on one scale for the whole column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nonlin.report.svg import Scale, frame, near, number, round_values

WIDTH, HEIGHT, EDGE = 160.0, 22.0, 9.0


@dataclass(frozen=True)
class Forest:
    """One scale for the rows of a table. What lies outside is drawn as an arrow at the edge."""

    scale: Scale
    reference: float  # a line through all rows

    @classmethod
    def of(cls, intervals: Sequence[tuple[float, float, float]], reference: float) -> Forest:
        """A scale that holds these (median, low, high), but for what is not finite or far off the reference."""
        finite = [triple for triple in intervals if math.isfinite(triple[0])]
        ends = [(edge, middle) for middle, *edges in finite for edge in edges if math.isfinite(edge)]
        widest = max((abs(edge - middle) for edge, middle in ends), default=0.0)
        reach = near([abs(middle - reference) for middle, *_ in finite], widest / 4)
        kept = [triple for triple in finite if abs(triple[0] - reference) <= reach]
        values = [value for triple in kept for value in triple if math.isfinite(value)]
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        if high == low:
            low, high = low - 0.5, high + 0.5
        return cls(Scale(low, high, EDGE, WIDTH - EDGE), reference)

    @classmethod
    def fixed(cls, low: float, high: float, reference: float) -> Forest:
        """A scale with given ends."""
        return cls(Scale(low, high, EDGE, WIDTH - EDGE), reference)

    def row(self, median: float, low: float, high: float, words: str, kind: str = "") -> str:
        """The picture of one row; `words` is its text alternative."""
        middle = HEIGHT / 2
        parts = []
        if math.isfinite(self.reference):
            parts.append(f'<path class="zero" d="M{self.scale(self.reference):.1f} 0V{HEIGHT:g}"/>')
        ends = [self._inside(low), self._inside(high)]
        if not any(map(math.isnan, ends)) and not (self._outside(low) and self._outside(low) == self._outside(high)):
            parts.append(f'<path class="interval" d="M{ends[0]:.1f} {middle:g}H{ends[1]:.1f}"/>')
        if side := self._outside(median):
            at, tip = (EDGE, 2.0) if side < 0 else (WIDTH - EDGE, WIDTH - 2.0)
            parts.append(f'<path class="arrow" d="M{at:g} {middle - 5:g}L{tip:g} {middle:g}L{at:g} {middle + 5:g}Z"/>')
        elif math.isfinite(median):
            parts.append(f'<circle class="dot" cx="{self.scale(median):.1f}" cy="{middle:g}" r="4"/>')
        return frame(WIDTH, HEIGHT, "".join(parts), words, f"forest {kind}")

    def axis(self) -> str:
        """Ticks for the column's head."""
        parts = []
        for value in round_values(self.scale.low, self.scale.high, 3):
            x = self.scale(value)
            anchor = "start" if x < 30 else "end" if x > WIDTH - 30 else "middle"
            parts.append(f'<text class="tick" x="{x:.1f}" y="10" text-anchor="{anchor}">{number(value)}</text>')
            parts.append(f'<path class="grid" d="M{x:.1f} 13V17"/>')
        low, high = number(self.scale.low), number(self.scale.high)
        return frame(WIDTH, 18, "".join(parts), f"scale from {low} to {high}", "forest")

    def _outside(self, value: float) -> int:
        """-1 or 1 for values beyond the scale's ends, 0 inside."""
        slack = 1e-9 * (self.scale.high - self.scale.low)
        return -1 if value < self.scale.low - slack else 1 if value > self.scale.high + slack else 0

    def _inside(self, value: float) -> float:
        if math.isnan(value):
            return math.nan
        return self.scale(min(max(value, self.scale.low), self.scale.high))
