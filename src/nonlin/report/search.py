"""The report of a search: what is on its page."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from nonlin.errors import NonlinError
from nonlin.report.embed import as_csv, as_json, shorter
from nonlin.report.html import write_page
from nonlin.report.learning import single_curves
from nonlin.report.method import search_method, works
from nonlin.report.progress import progress
from nonlin.report.shapes import shape_svg
from nonlin.report.trends import trends
from nonlin.zoo import Activation, activation
from nonlin.zoo.citation import citations, own_citation

if TYPE_CHECKING:
    from nonlin.run.ranking import Ranking
    from nonlin.run.store import Trial
    from nonlin.run.study import Study

SHAPES, CURVES, ROWS, CITED = 20, 5, 50, 20


def write_report(ranking: Ranking, path: str | Path) -> Path:
    """Write the report of a ranked study to `path` and return the path.

    Raises
    ------
    NonlinError : no child has finished, or the file cannot be written.
    """
    study = ranking.study
    if not ranking.rows:
        raise NonlinError(f"{study.store.label}: no child has finished yet, so there is nothing to report.")
    method = search_method(study)
    return write_page(
        path,
        "search.html",
        study=study,
        config=study.config,
        summary=ranking.summary(),
        verdict=ranking.verdict().splitlines(),
        best=ranking.best,
        rows=_rows(ranking),
        shown=ROWS,
        controls=[(rank, trial) for rank, trial in ranking.rows if trial.role != "candidate"],
        tied=ranking.tied,
        margin=ranking.margin,
        shapes=_shapes(ranking),
        progress=_progress(study, ranking),
        curves=_curves(ranking),
        trends=trends(ranking.trials),
        rungs=ranking.agreements(),
        census=study.census,
        method=method,
        bibliography=_bibliography(ranking, method),
        provenance=study.provenance,
        data=_data(study),
        csv=_csv(study),
        file=f"study-{study.id}",
    )


def _rows(ranking: Ranking) -> list[tuple[int, Trial]]:
    """The first rows, and every baseline and null below them."""
    return [pair for pair in ranking.rows if pair[0] <= ROWS or pair[1].role != "candidate"]


def _shapes(ranking: Ranking) -> list[tuple[int, Trial, str]]:
    best = [(rank, trial) for rank, trial in ranking.rows if trial.status == "ok"][:SHAPES]
    return [(rank, trial, shape_svg(_trained(trial), f"rank {rank}, {trial.name}")) for rank, trial in best]


def _trained(trial: Trial) -> Activation:
    """The function with each parameter at the mean of its trained values over layers and channels."""
    return activation(trial.formula, **{**trial.initial, **trial.parameters})


def _progress(study: Study, ranking: Ranking) -> str:
    candidates = [trial for trial in study.trials() if trial.role == "candidate" and trial.status == "ok"]
    if len(candidates) < 2:
        return ""
    first = candidates[0].number
    lines = [
        (trial.name, trial.score)
        for trial in ranking.trials
        if trial.name in ("relu", "linear") and trial.role != "candidate" and math.isfinite(trial.score)
    ]
    numbers = [trial.number - first + 1 for trial in candidates]
    return progress(numbers, [trial.score for trial in candidates], lines, f"validation {study.config.metric}")


def _curves(ranking: Ranking) -> str:
    full = [trial for trial in ranking.trials if trial.status == "ok"]
    chosen = full[:CURVES] + [trial for trial in full[CURVES:] if trial.name in ("relu", "linear")]
    return single_curves([(trial.name, trial.curves.get("loss", [])) for trial in chosen], "validation loss")


def _bibliography(ranking: Ranking, method: list[str]) -> str:
    """BibTeX of nonlin, of the known functions among the best and the controls, and of the methods named."""
    shown = [trial for rank, trial in ranking.rows if rank <= CITED or trial.role == "baseline"]
    cited = citations(activation(trial.formula) for trial in shown)
    return "\n\n".join([own_citation(), *(work.bibtex() for work in cited), *works(method)])


def _data(study: Study) -> str:
    """All trials as JSON."""
    rows = [{**dict(trial), "curves": shorter(trial.curves)} for trial in study.trials()]
    config = study.config.as_dict()
    return as_json({"study": study.id, "config": config, "provenance": study.provenance, "trials": rows})


def _csv(study: Study) -> str:
    """All trials without their curves."""
    trials = study.trials()
    columns = [name for name in trials[0].keys() if name not in ("curves", "rungs")]  # noqa: SIM118  not a mapping
    return as_csv((dict(trial) for trial in trials), columns)
