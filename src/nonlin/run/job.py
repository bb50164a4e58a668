"""One child to be trained, and the training of it, in this process or in a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nonlin.expr.module import Per
from nonlin.tasks import Task
from nonlin.train import Outcome, fit
from nonlin.zoo import activation


@dataclass(frozen=True)
class Job:
    """Everything that a worker needs beside the task. `number` identifies the trial."""

    number: int
    formula: str
    initial: Mapping[str, float]
    seed: int
    normalise: bool
    per: Per
    rungs: Mapping[int, float]

    def run(self, task: Task) -> Outcome:
        act = activation(self.formula, **self.initial)
        return fit(
            task, act, self.seed, normalise=self.normalise, per=self.per, rungs=self.rungs
        )  # fmt: skip
