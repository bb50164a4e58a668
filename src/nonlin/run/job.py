"""One network to be trained, and the training of it, in this process or in a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from nonlin.errors import SearchError
from nonlin.native.module import Per
from nonlin.tasks import Task
from nonlin.train import Outcome, fit, fit_in_core, obstacle
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

    def run(self, task: Task) -> Outcome:
        """Train it in the engine that was settled on, at the task's own learning rate or at the job's.

        Raises
        ------
        SearchError : the compiled core was settled on and cannot be used in this process; a child of the reference
            would differ in the last digits.
        """
        if self.engine == "core" and (problem := obstacle(task)):
            raise SearchError(f"the compiled core, which this was begun with, cannot be used here: {problem}.")
        act = activation(self.formula, **self.initial)
        if self.learning_rate is not None and self.learning_rate != task.budget.learning_rate:
            budget = replace(task.budget, learning_rate=self.learning_rate)
            task = replace(task, data=task.load(), budget=budget)
        train = fit_in_core if self.engine == "core" else fit
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
