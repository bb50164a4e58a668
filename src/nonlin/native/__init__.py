"""Evaluating expressions: the differentiable torch operation and `nn.Module`, and the compiled core.

    program ──► library (C++) ◄── kernels    f, f' and gradients over tensors
                     ▲  ▲
                     │  └──────── products   small matrix products, K at once
                     └─────────── engine     whole trainings of multilayer perceptrons

`module` holds the operation and the module that everything else uses.

Everything here also works, more slowly, where the core is not built: see `available` and `reason`.

The names load on first use: `training`, and what it needs, does without torch, which takes longer to load than a
hundred children to train.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nonlin.native.engine import Child, Data, Network, train_mlp
    from nonlin.native.kernels import backward, forward, forward_with_derivatives
    from nonlin.native.library import available, reason
    from nonlin.native.products import multiply
    from nonlin.native.program import Function, UnsupportedError, function

_HOMES = {
    "Child": "engine",
    "Data": "engine",
    "Function": "program",
    "Network": "engine",
    "UnsupportedError": "program",
    "available": "library",
    "backward": "kernels",
    "forward": "kernels",
    "forward_with_derivatives": "kernels",
    "function": "program",
    "multiply": "products",
    "reason": "library",
    "train_mlp": "engine",
}

__all__ = [
    "Child",
    "Data",
    "Function",
    "Network",
    "UnsupportedError",
    "available",
    "backward",
    "forward",
    "forward_with_derivatives",
    "function",
    "multiply",
    "reason",
    "train_mlp",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nonlin.native' has no attribute {name!r}")
    return getattr(import_module(f"nonlin.native.{_HOMES[name]}"), name)
