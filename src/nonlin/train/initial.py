"""The model of a child before its first step, the same for every way of training it."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

from nonlin.errors import NonlinError
from nonlin.native.module import Per
from nonlin.nn.initialise import match_gain
from nonlin.nn.self_normalising import alpha_dropout, lecun_normal_
from nonlin.tasks import Factory, Task
from nonlin.zoo import Activation, activation

Protocol = Literal["common", "selu"]


def check_protocol(protocol: str) -> None:
    """NonlinError for a protocol that is not known."""
    if protocol not in get_args(Protocol):
        raise NonlinError(
            f"protocol={protocol!r} is not known; use 'common' (the task's own initialisation) or 'selu' (what "
            "SELU's authors require)."
        )


def initial_model(
    task: Task, act: Activation, per: Per, normalise: bool, protocol: Protocol, factory: Factory | None = None
) -> nn.Module:
    """`task`'s model with one activation; its weights are drawn with torch's global random numbers.

    Parameters
    ----------
    normalise : scale the initial weights by the function's own gain
    protocol : "common", or "selu": weights from N(0, 1/fan_in), no gain, alpha dropout in place of dropout
        (see `nonlin.nn.self_normalising`)
    factory : what the task's `build` is given; an ordinary one of the activation unless it is given
    """
    model = task.model(factory or Factory(act, per))
    if protocol == "selu":
        alpha_dropout(model)
        return lecun_normal_(model)
    if normalise:
        match_gain(model, act, task.load().train[0][:2], activation(task.designed_for))
    return model
