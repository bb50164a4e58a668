"""Units whose value at one place depends on others, or that stand in for a normalisation layer.

References
----------
[Ma2021] N. Ma et al., "Activate or not: learning customized activation", 2021 (arXiv:2009.04759)
[Zhuo2024] Z. Zhuo et al., "Polynomial composition activations", 2024 (arXiv:2411.03884)
[Zhu2025] J. Zhu et al., "Transformers without normalization", 2025 (arXiv:2503.10622)
[Chen2025] M. Chen et al., "Stronger normalization-free transformers", 2025 (arXiv:2512.10938)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nonlin.errors import NonlinError


class MetaACON(nn.Module):
    """(p1 - p2)x·σ(β(p1 - p2)x) + p2·x, β by a small network from each channel's mean [Ma2021].

    β = σ(BN(W2·BN(W1·mean over height and width))) for each sample and channel, with W1: C → max(r, C/16).

    x: (batch, channels, ...), with at least one further dimension for the mean, or none.

    Parameters
    ----------
    channels : C
    reduction : 16 in the paper
    smallest : the smallest width between W1 and W2, 16 in the paper's code
    """

    def __init__(self, channels: int, reduction: int = 16, smallest: int = 16):
        super().__init__()
        width = max(smallest, channels // reduction)
        self.p1 = nn.Parameter(torch.randn(channels))
        self.p2 = nn.Parameter(torch.randn(channels))
        self.shrink, self.shrink_norm = nn.Linear(channels, width), nn.BatchNorm1d(width)
        self.grow, self.grow_norm = nn.Linear(width, channels), nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out."""
        if x.dim() < 2 or x.shape[1] != len(self.p1):
            raise NonlinError(
                f"MetaACON(channels={len(self.p1)}) takes (batch, channels, ...); got shape {tuple(x.shape)}."
            )
        mean = x.flatten(2).mean(dim=2) if x.dim() > 2 else x  # (batch, channels)
        beta = torch.sigmoid(self.grow_norm(self.grow(self.shrink_norm(self.shrink(mean)))))
        shape = (-1, len(self.p1)) + (1,) * (x.dim() - 2)
        difference = (self.p1 - self.p2).reshape(shape[1:]) * x
        return difference * torch.sigmoid(beta.reshape(x.shape[:2] + shape[2:]) * difference) + (
            self.p2.reshape(shape[1:]) * x
        )


class PolyReLU(nn.Module):
    """Σ_{i=0…r} a_i·relu(x)^i [Zhuo2024]; a_i = 1/r for i ≥ 1 and a_0 = 0 at the start."""

    def __init__(self, order: int = 3):
        super().__init__()
        _check_order(order)
        self.coefficients = nn.Parameter(torch.tensor([0.0] + [1 / order] * order))

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape. Same shape out."""
        y, result = torch.relu(x), torch.zeros_like(x)
        for a in self.coefficients.flip(0):
            result = result * y + a
        return result


class PolyNorm(nn.Module):
    """Σ_{i=1…r} a_i·N(x^i) + b, N(v) = v/√(mean of v² over the features + ε) [Zhuo2024].

    a_i = 1/r and b = 0 at the start. N has no parameters.
    """

    def __init__(self, order: int = 3, epsilon: float = 1e-6):
        super().__init__()
        _check_order(order)
        self.coefficients = nn.Parameter(torch.full((order,), 1 / order))
        self.bias = nn.Parameter(torch.zeros(()))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., features). Same shape and dtype out; half precision is computed in float32."""
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        result, power = self.bias.to(wide.dtype), wide
        for index, a in enumerate(self.coefficients):
            power = power * wide if index else power
            size = power.square().mean(dim=-1, keepdim=True)
            result = result + a * power * torch.rsqrt(size + self.epsilon)
        return result.to(x.dtype)

    def extra_repr(self) -> str:
        return f"order={len(self.coefficients)}"


class DyT(nn.Module):
    """γ·tanh(αx) + β in the place of a normalisation layer; one α, and γ, β per feature [Zhu2025].

    Parameters
    ----------
    features : the size of the last dimension
    alpha : its initial value, 0.5 in the paper
    """

    def __init__(self, features: int, alpha: float = 0.5):
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(float(alpha)))
        self.weight, self.bias = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., features). Same shape out."""
        return self.weight * torch.tanh(self.alpha * x) + self.bias


class Derf(nn.Module):
    """γ·erf(αx + s) + β in the place of a normalisation layer; α and s one each, γ, β per feature [Chen2025].

    Parameters
    ----------
    features : the size of the last dimension
    alpha, shift : initial values, 0.5 and 0 in the authors' code
    """

    def __init__(self, features: int, alpha: float = 0.5, shift: float = 0.0):
        super().__init__()
        self.alpha, self.shift = nn.Parameter(torch.tensor(float(alpha))), nn.Parameter(torch.tensor(float(shift)))
        self.weight, self.bias = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., features). Same shape out."""
        return self.weight * torch.erf(self.alpha * x + self.shift) + self.bias


def _check_order(order: int) -> None:
    if not isinstance(order, int) or isinstance(order, bool) or order < 1:
        raise NonlinError(f"order={order!r} must be a whole number above 0.")
