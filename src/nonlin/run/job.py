"""One child to be trained, and the training of it, in this process or in a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nonlin.native.module import Per
from nonlin.tasks import Task
from nonlin.train import Outcome, fit, fit_in_core
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
    engine: str

    def run(self, task: Task) -> Outcome:
        """Train it in the engine that the study settled on."""
        act = activation(self.formula, **self.initial)
        train = fit_in_core if self.engine == "core" else fit
        return train(task, act, self.seed, normalise=self.normalise, per=self.per, rungs=self.rungs)
