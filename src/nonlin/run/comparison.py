"""A comparison: activations side by side on the same tasks and seeds, everything else fixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nonlin.errors import ComparisonError, StoreError
from nonlin.native.module import Per
from nonlin.run.arms import arms_of, twins
from nonlin.run.engines import ENGINES, Engine, why_torch
from nonlin.run.executor import Executor, crew_of
from nonlin.run.provenance import provenance
from nonlin.run.runs import (
    Run,
    add_comparison,
    comparison_ids,
    comparison_row,
    find_comparison,
    finish_comparison,
    stored_runs,
)
from nonlin.run.setting import Setting, TaskSetting, check_same, checked_rates, checked_seeds, setting_of
from nonlin.run.standings import By, Standing, Standings
from nonlin.run.store import Store
from nonlin.run.trainings import Trainings, Watcher
from nonlin.tasks import TASKS, Task, is_script, known
from nonlin.tasks import task as task_by_name
from nonlin.zoo import Activation, activation

SEEDS = 10
TUNING_SEEDS = (10_001, 10_002, 10_003)  # apart from those of the final runs


class Comparison:
    """Activations compared. Get one from `nonlin.compare`, or `Comparison.open` for a stored one."""

    def __init__(self, store: Store, id: int, tasks: Sequence[Task] | None = None):
        self.store, self.id = store, id
        row = comparison_row(store, id)
        self.config = Setting.from_dict(row["config"])
        self.provenance: dict[str, Any] = row["provenance"]
        self.created: str = row["created"]
        self._tasks = tasks

    def __repr__(self) -> str:
        return f"<Comparison {self.id} of {self.store.label}: {len(self.config.arms)} arms on {', '.join(self.tasks)}>"

    def __str__(self) -> str:
        return "\n\n".join(f"{task}\n" + "\n".join(self.verdict(task)) for task in self.tasks)

    @classmethod
    def open(cls, path: str | Path, id: int | None = None) -> Comparison:
        """The comparison of a store (the latest, or the one with this id). StoreError if there is none."""
        store = Store(path, create=False)
        ids = comparison_ids(store)
        if not ids:
            raise StoreError(f"{path} holds no comparison yet. Start one with: nonlin compare F... --store {path}")
        return cls(store, ids[-1] if id is None else id)

    # Results

    @property
    def finished(self) -> bool:
        return bool(comparison_row(self.store, self.id)["finished"])

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks."""
        return [setting.name for setting in self.config.tasks]

    def runs(self) -> list[Run]:
        """All finished trainings, in the order in which they finished."""
        return stored_runs(self.store, self.id)

    def standings(self, task: str | None = None, by: By = "score") -> Standings:
        """The ranking and the tests on one task (the only one, or the one named), by "score" or "loss"."""
        if by not in ("score", "loss"):
            raise ComparisonError(f"by must be 'score' or 'loss'; got {by!r}.")
        name = self._setting(task).name
        final = [run for run in self.runs() if run.phase == "final" and run.task == name]
        return Standings(self.config.arms, final, by)

    def table(self, task: str | None = None, by: By = "score") -> list[Standing]:
        """One row per function and protocol, best first. ``pandas.DataFrame(map(dict, table))`` reads it."""
        return self.standings(task, by).rows()

    def ties(self, task: str | None = None, by: By = "score") -> list[list[str]]:
        """The largest groups of functions that cannot be told apart, best first; nulls are not among them."""
        return self.standings(task, by).groups()

    def verdict(self, task: str | None = None, by: By = "score") -> list[str]:
        """What can be concluded, in sentences."""
        setting = self._setting(task)
        standings = self.standings(task, by)
        remarks = [self._at_the_edge(standings, setting), setting.remark, *self._twice()]
        return standings.verdict(setting.metric) + [remark for remark in remarks if remark]

    def _at_the_edge(self, standings: Standings, setting: TaskSetting) -> str:
        """Whose learning rate is the least or the greatest that was tried, as a sentence."""
        if len(self.config.rates) < 2:
            return ""
        ends = [factor * setting.training["learning_rate"] for factor in (self.config.rates[0], self.config.rates[-1])]
        found = [f"{row.label} ({row.rate:g})" for row in standings.rows() if row.role == "given" and row.rate in ends]
        return (
            f"At an end of the learning rates tried, a better one may lie beyond: {', '.join(found)}." if found else ""
        )

    def _twice(self) -> list[str]:
        """Which functions were given more than once, a sentence each: a control, or an oversight."""
        given = [arm for arm in self.config.arms if arm.role == "given" and arm.protocol == "common"]
        acts = [Activation(arm.label, activation(arm.formula).expr, tuple(arm.initial.items())) for arm in given]
        return [
            f"{one.name} and {other.name} are one function, trained twice: what differs between them is chance."
            for one, other in twins(acts)
        ]

    def report(self, path: str | Path, background: bool = True, by: By = "score") -> Path:
        """Write the HTML report; returns its path.

        Parameters
        ----------
        background : with each function's health card and the diagnosis of its network before training, which
            take about a second for each function
        by : the measure that ranks and is tested, "score" or "loss"
        """
        from nonlin.report import write_comparison
        from nonlin.run.background import health_cards, initial_diagnoses

        there = [name for name in self.tasks if name in TASKS or (is_script(name) and Path(name).is_file())]
        tasks = self._tasks or [task_by_name(name) for name in there]
        cards = health_cards(self.config) if background else None
        diagnoses = initial_diagnoses(self.config, tasks) if background else None
        return write_comparison(self, path, tasks, cards, diagnoses, by)

    def _setting(self, task: str | None) -> TaskSetting:
        if task is None:
            if len(self.config.tasks) > 1:
                raise ComparisonError(f"this comparison has several tasks; name one of {', '.join(self.tasks)}.")
            return self.config.tasks[0]
        for setting in self.config.tasks:
            if setting.name == task:
                return setting
        raise ComparisonError(f"this comparison has no task {task!r}; it has {', '.join(self.tasks)}.")

    # Running

    def run(
        self, workers: int | Executor = 0, watcher: Watcher | None = None, checkpoints: str | Path | None = None
    ) -> Comparison:
        """Train what is missing. Interrupting is safe at any moment; calling again continues.

        Raises
        ------
        ComparisonError : a task's data, model or budget are not those that the comparison was begun with.
        """
        if self.finished:
            return self
        tasks = self._tasks or [self._stored_task(setting) for setting in self.config.tasks]
        with self.store.lock(), crew_of(workers) as crew:
            for task, setting in zip(tasks, self.config.tasks, strict=True):
                check_same(task, setting)
            kept = None if checkpoints is None else Path(checkpoints)
            Trainings(self.store, self.id, self.config, tasks, crew, watcher, kept).run()
            finish_comparison(self.store, self.id)
        return self

    def _stored_task(self, setting: TaskSetting) -> Task:
        if not known(setting.name):
            raise ComparisonError(
                f"this comparison trains your own task {setting.name!r}, which only your script can build. Call "
                "nonlin.compare(...) from it again, with the same arguments and this store: it continues."
            )
        task = task_by_name(setting.name)
        return replace(task, budget=replace(task.budget, **setting.training))


def compare(
    activations: Sequence[Activation | str],
    task: str | Task | Sequence[str | Task] = "digits-cnn",
    seeds: int | Sequence[int] = SEEDS,
    store: str | Path | None = None,
    workers: int | Executor = 0,
    *,
    rates: Sequence[float] = (1.0,),
    normalise: bool = True,
    per: Per = "channel",
    nulls: bool = True,
    protocols: bool = True,
    epochs: int | None = None,
    clip_value: float | None = None,
    clip_norm: float | None = None,
    engine: Engine = "auto",
    watcher: Watcher | None = None,
    checkpoints: str | Path | None = None,
) -> Comparison:
    """Compare activations fairly: one network, one data set, the same seeds, everything fixed but the activation.

    Runs with one seed share initial weights (up to each function's own gain) and batches. Test data are
    evaluated once, at the end of each final run; nothing is chosen by them.

    Parameters
    ----------
    activations : names, formulas or activations; one that is given twice is trained twice, and said to be
    task : name of a task or a `nonlin.Task`, or several
    seeds : how many, from 0 on; or the seeds themselves
    store : file that keeps everything; None for memory only. If it holds a comparison with this very
        configuration, that one is continued, or returned if it is finished
    workers : processes on this machine; 0 trains in this process. Or what `nonlin.run.start` returned
    rates : factors on the task's learning rate. With more than one, each function gets the factor with the
        smallest median validation loss over three seeds of their own, so that none is favoured
    normalise : scale initial weights by each function's own gain
    per : trainable parameters per "channel" or per "tensor"
    nulls : also train linear, constant and a random function, which should lose
    protocols : where SELU is among the activations, also train it as its authors require: LeCun-normal
        weights, AlphaDropout in place of Dropout (Klambauer et al. 2017)
    epochs, clip_value, clip_norm : instead of the task's own; clipping is of gradients
    engine : "torch" for the plain reference, "core" for the compiled core, "auto" for the core where it can
    checkpoints : folder in which each run keeps its state while it lasts, so that an interruption costs a minute of it
        and not the whole; only with the engine "torch". Workers on other machines must see the same folder

    Returns
    -------
    Comparison : `.table()`, `.ties()`, `.verdict()`, `.report(path)`

    Raises
    ------
    ComparisonError : no activations, no seeds, factors that are not above 0
    """
    several = [task] if isinstance(task, str | Task) else list(task)
    if not several:
        raise ComparisonError("no task is given; name one or more, see 'nonlin tasks'.")
    chosen = [_with_budget(task_by_name(one), epochs, clip_value, clip_norm) for one in several]
    if len({one.name for one in chosen}) < len(chosen):
        raise ComparisonError(f"a task is named twice: {', '.join(one.name for one in chosen)}.")
    if per not in ("channel", "tensor"):
        raise ComparisonError(f"per must be 'channel' or 'tensor'; got {per!r}.")
    if engine not in ENGINES:
        raise ComparisonError(f"engine must be 'auto', 'torch', 'core' or 'cohort'; got {engine!r}.")
    factors = checked_rates(rates)
    numbers = checked_seeds(seeds)
    arms = arms_of(activations, protocols, nulls, numbers[0])
    opened = Store(store)
    widths = per == "channel" and any(arm.initial for arm in arms)
    with opened.unless_unused(), crew_of(workers) as crew:  # before the data are read: the workers start meanwhile
        setting = Setting(
            arms=arms,
            tasks=tuple(setting_of(one, engine, widths) for one in chosen),
            seeds=numbers,
            rates=factors,
            tuning_seeds=TUNING_SEEDS if len(factors) > 1 else (),
            normalise=normalise,
            per=per,
        )
        id = find_comparison(opened, setting.without_models().as_dict())
        if id is None:
            id = add_comparison(opened, setting.as_dict(), provenance(_reason(chosen, setting, engine)))
        return Comparison(opened, id, chosen).run(crew, watcher, checkpoints)


def _reason(tasks: Sequence[Task], setting: Setting, engine: Engine) -> str:
    """Why "auto" trains some of the tasks one by one, each reason once with the names of its tasks."""
    names: dict[str, list[str]] = {}
    for task, one in zip(tasks, setting.tasks, strict=True):
        if engine == "auto" and one.engine == "torch":
            names.setdefault(why_torch(task, setting.per, cohorts=False), []).append(task.name)
    return "; ".join(f"{', '.join(found)} {reason}" for reason, found in names.items())


def _with_budget(task: Task, epochs: int | None, clip_value: float | None, clip_norm: float | None) -> Task:
    given: dict[str, Any] = {"epochs": epochs, "clip_value": clip_value, "clip_norm": clip_norm}
    changed = {name: value for name, value in given.items() if value is not None}
    return replace(task, budget=replace(task.budget, **changed)) if changed else task
