"""Which engine trains a task: the compiled core, cohorts of children as one, or one child after another in torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from nonlin import native
from nonlin.errors import SearchError
from nonlin.native.module import Per
from nonlin.tasks import Task
from nonlin.train import obstacle
from nonlin.train.cohort import obstacle as cohort_obstacle
from nonlin.train.cohort import pays

Engine = Literal["auto", "torch", "core", "cohort"]
ENGINES = ("auto", "torch", "core", "cohort")


def engine_for(wanted: Engine, task: Task, per: Per = "channel", cohorts: bool = True) -> str:
    """The engine that trains `task`: what is wanted, or for "auto" the fastest that can; of `cohorts` only if so told.

    Raises
    ------
    SearchError : the engine that is asked for cannot train the task
    """
    if wanted == "torch":
        return wanted
    if wanted != "cohort":
        problem = obstacle(task)
        if not problem:
            return "core"
        if wanted == "core":
            raise SearchError(f"the core cannot train task {task.name!r}: {problem}. Use engine='torch'.")
    if wanted == "auto" and not (cohorts and native.available()):
        return "torch"
    problem = cohort_obstacle(task, per)
    if wanted == "cohort" and problem:
        raise SearchError(
            f"the children of task {task.name!r} cannot be trained as one: {problem}. Use engine='torch', which trains "
            "them one by one."
        )
    return "cohort" if wanted == "cohort" or (not problem and pays(task)) else "torch"


def why_torch(task: Task, per: Per = "channel", cohorts: bool = True) -> str:
    """Why "auto" trains `task` child by child, in a sentence; for a task for which `engine_for` says "torch"."""
    if not native.available():
        return f"one by one in torch, since there is no compiled core ({native.reason()})"
    if not cohorts:
        together = "trained as one, no function would have a time of its own"
    else:
        problem = cohort_obstacle(task, per)
        together = f"they cannot be trained as one ({problem})" if problem else "as one they would fill the cache"
    return f"one by one in torch: the compiled core cannot train this task ({obstacle(task)}), and {together}"


def say_why(watcher: object, provenance: Mapping[str, Any]) -> None:
    """Tell a watcher that has a method `explained` what was noted when the engine was chosen."""
    explain, reason = getattr(watcher, "explained", None), provenance.get("engine_reason")
    if explain and reason:
        explain(reason)
