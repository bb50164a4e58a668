"""The arms of `entropy.py`: adaptive layers in their modes, and controls that could explain a gain without entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import nonlin as nl
from nonlin.nn import Adaptive

ORDER = 6


class OverDeviation(nn.Module):
    """s·f0(x/s), s the running deviation of x: the standardisation of the Hermite form without its terms."""

    deviation: Tensor

    def __init__(self, base: str):
        super().__init__()
        self.base = nl.activation(base).module()
        self.register_buffer("deviation", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                now = x.std()
                self.deviation.copy_(torch.where(self.deviation > 0, 0.9 * self.deviation + 0.1 * now, now))
        scale = self.deviation.clamp(min=1e-6)
        return scale * self.base(x / scale)


class SoftThreshold(nn.Module):
    """Soft thresholding of f0 about its running mean: a denoiser with a trained threshold and no density."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, base: str):
        super().__init__()
        self.base = nl.activation(base).module()
        self.threshold = nn.Parameter(torch.tensor(0.1))  # of the deviation, as rho of the entropy step
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        if self.training:
            with torch.no_grad():
                share = torch.where(self.deviation > 0, 0.1, 1.0)
                self.mean.lerp_(y.mean(), share)
                self.deviation.lerp_(y.std(), share)
        from_mean = y - self.mean
        return self.mean + from_mean.sign() * torch.relu(from_mean.abs() - self.threshold * self.deviation)


class Amplitude(nn.Module):
    """a·f0(x) with a trained a: the freedom to be larger or smaller, and nothing else."""

    def __init__(self, base: str):
        super().__init__()
        self.base = nl.activation(base).module()
        self.amplitude = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.amplitude * self.base(x)


def random_coefficients(seed: int) -> tuple[float, ...]:
    """A random direction of the size that the entropy direction typically has at rho = 0.1."""
    values = torch.randn(ORDER, generator=torch.Generator().manual_seed(1000 + seed))
    return tuple((0.05 * values / values.norm()).tolist())


# name -> (base, seed) -> an activation factory as the task's `build` takes it
Maker = Callable[[str, int], Callable[..., nn.Module]]


def adaptive(*arguments: Any, channelwise: bool = False, **options: Any) -> Maker:
    """An arm of Adaptive layers with these arguments after the base."""

    def make(base: str, seed: int) -> Callable[..., nn.Module]:
        def layer(channels: int | None = None, dim: int = 1) -> nn.Module:
            own = dict(options)
            if channelwise and channels:
                own |= {"per": "channel", "channels": channels, "dim": dim}
            return Adaptive(base, *arguments, **own)

        return layer

    return make


def random_direction(base: str, seed: int) -> Callable[..., nn.Module]:
    return adaptive(ORDER, "learned", coefficients=random_coefficients(seed))(base, seed)


def untrained_coefficients(base: str, seed: int) -> Callable[..., nn.Module]:
    """The shape that entropy proposes once, left as it is: no learned amplitude."""

    def layer(channels: int | None = None, dim: int = 1) -> nn.Module:
        made = Adaptive(base, ORDER, "entropy-init")
        made.correction.coefficients.requires_grad_(False)
        return made

    return layer


def plain_layer(kind: Callable[[str], nn.Module]) -> Maker:
    return lambda base, seed: lambda channels=None, dim=1: kind(base)


def twice(base: str) -> nn.Module:
    return nl.activation(f"2*({nl.activation(base).formula})").module()


ADAPTIVE: dict[str, Maker] = {
    "entropy": adaptive(),
    "entropy-init": adaptive(ORDER, "entropy-init"),
    "learned": adaptive(ORDER, "learned"),
    "entropy-channel": adaptive(channelwise=True),
    "learned-channel": adaptive(ORDER, "learned", channelwise=True),
}
CONTROLS: dict[str, Maker] = {
    "entropy-plus": adaptive(rho=1.0, learn_rho=False),
    "entropy-minus": adaptive(rho=-1.0, learn_rho=False),  # raises the entropy
    # coefficients by gradient only, from nothing; the entropy's part in "entropy-init" is its difference to this
    "gradient-only": adaptive(ORDER, "learned", coefficients=(0.0,) * ORDER),
    "random-direction": random_direction,
    "not-standardised": adaptive(ORDER, "learned", standardise=False),
    "two-terms": adaptive(2, "learned"),
    "soft-threshold": plain_layer(SoftThreshold),
    "gain-2": plain_layer(twice),
    "over-deviation": plain_layer(OverDeviation),
    "amplitude": plain_layer(Amplitude),
    "entropy-init-fixed": untrained_coefficients,
}
