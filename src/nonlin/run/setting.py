"""All that decides a comparison's result: functions, tasks, seeds, learning rates; and whether it is still so.

References
----------
[Ramachandran2017] P. Ramachandran, B. Zoph, Q. V. Le, "Searching for activation functions", 2017 (arXiv:1710.05941)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from nonlin.errors import ComparisonError
from nonlin.native.module import Per
from nonlin.run.engines import Engine, engine_for
from nonlin.run.standings import Arm
from nonlin.run.study import LARGEST, changes
from nonlin.tasks import Task
from nonlin.tasks.digest import data_digest, model_digest
from nonlin.tasks.rehearsal import reference_model, rehearse

_NORMALISING = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)


@dataclass(frozen=True)
class TaskSetting:
    """A task as it was compared on: all that decides the result beside the task's own code.

    `training` is its budget, `data` a checksum, `rows` the numbers of targets in the three parts, `metric`
    "accuracy" or "R²", `engine` "torch", "core" or "cohort"; `remark` says what is doubtful about the task, if
    anything; `model` is a checksum of how the model is built, empty in a comparison begun before there was one.
    """

    name: str
    training: Mapping[str, Any]
    data: str
    rows: Mapping[str, int]
    metric: str
    engine: str
    remark: str = ""
    model: str = ""


@dataclass(frozen=True)
class Setting:
    """Everything that determines a comparison's result.

    `rates` are factors on each task's learning rate, tried for each arm with `tuning_seeds`; one factor is used
    as it is.
    """

    arms: Sequence[Arm]
    tasks: Sequence[TaskSetting]
    seeds: Sequence[int]
    rates: Sequence[float]
    tuning_seeds: Sequence[int]
    normalise: bool
    per: Per

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Setting:
        """The setting that `as_dict` wrote."""
        arms = tuple(Arm(**arm) for arm in row["arms"])
        tasks = tuple(TaskSetting(**setting) for setting in row["tasks"])
        return cls(**{**row, "arms": arms, "tasks": tasks})

    def as_dict(self) -> dict[str, Any]:
        values = asdict(self)
        for setting in values["tasks"]:
            if not setting["model"]:
                del setting["model"]
        return values

    def without_models(self) -> Setting:
        """As it was written before models were noted."""
        return replace(self, tasks=tuple(replace(one, model="") for one in self.tasks))


def setting_of(task: Task, engine: Engine, widths: bool) -> TaskSetting:
    """The setting of a task, which is rehearsed here, before anything is trained; `widths` as for `rehearse`."""
    data = task.load()
    model = reference_model(task)
    rehearse(task, model, widths)
    return TaskSetting(
        name=task.name,
        training=task.budget.as_dict(),
        data=data_digest(data),
        rows={name: getattr(data, name)[1].numel() for name in ("train", "validation", "test")},
        metric="R²" if data.classes is None else "accuracy",
        engine=engine_for(engine, task, cohorts=False),  # in a cohort the time of one arm cannot be told
        remark=_doubt(model),
        model=model_digest(model, task.designed_for),
    )


def _doubt(model: nn.Module) -> str:
    """Normalisation without a scale of its own cannot make up for an activation's [Ramachandran2017, section 6]."""
    for name, module in model.named_modules():
        if isinstance(module, _NORMALISING) and not module.affine:
            return (
                f"{name} normalises without a trained scale (affine=False): the scale of a function cannot be made up "
                "for after it, so that functions of another scale are at a disadvantage. Turn it on for a fair result."
            )
    return ""


def check_same(task: Task, setting: TaskSetting) -> None:
    """ComparisonError unless the task is still what the setting says."""
    if changed := changes(task, setting.training, setting.data, setting.model):
        raise ComparisonError(
            f"{changed} of task {task.name!r} is not what this comparison was begun with; its runs could not be "
            "compared. Use another store for the new setting, or begin a new comparison in this one."
        )


def checked_rates(rates: Sequence[float]) -> tuple[float, ...]:
    """Factors on a learning rate, sorted, each once; ComparisonError unless they are numbers above 0."""
    factors = tuple(float(factor) for factor in rates)
    if not factors or not all(0 < factor < np.inf for factor in factors):
        raise ComparisonError(
            f"rates are factors on the task's learning rate, above 0, such as 0.5, 1, 2; got {list(rates)}."
        )
    return tuple(sorted(set(factors)))


def checked_seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """The seeds themselves, from how many or which; ComparisonError unless they are different whole numbers."""
    if isinstance(seeds, int) and not isinstance(seeds, bool) and 1 <= seeds <= LARGEST:
        return tuple(range(seeds))
    if not isinstance(seeds, int | float | str) and seeds and len(set(seeds)) == len(seeds):
        numbers = tuple(seeds)
        if all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= LARGEST for n in numbers):
            return numbers
    raise ComparisonError(f"seeds must be a number above 0, or different whole numbers from 0 on; got {seeds!r}.")
