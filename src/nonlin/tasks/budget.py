"""How long and how a child is trained."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal, get_args

from nonlin.errors import TaskError

Optimizer = Literal["adam", "adamw", "sgd", "rmsprop"]
Schedule = Literal["constant", "cosine", "linear", "step", "inverse-sqrt"]
Precision = Literal["float32", "bfloat16", "float16"]
OPTIMIZERS: tuple[str, ...] = get_args(Optimizer)
SCHEDULES: tuple[str, ...] = get_args(Schedule)
PRECISIONS: tuple[str, ...] = get_args(Precision)

_FIRST = ("epochs", "batch_size", "optimizer", "learning_rate", "weight_decay")  # in every stored budget
_MACHINE = ("device", "evaluation_batch")  # where it runs, not what is trained: never stored


@dataclass(frozen=True)
class Budget:
    """How long and how a child is trained.

    SGD uses momentum 0.9; Adam and AdamW torch's default betas unless `betas` says otherwise; RMSprop torch's
    own settings, without momentum.

    Attributes
    ----------
    epochs : passes over the training data
    steps : end after this many steps of the optimiser, in the middle of an epoch if need be; None for all that
        `epochs` gives. `Budget.of_steps` finds the epochs that are needed.
    batch_size : rows per step of the optimiser, of all processes and all accumulated parts together
    clip_value : every element of the gradient is clipped to [-clip_value, clip_value] before a step (what
        Keras calls clipvalue); None for no clipping
    clip_norm : the gradient of all parameters together is scaled down to this norm where it is larger; None
        for no clipping. Only one of the two may be given.
    schedule : the learning rate over the steps, see `nonlin.train.schedule`: "constant"; "cosine" or "linear", down
        to 0 at the last step; "step", times `decay` at each of the `milestones`; "inverse-sqrt", as 1/√step
    warmup : the learning rate first grows linearly for this many steps
    milestones : shares of the training, between 0 and 1, for the schedule "step"
    decay : the factor of the schedule "step"
    label_smoothing : this much of the target's probability is spread over all classes, in training alone
    nesterov : Nesterov's momentum, for SGD
    betas : decay of Adam's two running means
    accumulate : each batch passes in this many parts, whose gradients are added up: less memory, same result
        (BatchNorm's statistics excepted, which are those of a part)
    precision : "float32", or mixed with "bfloat16" or "float16" on a CUDA device; elsewhere float32, unless
        `nonlin.train.fit` is told otherwise
    device : "auto" (CUDA, else MPS, else CPU), or torch's name of one, such as "cpu" or "cuda:1"
    evaluation_batch : rows at a time in evaluation
    """

    epochs: int = 20
    batch_size: int = 128
    optimizer: Optimizer = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    clip_value: float | None = None
    clip_norm: float | None = None
    steps: int | None = None
    schedule: Schedule = "constant"
    warmup: int = 0
    milestones: tuple[float, ...] = ()
    decay: float = 0.1
    label_smoothing: float = 0.0
    nesterov: bool = False
    betas: tuple[float, float] | None = None
    accumulate: int = 1
    precision: Precision = "float32"
    device: str = "auto"
    evaluation_batch: int = 512

    def __post_init__(self) -> None:
        self._check_counts()
        self._check_choices()
        if not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise TaskError(
                f"budget: learning_rate must be above 0 and weight_decay at least 0, got "
                f"{self.learning_rate!r} and {self.weight_decay!r}."
            )
        self._check_clipping()
        self._check_schedule()

    @classmethod
    def of_steps(cls, steps: int, rows: int, **settings: Any) -> Budget:
        """A budget of exactly so many steps on training data of so many rows; `settings` as for `Budget`."""
        batch = settings.get("batch_size", cls.batch_size)
        for name, value in (("steps", steps), ("rows", rows), ("batch_size", batch)):
            _whole(name, value, 1)
        return cls(epochs=-(-steps // -(-rows // batch)), steps=steps, **settings)

    def as_dict(self) -> dict[str, Any]:
        """The fields that are set. Those added since the first version are left out where they have their default:
        a budget that was stored before nonlin knew of clipping is equal to one of today that does not clip."""
        defaults = {field.name: field.default for field in fields(self) if field.default is not MISSING}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if name in _FIRST or (name not in _MACHINE and value != defaults[name])
        }

    def beyond(self, known: Iterable[str]) -> list[str]:
        """Names of the settings that are not at their default and not among `known`: what a faster way of training
        that knows only those cannot do."""
        told = {*_FIRST, *_MACHINE, *known}
        return [name for name in self.as_dict() if name not in told]

    def _check_counts(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "evaluation_batch"):
            _whole(name, getattr(self, name), 1)
        _whole("warmup", self.warmup, 0)
        if self.steps is not None:
            _whole("steps", self.steps, 1)

    def _check_choices(self) -> None:
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise TaskError(f"budget: {name} {getattr(self, name)!r} is not one of {', '.join(known)}.")
        if self.nesterov and self.optimizer != "sgd":
            raise TaskError(f"budget: nesterov is a kind of momentum for sgd; {self.optimizer} has its own.")
        if self.betas is not None:
            object.__setattr__(self, "betas", tuple(self.betas))
            if (
                not self.optimizer.startswith("adam")
                or len(self.betas) != 2
                or not all(0 <= beta < 1 for beta in self.betas)
            ):
                raise TaskError(f"budget: betas are two numbers from 0 to below 1, for Adam; got {self.betas}.")

    def _check_clipping(self) -> None:
        for name in ("clip_value", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not (_number(value) and 0 < value < math.inf):
                raise TaskError(f"budget: {name} must be a finite number above 0, or None; got {value!r}.")
        if self.clip_value is not None and self.clip_norm is not None:
            raise TaskError(
                f"budget: clip_value={self.clip_value!r} and clip_norm={self.clip_norm!r} are two ways to clip "
                "gradients; give only one of them."
            )

    def _check_schedule(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))
        if not all(_number(share) and 0 < share < 1 for share in self.milestones):
            raise TaskError(f"budget: milestones are shares of the training between 0 and 1; got {self.milestones}.")
        if bool(self.milestones) != (self.schedule == "step"):
            raise TaskError(
                f"budget: schedule={self.schedule!r} with milestones={self.milestones}; milestones belong to "
                "schedule='step', which needs some, such as (0.5, 0.75)."
            )
        if self.schedule == "inverse-sqrt" and not self.warmup:
            raise TaskError("budget: schedule='inverse-sqrt' needs a warmup: it falls from where that ends.")
        for name, low, high in (("decay", 0.0, math.inf), ("label_smoothing", -1e-9, 1.0)):
            value = getattr(self, name)
            if not (_number(value) and low < value < high):
                raise TaskError(f"budget: {name} must lie between {max(low, 0):g} and {high:g}; got {value!r}.")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise TaskError(f"budget: {name} must be a whole number above {least - 1}, got {value!r}.")
