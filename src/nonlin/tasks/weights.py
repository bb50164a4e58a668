"""Initial weights that several tasks share.

References
----------
[Glorot2010] X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", 2010
[He2015] K. He et al., "Delving deep into rectifiers", 2015 (arXiv:1502.01852)
[GPT2] A. Radford et al., "Language models are unsupervised multitask learners", 2019, section 2.3
"""

from __future__ import annotations

import math
from collections.abc import Collection

from torch import nn


def weighted_layers(model: nn.Module) -> list[tuple[str, nn.Linear | nn.Conv2d]]:
    """(qualified name, layer) of every linear and 2-d convolution layer, in order of registration."""
    return [(name, part) for name, part in model.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)]


def scale_by_inputs(model: nn.Module, after_activation: Collection[str], gain: float) -> None:
    """Draw weights of variance gain²/fan_in for the named layers, 1/fan_in for all others; biases 0.

    With gain² = 2 for layers after a ReLU this is [He2015], eq. 10: every layer then keeps the second
    moment of what passes through it.
    """
    for name, layer in weighted_layers(model):
        fan_in = layer.weight[0].numel()
        scale = gain if name in after_activation else 1.0
        nn.init.normal_(layer.weight, std=scale / math.sqrt(fan_in))
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def he_for_relu(model: nn.Module) -> None:
    """[He2015] for a chain of layers in which all but the first follow a ReLU."""
    names = [name for name, _ in weighted_layers(model)]
    scale_by_inputs(model, names[1:], math.sqrt(2.0))


def glorot_uniform(model: nn.Module) -> None:
    """[Glorot2010], eq. 16, Keras' default: uniform weights of variance 2/(fan_in + fan_out); biases 0."""
    for _, layer in weighted_layers(model):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def like_gpt2(model: nn.Module, std: float, residual: Collection[str], blocks: int) -> None:
    """[GPT2]: deviation `std` for weights and embeddings, biases 0.

    Layers whose names end in one of `residual` write into the residual stream, twice per block; they are
    divided by √(2·blocks), so that the stream's variance does not grow with depth.
    """
    for name, part in model.named_modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            writes = name.rsplit(".", 1)[-1] in residual
            nn.init.normal_(part.weight, std=std / math.sqrt(2 * blocks) if writes else std)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
