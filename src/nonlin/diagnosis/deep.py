"""The networks that lessons are about: plain deep perceptrons on the digits, and their training.

References
----------
[Saxe2014] A. Saxe, J. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep
    linear neural networks", 2014 (arXiv:1312.6120): orthogonal weights
[LeCun1998] Y. LeCun et al., "Efficient BackProp", 1998, section 4.6: variance 1/fan_in
[He2015] K. He et al., "Delving deep into rectifiers", 2015 (arXiv:1502.01852): variance 2/fan_in
[Glorot2010] X. Glorot, Y. Bengio, 2010, equation 16: uniform, variance 2/(fan_in + fan_out)
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median
from typing import Literal

import torch
from torch import Tensor, nn

from nonlin.tasks import Budget
from nonlin.tasks.pictures.digits import DIGITS_MLP
from nonlin.train import Outcome
from nonlin.train.fit import train_model
from nonlin.zoo import activation

Weights = Literal["orthogonal", "lecun", "he", "glorot", "torch"]
FEATURES, CLASSES = 64, 10


def deep_network(
    function: str, depth: int, seed: int, weights: Weights = "lecun", gain: float = 1.0, bias: float = 0.0,
    width: int = 64, dropout: nn.Module | None = None, centred: bool = False,
) -> nn.Sequential:  # fmt: skip
    """`depth` hidden layers of one activation and a linear layer of ten classes.

    Parameters
    ----------
    function : name or formula
    weights, gain : how hidden weights are drawn, and by what they are multiplied; the first and the last
        layer, which do not follow or precede an activation, have no gain when orthogonal
    bias : of the hidden layers
    dropout : a module to put behind every activation
    centred : give every hidden layer but the first the bias -W·1/2, which takes a sigmoid's mean away
    """
    act = activation(function)
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for number in range(depth):
            layer = nn.Linear(FEATURES if number == 0 else width, width)
            _draw(layer, weights, 1.0 if weights == "orthogonal" and number == 0 else gain)
            nn.init.constant_(layer.bias, bias)
            if centred and number:
                with torch.no_grad():
                    layer.bias.copy_(-0.5 * layer.weight.sum(dim=1))
            layers += [layer, act.module()] + ([dropout] if dropout else [])
        last = nn.Linear(width, CLASSES)
        _draw(last, "orthogonal" if weights == "orthogonal" else "lecun", 1.0)
        nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)


def _draw(layer: nn.Linear, weights: Weights, gain: float) -> None:
    fan_in = layer.in_features
    if weights == "orthogonal":
        nn.init.orthogonal_(layer.weight, gain)
    elif weights == "glorot":
        nn.init.xavier_uniform_(layer.weight, gain)
    elif weights == "torch":  # what nn.Linear does by itself: uniform, variance 1/(3·fan_in)
        nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5))
    else:
        variance = (2 if weights == "he" else 1) / fan_in
        nn.init.normal_(layer.weight, std=gain * math.sqrt(variance))


def digits() -> tuple[Tensor, Tensor]:
    """The training part of the digits: x (1077, 64) of mean 0 and deviation 1, y (1077,)."""
    return DIGITS_MLP.load().train


def trained(model: nn.Module, budget: Budget, seed: int) -> Outcome:
    """Train the model in place on the digits, batches in an order of their own seed."""
    outcome = Outcome("ok", curves={})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        train_model(model, replace(DIGITS_MLP, budget=budget), seed, outcome)
    return outcome


def scores(outcomes: list[Outcome]) -> list[float]:
    """Validation accuracies; a network that diverged counts as one that guesses."""
    return [out.score if out.status == "ok" else 1 / CLASSES for out in outcomes]


def spread(values: list[float], form: str = ".3f") -> str:
    """'0.961 (0.947 … 0.972)': median, least and largest; one value alone as it is."""
    if len(values) == 1:
        return format(values[0], form)
    return f"{median(values):{form}} ({min(values):{form}} … {max(values):{form}})"
