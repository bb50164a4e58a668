"""What a cell of an experiment trains, and whether this machine can train it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from nonlin.errors import MissingExtraError, TaskError
from nonlin.experiments.papers import Cell, Experiment
from nonlin.tasks import Task, data_title, is_there
from nonlin.tasks import task as task_by_name
from nonlin.tasks.folder import FOLDER, data_folder
from nonlin.tasks.language.dpo import PreferenceModel, dpo_task
from nonlin.tasks.language.translation import TranslationFiles
from nonlin.tasks.library_models import TimmModel


def cell_task(cell: Cell, precision: str | None = None) -> Task:
    """The task of a cell, with what the cell changes; `precision` in place of the budget's."""
    chosen = task_by_name(cell.task) if cell.beta is None else dpo_task(cell.task, cell.beta)
    given: dict[str, Any] = {"steps": cell.steps, "epochs": cell.epochs, "precision": precision}
    changed = {name: value for name, value in given.items() if value is not None}
    return replace(chosen, budget=replace(chosen.budget, **changed)) if changed else chosen


def missing_extra(task: Task) -> MissingExtraError | None:
    """The error that names the extra a task needs and this machine lacks; nothing is imported."""
    for kind, package, extra, purpose in (
        (TimmModel, "timm", "timm", f"Task {task.name}"),
        (PreferenceModel, "transformers", "hf", f"Task {task.name}"),
        (TranslationFiles, "tokenizers", "hf", f"Task {task.name}"),
    ):
        if isinstance(task.build, kind) or isinstance(task.data, kind):
            if not _installed(package):
                return MissingExtraError(package, extra, purpose)
    return None


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:  # a module without a specification, such as None in sys.modules
        return False


def check_ready(experiment: Experiment, cells: Sequence[Cell], tasks: Sequence[Task]) -> None:
    """One error for all that is missing, before anything is trained.

    Raises
    ------
    MissingExtraError : a task needs a package that is not installed
    TaskError : data are not on this machine
    """
    for task in tasks:
        if problem := missing_extra(task):
            raise problem
    absent: dict[str, str] = {}  # by data set, the first task that needs it
    for cell, task in zip(cells, tasks, strict=True):
        if not is_there(task):
            absent.setdefault(data_title(task), cell.task)
    if not absent:
        return
    how = "; ".join(f"{title}: nonlin tasks --download {name}" for title, name in absent.items())
    ready = list(dict.fromkeys(cell.task for cell, task in zip(cells, tasks, strict=True) if is_there(task)))
    rest = f" What is here can be run alone: {' '.join(f'--task {name}' for name in ready)}." if ready else ""
    raise TaskError(
        f"{experiment.name} needs data that is not in {data_folder()}. Get it with: {how}. Or set {FOLDER} to the "
        f"folder that holds it (docs/tasks.md).{rest} Nothing was trained, and nothing that is stored is lost. "
        f"Without data: nonlin reproduce {experiment.name} --smoke, or --dry-run."
    )
