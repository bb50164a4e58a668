"""A task: a model, data and a training budget, under one name. The plug-in point for a user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Protocol

from torch import nn

from nonlin.errors import TaskError
from nonlin.native.module import ActivationModule, Per
from nonlin.tasks.budget import Budget
from nonlin.tasks.data import Data, Part
from nonlin.tasks.rows import Rows
from nonlin.zoo import Activation


class ActivationFactory(Protocol):
    """What a task's `build` receives: call it once for every place in the network."""

    def __call__(self, channels: int | None = None, dim: int = 1) -> nn.Module: ...


@dataclass(frozen=True)
class Factory:
    """Makes modules of one activation; trainable parameters are per channel where channels are given."""

    activation: Activation
    per: Per = "channel"

    def __call__(self, channels: int | None = None, dim: int = 1) -> ActivationModule:
        """A new module. `channels` and `dim` say where parameters per channel lie in the input."""
        per: Per = self.per if channels else "tensor"
        return self.activation.module(per=per, channels=channels, dim=dim)


@dataclass(frozen=True)
class Task:
    """A model and data on which activations are tried.

    Attributes
    ----------
    name : what the task is called in stores and reports
    build : takes an `ActivationFactory` and returns the model; the factory's result is an ``nn.Module``
    data : a `Data`, or a function without arguments that returns one (called when first needed)
    budget : how a child is trained
    designed_for : the activation that `build`'s own weight initialisation suits; other functions have the
        weights after an activation scaled by the ratio of the gains
    remark : one line for lists
    parameters : how many trained numbers the model has with a function that has none, for lists; 0 if not stated
    measure : further figures of a trained model on a part (x, y) of the data, by name, such as a margin or BLEU;
        taken once, on test data, in a final run
    """

    name: str
    build: Callable[[ActivationFactory], nn.Module]
    data: Data | Callable[[], Data]
    budget: Budget = field(default_factory=Budget)
    designed_for: str = "relu"
    remark: str = ""
    measure: Callable[[nn.Module, Part], dict[str, float]] | None = None
    parameters: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise TaskError(f"a task needs a name, got {self.name!r}.")
        if not callable(self.build):
            raise TaskError(
                f"task {self.name}: build must be a function that takes an activation factory and returns an "
                f"nn.Module, got {type(self.build).__name__}."
            )
        if not isinstance(self.data, Data) and not callable(self.data):
            raise TaskError(
                f"task {self.name}: data must be a nonlin.Data or a function that returns one, got "
                f"{type(self.data).__name__}. Data.from_arrays(x, y) and Data.from_csv(path, target) make one."
            )
        if not isinstance(self.budget, Budget):
            raise TaskError(f"task {self.name}: budget must be a nonlin.Budget, got {self.budget!r}.")

    def load(self) -> Data:
        """The data; loaded once per process."""
        return _load(self)

    def subset(self, rows: int, epochs: int | None = None) -> Task:
        """This task in small, for a quick look: the first `rows` training rows, and as large a share of the others.

        Its name tells: "mnist-cnn:1000". Its scores are no scores of the task itself.

        Parameters
        ----------
        epochs : in place of the budget's
        """
        if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
            raise TaskError(f"task {self.name}: a subset needs a whole number of rows above 0, got {rows!r}.")
        budget = self.budget if epochs is None else replace(self.budget, epochs=epochs)
        return replace(self, name=f"{self.name}:{rows}", data=_Subset(self, rows), budget=budget)

    def model(self, factory: ActivationFactory) -> nn.Module:
        """A new model; TaskError if `build` returns something else."""
        try:
            model: Any = self.build(factory)
        except TypeError as error:
            if reason := uncalled(error):
                raise TaskError(f"task {self.name}: build failed: {reason}") from error
            raise
        if not isinstance(model, nn.Module):
            raise TaskError(f"task {self.name}: build returned {type(model).__name__}, not an nn.Module.")
        if isinstance(factory, Factory) and not any(isinstance(part, ActivationModule) for part in model.modules()):
            raise TaskError(
                f"task {self.name}: the model has no activation of the search in it. build receives a function, here "
                "called act: put act(channels) wherever a non-linearity stands."
            )
        return model


def uncalled(error: Exception) -> str:
    """What is wrong where torch was given the factory itself in the place of a module; empty if it was not that."""
    if isinstance(error, TypeError) and f"{Factory.__name__} is not a Module subclass" in str(error):
        return (
            "what build receives is not a module but makes one: call it wherever a non-linearity stands, with the "
            "number of features that arrive there, as in activation(16)."
        )
    return ""


@dataclass(frozen=True)
class _Subset:
    """The data of `Task.subset`."""

    whole: Task
    rows: int

    def __call__(self) -> Data:
        data = self.whole.load()
        share = min(1.0, self.rows / len(data.train[0]))
        return Data(*(_first(part, share) for part in (data.train, data.validation, data.test)))


def _first(part: Part, share: float) -> Part:
    x, y = part
    count = max(1, round(share * len(x)))
    return x.first(count) if isinstance(x, Rows) else x[:count], y[:count]


@lru_cache(maxsize=8)
def _load(task: Task) -> Data:
    data = task.data if isinstance(task.data, Data) else task.data()
    if not isinstance(data, Data):
        raise TaskError(f"task {task.name}: data() returned {type(data).__name__}, not a nonlin.Data.")
    return data
