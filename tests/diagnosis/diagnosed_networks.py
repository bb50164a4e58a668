"""Small networks and batches for the tests of `diagnose`."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def mlp(*activations, width=16):
    layers = []
    for act in activations:
        layers += [nn.Linear(width, width), act]
    return nn.Sequential(*layers, nn.Linear(width, 3))


def batch(rows=64, width=16):
    return torch.randn(rows, width), torch.randint(0, 3, (rows,))


class Linear(nn.Module):
    """y = w·x with known numbers behind an activation."""

    def __init__(self):
        super().__init__()
        self.act = nn.Tanh()
        self.scale = nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            self.scale.weight.copy_(torch.tensor([[3.0, -4.0]]))

    def forward(self, x):
        return self.scale(self.act(x))


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.second(F.relu(self.first(x)))
