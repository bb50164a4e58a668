"""Models whose activations stand in all kinds of places, for the tests of `swap`."""

import torch
import torch.nn.functional as F
from torch import nn


def silu_with_tanh(x):
    """An independent form of swish(x)."""
    return x * 0.5 * (1 + torch.tanh(x / 2))


class Functional(nn.Module):
    """Calls in all the spellings, with control flow that no trace can keep."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 6)
        self.last = nn.Linear(6, 3)

    def forward(self, x, mask=None):
        x = F.relu(self.first(x), inplace=True)
        x = F.dropout(x, 0.5, self.training)
        if mask is not None:
            x = x * mask
        x = self.second(x).relu() + torch.relu(input=x)
        return self.tail(x)

    def tail(self, x):
        return torch.sigmoid(self.last(F.leaky_relu(x, 0.2)))

    def by_hand(self, x, act, mask=None):
        x = act(self.first(x))
        x = x if mask is None else x * mask
        return torch.sigmoid(self.last(act(act(self.second(x)) + act(x))))


class Child(Functional):
    def forward(self, x, mask=None):
        if x.dim() == 1:
            x = x[None]
        return super().forward(F.relu(x), mask)


def helper(x):
    return F.relu(x)


class Outside(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.act = nn.ReLU()

    def forward(self, x):
        return helper(self.act(self.layer(x)))


class Untraceable(Outside):
    def forward(self, x):
        return helper(self.act(self.layer(x))) if float(x.sum()) < 1e9 else x


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.GELU(), nn.Flatten(), nn.Linear(96, 5), nn.Tanh()
    )


IMAGES = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
