"""The leaderboard of one task: rows of numbers, and the dot and interval of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nonlin.report.forest import Forest
from nonlin.report.html import number

if TYPE_CHECKING:
    from nonlin.run.comparison import Comparison
    from nonlin.run.standings import Standing


@dataclass(frozen=True)
class Row:
    """One arm.

    Attributes
    ----------
    standing : its numbers
    picture : dot and interval
    difference : (median, low, high) of this arm minus the best in the measure ranked by; NaN for the best
    time : seconds per epoch over those of the reference
    ended_badly : "2 of 10 diverged", or empty
    """

    standing: Standing
    picture: str
    difference: tuple[float, float, float]
    time: float
    ended_badly: str
    best: bool


@dataclass(frozen=True)
class Board:
    """A ranking by one measure.

    Attributes
    ----------
    measure : "accuracy", "R²" or "loss"
    given, nulls : rows, best first
    axis : the scale of the pictures
    reference : the arm that times are relative to
    several_rates : whether the column of learning rates says anything
    letters : whether there were seeds enough to tell any pair apart, and so to form groups
    """

    measure: str
    by: str
    given: list[Row]
    nulls: list[Row]
    axis: str
    reference: str
    several_rates: bool
    letters: bool


def board(comparison: Comparison, task: str, by: str, metric: str) -> Board:
    """The ranking of one task by "score" or "loss"."""
    standings = comparison.table(task, by=by)  # type: ignore[arg-type]
    measure = metric if by == "score" else "loss"
    best = next((row for row in standings if row.role == "given"), None)
    shown = [_triple(row, by) for row in standings if row.role == "given"]
    forest = Forest.of(shown, _triple(best, by)[0] if best else math.nan)
    reference = _time_reference(standings)
    rows = [_row(row, by, measure, forest, reference, row is best) for row in standings]
    return Board(
        measure=measure,
        by=by,
        given=[row for row in rows if row.standing.role == "given"],
        nulls=[row for row in rows if row.standing.role == "null"],
        axis=forest.axis(),
        reference=reference.label if reference else "",
        several_rates=len({row.rate for row in standings}) > 1,
        letters=any(row.groups for row in standings),
    )


def _row(row: Standing, by: str, measure: str, forest: Forest, reference: Standing | None, best: bool) -> Row:
    median, low, high = _triple(row, by)
    words = f"{row.label}: median {measure} {number(median)}, 95% interval {number(low)} to {number(high)}"
    sign = -1.0 if by == "score" else 1.0
    gap = row.difference
    ends = sorted((sign * gap.low, sign * gap.high)) if math.isfinite(gap.low + gap.high) else (math.nan, math.nan)
    counts = [f"{n} {what}" for n, what in ((row.diverged, "diverged"), (row.failed, "failed")) if n]
    return Row(
        standing=row,
        picture=forest.row(median, low, high, words, "best" if best else "null" if row.role == "null" else ""),
        difference=(math.nan,) * 3 if best else (sign * gap.median, ends[0], ends[1]),
        time=row.seconds_per_epoch / reference.seconds_per_epoch if reference else math.nan,
        ended_badly=f"{' and '.join(counts)} of {row.seeds}" if counts else "",
        best=best,
    )


def _triple(row: Standing, by: str) -> tuple[float, float, float]:
    found = row.score if by == "score" else row.loss
    return found.median, found.low, found.high


def _time_reference(rows: list[Standing]) -> Standing | None:
    """ReLU where it was compared, else the fastest of the given."""
    timed = [row for row in rows if row.role == "given" and row.seconds_per_epoch > 0]
    relu = [row for row in timed if row.formula == "relu(x)" and row.protocol == "common"]
    return relu[0] if relu else min(timed, key=lambda row: row.seconds_per_epoch, default=None)
