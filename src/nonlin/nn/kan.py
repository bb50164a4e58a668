"""`KANLinear`: a linear layer whose every edge has a function of its own [Liu2024].

Output i is Σ_j φ_ij(x_j) + bias_i with φ_ij(x) = w_ij·f0(x) + Σ_{k<order} a_ijk·h_k(z_j): the second form of
`Adaptive`, one set of coefficients per edge. h_k are the orthonormal Hermite functions, which span the
same terms z^k e^{-z²/2} and are better conditioned; z_j = (x_j - m_j)/s_j, clamped to ±6, takes the place of
the grids that a spline needs to adapt: m_j and s_j are running statistics of input j.

References
----------
[Liu2024] Z. Liu et al., "KAN: Kolmogorov-Arnold networks", 2024 (arXiv:2404.19756)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nonlin.errors import NonlinError
from nonlin.nn.adaptive_base import base_module
from nonlin.nn.adaptive_freeze import hermite_terms
from nonlin.nn.adaptive_operations import REACH
from nonlin.nn.adaptive_schedule import Observing, pick_rows
from nonlin.zoo import Activation, activation


class KANLinear(Observing):
    """(..., in_features) to (..., out_features), with an adaptive function on every edge.

    Parameters
    ----------
    base : f0; without trainable parameters, since edges have their own
    order : Hermite functions per edge; an edge has order + 1 numbers
    bias : whether to add a trainable bias
    noise : deviation of an edge's initial Hermite part, relative to its base part; 0 starts as a linear layer
        after f0
    every, momentum, synchronise : of the running statistics, see `Adaptive`
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, in_features: int, out_features: int, base: Activation | str = "silu", order: int = 6, bias: bool = True,
        *, noise: float = 0.1, every: int = 50, momentum: float = 0.5, synchronise: bool = True,
    ):  # fmt: skip
        super().__init__(every, early=(1, 5, 20), momentum=momentum, synchronise=synchronise)
        for name, value in (("in_features", in_features), ("out_features", out_features), ("order", order)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise NonlinError(f"{name}={value!r} must be a whole number above 0.")
        if not isinstance(noise, int | float) or not 0 <= noise < math.inf:
            raise NonlinError(f"noise={noise!r} is a standard deviation; it must be a finite number of at least 0.")
        self.activation = activation(base)
        if self.activation.parameters:
            raise NonlinError(
                f"the base {self.activation.name!r} has trainable parameters; edges have their own. Fix them: "
                "use a formula with numbers."
            )
        self.in_features, self.out_features, self.order = in_features, out_features, order
        self.base = base_module(self.activation, "tensor", None, 1)
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.coefficients = nn.Parameter(torch.empty(out_features, in_features, order))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self.register_buffer("mean", torch.zeros(in_features))
        self.register_buffer("deviation", torch.ones(in_features))
        nn.init.normal_(self.weight, std=1 / math.sqrt(in_features))
        nn.init.normal_(self.coefficients, std=noise / math.sqrt(in_features * order))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.in_features:
            raise NonlinError(f"KANLinear takes inputs of {self.in_features} features; got shape {tuple(x.shape)}.")
        self.observe(pick_rows, x)
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        z = ((wide - self.mean) / self.deviation).clamp(-REACH, REACH)
        terms = hermite_functions(z, self.order).to(x.dtype)  # (..., in, order)
        edges = F.linear(terms.flatten(-2), self.coefficients.flatten(1))
        return edges + F.linear(self.base(x), self.weight, self.bias)

    def refresh(self, sample: tuple[Tensor, ...]) -> None:
        mean, deviation, usable = self._moments(sample[0])  # (in,) each
        self._average(self.mean, mean, usable)
        self._average(self.deviation, deviation, usable)
        self.updates.add_(usable.any())

    @torch.no_grad()
    def edge(self, output: int, input: int) -> Activation:
        """The function on one edge as an ordinary activation with a formula; biases are not edges'."""
        if not (0 <= output < self.out_features and 0 <= input < self.in_features):
            raise NonlinError(
                f"there is no edge from input {input} to output {output}; the layer has {self.in_features} inputs "
                f"and {self.out_features} outputs."
            )
        powers = self.coefficients[output, input].double().cpu() @ hermite_to_powers(self.order)
        deviation = float(self.deviation[input])
        part = hermite_terms([float(a) / deviation for a in powers], float(self.mean[input]), deviation)
        tree = float(self.weight[output, input]) * self.activation.expr + part
        return Activation(f"edge({input}, {output})", tree)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, base={self.activation.name!r}, "
            f"order={self.order}, bias={self.bias is not None}"
        )


def hermite_functions(z: Tensor, order: int) -> Tensor:
    """Orthonormal Hermite functions h_0 … h_{order-1} at z of shape (...), as (..., order).

    h_0 = π^{-1/4} e^{-z²/2}, h_{k+1} = √(2/(k+1))·z·h_k - √(k/(k+1))·h_{k-1} [DLMF 18.9.1, normalised].
    """
    terms = [torch.exp(-0.5 * z * z) * math.pi**-0.25]
    for k in range(order - 1):
        term = math.sqrt(2 / (k + 1)) * z * terms[k]
        terms.append(term - math.sqrt(k / (k + 1)) * terms[k - 1] if k else term)
    return torch.stack(terms, dim=-1)


def hermite_to_powers(order: int) -> Tensor:
    """Row k holds the coefficients of h_k in the terms z^j e^{-z²/2}: (order, order), float64."""
    rows = torch.zeros(order, order + 1, dtype=torch.float64)
    rows[0, 0] = math.pi**-0.25
    for k in range(order - 1):
        rows[k + 1, 1:] = math.sqrt(2 / (k + 1)) * rows[k, :-1]
        if k:
            rows[k + 1] -= math.sqrt(k / (k + 1)) * rows[k - 1]
    return rows[:, :order]
