"""Shorter ways to the same value, for machines.

tanh and sech of softplus(a) are rational in e^a, so that they and the sigmoids beside them need one exponential
instead of an exponential, a logarithm and another exponential. In terms of the sigmoids nothing cancels or overflows:
tanh(softplus(a)) = σ(a)·(1 + σ(-a))/(1 + σ(-a)²), sech(softplus(a)) = 2·σ(-a)/(1 + σ(-a)²).

Polynomials are nested (Horner): c + d·a² + e·a⁴ = c + a²·(d + e·a²), a product and a sum for each degree.
"""

from __future__ import annotations

import math
from functools import lru_cache

from nonlin.expr.collect import NUMBER, collect, factors_of, terms_of
from nonlin.expr.simplify import simplify
from nonlin.expr.tree import Call, Const, Expr, call, is_call


@lru_cache(maxsize=16384)
def shortened(node: Expr) -> Expr:
    """The tree with the shorter ways taken."""
    if not isinstance(node, Call):
        return node
    if is_call(node, "add", "sub") and (nested := _nested(node)) is not None:
        return nested
    args = tuple(shortened(arg) for arg in node.args)
    if node.name in ("tanh", "sech") and is_call(args[0], "softplus"):
        inner = args[0].args[0]
        down = call("sigmoid", simplify(call("neg", inner)))
        bottom = call("add", Const(1.0), call("pow", down, Const(2.0)))
        if node.name == "sech":
            return call("div", call("mul", Const(2.0), down), bottom)
        return call("div", call("mul", call("sigmoid", inner), call("add", Const(1.0), down)), bottom)
    return node if args == node.args else Call(node.operator, args)


def _nested(node: Expr) -> Expr | None:
    """A polynomial in x, or in an expression of it, whose coefficients are numbers, nested; None for any other sum.

    With parameters for coefficients, as in pau, the slope at x = 300 lost digits to another order of roundings.
    """
    if not _has_high_power(node):
        return None
    base: Expr | None = None
    powers: dict[int, Expr] = {}  # exponent -> coefficient
    for term, number in collect(terms_of(node)).items():
        exponent = 0
        for factor, power in factors_of(term):
            if factor is NUMBER:
                number *= power
                continue
            if "x" not in factor.symbols or (base is not None and factor != base) or power < 1 or power != int(power):
                return None
            base, exponent = factor, int(power)
        powers[exponent] = Const(number)
    least, most = min(powers), max(powers)
    step = math.gcd(*(exponent - least for exponent in powers))
    if base is None or not step or not (most - least >= 2 * step or (least and step == 1)):
        return None
    inner, found = shortened(base), powers[most]
    for exponent in range(most - step, least - 1, -step):
        found = _times(found, _power(inner, step))
        if exponent in powers:
            found = call("add", found, powers[exponent])
    return _times(found, _power(inner, least)) if least else found


def _has_high_power(node: Expr) -> bool:
    """Whether some term of a sum contains a power: most sums are told apart by that."""
    parts = [node]
    while parts:
        part = parts.pop()
        if is_call(part, "pow"):
            return True
        if is_call(part, "add", "sub", "mul", "neg"):
            parts += part.args
    return False


def _power(base: Expr, exponent: int) -> Expr:
    return base if exponent == 1 else call("pow", base, Const(exponent))


def _times(left: Expr, right: Expr) -> Expr:
    return right if left == Const(1.0) else call("mul", left, right)
