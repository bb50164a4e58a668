"""The course of a search: every candidate's score in the order of the search, and the best so far."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nonlin.report.svg import Picture


def progress(numbers: Sequence[int], scores: Sequence[float], lines: Sequence[tuple[str, float]], ylabel: str) -> str:
    """A dot for each candidate, a stair of the best so far, and a line for each (name, score) to compare with."""
    points = np.array(scores, dtype=float)
    finite = points[np.isfinite(points)]
    if not finite.size:
        return ""
    # the worst quarter says little and would flatten all others
    low = max(float(np.quantile(finite, 0.25)), float(finite.max()) - 0.2)
    low = min([low, *(value for _, value in lines if value > finite.max() - 0.2)])
    top = max([float(finite.max()), *(value for _, value in lines)])
    pad = 0.06 * (top - low) or 0.01
    picture = Picture(760, 320, (0, max(numbers) + 1), (low - pad, top + pad), margins=(52, 90, 10, 36))
    picture.grid("candidates trained", ylabel)
    best = np.fmax.accumulate(points)
    stairs_x = [edge for number in numbers for edge in (number, number)][1:]
    stairs_y = [edge for value in best for edge in (value, value)][:-1]
    dots = "".join(
        f'<circle class="seed s1" cx="{picture.x(x):.1f}" cy="{picture.y(y):.1f}" r="2.5"/>'
        for x, y in zip(numbers, points, strict=True) if math.isfinite(y) and y >= low - pad
    )  # fmt: skip
    picture.add(dots, picture.line(stairs_x, stairs_y, "s2"))
    picture.text(picture.right + 6, picture.y(float(best[-1])) - 2, "best so far", "c s2")
    used: list[float] = [picture.y(float(best[-1])) - 2]
    for number, (name, value) in enumerate(lines):
        picture.add(picture.line([0, max(numbers) + 1], [value, value], f"null d{1 + number % 3}"))
        place = picture.y(value) + 4
        while any(abs(place - other) < 12 for other in used):
            place += 2
        used.append(place)
        picture.text(picture.right + 6, place, name, "tick")
    return picture.svg(f"{ylabel} of every candidate in the order of the search, with the best so far")
