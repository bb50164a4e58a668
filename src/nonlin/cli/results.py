"""`nonlin top` and `nonlin report`: what a search or a comparison found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from nonlin.cli.screen import console, print_json, table
from nonlin.errors import NonlinError

if TYPE_CHECKING:
    from nonlin.run import Comparison, Study, Trial

_STUDY = typer.Option(None, help="Which search of the store. Default: the latest search or comparison.")
_COMPARISON = typer.Option(None, help="Which comparison of the store.")


def top(
    store: Path = typer.Argument(..., help="A store written by 'nonlin search' or 'nonlin compare'."),
    number: int = typer.Option(None, "-n", help="How many functions of the (latest) search. Default: 10.", min=1),
    study: int = _STUDY,
    comparison: int = _COMPARISON,
    by: str = typer.Option("score", help="Rank a comparison by 'score' or by 'loss'."),
    json: bool = typer.Option(False, "--json", help='Print JSON: {"trials": [...]}, or {"tasks": ...}.'),
) -> None:
    """List the best functions of a search, or the tables of a comparison.

    Example: nonlin top a.db -n 20
    """
    from nonlin.cli.comparing import checked_by, show_comparison
    from nonlin.run import Comparison, Store, Study

    measure = checked_by(by)
    if number and comparison is not None:
        raise NonlinError("-n is a number of functions of a search; a comparison is shown whole. Leave it out.")
    opened = Study.open(store, study) if number else open_store(store, study, comparison)
    if isinstance(opened, Comparison):
        show_comparison(opened, measure, json)
        if not json and (found := Store(store, create=False).study_ids()):
            which = f"'nonlin top {store} --study {found[-1]}'"
            console().print(f"The store also holds a search: {escape(which)}", soft_wrap=True)
    elif json:
        print_json(results_json(opened, number or 10))
    else:
        print_results(opened, number or 10)


def report(
    store: Path = typer.Argument(..., help="A store written by 'nonlin search' or 'nonlin compare'."),
    output: Path = typer.Option(None, "--output", "-o", help="File to write. Default: the store's name, .html."),
    study: int = _STUDY,
    comparison: int = _COMPARISON,
    by: str = typer.Option("score", help="Rank a comparison by 'score' or by 'loss'."),
) -> None:
    """Write the report of a search or a comparison: one HTML file that works offline.

    Example: nonlin report a.db -o a.html
    """
    from nonlin.cli.comparing import checked_by
    from nonlin.run import Study

    measure = checked_by(by)
    opened, path = open_store(store, study, comparison), output or store.with_suffix(".html")
    typer.echo(opened.report(path) if isinstance(opened, Study) else opened.report(path, by=measure))


def open_store(path: Path, study: int | None, comparison: int | None) -> Study | Comparison:
    """The search or comparison named, or the one begun last."""
    from nonlin.run import Comparison, Store, Study
    from nonlin.run.runs import comparison_ids, comparison_row

    if study is not None and comparison is not None:
        raise NonlinError(f"--study {study} and --comparison {comparison} are two things; give one of them.")
    if study is not None:
        return Study.open(path, study)
    if comparison is not None:
        return Comparison.open(path, comparison)
    store = Store(path, create=False)
    compared = [(comparison_row(store, id)["created"], id) for id in comparison_ids(store)]
    searched = [(store.study(id)["created"], id) for id in store.study_ids()]
    if compared and (not searched or max(compared)[0] >= max(searched)[0]):
        return Comparison.open(path)
    return Study.open(path)


def results_json(study: Study, number: int) -> dict[str, Any]:
    """The best trials and what they were measured on."""
    rows = []
    for trial in study.top(number):
        row = dict(trial)
        rows.append({**row, "rungs": {str(epoch): loss for epoch, loss in trial.rungs.items()}})
    return {
        "study": study.id, "finished": study.finished, "config": study.config.as_dict(),
        "census": study.census, "provenance": study.provenance, "trials": rows,
    }  # fmt: skip


def print_results(study: Study, number: int) -> None:
    """The list, where the usual functions and the nulls stand, and what one seed cannot tell."""
    from nonlin.run.ranking import Ranking

    ranking = Ranking(study)
    out = console()
    if not ranking.rows:
        out.print("no child has finished yet.")
        return
    config = study.config
    out.print(f"[bold]{config.task}[/bold], {config.space}, {config.strategy}, seed {config.seed}: {ranking.summary()}")
    shown = table(
        "rank", "function", "", config.metric, "loss", "epochs", "seconds",
        right=("rank", config.metric, "loss", "epochs", "seconds"),
    )  # fmt: skip
    listed = ranking.rows[:number]
    for rank, trial in listed:
        _add_row(shown, str(rank), trial, ranking.tied(trial))
    controls = [(rank, trial) for rank, trial in ranking.rows[number:] if trial.role != "candidate"]
    if controls:
        shown.add_row("", "[dim]baselines and nulls further down[/dim]", "", "", "", "", "")
        for rank, trial in controls:
            _add_row(shown, str(rank), trial, ranking.tied(trial))
    out.print(shown)
    out.print()
    out.print(ranking.verdict())


def _add_row(shown, rank: str, trial: Trial, tied: bool) -> None:
    mark = {"baseline": "[cyan]baseline[/cyan]", "null": "[magenta]null[/magenta]"}.get(trial.role, "")
    if trial.status != "ok":
        mark = f"{mark} [yellow]{trial.status}[/yellow]".strip()
    name = trial.name if trial.name == trial.formula else f"{trial.name}: {trial.formula}"
    score = f"{trial.score:.4f}" if trial.score == trial.score else "-"
    loss = f"{trial.loss:.4f}" if trial.loss == trial.loss else "-"
    shown.add_row(
        rank, escape(name), mark, f"{score}{' =' if tied else '  '}", loss, str(trial.epochs), f"{trial.seconds:.2f}"
    )  # fmt: skip
