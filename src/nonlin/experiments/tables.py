"""The paper's figures beside ours: one table for each cell and measure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nonlin.experiments.papers import Cell, Figure
from nonlin.run.standings import Standings
from nonlin.run.statistics import Interval, interval

if TYPE_CHECKING:
    from nonlin.run.comparison import Comparison
    from nonlin.run.runs import Run

ACCURACY = "accuracy"


@dataclass(frozen=True)
class Row:
    """One function.

    Attributes
    ----------
    published : the paper's figure; NaN where none was read
    ours : median over the seeds and its 95% interval
    difference : ours less the paper's; NaN without a published figure
    inside : whether the paper's figure lies in our interval; None where that cannot be said
    tied : whether it cannot be told apart from the best of ours; p is that of the difference, adjusted
    seeds, trouble : runs, and those among them that diverged or failed
    """

    function: str
    formula: str
    published: float
    ours: Interval
    difference: float
    inside: bool | None
    tied: bool
    p: float
    seeds: int
    trouble: int


@dataclass(frozen=True)
class Table:
    """One cell and measure; `rows` in the paper's order.

    Attributes
    ----------
    unit : "%" or empty
    source : where the published figures stand
    agreement : Spearman's rank correlation of the published figures and our medians; NaN without either
    verdict : what can be concluded from our runs, in sentences
    """

    cell: str
    measure: str
    unit: str
    source: str
    rows: tuple[Row, ...]
    agreement: float
    verdict: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def table(cell: Cell, figure: Figure, comparison: Comparison) -> Table:
    """What a comparison of one task says of one measure, beside what the paper says."""
    percent = figure.measure == ACCURACY
    final = [_measured(run, figure.measure) for run in comparison.runs() if run.phase == "final"]
    standings = Standings(comparison.config.arms, final)
    found = {row.label: row for row in standings.rows()}
    scale = 100.0 if percent else 1.0
    published = figure.published or (math.nan,) * len(comparison.config.arms)
    rows = []
    for arm, known in zip(comparison.config.arms, published, strict=True):
        if arm.label not in found:
            continue
        row = found[arm.label]
        values = [run.test_score if run.status == "ok" else -math.inf for run in final if run.arm == arm.label]
        ours = interval([scale * value for value in values])
        rows.append(
            Row(
                arm.label, arm.formula, known, ours, ours.median - known, _inside(known, ours), row.tied, row.p,
                row.seeds, row.diverged + row.failed,
            )
        )  # fmt: skip
    metric = "accuracy" if percent else figure.measure
    return Table(
        comparison.tasks[0], figure.measure, "%" if percent else "", figure.source, tuple(rows),
        _agreement([row.published for row in rows], [row.ours.median for row in rows]),
        tuple(standings.verdict(metric)),
    )  # fmt: skip


def _measured(run: Run, measure: str) -> Run:
    """The run with the measure in the place of its score, by which standings rank; it did not end well without it."""
    if measure == ACCURACY:
        return run
    return replace(run, test_score=run.measures.get(measure, math.nan))


def _inside(published: float, ours: Interval) -> bool | None:
    if math.isnan(published) or math.isnan(ours.low):
        return None
    return ours.low <= published <= ours.high


def _agreement(published: Sequence[float], ours: Sequence[float]) -> float:
    pairs = [(a, b) for a, b in zip(published, ours, strict=True) if math.isfinite(a) and math.isfinite(b)]
    if len(pairs) < 3:
        return math.nan
    from scipy.stats import rankdata

    one, two = (rankdata(values) for values in zip(*pairs, strict=True))
    if np.ptp(one) == 0 or np.ptp(two) == 0:
        return math.nan
    return float(np.corrcoef(one, two)[0, 1])
