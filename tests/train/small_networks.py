"""A network with all that a training has to keep: dropout, BatchNorm, parameters of the activation."""

import dataclasses

import torch
from torch import nn

import nonlin as nl

_RANDOM = torch.Generator().manual_seed(0)
X = torch.randn(70, 6, generator=_RANDOM)
Y = (X[:, 0] * X[:, 1] > 0).long() + (X[:, 2] > 1).long()
DATA = nl.Data((X[:50], Y[:50]), (X[50:60], Y[50:60]), (X[60:], Y[60:]))


def build(act):
    return nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), act(16), nn.Dropout(0.3), nn.Linear(16, 8), act(8), nn.Linear(8, 3)
    )


def plain(act):
    return nn.Sequential(nn.Linear(6, 16), act(16), nn.Linear(16, 8), act(8), nn.Linear(8, 3))


BUDGET = nl.Budget(epochs=4, batch_size=16, optimizer="adamw", learning_rate=0.02, weight_decay=0.01, device="cpu")
NET = nl.Task(name="net with dropout", build=build, data=DATA, budget=BUDGET)
PLAIN = nl.Task(name="plain net", build=plain, data=DATA, budget=BUDGET)


def with_budget(task, **settings):
    return dataclasses.replace(task, budget=dataclasses.replace(task.budget, **settings))


def figures(outcome):
    """All that two equal trainings share: everything but times."""
    found = outcome.as_dict()
    return {name: repr(value) for name, value in found.items() if not name.startswith("seconds")}  # NaN equals NaN
