"""What an activation costs: counted in transcendental functions, and measured against ReLU."""

from __future__ import annotations

import statistics
import time
from typing import Any

from nonlin.expr import Call, Const, Expr, simplify, walk

# Library calls (exponentials, logarithms, error functions, ...) in one value; arithmetic and roots are not counted.
_CALLS = {
    "exp": 1, "expm1": 1, "log": 1, "log1p": 1, "sigmoid": 1, "softplus": 2, "logsigmoid": 2, "sin": 1, "cos": 1,
    "tan": 1, "asin": 1, "acos": 1, "atan": 1, "sinc": 2, "spherical_j": 2, "sinh": 1, "cosh": 1, "tanh": 1,
    "sech": 1, "asinh": 2, "acosh": 1, "atanh": 1, "erf": 1, "erfc": 1, "Phi": 1, "phi": 1,
}  # fmt: skip
_ELEMENTS = 1 << 18
_SECONDS = 0.2
_MOST_PAIRS = 200


def transcendentals(expr: Expr) -> int:
    """How many transcendental functions one value takes, equal subexpressions counted once."""
    nodes = {node for node in walk(simplify(expr)) if isinstance(node, Call) and "x" in node.symbols}
    return sum(_CALLS.get(node.name, 0) + _power(node) for node in nodes)


def _power(node: Call) -> int:
    """1 for a power that is neither whole nor a half."""
    if node.name != "pow":
        return 0
    exponent = node.args[1]
    return 0 if isinstance(exponent, Const) and (2 * exponent.value).is_integer() else 1


def relative_cost(act: Any, seconds: float = _SECONDS) -> float:
    """Time of forward and backward of the module over that of `nn.ReLU`: the median ratio of paired runs.

    262,144 float32 numbers on the CPU, as the module stands (uncompiled). A measurement: it varies with
    the machine and its load.
    """
    import torch

    x = torch.randn(_ELEMENTS, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ones = torch.ones(_ELEMENTS)
    ours, relu = act.module(), torch.nn.ReLU()
    ratios: list[float] = []
    for module in (ours, relu, ours, relu):  # first use compiles
        _once(module, x, ones)
    end = time.perf_counter() + seconds
    while len(ratios) < 3 or (time.perf_counter() < end and len(ratios) < _MOST_PAIRS):
        ratios.append(_once(ours, x, ones) / _once(relu, x, ones))
    return statistics.median(ratios)


def _once(module: Any, x: Any, ones: Any) -> float:
    x.grad = None
    begin = time.perf_counter()
    module(x).backward(ones)
    return time.perf_counter() - begin
