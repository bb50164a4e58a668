"""The page of a paper's experiment: its figures beside ours, network by network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nonlin.errors import NonlinError
from nonlin.report.comparison import bibliography, runs_csv, series_looks
from nonlin.report.embed import as_json
from nonlin.report.html import number, p_value, signed, write_page
from nonlin.report.learning import curves

if TYPE_CHECKING:
    from nonlin.experiments.grid import Reproduction
    from nonlin.experiments.tables import Row, Table

COLUMNS = ("", "function", "paper", "ours", "95% interval", "seeds", "ours − paper", "p")


@dataclass(frozen=True)
class Shown:
    """A table as text."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    verdict: list[str]


@dataclass(frozen=True)
class CellPart:
    """One network and data set; pictures are SVG text."""

    name: str
    anchor: str
    tables: list[Shown]
    curves: list[tuple[str, str]]


def write_reproduction(found: Reproduction, path: str | Path) -> Path:
    """Write the page of an experiment that was run to `path`, and return the path."""
    if not found.comparisons:
        raise NonlinError(f"{found.experiment.name} has nothing to report.")
    tables = found.tables()
    first = found.comparisons[0]
    runs = found.runs()
    stores = sorted({comparison.store.label for comparison in found.comparisons})
    return write_page(
        path,
        "reproduction.html",
        title=f"{'Smoke run of ' if found.smoke else ''}{found.experiment.name}",
        summary=f"{found.experiment.title}. After {found.experiment.reference}.",
        smoke=smoke_words(found),
        cells=[_cell(found, place, tables) for place in range(len(found.cells))],
        method=method(found),
        bibliography=bibliography(first.config.arms, []),
        reference=found.experiment.reference,
        stores=", ".join(stores),
        provenance=first.provenance,
        data=as_json(found.as_dict()),
        csv=runs_csv(runs),
        file=f"reproduce-{found.experiment.name}",
    )


def smoke_words(found: Reproduction) -> str:
    """What must be said above all else of a smoke run; empty for another."""
    if not found.smoke:
        return ""
    smaller = f" Smaller than in a real run: {', '.join(found.reduced)}." if found.reduced else ""
    return f"SMOKE: one step on tiny made-up data, two functions, one seed. No figure here means anything.{smaller}"


def method(found: Reproduction) -> list[str]:
    """What is the paper's, and what was chosen by us."""
    return [
        f"As published: {'; '.join(found.experiment.paper)}.",
        f"Ours: {'; '.join(found.experiment.ours)}.",
        "Medians over seeds with bootstrap intervals. p is that of the difference to the best of ours, by the "
        "signed-rank test, paired by seed and corrected for the number of functions; = marks what cannot be told apart "
        "from it. No test compares our figures with the paper's, which come without their spread.",
    ]


def _cell(found: Reproduction, place: int, tables: Sequence[Table]) -> CellPart:
    comparison = found.comparisons[place]
    task = comparison.tasks[0]
    looks = series_looks(comparison.config.arms)
    drawn = curves(comparison.runs(), looks, set(), comparison.config.tasks[0].metric)
    mine = [_shown(table, found.smoke) for table in tables if table.cell == task]
    return CellPart(task, f"cell-{place + 1}", mine, drawn)


def _shown(table: Table, smoke: bool) -> Shown:
    source = f"; the paper's: {table.source}" if table.source else "; no published figure was read"
    title = f"test {table.measure}{' in %' if table.unit else ''}{source}"
    return Shown(title, COLUMNS, [cells(row, table.unit) for row in table.rows], conclusions(table, smoke))


def cells(row: Row, unit: str) -> tuple[str, ...]:
    """A row of the table as text, in the order of COLUMNS."""
    digits = 2 if unit else 3
    has = not math.isnan(row.published)
    name = f"{row.function} ({row.trouble} of {row.seeds} diverged or failed)" if row.trouble else row.function
    span = "" if math.isnan(row.ours.low) else f"[{number(row.ours.low, digits)}, {number(row.ours.high, digits)}]"
    return (
        "=" if row.tied else "",
        name,
        number(row.published, 1) if has else "–",
        number(row.ours.median, digits),
        span,
        str(row.seeds),
        signed(row.difference, digits) if has else "–",
        p_value(row.p),
    )


def conclusions(table: Table, smoke: bool) -> list[str]:
    """What can be said of our figures, and of theirs beside them; nothing of a smoke run."""
    if smoke:
        return []
    lines = list(table.verdict)
    known = [row for row in table.rows if row.inside is not None]
    if known:
        inside = [row.function for row in known if row.inside]
        lines.append(f"The paper's figure lies in our interval for {len(inside)} of {len(known)} functions"
                     f"{': ' + ', '.join(inside) if inside else ''}.")  # fmt: skip
    if not math.isnan(table.agreement):
        lines.append(f"Rank correlation of the paper's figures and our medians: {number(table.agreement, 2)}.")
    return lines
