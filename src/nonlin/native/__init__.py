"""Evaluating expressions: the differentiable torch operation and `nn.Module`, and the compiled core.

    program ──► library (C++) ◄── kernels    f, f' and gradients over tensors
                     ▲  ▲
                     │  └──────── products   small matrix products, K at once
                     └─────────── engine     whole trainings of multilayer perceptrons

`module` holds the operation and the module that everything else uses.

Everything here also works, more slowly, where the core is not built: see `available` and `reason`.
"""

from nonlin.native.engine import Child, Data, Network, train_mlp
from nonlin.native.kernels import backward, forward, forward_with_derivatives
from nonlin.native.library import available, reason
from nonlin.native.products import multiply
from nonlin.native.program import Function, UnsupportedError, function

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
