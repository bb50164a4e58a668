"""What everything is measured against: children in plain PyTorch, one after another, as a user would write it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nonlin.expr.codegen import compile_kernel
from nonlin.tasks import Task
from nonlin.train.score import evaluate, task_loss
from nonlin.zoo import activation


class PlainActivation(nn.Module):
    """A formula in torch's own operations, differentiated by autograd; trainable parameters per channel."""

    def __init__(self, formula: str, channels: int | None, dim: int):
        super().__init__()
        act = activation(formula)
        names = tuple(act.parameters)
        self.kernel, self.dim = compile_kernel((act.expr,), names), dim
        self.values = nn.ParameterList(nn.Parameter(torch.ones(channels or 1)) for _ in names)

    def forward(self, x: Tensor) -> Tensor:
        shape = [1] * x.dim()
        shape[self.dim] = -1
        return self.kernel(x, *(value.reshape(shape) for value in self.values))[0]


def plain_model(task: Task, formula: str) -> nn.Module:
    """The task's model with this activation throughout."""
    return task.model(lambda channels=None, dim=1: PlainActivation(formula, channels, dim))


def train_plain(task: Task, formula: str, seed: int = 0) -> float:
    """Train to the end and validate after every epoch; the last validation loss."""
    torch.manual_seed(seed)
    model, budget, data = plain_model(task, formula), task.budget, task.load()
    rule = torch.optim.Adam if budget.optimizer == "adam" else torch.optim.AdamW
    optimiser = rule(model.parameters(), budget.learning_rate, weight_decay=budget.weight_decay)
    x, y = data.train
    loss = float("nan")
    for _ in range(budget.epochs):
        model.train()
        for rows in torch.randperm(len(x)).split(budget.batch_size):
            optimiser.zero_grad()
            task_loss(model(x[rows]), y[rows]).backward()
            optimiser.step()
        loss = evaluate(model, *data.validation)[0]
    return loss
