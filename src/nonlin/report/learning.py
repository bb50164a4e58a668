"""Learning curves: for each arm the median over seeds and the middle half of them, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nonlin.report.svg import Picture, look, near, round_values

if TYPE_CHECKING:
    from nonlin.run.runs import Run

Array = npt.NDArray[np.float64]
WIDTH, HEIGHT = 480.0, 300.0


@dataclass(frozen=True)
class Spread:
    """Quartiles over seeds for each epoch, shape (epochs,)."""

    label: str
    look: str
    null: bool
    low: Array
    middle: Array
    high: Array


def curves(runs: Sequence[Run], looks: Mapping[str, str], nulls: set[str], metric: str) -> list[tuple[str, str]]:
    """(title, picture) for the loss and the metric, on validation and on training data."""
    kinds = (
        ("loss", "validation loss"), ("train_loss", "training loss"), ("score", f"validation {metric}"),
        ("train_score", f"training {metric}"),
    )  # fmt: skip
    pictures = []
    for key, name in kinds:
        spreads = [_spread(runs, label, look, label in nulls, key) for label, look in looks.items()]
        if drawn := [spread for spread in spreads if spread is not None]:
            pictures.append((name, _picture(drawn, name, loss="loss" in key)))
    return pictures


def single_curves(series: Sequence[tuple[str, Sequence[float]]], name: str) -> str:
    """Losses of single trainings by epoch; empty if none has two epochs."""
    drawn = []
    for number, (label, values) in enumerate(series):
        if len(values) >= 2:
            line = np.array(values, dtype=float)
            drawn.append(Spread(label, look(number), False, line, line, line))
    return _picture(drawn, name, loss=True) if drawn else ""


def _spread(runs: Sequence[Run], label: str, look: str, null: bool, key: str) -> Spread | None:
    """Quartiles over the runs that got so far; epochs that fewer than half of the runs reached are left out."""
    series = [run.curves.get(key, []) for run in runs if run.arm == label]
    longest = max(map(len, series), default=0)
    if longest < 2:
        return None
    table = np.full((len(series), longest), np.nan)
    for row, values in zip(table, series, strict=True):
        row[: len(values)] = values
    table[~np.isfinite(table)] = np.nan
    reached = np.isfinite(table).sum(axis=0) * 2 >= len(series)
    quartiles = np.full((3, longest), np.nan)
    if reached.any():
        quartiles[:, reached] = np.nanquantile(table[:, reached], (0.25, 0.5, 0.75), axis=0)
    return Spread(label, look, null, *quartiles)


def _picture(spreads: Sequence[Spread], name: str, loss: bool) -> str:
    low, high, log = _range([spread for spread in spreads if not spread.null] or spreads, loss)
    epochs = max(spread.middle.size for spread in spreads)
    picture = Picture(WIDTH, HEIGHT, (1, epochs), (low, high), log=log, margins=(46, 96, 10, 36))
    steps = [value for value in round_values(1, epochs, 6) if value == int(value) and value >= 1]
    picture.grid("epoch", name, xticks=sorted({1.0, *steps}))
    ends = []
    for spread in sorted(spreads, key=lambda spread: not spread.null):  # nulls below all others
        xs = np.arange(1, spread.middle.size + 1).tolist()
        kind = f"{spread.look}{' null' if spread.null else ''}"
        band = picture.band(xs, spread.low.tolist(), spread.high.tolist(), kind)
        line = picture.line(xs, spread.middle.tolist(), kind)
        arm = escape(spread.label, quote=True)
        picture.add(f'<g class="series" data-arm="{arm}"><title>{arm}</title>{band}{line}</g>')
        finite = spread.middle[np.isfinite(spread.middle)]
        if not spread.null and finite.size and low <= finite[-1] <= high:
            ends.append((picture.y(float(finite[-1])), spread.label, spread.look))
    _label_ends(picture, ends)
    listed = ", ".join(spread.label for spread in spreads)
    return picture.svg(f"{name} by epoch, median and quartiles over seeds, of {listed}", "curves")


def _range(spreads: Sequence[Spread], loss: bool) -> tuple[float, float, bool]:
    """Limits of the y axis that show how the arms end: it may begin below or above where training began."""
    values = np.concatenate([np.stack([s.low, s.middle, s.high]) for s in spreads], axis=1)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0, False
    late = [edge for s in spreads for edge in (s.low, s.high)]
    tails = np.concatenate([edge[edge.size // 5 :] for edge in late])
    tails = tails[np.isfinite(tails)]
    if loss:
        log = bool(values.min() > 0 and values.max() > 4 * values.min())
        pad = 1.05 if log else 1.0
        return float(values.min()) / pad, float(max(values.max() * pad, values.min() * 1.01)), log
    high = float(values.max())
    ends = [float(s.middle[-1]) for s in spreads if np.isfinite(s.middle[-1])]
    reach = near([high - end for end in ends], 0.01)  # not down to an arm that learns nothing
    tails = tails[tails >= high - 3 * reach]
    low = float(np.quantile(tails, 0.01)) if tails.size else float(values.min())
    spread = max(high - low, 0.01)
    return low - 0.05 * spread, high + 0.05 * spread, False


def _label_ends(picture: Picture, ends: list[tuple[float, str, str]]) -> None:
    """Names at the ends of the lines, moved apart where they would overlap."""
    ends.sort()
    step = min(13.0, (picture.bottom - picture.top) / max(len(ends), 1))
    places = [end[0] for end in ends]
    for _ in range(200):
        for index in range(len(places) - 1):
            overlap = step - (places[index + 1] - places[index])
            if overlap > 0:
                places[index] -= overlap / 2
                places[index + 1] += overlap / 2
        places = [min(max(place, picture.top + 4), picture.bottom) for place in places]
    for place, (y, label, kind) in zip(places, ends, strict=True):
        short = label if len(label) <= 13 else f"{label[:12]}…"
        left = picture.right
        picture.behind.append(
            f'<g class="series end {kind}" data-arm="{escape(label, quote=True)}">'
            f'<path class="leader" d="M{left:g} {y:.1f}L{left + 9:g} {place:.1f}"/>'
            f'<text x="{left + 12:g}" y="{place:.1f}" dy=".32em">{escape(short)}</text></g>'
        )
