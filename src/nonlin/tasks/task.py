"""A task: a model, data and a training budget, under one name. The plug-in point for a user's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal, Protocol

from torch import nn

from nonlin.errors import TaskError
from nonlin.native.module import ActivationModule, Per
from nonlin.tasks.data import Data, Part
from nonlin.zoo import Activation

OPTIMIZERS = ("adam", "adamw", "sgd")


@dataclass(frozen=True)
class Budget:
    """How long and how a child is trained.

    SGD uses momentum 0.9; Adam and AdamW torch's default betas.

    Attributes
    ----------
    clip_value : every element of the gradient is clipped to [-clip_value, clip_value] before a step (what
        Keras calls clipvalue); None for no clipping
    clip_norm : the gradient of all parameters together is scaled down to this norm where it is larger; None
        for no clipping. Only one of the two may be given.
    """

    epochs: int = 20
    batch_size: int = 128
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    clip_value: float | None = None
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise TaskError(f"budget: {name} must be a whole number above 0, got {value!r}.")
        if self.optimizer not in OPTIMIZERS:
            raise TaskError(f"budget: optimizer {self.optimizer!r} is not one of {', '.join(OPTIMIZERS)}.")
        if not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise TaskError(
                f"budget: learning_rate must be above 0 and weight_decay at least 0, got "
                f"{self.learning_rate!r} and {self.weight_decay!r}."
            )
        self._check_clipping()

    def _check_clipping(self) -> None:
        for name in ("clip_value", "clip_norm"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (number and 0 < value < math.inf):
                raise TaskError(f"budget: {name} must be a finite number above 0, or None; got {value!r}.")
        if self.clip_value is not None and self.clip_norm is not None:
            raise TaskError(
                f"budget: clip_value={self.clip_value!r} and clip_norm={self.clip_norm!r} are two ways to clip "
                "gradients; give only one of them."
            )

    def as_dict(self) -> dict[str, Any]:
        """The fields that are set. Those that are None are left out: a budget that was stored before nonlin
        knew how to clip is equal to one of today that does not clip."""
        return {name: value for name, value in asdict(self).items() if value is not None}


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
    """

    name: str
    build: Callable[[ActivationFactory], nn.Module]
    data: Data | Callable[[], Data]
    budget: Budget = field(default_factory=Budget)
    designed_for: str = "relu"
    remark: str = ""

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
        model: Any = self.build(factory)
        if not isinstance(model, nn.Module):
            raise TaskError(f"task {self.name}: build returned {type(model).__name__}, not an nn.Module.")
        if isinstance(factory, Factory) and not any(isinstance(part, ActivationModule) for part in model.modules()):
            raise TaskError(
                f"task {self.name}: the model has no activation of the search in it. build receives a function, here "
                "called act: put act(channels) wherever a non-linearity stands."
            )
        return model


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
    count = max(1, round(share * len(part[0])))
    return part[0][:count], part[1][:count]


@lru_cache(maxsize=8)
def _load(task: Task) -> Data:
    data = task.data if isinstance(task.data, Data) else task.data()
    if not isinstance(data, Data):
        raise TaskError(f"task {task.name}: data() returned {type(data).__name__}, not a nonlin.Data.")
    return data
