"""Residual networks for 32×32 images: ResNet-20, and the pre-activation ResNet-164.

ResNet-20 is the child network of the search for Swish [Ramachandran2017, section 3]; ResNet-164 the first of
the three networks on which its findings were tried (section 3.2).

References
----------
[He2015a] K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image recognition", 2015
    (arXiv:1512.03385), section 4.2
[He2016] K. He, X. Zhang, S. Ren, J. Sun, "Identity mappings in deep residual networks", 2016
    (arXiv:1603.05027)
[Ramachandran2017] P. Ramachandran, B. Zoph, Q. V. Le, "Searching for activation functions", 2017
    (arXiv:1710.05941)
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from nonlin.tasks.networks.convolution import Head, convolution, he_normal
from nonlin.tasks.task import ActivationFactory


class Plain(nn.Module):
    """Two 3×3 convolutions; the activation after each BatchNorm, the second one after the sum [He2015a].

    Where the size changes, the shortcut takes every second pixel and adds channels of zeros (option A): no
    parameters.
    """

    def __init__(self, activation: ActivationFactory, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride, self.added = stride, outputs - inputs
        self.body = nn.Sequential(
            convolution(inputs, outputs, 3, stride),
            nn.BatchNorm2d(outputs),
            activation(outputs),
            convolution(outputs, outputs, 3),
            nn.BatchNorm2d(outputs),
        )
        self.activation = activation(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) to (batch, outputs, height/stride, width/stride)."""
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.added:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, self.added))
        return self.activation(self.body(x) + shortcut)


def build_resnet20(activation: ActivationFactory, classes: int = 10, blocks: int = 3) -> nn.Module:
    """Images (batch, 3, 32, 32) to logits; 6·blocks + 2 layers. 20 layers: 0.27M parameters [He2015a, table 6]."""
    layers: list[nn.Module] = [convolution(3, 16, 3), nn.BatchNorm2d(16), activation(16)]
    inputs = 16
    for stage, channels in enumerate((16, 32, 64)):
        for block in range(blocks):
            layers.append(Plain(activation, inputs, channels, 2 if stage and not block else 1))
            inputs = channels
    model = nn.Sequential(*layers, Head(inputs, classes))
    he_normal(model)
    return model


class Bottleneck(nn.Module):
    """BatchNorm and activation before each of the convolutions 1×1, 3×3 and 1×1 [He2016, figure 4e].

    Where the number of channels changes, the shortcut is a 1×1 convolution of what the first BatchNorm and
    activation gave (the appendix's "first residual unit").
    """

    def __init__(self, activation: ActivationFactory, inputs: int, width: int, stride: int):
        super().__init__()
        outputs = 4 * width
        self.before = nn.Sequential(nn.BatchNorm2d(inputs), activation(inputs))
        self.body = nn.Sequential(
            convolution(inputs, width, 1, stride),  # where the authors' code has the stride, not in the 3×3
            nn.BatchNorm2d(width),
            activation(width),
            convolution(width, width, 3),
            nn.BatchNorm2d(width),
            activation(width),
            convolution(width, outputs, 1),
        )
        self.shortcut = convolution(inputs, outputs, 1, stride) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) to (batch, 4·width, height/stride, width/stride)."""
        ready = self.before(x)
        return self.body(ready) + (x if self.shortcut is None else self.shortcut(ready))


def build_resnet164(activation: ActivationFactory, classes: int = 10, blocks: int = 18) -> nn.Module:
    """Images (batch, 3, 32, 32) to logits; 9·blocks + 2 layers. 164 layers: 1.7M parameters [He2016, table 4]."""
    layers: list[nn.Module] = [convolution(3, 16, 3)]
    inputs = 16
    for stage, width in enumerate((16, 32, 64)):
        for block in range(blocks):
            layers.append(Bottleneck(activation, inputs, width, 2 if stage and not block else 1))
            inputs = 4 * width
    model = nn.Sequential(*layers, Head(inputs, classes, activation))
    he_normal(model)
    return model
