"""Every seed as a dot: each arm's difference to the best, paired by seed; and how learning rates were chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from nonlin.report.svg import Picture, near

if TYPE_CHECKING:
    from nonlin.run.runs import Run
    from nonlin.run.standings import Arm, Standings

ROW = 24.0


def paired_dots(standings: Standings, looks: Mapping[str, str], metric: str) -> str:
    """One line of dots for each arm: its test score (or loss) minus the best arm's with the same seed."""
    if not standings.given or len(standings.arms) < 2:
        return ""
    best = standings.given[0]
    # to the right is better, by loss too
    sign, field = (1, "test_score") if standings.by == "score" else (-1, "test_loss")
    what = f"test {metric} minus that of {best.label}" if sign > 0 else f"test loss of {best.label} minus that of each"
    scores = {run.seed: sign * run[field] for run in standings.runs[best.label]}
    gaps = {
        arm.label: _gaps(standings.runs[arm.label], scores, field, sign) for arm in standings.arms if arm is not best
    }
    span = _span([gaps[arm.label] for arm in standings.given if arm is not best])
    if span is None:
        return ""
    picture = Picture(960, ROW * len(gaps) + 50, span, (len(gaps) - 0.5, -0.5), margins=(190, 190, 8, 40))
    for value in picture.x.ticks(8):
        picture.behind.append(f'<path class="grid" d="M{picture.x(value):.1f} {picture.top:g}V{picture.bottom:g}"/>')
        picture.text(picture.x(value), picture.bottom + 16, _signed(value), "tick", "middle")
    picture.behind.append(f'<path class="zero" d="M{picture.x(0):.1f} {picture.top:g}V{picture.bottom:g}"/>')
    picture.text((picture.left + picture.right) / 2, picture.height - 4,
                 f"{what}, seed by seed", "tick", "middle")  # fmt: skip
    for index, arm in enumerate(arm for arm in standings.arms if arm is not best):
        _row(picture, index, arm, gaps[arm.label], looks[arm.label], span)
    return picture.svg(f"{what}: a dot for each seed, a bar at the median", "strip")


def _row(picture: Picture, index: int, arm: Arm, gaps: list[tuple[int, float]], look: str, span: tuple[float, float]):
    y = picture.y(index)
    picture.text(picture.left - 10, y + 4, _short(arm.label), "null" if arm.role == "null" else "", "end")
    kind = f"{look}{' null' if arm.role == 'null' else ''}"
    seen: dict[float, int] = {}
    below = above = bad = 0
    for seed, gap in gaps:
        if math.isnan(gap):
            bad += 1
        elif gap < span[0]:
            below += 1
        elif gap > span[1]:
            above += 1
        else:
            rise = seen[gap] = seen.get(gap, -1) + 1  # equal differences beside each other
            shift = (-1) ** rise * ((rise + 1) // 2) * 4.2
            picture.behind.append(
                f'<circle class="seed {kind}" cx="{picture.x(gap):.1f}" cy="{y + min(max(shift, -10), 10):.1f}" r="3">'
                f"<title>seed {seed}: {_signed(gap)}</title></circle>"
            )
    values = [gap if math.isfinite(gap) else -math.inf for _, gap in gaps]
    middle = float(np.median(values)) if values else math.nan
    if math.isfinite(middle) and span[0] <= middle <= span[1]:
        picture.behind.append(f'<path class="median {kind}" d="M{picture.x(middle):.1f} {y - 9:.1f}V{y + 9:.1f}"/>')
    notes = [f"{n} {what}" for n, what in ((bad, "without a result"), (below, "beyond the left edge"),
                                           (above, "beyond the right edge")) if n]  # fmt: skip
    if notes:
        picture.text(picture.right + 8, y + 4, ", ".join(notes), "tick")


def _gaps(runs: Sequence[Run], best: Mapping[int, float], field: str, sign: int) -> list[tuple[int, float]]:
    return [(run.seed, sign * run[field] - best.get(run.seed, math.nan)) for run in runs]


def _span(rows: Sequence[list[tuple[int, float]]]) -> tuple[float, float] | None:
    """Limits that hold 0 and the dots of all arms but those that are worse by far; None if there is nothing."""
    finite = [found for row in rows if (found := [gap for _, gap in row if math.isfinite(gap)])]
    if not finite:
        return None
    middles = [abs(float(np.median(row))) for row in finite]
    closest = min((top for row in finite if (top := max(map(abs, row)))), default=0.01)
    reach = near(middles, closest)
    kept = [gap for row, middle in zip(finite, middles, strict=True) if middle <= reach for gap in row] or [0.0]
    low, high = min(*kept, 0.0), max(*kept, 0.0)
    pad = 0.06 * (high - low) or 0.01
    return low - pad, high + pad


def rates_picture(
    runs: Sequence[Run], arms: Sequence[Arm], chosen: Mapping[str, float], looks: Mapping[str, str]
) -> str:
    """Median validation loss of the tuning runs by learning rate, the chosen rate with a ring."""
    table: dict[str, dict[float, float]] = {}
    for arm in arms:
        for rate in sorted({run.rate for run in runs if run.arm == arm.label}):
            losses = [
                run.loss if run.status == "ok" else math.inf for run in runs if (run.arm, run.rate) == (arm.label, rate)
            ]
            table.setdefault(arm.label, {})[rate] = float(np.median(losses))
    given = {arm.label for arm in arms if arm.role == "given"}
    values = [v for label, row in table.items() if label in given for v in row.values() if math.isfinite(v)]
    rates = sorted({rate for row in table.values() for rate in row})
    if not values or len(rates) < 2:
        return ""
    steps = [math.log10(rate) for rate in rates]
    pad = 0.06 * (steps[-1] - steps[0])
    low, high = min(values), max(values)
    log = low > 0 and high > 3 * low
    edge = (low / 1.08, high * 1.08) if log else (low - 0.06 * (high - low or 1), high + 0.06 * (high - low or 1))
    picture = Picture(480, 300, (steps[0] - pad, steps[-1] + pad), edge, log=log, margins=(52, 12, 10, 36))
    picture.grid("", "validation loss while tuning", xticks=())
    for rate, step in zip(rates, steps, strict=True):
        picture.text(picture.x(step), picture.bottom + 14, f"{rate:g}", "tick", "middle")
    picture.text((picture.left + picture.right) / 2, picture.height - 4, "learning rate", "tick", "middle")
    for arm in sorted(arms, key=lambda arm: arm.role == "given"):
        row = table.get(arm.label, {})
        kind = f"{looks[arm.label]}{' null' if arm.role == 'null' else ''}"
        xs, ys = [math.log10(rate) for rate in row], list(row.values())
        parts = [picture.line(xs, ys, kind)]
        best = chosen.get(arm.label)
        for x, y, rate in zip(xs, ys, row, strict=True):
            if math.isfinite(y):
                mark, radius = ("chosen", 6) if rate == best else ("seed", 3)
                place = f'cx="{picture.x(x):.1f}" cy="{picture.y(y):.1f}"'
                parts.append(f'<circle class="{mark} {kind}" {place} r="{radius}"/>')
        name = escape(arm.label, quote=True)
        picture.add(f'<g class="series" data-arm="{name}"><title>{name}</title>{"".join(parts)}</g>')
    return picture.svg("median validation loss of the tuning runs by learning rate; a ring marks the choice", "curves")


def _short(label: str) -> str:
    return label if len(label) <= 26 else f"{label[:25]}…"


def _signed(value: float) -> str:
    return "0" if value == 0 else f"{value:+.4g}".replace("-", "−")
