"""One network to be trained, and the training of it, in this process or in a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from nonlin.errors import SearchError
from nonlin.native.module import Per
from nonlin.tasks import Task
from nonlin.train import Outcome, fit, fit_in_core, obstacle
from nonlin.train.cohort import cohort_size, fit_cohort
from nonlin.train.initial import Protocol
from nonlin.zoo import activation


@dataclass(frozen=True)
class Job:
    """Everything that a worker needs beside the task. `number` identifies it; the rest as for `nonlin.train.fit`."""

    number: int
    formula: str
    initial: Mapping[str, float]
    seed: int
    normalise: bool
    per: Per
    rungs: Mapping[int, float]
    engine: str
    protocol: Protocol = "common"
    learning_rate: float | None = None
    final: bool = False
    checkpoint: str | None = None

    def run(self, task: Task) -> Outcome:
        """Train it in the engine that was settled on, at the task's own learning rate or at the job's.

        Raises
        ------
        SearchError : the compiled core was settled on and cannot be used in this process; a child of the reference
            would differ in the last digits.
        """
        if self.engine == "cohort":
            return run_together([self], task)[0]
        if self.engine == "core" and (problem := obstacle(task)):
            raise SearchError(f"the compiled core, which this was begun with, cannot be used here: {problem}.")
        act = activation(self.formula, **self.initial)
        if self.learning_rate is not None and self.learning_rate != task.budget.learning_rate:
            budget = replace(task.budget, learning_rate=self.learning_rate)
            task = replace(task, data=task.load(), budget=budget)
        train = partial(fit, checkpoint=self.checkpoint) if self.engine == "torch" else fit_in_core
        return train(
            task,
            act,
            self.seed,
            normalise=self.normalise,
            per=self.per,
            rungs=self.rungs,
            protocol=self.protocol,
            final=self.final,
        )

    def joins(self, other: Job) -> bool:
        """Whether the two may be trained in one cohort: they differ in nothing but activation, rate and rungs."""
        return self.engine == other.engine == "cohort" and self._common() == other._common()

    def _common(self) -> tuple[object, ...]:
        return self.seed, self.normalise, self.per, self.protocol, self.final


def run_together(jobs: Sequence[Job], task: Task) -> list[Outcome]:
    """The outcomes of `jobs` in their order: those that may be are trained as cohorts, the others one by one."""
    outcomes: list[Outcome] = []
    waiting = list(jobs)
    while waiting:
        first, most = waiting[0], cohort_size(task) if waiting[0].engine == "cohort" else 1
        group: list[Job] = []
        while waiting and len(group) < most and (waiting[0] is first or waiting[0].joins(first)):
            group.append(waiting.pop(0))
        outcomes.extend(_cohort(group, task) if first.engine == "cohort" else [first.run(task)])
    return outcomes


def _cohort(group: Sequence[Job], task: Task) -> list[Outcome]:
    first, usual = group[0], task.budget.learning_rate
    return fit_cohort(
        task,
        [activation(job.formula, **job.initial) for job in group],
        first.seed,
        normalise=first.normalise,
        per=first.per,
        rungs=[job.rungs for job in group],
        protocol=first.protocol,
        final=first.final,
        learning_rates=[usual if job.learning_rate is None else job.learning_rate for job in group],
    )
