"""Densely connected networks: every layer sees all layers before it in its block.

[Ramachandran2017] tries its functions on "DenseNet 100-12": 100 layers, growth rate 12. [Huang2016] has two
networks of that size: the plain one (7.0M parameters) and DenseNet-BC, with bottlenecks and compression (0.8M).
The name without BC is the plain one; both are here.

References
----------
[Huang2016] G. Huang, Z. Liu, L. van der Maaten, K. Q. Weinberger, "Densely connected convolutional networks",
    2016 (arXiv:1608.06993), section 3 and table 2
[Ramachandran2017] P. Ramachandran, B. Zoph, Q. V. Le, "Searching for activation functions", 2017
    (arXiv:1710.05941)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nonlin.tasks.networks.convolution import Head, convolution, he_normal
from nonlin.tasks.task import ActivationFactory


class Grown(nn.Module):
    """The input with `growth` new channels behind it: BatchNorm, activation, 3×3 convolution.

    With `bottleneck`, a 1×1 convolution to 4·growth channels, BatchNorm and activation come before.
    """

    def __init__(self, activation: ActivationFactory, inputs: int, growth: int, bottleneck: bool):
        super().__init__()
        layers: list[nn.Module] = [nn.BatchNorm2d(inputs), activation(inputs)]
        if bottleneck:
            layers += [convolution(inputs, 4 * growth, 1), nn.BatchNorm2d(4 * growth), activation(4 * growth)]
            inputs = 4 * growth
        self.body = nn.Sequential(*layers, convolution(inputs, growth, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) to (batch, inputs + growth, height, width)."""
        return torch.cat([x, self.body(x)], dim=1)


def build_densenet(
    activation: ActivationFactory, classes: int = 10, depth: int = 100, growth: int = 12, bottleneck: bool = False
) -> nn.Module:
    """Images (batch, 3, 32, 32) to logits; three blocks of equal depth.

    100 layers of growth 12: 7.0M parameters, 0.8M with `bottleneck`, which stands for BC and also halves the
    channels between blocks [Huang2016, table 2].
    """
    layers_per_block = (depth - 4) // (6 if bottleneck else 3)
    channels = 2 * growth if bottleneck else 16
    layers: list[nn.Module] = [convolution(3, channels, 3)]
    for block in range(3):
        for _ in range(layers_per_block):
            layers.append(Grown(activation, channels, growth, bottleneck))
            channels += growth
        if block < 2:
            kept = channels // 2 if bottleneck else channels
            layers += [nn.BatchNorm2d(channels), activation(channels), convolution(channels, kept, 1), nn.AvgPool2d(2)]
            channels = kept
    model = nn.Sequential(*layers, Head(channels, classes, activation))
    he_normal(model)
    return model
