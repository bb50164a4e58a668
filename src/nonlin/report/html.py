"""The report of a search: one HTML file that needs no network."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonlin.errors import NonlinError
from nonlin.report.plot import lines_svg, progress_svg, shape_svg
from nonlin.zoo import Activation, activation

if TYPE_CHECKING:
    from nonlin.run import Study, Trial
    from nonlin.run.ranking import Ranking

SHAPES = 20
CURVES = 5
ROWS = 50


def write_report(ranking: Ranking, path: str | Path) -> Path:
    """Write the report of a ranked study to `path` and return the path.

    Raises
    ------
    NonlinError : no child has finished, or the file cannot be written.
    """
    path = checked_path(path)
    text = render(ranking)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise NonlinError(f"cannot write the report {path}: {error.strerror or error}.") from None
    return path


def checked_path(path: str | Path) -> Path:
    """`path`, if a report can be written there: it ends with .html and its folder exists; else NonlinError."""
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise NonlinError(f"cannot write the report {path}: it is HTML, so the file must end with .html.")
    if not path.parent.is_dir() or path.is_dir():
        raise NonlinError(f"cannot write the report {path}: its folder does not exist, or it is a folder.")
    return path


def render(ranking: Ranking) -> str:
    """The report as HTML text."""
    from jinja2 import Environment

    study = ranking.study
    if not ranking.rows:
        raise NonlinError(f"{study.store.label}: no child has finished yet, so there is nothing to report.")
    source = resources.files("nonlin.report")
    template = source.joinpath("report.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = _number
    return environment.from_string(template).render(
        study=study,
        config=study.config,
        style=source.joinpath("report.css").read_text(encoding="utf-8"),
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
        census=study.census,
        provenance=study.provenance,
        written=datetime.now(UTC).isoformat(timespec="minutes"),
        data=_data(study),
        method=_method(study),
    )


def _number(value: float, digits: int = 4) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


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
    references = [
        (trial.name, trial.score)
        for trial in ranking.trials
        if trial.name in ("relu", "linear") and math.isfinite(trial.score)
    ]
    numbers = [trial.number - first + 1 for trial in candidates]
    return progress_svg(numbers, [trial.score for trial in candidates], references, f"validation {study.config.metric}")


def _curves(ranking: Ranking) -> str:
    full = [trial for trial in ranking.trials if trial.status == "ok"]
    chosen = full[:CURVES] + [trial for trial in full[CURVES:] if trial.name in ("relu", "linear")]
    series = [(trial.name, trial.curves["loss"]) for trial in chosen if trial.curves.get("loss")]
    if not series:
        return ""
    positive = all(min(values) > 0 for _, values in series)
    return lines_svg(series, "epoch", "validation loss", log=positive)


def _data(study: Study) -> str:
    """All trials as JSON, safe inside a script element."""
    rows: list[dict[str, Any]] = [dict(trial) for trial in study.trials()]
    for row in rows:
        for key, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                row[key] = None
    return json.dumps({"config": study.config.as_dict(), "trials": rows}).replace("<", "\\u003c")


def _method(study: Study) -> str:
    """A paragraph for a paper's method section, from the actual configuration."""
    config, training = study.config, study.config.training
    census = study.census
    candidates = sum(trial.role == "candidate" for trial in study.trials())
    part = "all" if config.budget is None else f"{candidates:,} (chosen at random)"
    gain = (
        "Initial weights after an activation were scaled by the function's own gain 1/√E[f²] under N(0,1)."
        if config.normalise
        else "All functions shared one initialisation, so functions of larger scale had larger gradients."
    )
    halving = (
        " Candidates whose validation loss after 25% or 50% of the epochs was in the worst third of their "
        "predecessors' were stopped there."
        if config.halving
        else ""
    )
    return (
        f"We trained {part} of the {census.get('worth_training', 0):,} distinct, non-affine functions of the space "
        f"{config.space} ({census.get('expressions', 0):,} expressions) on {config.task} "
        f"({config.rows['train']:,} training, {config.rows['validation']:,} validation and {config.rows['test']:,} "
        f"test rows) for {training['epochs']} epochs with {training['optimizer']}, learning rate "
        f"{training['learning_rate']:g} and batch size {training['batch_size']}; one seed ({config.seed}), which fixes "
        f"initial weights and batches for every function. {gain}{halving} Functions were ranked by validation "
        f"{config.metric}, then by validation loss; test data were not used. "
        f"Training ran in {'the compiled core' if config.engine == 'core' else 'PyTorch'}. "
        f"Software: nonlin {study.provenance.get('nonlin', '')}."
    )
