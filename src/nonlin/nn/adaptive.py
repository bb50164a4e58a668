"""`Adaptive`: an activation that changes during training, by entropy or by its own coefficients.

Two forms over any base function f0, after our theory of the entropy of activations:

    mode="entropy"       y = f0(x);  y + rho·T(y)                          T from a histogram of the outputs
    mode="learned"       f0(x) + s·Σ_{k<order} a_k z^k e^{-z²/2}            a by gradient descent alone
    mode="entropy-init"  the same, with a set once from the entropy direction

In the first, T is the score of the smoothed output density without its affine part, times σ²: the direction
in which entropy falls fastest at a fixed scale (see `adaptive_direction`). The second is CRReLU's correction
[Sun2024] with more terms, standardised by running statistics of the inputs: z = (x - m)/s.

References
----------
[Sun2024] H. Sun et al., "A method on searching better activation functions", 2024 (arXiv:2405.12954)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from nonlin.errors import NonlinError
from nonlin.native.module import Per
from nonlin.nn.adaptive_base import base_module, core_formula
from nonlin.nn.adaptive_correction import HermiteCorrection, TableCorrection
from nonlin.zoo import Activation, activation

Mode = Literal["entropy", "learned", "entropy-init"]
FIRST_AMPLITUDE = 0.01  # of the linear Hermite term in mode "learned": CRReLU's own initial ε


class Adaptive(nn.Module):
    """An activation layer that adapts during training. Same shape and dtype out as in.

    Parameters
    ----------
    base : name, formula or activation of f0; parameters of its own are trained too
    order : number of Hermite terms (modes "learned" and "entropy-init")
    mode : "entropy": one step along the entropy correction of measured statistics; "learned": trained Hermite
        coefficients; "entropy-init": those, begun from the entropy correction (docs/theory.md)
    per : "tensor" for one set of trainable numbers, "channel" for one per channel; statistics are the layer's
    channels, dim : for ``per="channel"``: how many, and the input's dimension that holds them
    rho : amplitude of the entropy step: initial in mode "entropy" (fixed if ``learn_rho=False``; -1 … 1, a
        negative one raises the entropy), the size of the first coefficients in "entropy-init"
    kappa : smoothing of the output density, in deviations of the outputs, at least 0.1
    every, momentum : statistics are refreshed each `every` optimiser steps (and early on) with this weight
    coefficients : initial a_0 … a_{order-1} in mode "learned"; default (0, 0.01, 0, …)
    standardise : False keeps m = 0 and s = 1 in the second form
    synchronise : sum statistics over the processes of `torch.distributed`

    Notes
    -----
    Statistics change only after an optimiser's step, and never in eval mode; see `adaptive_schedule` for
    training loops without ``torch.optim``. Everything is in the state dict, so that a run continues exactly.
    Keep theta and the coefficients out of weight decay: `nonlin.nn.parameter_groups`.
    """

    def __init__(
        self, base: Activation | str = "relu", order: int = 6, mode: Mode = "entropy", per: Per = "tensor",
        channels: int | None = None, dim: int = 1, *, rho: float = 0.1, learn_rho: bool = True, kappa: float = 0.2,
        every: int = 50, momentum: float = 0.5, coefficients: Sequence[float] | None = None,
        standardise: bool = True, synchronise: bool = True,
    ):  # fmt: skip
        super().__init__()
        self.activation = activation(base)
        _check(order, mode, per, channels, coefficients, rho=rho, kappa=kappa, momentum=momentum)
        self.mode, self.per, self.channels, self.dim, self.order = mode, per, channels, dim, order
        self.base = base_module(self.activation, per, channels, dim)
        self._formula = core_formula(self.base)
        width = channels if per == "channel" else None
        self.correction: TableCorrection | HermiteCorrection
        if mode == "entropy":
            self.correction = TableCorrection(rho, learn_rho, kappa, width, dim, every, momentum, synchronise)
        else:
            default = [0.0] * order
            if mode == "learned" and order > 1:
                default[1] = FIRST_AMPLITUDE
            self.correction = HermiteCorrection(
                default if coefficients is None else coefficients, standardise,
                rho if mode == "entropy-init" else None, kappa, width, dim, every, momentum, synchronise,
            )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape (with `channels` along `dim` for per="channel")."""
        if self._formula and torch.compiler.is_compiling() and _backward_follows():
            together = self.correction.in_one_pass(x, self._formula)
            if together is not None:
                return together
        return self.correction(x, self.base(x))

    def step(self) -> None:
        """Count an optimiser step; only needed where no ``torch.optim`` optimiser does the updates."""
        self.correction.step()

    def freeze(self, channel: int | None = None, tolerance: float = 0.002) -> Activation:
        """The trained function as an ordinary activation with a formula.

        The Hermite form is written as it is. The table is written as base plus clipped lines, as few as
        keep the error within `tolerance` deviations of the outputs; `frozen_error` tells what was reached.

        Parameters
        ----------
        channel : which channel's function, for ``per="channel"``
        """
        from nonlin.nn.adaptive_freeze import frozen

        return frozen(self, channel, tolerance)

    @torch.no_grad()
    def frozen_error(self, frozen: Activation, channel: int | None = None) -> float:
        """The largest difference between this layer and `frozen` over ±10 deviations of the inputs and ±100."""
        from nonlin.nn.adaptive_freeze import largest_difference

        return largest_difference(self, frozen, channel)

    def extra_repr(self) -> str:
        channels = f", channels={self.channels}, dim={self.dim}" if self.per == "channel" else ""
        return f"base={self.activation.name!r}, mode={self.mode!r}, per={self.per!r}{channels}"


def _backward_follows() -> bool:
    """Whether torch's ordinary backward pass, and no transform of `torch.func`, may ask for gradients."""
    return torch.is_grad_enabled() and not torch._C._are_functorch_transforms_active()


def _check(
    order: int, mode: str, per: str, channels: int | None, coefficients: Sequence[float] | None, **numbers: object
) -> None:
    for name, value in numbers.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise NonlinError(f"{name}={value!r} must be a number.")
    if mode not in get_args(Mode):
        raise NonlinError(f"mode={mode!r} is not known; use one of {', '.join(map(repr, get_args(Mode)))}.")
    if per not in get_args(Per):
        raise NonlinError(f"per={per!r} is not known; use 'tensor' or 'channel'.")
    if per == "channel" and (not isinstance(channels, int) or channels < 1):
        raise NonlinError(
            f"per='channel' needs the number of channels, a whole number above 0; got channels={channels!r}."
        )
    if per == "tensor" and channels is not None:
        raise NonlinError(f"channels={channels!r} belong to per='channel'; leave them out, or say per='channel'.")
    if not isinstance(order, int) or isinstance(order, bool) or not 1 <= order <= 12:
        raise NonlinError(f"order={order!r} must be a whole number of Hermite terms from 1 to 12.")
    if coefficients is not None:
        if mode != "learned":
            raise NonlinError(f"coefficients are given only in mode 'learned', not in {mode!r}.")
        if len(coefficients) != order:
            raise NonlinError(f"order={order} needs as many coefficients; got {len(coefficients)}.")
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in coefficients):
            raise NonlinError(f"coefficients must be finite numbers; got {coefficients!r}.")
