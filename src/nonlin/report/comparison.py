"""The report of a comparison: what is on its page, task by task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonlin.errors import NonlinError
from nonlin.report.cards import COLUMNS, Card, LayerTable, card_rows, layer_table
from nonlin.report.embed import as_csv, as_json, shorter
from nonlin.report.html import count, write_page
from nonlin.report.leaderboard import Board, board
from nonlin.report.learning import curves
from nonlin.report.method import comparison_method, works
from nonlin.report.seeds import paired_dots, rates_picture
from nonlin.report.shapes import shapes
from nonlin.report.svg import look
from nonlin.zoo import activation
from nonlin.zoo.citation import citations, own_citation

if TYPE_CHECKING:
    from nonlin.run.comparison import Comparison
    from nonlin.run.runs import Run
    from nonlin.run.standings import Arm, By, Standing
    from nonlin.tasks import Task

CURVES = "curves"


@dataclass(frozen=True)
class TaskPart:
    """What the page shows of one task; pictures are SVG text and may be empty."""

    name: str
    anchor: str
    metric: str
    verdict: list[str]
    measures: tuple[str, ...]
    seeds: int
    boards: tuple[Board, Board]
    curves: list[tuple[str, str]]
    dots: str
    rates: str
    layers: LayerTable | None


def write_comparison(
    comparison: Comparison,
    path: str | Path,
    tasks: Sequence[Task] = (),
    cards: Mapping[str, Card] | None = None,
    diagnoses: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    by: By = "score",
) -> Path:
    """Write the report of a comparison to `path` and return the path.

    Parameters
    ----------
    tasks : those compared on, as far as they are at hand; the method section says what they are
    cards : for each arm's label the dictionary of its health card
    diagnoses : for each task and label the dictionary of the diagnosis of the network before training
    by : the measure that ranks and is tested, "score" or "loss"; the other is shown folded in

    Raises
    ------
    NonlinError : no final run has finished, or the file cannot be written.
    """
    runs = comparison.runs()
    final = [run for run in runs if run.phase == "final"]
    trained = [task for task in comparison.tasks if any(run.task == task for run in final)]
    if not trained:
        raise NonlinError(f"{comparison.store.label}: no final run has finished yet, so there is nothing to report.")
    arms = comparison.config.arms
    tables = {task: comparison.table(task, by) for task in trained}
    looks = series_looks(arms)
    method = comparison_method(comparison, {task.name: task.remark for task in tasks})
    return write_page(
        path,
        "comparison.html",
        comparison=comparison,
        title=_title(arms, trained),
        summary=_summary(comparison, final),
        arms=arms,
        looks=looks,
        tasks=[
            _task(comparison, name, runs, looks, number, (diagnoses or {}).get(name, {}), by)
            for number, name in enumerate(trained, 1)
        ],
        across=_across(arms, tables) if len(trained) > 1 else [],
        shapes=shapes(arms, tables),
        cards=card_rows(cards or {}),
        card_columns=COLUMNS,
        method=method,
        bibliography=bibliography(arms, method),
        provenance=comparison.provenance,
        data=_data(comparison, runs, tables),
        csv=runs_csv(runs),
        file=f"comparison-{comparison.id}",
    )


def series_looks(arms: Sequence[Arm]) -> dict[str, str]:
    """CSS classes of each arm, the same on the whole page."""
    given = [arm for arm in arms if arm.role == "given"]
    nulls = [arm for arm in arms if arm.role == "null"]
    return {arm.label: look(number) for number, arm in enumerate(given)} | {
        arm.label: f"d{number % 3 + 1}" for number, arm in enumerate(nulls)
    }


def bibliography(arms: Sequence[Arm], method: Sequence[str]) -> str:
    """BibTeX of nonlin, of the functions that were given, and of the methods that the text names."""
    # by formula: a name may have been registered in the process that ran the comparison alone
    acts = [replace(activation(arm.formula), name=arm.name) for arm in arms if arm.role == "given"]
    found = [work.bibtex() for work in citations(acts)]
    return "\n\n".join([own_citation(), *found, *works(method)])


def runs_csv(runs: Sequence[Run]) -> str:
    """All trainings without their curves."""
    columns = [name for name in runs[0].keys() if name != CURVES] if runs else []  # noqa: SIM118  not a mapping
    return as_csv((dict(run) for run in runs), columns)


def _task(
    comparison: Comparison,
    name: str,
    runs: Sequence[Run],
    looks: Mapping[str, str],
    number: int,
    diagnosed: Mapping[str, Mapping[str, Any]],
    by: By,
) -> TaskPart:
    setting = next(setting for setting in comparison.config.tasks if setting.name == name)
    mine = [run for run in runs if run.task == name]
    final = [run for run in mine if run.phase == "final"]
    arms = comparison.config.arms
    nulls = {arm.label for arm in arms if arm.role == "null"}
    standings = comparison.standings(name, by)
    other: By = "loss" if by == "score" else "score"
    return TaskPart(
        name=name,
        anchor=f"task-{number}",
        metric=setting.metric,
        verdict=comparison.verdict(name, by),
        seeds=standings.seeds,
        boards=(board(comparison, name, by, setting.metric), board(comparison, name, other, setting.metric)),
        measures=tuple(setting.metric if one == "score" else "loss" for one in (by, other)),
        curves=curves(final, looks, nulls, setting.metric),
        dots=paired_dots(standings, looks, setting.metric),
        rates=rates_picture(
            [run for run in mine if run.phase == "tuning"],
            arms,
            {row.label: row.rate for row in standings.rows()},
            looks,
        ),
        layers=layer_table(diagnosed, nulls, [arm.label for arm in standings.arms]),
    )


def _across(arms: Sequence[Arm], tables: Mapping[str, Sequence[Standing]]) -> list[tuple[Arm, list[Standing | None]]]:
    """Each arm's standing on every task, ordered by the mean of its ranks."""
    rows = [
        (arm, [next((row for row in table if row.label == arm.label), None) for table in tables.values()])
        for arm in arms
    ]

    def mean_rank(pair: tuple[Arm, list[Standing | None]]) -> float:
        ranks = [row.rank for row in pair[1] if row is not None]
        return sum(ranks) / len(ranks) if ranks else float("inf")

    return sorted(rows, key=mean_rank)


def _title(arms: Sequence[Arm], tasks: Sequence[str]) -> str:
    number = len({arm.formula for arm in arms if arm.role == "given"})
    where = tasks[0] if len(tasks) == 1 else f"{count(len(tasks))} tasks"
    return f"{count(number).capitalize()} activation function{'s' * (number != 1)} on {where}"


def _summary(comparison: Comparison, final: Sequence[Run]) -> str:
    arms = comparison.config.arms
    given = sum(arm.role == "given" for arm in arms)
    nulls = len(arms) - given
    words = [f"{given} function{'s' * (given != 1)}"]
    words += [f"{nulls} null{'s' * (nulls != 1)}"] if nulls else []
    seeds = len(comparison.config.seeds)
    running = "" if comparison.finished else " The comparison is unfinished."
    return f"{' and '.join(words)}, {seeds} seed{'s' * (seeds != 1)}, {len(final):,} final trainings.{running}"


def _data(comparison: Comparison, runs: Sequence[Run], tables: Mapping[str, Sequence[Standing]]) -> str:
    """Everything as JSON."""
    return as_json(
        {
            "comparison": comparison.id,
            "created": comparison.created,
            "config": comparison.config.as_dict(),
            "provenance": comparison.provenance,
            "standings": {task: [row.as_dict() for row in table] for task, table in tables.items()},
            "runs": [{**dict(run), CURVES: shorter(run.curves)} for run in runs],
        }
    )
