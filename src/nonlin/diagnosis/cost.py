"""What an activation costs: counted in transcendental functions, and measured against ReLU."""

from __future__ import annotations

import statistics
import time
from typing import Any

from nonlin.expr import Call, Const, Expr, simplify, walk

# Library calls (exponentials, logarithms, error functions, ...) in one value: one, but for these.
_ARITHMETIC = set(
    "add sub mul mul0 div neg pow lt le gt ge where max min clip heaviside relu abs sign floor sqrt pi".split()
)
_TWO_CALLS = {"softplus", "logsigmoid", "sinc", "spherical_j", "asinh"}
_ELEMENTS = 1 << 18
_SECONDS = 0.2
_MOST_PAIRS = 200


def transcendentals(expr: Expr) -> int:
    """How many transcendental functions one value takes, equal subexpressions counted once."""
    nodes = {node for node in walk(simplify(expr)) if isinstance(node, Call) and "x" in node.symbols}
    return sum(_calls(node) for node in nodes)


def _calls(node: Call) -> int:
    """Of one operator; a power has one unless it is whole or a half, arithmetic and roots have none."""
    if node.name in _TWO_CALLS:
        return 2
    if node.name not in _ARITHMETIC:
        return 1
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
