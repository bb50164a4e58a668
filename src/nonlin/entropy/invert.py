"""The inverse of an expression, symbolically, where x occurs once in the branch that is meant.

Each operator's inverse is one row; a branch of a piecewise function is chosen by a point on it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from nonlin.entropy.analytic import evaluator
from nonlin.expr import Call, Const, Expr, parse, simplify, substitute, walk
from nonlin.expr.tree import ONE, ZERO, Symbol, X, call, is_call

# g(a) = t  ->  a = the formula in t
_INVERSES: dict[str, str] = {
    "neg": "-t", "exp": "log(t)", "expm1": "log1p(t)", "log": "exp(t)", "log1p": "expm1(t)",
    "tanh": "atanh(t)", "atanh": "tanh(t)", "sinh": "asinh(t)", "asinh": "sinh(t)",
    "sigmoid": "log(t) - log1p(-t)", "softplus": "log(expm1(t))", "logsigmoid": "-log(expm1(-t))",
    "atan": "tan(t)", "asin": "sin(t)", "sqrt": "t**2",
}  # fmt: skip
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "lt": lambda a, b: a < b, "le": lambda a, b: a <= b, "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b,
}  # fmt: skip


@lru_cache(maxsize=4096)
def on_branch(expr: Expr, point: float) -> Expr:
    """The smooth expression that `expr` is in the neighbourhood of `point`: relu at 1 is x."""

    def value(node: Expr) -> float:
        return float(evaluator(node)(np.array([point]))[0])

    def visit(node: Expr) -> Expr:
        if not isinstance(node, Call) or "x" not in node.symbols:
            return node
        args = node.args
        if node.name == "where":
            return visit(args[1] if value(args[0]) else args[2])
        if node.name in _COMPARE:
            return ONE if _COMPARE[node.name](value(args[0]), value(args[1])) else ZERO
        if node.name == "relu":
            return visit(args[0]) if value(args[0]) > 0 else ZERO
        if node.name == "abs":
            return visit(args[0]) if value(args[0]) > 0 else -visit(args[0])
        if node.name == "sign" or node.name == "heaviside":
            sign = value(args[0])
            return Const(1.0 if sign > 0 else (-1.0 if node.name == "sign" else 0.0))
        if node.name in ("max", "min"):
            first = (value(args[0]) > value(args[1])) == (node.name == "max")
            return visit(args[0] if first else args[1])
        if node.name == "clip":
            inner, low, high = map(value, args)
            return visit(args[1] if inner < low else args[2] if inner > high else args[0])
        if node.name == "floor":
            return Const(value(node))
        return call(node.name, *map(visit, args))

    return simplify(visit(expr))


def invert(expr: Expr, point: float | None = None) -> Expr | None:
    """The inverse, as an expression in x, or None if it is outside the table.

    Parameters
    ----------
    expr : a smooth expression in x (see `on_branch`)
    point : an x of the branch, which decides the sign of a square root
    """
    occurrences = sum(1 for node in walk(expr) if isinstance(node, Symbol) and node.name == "x")
    if occurrences != 1:
        return None
    result: Expr = X
    node = expr
    while node != X:
        if not isinstance(node, Call):
            return None
        step = _undo(node, result, point)
        if step is None:
            return None
        node, result = step
    return simplify(result)


def _undo(node: Call, output: Expr, point: float | None) -> tuple[Expr, Expr] | None:
    """The argument that holds x, and what it equals when `node` equals `output`."""
    if node.name in _INVERSES:
        return node.args[0], substitute(parse(_INVERSES[node.name]), {"t": output})
    if len(node.args) != 2:
        return None
    a, b = node.args
    left = "x" in a.symbols
    if node.name == "add":
        return (a, output - b) if left else (b, output - a)
    if node.name == "sub":
        return (a, output + b) if left else (b, a - output)
    if node.name == "mul":
        return (a, output / b) if left else (b, output / a)
    if node.name == "div":
        return (a, output * b) if left else (b, a / output)
    if is_call(node, "pow") and left and isinstance(b, Const) and b.value == 2 and point is not None:
        root = call("sqrt", output)
        inner = float(evaluator(a)(np.array([point]))[0])
        return a, root if inner > 0 else -root
    return None
