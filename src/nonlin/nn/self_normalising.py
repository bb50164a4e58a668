"""What SELU's authors require of a network beside the function itself [Klambauer2017].

With standardised inputs, weights of mean 0 and variance 1/fan_in, and dropout that keeps mean and variance,
SELU's outputs stay near mean 0 and variance 1 from layer to layer.

References
----------
[Klambauer2017] G. Klambauer et al., "Self-normalizing neural networks", 2017 (arXiv:1706.02515): weights in
    "Initialization", dropout in "New Dropout Technique"
"""

from __future__ import annotations

import math

import torch
from torch import nn

_Convolution = nn.modules.conv._ConvNd
_CHANNEL_DROPOUTS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


@torch.no_grad()
def lecun_normal_(model: nn.Module) -> nn.Module:
    """Draw the weights of every linear and convolution layer from N(0, 1/fan_in); biases 0. Returns `model`.

    Uses torch's global random numbers, in the order of the layers' registration.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Linear | _Convolution):
            nn.init.normal_(layer.weight, std=1 / math.sqrt(fan_in(layer)))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model


def fan_in(layer: nn.Linear | nn.modules.conv._ConvNd) -> int:
    """How many inputs one output of the layer sums up (for a transposed convolution: of stride 1)."""
    if isinstance(layer, _Convolution) and layer.transposed:
        return layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    return layer.weight[0].numel()


def alpha_dropout(model: nn.Module) -> list[str]:
    """Replace the dropout modules inside `model` by alpha dropout of the same rate; their qualified names.

    ``nn.Dropout`` becomes ``nn.AlphaDropout``, dropout of whole channels ``nn.FeatureAlphaDropout``. Dropout
    that a model applies as a function (``F.dropout``) is not seen.
    """
    found = [
        (name, part)
        for name, part in model.named_modules(remove_duplicate=False)
        if name and isinstance(part, (nn.Dropout, *_CHANNEL_DROPOUTS))
    ]
    made: dict[int, nn.Module] = {}  # a module that stands in two places stays one
    for name, part in found:
        kind = nn.FeatureAlphaDropout if isinstance(part, _CHANNEL_DROPOUTS) else nn.AlphaDropout
        model.set_submodule(name, made.setdefault(id(part), kind(part.p, part.inplace).train(part.training)))
    return [name for name, _ in found]
