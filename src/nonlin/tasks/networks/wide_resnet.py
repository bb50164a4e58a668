"""Wide residual networks: fewer layers, more channels.

References
----------
[Zagoruyko2016] S. Zagoruyko, N. Komodakis, "Wide residual networks", 2016 (arXiv:1605.07146)
"""

from __future__ import annotations

from torch import Tensor, nn

from nonlin.tasks.networks.convolution import Head, convolution, he_normal
from nonlin.tasks.task import ActivationFactory


class Wide(nn.Module):
    """BatchNorm and activation before each of two 3×3 convolutions [Zagoruyko2016, figure 1c].

    Without the dropout of figure 1d, as the paper's main tables are.
    """

    def __init__(self, activation: ActivationFactory, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.before = nn.Sequential(nn.BatchNorm2d(inputs), activation(inputs))
        self.body = nn.Sequential(
            convolution(inputs, outputs, 3, stride),
            nn.BatchNorm2d(outputs),
            activation(outputs),
            convolution(outputs, outputs, 3),
        )
        self.shortcut = convolution(inputs, outputs, 1, stride) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) to (batch, outputs, height/stride, width/stride)."""
        ready = self.before(x)
        return self.body(ready) + (x if self.shortcut is None else self.shortcut(ready))


def build_wide_resnet(
    activation: ActivationFactory, classes: int = 10, depth: int = 28, widening: int = 10
) -> nn.Module:
    """Images (batch, 3, 32, 32) to logits. WRN-28-10: 36.5M parameters [Zagoruyko2016, table 4]."""
    layers: list[nn.Module] = [convolution(3, 16, 3)]
    inputs = 16
    for stage, width in enumerate((16, 32, 64)):
        for block in range((depth - 4) // 6):
            layers.append(Wide(activation, inputs, widening * width, 2 if stage and not block else 1))
            inputs = widening * width
    model = nn.Sequential(*layers, Head(inputs, classes, activation))
    he_normal(model)
    return model
