"""Which functions of torch compute the same as which module of torch, and what `swap` replaces by default."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from nonlin.errors import NonlinError

# Each module class, the functions that compute the same, and the methods of a tensor that do.
_ROWS: tuple[tuple[type[nn.Module], tuple[Callable, ...], tuple[str, ...]], ...] = (
    (nn.ReLU, (F.relu, F.relu_, torch.relu, torch.relu_, torch.Tensor.relu), ("relu", "relu_")),
    (nn.ReLU6, (F.relu6,), ()),
    (nn.LeakyReLU, (F.leaky_relu, F.leaky_relu_), ()),
    (nn.PReLU, (F.prelu, torch.prelu), ()),
    (nn.RReLU, (F.rrelu, F.rrelu_, torch.rrelu), ()),
    (nn.ELU, (F.elu, F.elu_), ()),
    (nn.CELU, (F.celu, F.celu_, torch.celu), ()),
    (nn.SELU, (F.selu, F.selu_, torch.selu), ()),
    (nn.GELU, (F.gelu,), ()),
    (nn.SiLU, (F.silu,), ()),
    (nn.Mish, (F.mish,), ()),
    (nn.Hardswish, (F.hardswish,), ()),
    (nn.Softplus, (F.softplus,), ()),
    (nn.Softsign, (F.softsign,), ()),
    (nn.Tanhshrink, (F.tanhshrink,), ()),
    (nn.Hardtanh, (F.hardtanh, F.hardtanh_), ()),
    (nn.Hardsigmoid, (F.hardsigmoid,), ()),
    (nn.LogSigmoid, (F.logsigmoid,), ()),
    (nn.Sigmoid, (F.sigmoid, torch.sigmoid, torch.Tensor.sigmoid), ("sigmoid", "sigmoid_")),
    (nn.Tanh, (F.tanh, torch.tanh, torch.Tensor.tanh), ("tanh", "tanh_")),
)
FUNCTIONS: dict[Any, type[nn.Module]] = {function: module for module, functions, _ in _ROWS for function in functions}
METHODS: dict[str, type[nn.Module]] = {method: module for module, _, methods in _ROWS for method in methods}

# Sigmoid, tanh and their like are left alone unless asked for: in most models they are gates and outputs.
HIDDEN = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Hardswish,
)  # fmt: skip
# Activations of other libraries, known by where they are defined so that nothing need be imported.
_LIBRARIES = {
    "transformers.activations": ("gelu", "silu", "mish", "relu", "laplace", "softplus", "xielu"),
    "timm.layers.activations": ("gelu", "swish", "mish", "relu"),
    "timm.layers.activations_me": ("swish", "mish"),
}

Kind = type[nn.Module] | Callable[..., Any] | str


class Wanted:
    """What is to be replaced.

    Parameters
    ----------
    kinds : module classes, functions such as ``F.relu``, and names of classes; None for the usual ones
    """

    def __init__(self, kinds: Kind | tuple[Kind, ...] | list[Kind] | None):
        self.usual = kinds is None
        given = HIDDEN if kinds is None else kinds if isinstance(kinds, tuple | list) else (kinds,)
        classes: list[type[nn.Module]] = []
        names: list[str] = []
        for kind in given:
            if isinstance(kind, str):
                names.append(kind)
            elif isinstance(kind, type) and issubclass(kind, nn.Module):
                classes.append(kind)
            elif kind in FUNCTIONS:
                classes.append(FUNCTIONS[kind])
            else:
                raise NonlinError(
                    f"replace={kind!r:.60} is neither a module class, a function of torch.nn.functional, nor the "
                    "name of a class. Example: replace=(nn.ReLU, nn.GELU)."
                )
        self.classes, self.names = tuple(classes), tuple(names)

    def module(self, module: nn.Module) -> bool:
        """Whether a module is of a wanted class."""
        kind = type(module)
        if isinstance(module, self.classes) or kind.__name__ in self.names:
            return True
        return self.usual and any(part in kind.__name__.lower() for part in _LIBRARIES.get(kind.__module__, ()))

    def function(self, function: Any) -> bool:
        """Whether a function, or a `functools.partial` of one, is the twin of a wanted class."""
        twin = FUNCTIONS.get(function.func if isinstance(function, partial) else function)
        return twin is not None and self._class(twin)

    def method(self, name: str) -> bool:
        """Whether a tensor's method of this name is the twin of a wanted class."""
        return name in METHODS and self._class(METHODS[name])

    def _class(self, twin: type[nn.Module]) -> bool:
        return twin in self.classes or twin.__name__ in self.names

    def __str__(self) -> str:
        return ", ".join([kind.__name__ for kind in self.classes] + list(self.names))
