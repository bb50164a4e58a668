"""Adaptive layers to be tested, and what trains them."""

import torch
from torch import nn

from nonlin.nn import Adaptive, parameter_groups

MODES = ["entropy", "learned", "entropy-init"]
BASES = ["relu", "gelu", "prelu", "x*tanh(x)"]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def see(layer: Adaptive, *batches: torch.Tensor, steps: int = 5) -> Adaptive:
    """Run the layer in training mode, each batch for `steps` optimiser steps."""
    layer.train()
    for batch in batches:
        for _ in range(steps):
            layer(batch)
            layer.step()
    return layer


def trained(mode: str = "entropy", base: str = "gelu", steps: int = 30, **options):
    """A small network with an adaptive layer, its optimiser, and a function that trains it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), Adaptive(base, mode=mode, every=10, **options), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(parameter_groups(model, 0.01), lr=0.01)
    x = normal(256, 4)
    y = x[:, :1] * x[:, 1:2]

    def run(count: int, model=model, optimizer=optimizer) -> list[float]:
        losses = []
        for _ in range(count):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    run(steps)
    return model, optimizer, run
