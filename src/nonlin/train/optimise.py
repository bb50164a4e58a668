"""The optimiser of a budget, and one step of it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from nonlin.nn.adaptive_groups import parameter_groups
from nonlin.tasks import Budget
from nonlin.train.schedule import factor

Clip = Callable[[], object]


def optimizer_of(model: nn.Module, budget: Budget) -> torch.optim.Optimizer:
    """The budget's optimiser for the parameters that are trained; weight decay spares those of activations."""
    groups = parameter_groups(model, budget.weight_decay)
    if budget.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=budget.learning_rate, momentum=0.9, nesterov=budget.nesterov)
    if budget.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, lr=budget.learning_rate)
    kind = torch.optim.Adam if budget.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=budget.learning_rate, betas=budget.betas or (0.9, 0.999))


def clipping(model: nn.Module, budget: Budget) -> Clip | None:
    """What to call between the backward pass and the step; None if the budget does not clip."""
    parameters, value, norm = list(model.parameters()), budget.clip_value, budget.clip_norm
    if value is not None:
        return lambda: clip_grad_value_(parameters, value)
    if norm is not None:
        return lambda: clip_grad_norm_(parameters, norm)
    return None


class Stepper:
    """The optimiser with its clipping, its schedule and, for float16, the scaling of the loss."""

    def __init__(self, model: nn.Module, budget: Budget, total: int, scaler: torch.amp.GradScaler | None = None):
        self.budget, self.total, self.scaler = budget, total, scaler
        self.optimizer = optimizer_of(model, budget)
        self.clip = clipping(model, budget)

    def begin(self, step: int) -> None:
        """Clear the gradients and set the learning rate of step 0, 1, …"""
        self.optimizer.zero_grad(set_to_none=True)
        rate = self.budget.learning_rate * factor(self.budget, step, self.total)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def backward(self, loss: torch.Tensor) -> None:
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def end(self) -> None:
        """Clip and step."""
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        if self.clip:
            self.clip()
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()

    def state_dict(self) -> dict:
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict() if self.scaler else None}

    def load_state_dict(self, state: dict) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler is not None and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
