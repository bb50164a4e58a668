"""A task's network with one activation, diagnosed before and after its training, and watched in between."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nonlin.diagnosis.diagnosis import Diagnosis, diagnose
from nonlin.diagnosis.recorder import Recorder
from nonlin.diagnosis.tables import json_safe
from nonlin.native.module import Per
from nonlin.tasks import Task
from nonlin.tasks import task as find_task
from nonlin.train import Outcome
from nonlin.train.fit import train_model
from nonlin.train.initial import Protocol, check_protocol, initial_model
from nonlin.train.optimise import optimizer_of
from nonlin.zoo import Activation, activation

# of the training part, on which both diagnoses are made: fewer where a row is a large picture
ROWS, LEAST_ROWS, NUMBERS = 512, 32, 2**17
LOOKS = 40  # about so many steps of a training are recorded


@dataclass(frozen=True)
class ChildDiagnosis:
    """What `diagnose_task` found.

    Attributes
    ----------
    initial, trained : diagnoses of the network; `trained` is None where it was not trained
    recorder : the steps in between; its updates are those of the task's own optimizer
    outcome : how the training ended
    """

    activation: Activation
    task: str
    seed: int
    initial: Diagnosis
    trained: Diagnosis | None = None
    recorder: Recorder | None = None
    outcome: Outcome | None = None

    def diagnoses(self) -> list[tuple[str, Diagnosis]]:
        """("before training", ...) and, where there is one, ("after training", ...)."""
        both = [("before training", self.initial), ("after training", self.trained)]
        return [(label, found) for label, found in both if found is not None]

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return json_safe(
            {
                "activation": self.activation.name, "formula": self.activation.formula, "task": self.task,
                "seed": self.seed, "initial": self.initial.as_dict(),
                "trained": None if self.trained is None else self.trained.as_dict(),
                "training": None if self.recorder is None else self.recorder.as_dict(),
                "outcome": None if self.outcome is None else self.outcome.as_dict(),
            }
        )  # fmt: skip

    def plot(self, path: str | Path, quantity: str = "all") -> Path:
        """Both diagnoses over one another; see `Diagnosis.plot`."""
        from nonlin.report.diagnosis import plot_diagnosis

        return plot_diagnosis(self.diagnoses(), Path(path), quantity)

    def ending(self) -> str:
        """How the training ended, in one line."""
        if self.outcome is None:
            return "not trained"
        out = self.outcome
        if out.status != "ok":
            return f"training {out.status} in epoch {out.epochs + 1}"
        return f"trained for {out.epochs} epochs: validation score {out.score:.4f}, loss {out.loss:.4f}"

    def __str__(self) -> str:
        parts = [f"{self.activation} on {self.task}, seed {self.seed}"]
        for label, found in self.diagnoses():
            parts += [label.upper() if label == "before training" else f"{label.upper()} ({self.ending()})", str(found)]
        if self.recorder is not None:
            parts += ["DURING TRAINING (the optimizer's own steps)", str(self.recorder)]
        return "\n\n".join(parts)


def diagnose_task(
    act: Activation | str,
    task: Task | str = "digits-mlp",
    seed: int = 0,
    train: bool = True,
    *,
    normalise: bool = True,
    per: Per = "channel",
    protocol: Protocol = "common",
) -> ChildDiagnosis:
    """Build a task's network with an activation, diagnose it, train it as `nonlin.train.fit` does, diagnose it again.

    The speeds of learning are those of the task's own optimizer, at its rate before any warm-up or decay and without
    clipping: of its first step, and after the training of the step that would come next.

    Parameters
    ----------
    act : name, formula or activation
    train : False for the network as it starts only
    normalise, per, protocol : as for `nonlin.train.fit`; "selu" initialises as SELU's authors require

    Raises
    ------
    NonlinError : for names and values that are not known
    """
    act, task = activation(act), find_task(task)
    check_protocol(protocol)
    x, y = task.load().train
    rows = min(ROWS, max(LEAST_ROWS, NUMBERS // math.prod(x.shape[1:])))
    x, y = x[:rows], y[:rows]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = initial_model(task, act, per, normalise, protocol)
        initial = diagnose(model, (x, y), optimizer=optimizer_of(model, task.budget))
        if not train:
            return ChildDiagnosis(act, task.name, seed, initial)
        steps = task.budget.epochs * -(-len(task.load().train[0]) // task.budget.batch_size)
        outcome = Outcome("ok", curves={})
        with Recorder(model, every=max(1, steps // LOOKS)) as recorder:
            train_model(model, task, seed, outcome)
        model.train()
        trained = diagnose(model, (x, y), optimizer=_as_at_first(recorder.optimizer, model, task))
        return ChildDiagnosis(act, task.name, seed, initial, trained, recorder, outcome)


def _as_at_first(used: torch.optim.Optimizer | None, model: nn.Module, task: Task) -> torch.optim.Optimizer:
    """The optimizer of the training with what it has gathered, at the rate before any schedule, which may end at 0."""
    if used is None:  # no step was taken
        return optimizer_of(model, task.budget)
    for group in used.param_groups:
        group["lr"] = task.budget.learning_rate
    return used
