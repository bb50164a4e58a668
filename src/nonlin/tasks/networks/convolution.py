"""What the convolutional networks share: how layers start, and the head.

References
----------
[He2015] K. He et al., "Delving deep into rectifiers", 2015 (arXiv:1502.01852)
"""

from __future__ import annotations

from torch import Tensor, nn

from nonlin.tasks.task import ActivationFactory


def convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias (BatchNorm follows or came before), padded to keep the image's size."""
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


def he_normal(model: nn.Module) -> None:
    """[He2015]: convolutions N(0, 2/fan_out), BatchNorm at scale 1 and shift 0, the classifier N(0, 1/fan_in).

    The fan counted is the output's, as the residual networks of the time did it.
    """
    for part in model.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out")
        elif isinstance(part, nn.Linear):
            nn.init.kaiming_normal_(part.weight, nonlinearity="linear")
            nn.init.zeros_(part.bias)


class Head(nn.Module):
    """BatchNorm and activation where asked for, the mean over the image, classes."""

    def __init__(self, channels: int, classes: int, activation: ActivationFactory | None = None):
        super().__init__()
        self.before = (
            nn.Identity() if activation is None else nn.Sequential(nn.BatchNorm2d(channels), activation(channels))
        )  # fmt: skip
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) to logits (batch, classes)."""
        return self.classifier(self.before(x).mean(dim=(2, 3)))
