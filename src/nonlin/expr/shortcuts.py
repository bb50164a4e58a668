"""Shorter ways to the same value, for machines: fewer exponentials than as a formula is read.

tanh and sech of softplus(a) are rational in e^a, so that they and the sigmoids beside them need one exponential
instead of an exponential, a logarithm and another exponential. In terms of the sigmoids nothing cancels or overflows:
tanh(softplus(a)) = σ(a)·(1 + σ(-a))/(1 + σ(-a)²), sech(softplus(a)) = 2·σ(-a)/(1 + σ(-a)²).
"""

from __future__ import annotations

from functools import lru_cache

from nonlin.expr.simplify import simplify
from nonlin.expr.tree import Call, Const, Expr, call, is_call


@lru_cache(maxsize=16384)
def shortened(node: Expr) -> Expr:
    """The tree with the shorter ways taken."""
    if not isinstance(node, Call):
        return node
    args = tuple(shortened(arg) for arg in node.args)
    if node.name in ("tanh", "sech") and is_call(args[0], "softplus"):
        inner = args[0].args[0]
        down = call("sigmoid", simplify(call("neg", inner)))
        bottom = call("add", Const(1.0), call("pow", down, Const(2.0)))
        if node.name == "sech":
            return call("div", call("mul", Const(2.0), down), bottom)
        return call("div", call("mul", call("sigmoid", inner), call("add", Const(1.0), down)), bottom)
    return node if args == node.args else Call(node.operator, args)
