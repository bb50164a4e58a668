"""The function under an adaptive layer: an ordinary activation, by torch's own kernel where there is one."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from nonlin.native import adapted
from nonlin.native.module import ActivationModule, Per
from nonlin.zoo import Activation

# Functions that torch has as one kernel. In eager mode the adaptive layer would otherwise lose against
# a network that uses that kernel before it has begun.
_NATIVE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "elu": F.elu,
    "softplus": F.softplus,
    "tanh": Tensor.tanh,
    "sigmoid": Tensor.sigmoid,
}


class NativeBase(ActivationModule):
    """An activation without parameters that torch computes by one kernel, called `native`."""

    def __init__(self, act: Activation, native: str):
        super().__init__(act.expr, {}, name=act.name)
        self.native = native

    def forward(self, x: Tensor) -> Tensor:
        return _NATIVE[self.native](x)


def core_formula(base: nn.Module) -> str:
    """The formula under which the compiled core takes a base with its correction; empty if it does not.

    It does not take parameters, nor relu, whose derivative at 0 is torch's own.
    """
    if not isinstance(base, ActivationModule) or base.parameter_names or getattr(base, "native", "") == "relu":
        return ""
    return adapted.formula(base.expr)


def base_module(act: Activation, per: Per, channels: int | None, dim: int) -> nn.Module:
    """A module of `act`; its trainable parameters are per channel where asked and known."""
    if not act.parameters:
        for native in _NATIVE:
            if act.same_as(native):
                return NativeBase(act, native)
    return act.module(per=per, channels=channels, dim=dim)
