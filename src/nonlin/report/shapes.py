"""The gallery: what each function and its derivative look like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nonlin.report.plot import curve, value_range
from nonlin.report.svg import Picture
from nonlin.zoo import Activation, activation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nonlin.run.standings import Arm, Standing

POINTS = 241
SPAN = (-4.0, 4.0)


@dataclass(frozen=True)
class Shape:
    """A function of the gallery; `notes` say which parameters it is drawn with."""

    label: str
    formula: str
    picture: str
    notes: tuple[str, ...]


def shapes(arms: Sequence[Arm], tables: Mapping[str, Sequence[Standing]]) -> list[Shape]:
    """Each function once, with its trained parameters where it has some.

    Parameters
    ----------
    tables : the standings of each task; functions are drawn with the parameters of the first
    """
    found: list[Shape] = []
    for arm in arms:
        if arm.protocol != "common" and any(shape.formula == arm.formula for shape in found):
            continue  # the same function under another protocol
        notes = []
        trained: dict[str, float] = {}
        for task, rows in tables.items():
            values = next((row.parameters for row in rows if row.label == arm.label), {})
            if values:
                trained = trained or dict(values)
                where = f" on {task}" if len(tables) > 1 else ""
                listed = ", ".join(
                    f"{name} {arm.initial.get(name, 1.0):.3g} → {value:.3g}" for name, value in values.items()
                )
                notes.append(f"trained{where}: {listed}")
        act = activation(arm.formula, **{**arm.initial, **trained})
        found.append(Shape(arm.label, arm.formula, shape_svg(act, arm.label), tuple(notes)))
    return found


def shape_svg(act: Activation, title: str, span: tuple[float, float] = SPAN) -> str:
    """A small picture of f (full line) and f' (dashed)."""
    x, y, slope = curve(act, *span, points=POINTS)
    low, high = _limits(y, slope, span)
    picture = Picture(240, 170, span, (low, high), margins=(32, 8, 8, 22))
    picture.grid(xticks=(-4, -2, 0, 2, 4) if span == SPAN else None)
    zeros = []
    if low < 0 < high:
        zeros.append(f"M{picture.left:g} {picture.y(0):.1f}H{picture.right:g}")
    if span[0] < 0 < span[1]:
        zeros.append(f"M{picture.x(0):.1f} {picture.top:g}V{picture.bottom:g}")
    picture.behind.append(f'<path class="axis" d="{"".join(zeros)}"/>')
    for values, kind in ((slope, "slope"), (y, "value")):
        picture.add(picture.line(x.tolist(), _with_gaps(values, high - low).tolist(), kind))
    return picture.svg(f"{title}: the function (full line) and its derivative (dashed)", "shape")


def _limits(y: np.ndarray, slope: np.ndarray, span: tuple[float, float]) -> tuple[float, float]:
    """Limits by the function; the derivative may widen them, but not to more than thrice the height."""
    low, high = value_range([y], span)
    least, most = value_range([slope], span)
    room = max(high - low, 1.0)
    return min(low, max(least, low - room)), max(high, min(most, high + room))


def _with_gaps(values: np.ndarray, height: float) -> np.ndarray:
    """NaN after a jump through the whole picture and back, as at a pole, so that no line is drawn through it."""
    out = values.astype(float).copy()
    with np.errstate(invalid="ignore"):
        jump = (np.abs(np.diff(out)) > 1.5 * height) & (np.sign(out[1:]) != np.sign(out[:-1]))
    out[1:][jump] = np.nan
    return out
