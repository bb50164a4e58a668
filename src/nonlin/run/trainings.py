"""The running of a comparison: choose each arm's learning rate, then train the final runs, and keep everything."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from nonlin.errors import ComparisonError
from nonlin.run.executor import Executor
from nonlin.run.job import Job
from nonlin.run.runs import Run, save_run, stored_runs
from nonlin.run.store import Store
from nonlin.tasks import Task
from nonlin.train import Outcome

if TYPE_CHECKING:
    from nonlin.run.setting import Setting, TaskSetting
    from nonlin.run.standings import Arm


class Watcher(Protocol):
    """Hears of a comparison's progress; see `nonlin.cli` for one that shows it."""

    def planned(self, done: int, total: int) -> None:
        """How many runs there are in all, and how many the store had already."""

    def trained(self, run: Run, done: int, total: int) -> None:
        """A run is in the store."""


class Trainings:
    """Trains what a comparison lacks, task after task; arms take turns, so that a busy moment favours none.

    `checkpoints` is a folder in which runs keep their state while they last; None for none.
    """

    def __init__(
        self,
        store: Store,
        id: int,
        config: Setting,
        tasks: Sequence[Task],
        crew: Executor,
        watcher: Watcher | None,
        checkpoints: Path | None = None,
    ):
        self.store, self.id, self.config, self.tasks, self.crew = store, id, config, tasks, crew
        self.watcher, self.checkpoints = watcher, checkpoints
        self.known = {run.key: run for run in stored_runs(store, id)}
        per_task = len(config.arms) * (len(config.seeds) + len(config.rates) * len(config.tuning_seeds))
        self.total = len(config.tasks) * per_task

    def run(self) -> None:
        if self.watcher:
            self.watcher.planned(len(self.known), self.total)
        for task, setting in zip(self.tasks, self.config.tasks, strict=True):
            begun = False
            for plan in (self._tuning, self._final):  # the second depends on what the first found
                missing = [(run, arm) for run, arm in plan(setting) if run.key not in self.known]
                if missing and not begun:
                    self.crew.begin(task)
                    begun = True
                self._train(missing, setting)
            self._check_any(setting)

    def _tuning(self, setting: TaskSetting) -> list[tuple[Run, Arm]]:
        return list(self._plan("tuning", setting, self.config.tuning_seeds, self._candidates(setting)))

    def _final(self, setting: TaskSetting) -> list[tuple[Run, Arm]]:
        rates = {arm.label: [self._chosen(setting, arm)] for arm in self.config.arms}
        return list(self._plan("final", setting, self.config.seeds, rates))

    def _plan(self, phase, setting: TaskSetting, seeds: Sequence[int], rates) -> Iterator[tuple[Run, Arm]]:
        """Seeds outermost: what is there after an interruption can be compared."""
        for seed in seeds:
            for arm in self.config.arms:
                for rate in rates[arm.label]:
                    yield Run(phase, setting.name, arm.label, rate, seed), arm

    def _candidates(self, setting: TaskSetting) -> dict[str, list[float]]:
        rates = [factor * setting.training["learning_rate"] for factor in self.config.rates]
        return {arm.label: rates for arm in self.config.arms}

    def _chosen(self, setting: TaskSetting, arm: Arm) -> float:
        """The learning rate with the smallest median validation loss of the tuning runs."""
        rates = self._candidates(setting)[arm.label]
        if len(rates) == 1:
            return rates[0]

        def median_loss(rate: float) -> float:
            runs = [self.known["tuning", setting.name, arm.label, rate, seed] for seed in self.config.tuning_seeds]
            return float(np.median([run.loss if run.status == "ok" else math.inf for run in runs]))

        return min(rates, key=median_loss)

    def _train(self, missing: list[tuple[Run, Arm]], setting: TaskSetting) -> None:
        for number, (run, arm) in enumerate(missing):
            self.crew.submit(self._job(number, run, arm, setting))
        for _ in missing:
            number, outcome = self.crew.next()
            run = missing[number][0]
            _copy(outcome, run)
            save_run(self.store, self.id, run)
            if folder := self._checkpoint(run):
                shutil.rmtree(folder, ignore_errors=True)
            self.known[run.key] = run
            if self.watcher:
                self.watcher.trained(run, len(self.known), self.total)

    def _job(self, number: int, run: Run, arm: Arm, setting: TaskSetting) -> Job:
        return Job(
            number=number,
            formula=arm.formula,
            initial=arm.initial,
            seed=run.seed,
            normalise=self.config.normalise,
            per=self.config.per,
            rungs={},
            engine=setting.engine,
            protocol=arm.protocol,
            learning_rate=run.rate,
            final=run.phase == "final",
            checkpoint=self._checkpoint(run),
        )

    def _checkpoint(self, run: Run) -> str | None:
        """The folder of one run's checkpoint; it lasts until the run is in the store."""
        if self.checkpoints is None:
            return None
        return str(self.checkpoints / hashlib.sha256(repr(run.key).encode()).hexdigest()[:16])

    def _check_any(self, setting: TaskSetting) -> None:
        """ComparisonError if every run of the task failed: then the task is at fault, not an activation."""
        runs = [run for run in self.known.values() if run.task == setting.name]
        if runs and all(run.status == "failed" for run in runs):
            raise ComparisonError(
                f"task {setting.name!r} cannot be trained with any of these activations: {runs[0].error.rstrip('.')}. "
                "Mend the task's model, data or loss first."
            )


def _copy(outcome: Outcome, run: Run) -> None:
    for name, value in outcome.as_dict().items():
        setattr(run, name, value)
