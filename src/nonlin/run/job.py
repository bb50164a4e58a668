"""One network to be trained, and the training of it, in this process or in a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from nonlin.errors import SearchError
from nonlin.expr import Expr, parse
from nonlin.zoo import activation

if TYPE_CHECKING:
    from nonlin.native.module import Per
    from nonlin.native.training import Trained, Training
    from nonlin.tasks import Task
    from nonlin.train import Outcome, Protocol


@dataclass(frozen=True)
class Job:
    """Everything that a worker needs beside the task. `number` identifies it; `tree` is the formula parsed, where that
    is at hand; the rest as for `nonlin.train.fit`."""

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
    tree: Expr | None = field(default=None, repr=False, compare=False)

    def run(self, task: Task) -> Outcome:
        """Train it in the engine that was settled on, at the task's own learning rate or at the job's.

        Raises
        ------
        SearchError : the compiled core was settled on and cannot be used in this process; a child of the reference
            would differ in the last digits.
        """
        from nonlin.train import fit, fit_in_core, obstacle
        from nonlin.train.engine import outcome_of

        if self.engine == "cohort":
            return run_together([self], task)[0]
        if self.engine == "core" and (problem := obstacle(task)):
            raise SearchError(f"the compiled core, which this was begun with, cannot be used here: {problem}.")
        if (shared := self.shared(task)) and (trained := self.trained(shared)):
            return outcome_of(trained, task)
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

    def shared(self, task: Task) -> Training | None:
        """What it has in common with others that the compiled core trains from beginning to end; None for any other."""
        from nonlin.train.engine import training

        if self.engine != "core" or self.final:
            return None
        return training(task, self.seed, normalise=self.normalise, per=self.per, protocol=self.protocol)

    def trained(self, shared: Training) -> Trained | None:
        """Train it without torch, after `shared`; None where that cannot be done, and `run` can."""
        return trained([self], shared)[0]

    def joins(self, other: Job) -> bool:
        """Whether the two may be trained in one cohort: they differ in nothing but activation, rate and rungs."""
        return self.engine == other.engine == "cohort" and self.common() == other.common()

    def common(self) -> tuple[object, ...]:
        """What those that are trained together, or after one `Training`, have in common."""
        return self.seed, self.normalise, self.per, self.protocol, self.final


def trained(jobs: Sequence[Job], shared: Training) -> list[Trained | None]:
    """`Job.trained` of each. All are begun before one is trained: training leaves little of Python in the caches."""
    begun = [shared.begin(job.tree or parse(job.formula), job.initial) for job in jobs]
    return [
        None if one is None else shared.finish(one, job.rungs, job.learning_rate)
        for job, one in zip(jobs, begun, strict=True)
    ]


def run_together(jobs: Sequence[Job], task: Task) -> list[Outcome]:
    """The outcomes of `jobs` in their order: those that may be are trained as cohorts, the others one by one."""
    from nonlin.train import cohort_size

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
    from nonlin.train import fit_cohort

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
