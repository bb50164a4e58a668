"""Values of operators on NumPy arrays: the table's value text, its names meaning NumPy.

What analyses expressions (identity, lowering, entropy) computes here, so that it needs no torch. The text of a row is
the same that becomes a torch kernel; here `torch.exp` in it is `numpy.exp`, and `softplus` the function below. Tests
compare the two over the whole table. Everything takes and returns floating arrays (or NumPy numbers) of one dtype, and
leaves NumPy's warnings to the caller, who silences them once for many calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from nonlin.expr.operators import OPERATORS
from nonlin.expr.tree import Call, Const, Expr, Symbol

Array = npt.NDArray[Any]
# The standard library's, at 0.1 µs a number. Scipy's are faster on large arrays, but take 0.15 s to load; and to choose
# by the size would give one x two values, which differ by a rounding.
_erf, _erfc = np.frompyfunc(math.erf, 1, 1), np.frompyfunc(math.erfc, 1, 1)


def erf(a: Array) -> Array:
    """The error function, to the last digit of float64."""
    a = np.asarray(a)
    return np.asarray(_erf(a), dtype=a.dtype)


def erfc(a: Array) -> Array:
    """1 - erf(a), accurate in the right tail."""
    a = np.asarray(a)
    return np.asarray(_erfc(a), dtype=a.dtype)


def choose(condition: Array, a: Array, b: Array) -> Array:
    """a where the condition holds (is not 0), b elsewhere."""
    return np.where(condition if np.asarray(condition).dtype == np.bool_ else condition != 0, a, b)


def sign(a: Array) -> Array:
    """1, 0 or -1; 0 for NaN, as torch has it."""
    return np.where(np.isnan(a), np.zeros_like(a), np.sign(a))


def heaviside(a: Array, at_zero: Array) -> Array:
    """1 for positive a, 0 for negative a and NaN, `at_zero` at 0."""
    a = np.asarray(a)
    return (a > 0).astype(a.dtype) + at_zero * (a == 0).astype(a.dtype)


def guarded_product(a: Array, b: Array) -> Array:
    """a·b with 0·inf = 0."""
    product = a * b
    vanishes = ((a == 0) & np.isinf(b)) | ((b == 0) & np.isinf(a))
    return np.where(vanishes, np.zeros_like(product), product)


def sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


def softplus(a: Array) -> Array:
    """ln(1 + e^a), exact to rounding everywhere."""
    return np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a)))


def sech(a: Array) -> Array:
    """1/cosh(a), without overflow."""
    decay = np.exp(-np.abs(a))
    return 2 * decay / (1 + decay * decay)


def normal_pdf(a: Array) -> Array:
    """Density of N(0, 1)."""
    return np.exp(-0.5 * (a * a)) * (1 / math.sqrt(2 * math.pi))


def normal_cdf(a: Array) -> Array:
    """Distribution function of N(0, 1), accurate in the left tail."""
    return 0.5 * erfc(a * -math.sqrt(0.5))


def spherical_j(order: float, a: Array) -> Array:
    """Spherical Bessel function j_n(a): power series for |a| < n + 1, upward recurrence beyond.

    [DLMF 10.53.1 and 10.51.1]
    """
    n = int(order)
    inside = np.abs(a) < n + 1
    small, large = np.where(inside, a, np.zeros_like(a)), np.where(inside, np.full_like(a, n + 1), a)

    term = series = np.ones_like(a)
    half_square = small * small * 0.5
    for k in range(1, 14 + n):
        term = term * half_square * (-1.0 / (k * (2 * n + 2 * k + 1)))
        series = series + term
    series = series * small**n / math.prod(range(1, 2 * n + 2, 2)) if n else series

    lower, current = np.cos(large) / large, np.sin(large) / large
    for k in range(n):
        lower, current = current, (2 * k + 1) / large * current - lower
    return np.where(inside, series, current)


# What the table's text may name, here.
NAMESPACE: dict[str, Any] = {
    "torch": SimpleNamespace(
        relu=lambda a: np.maximum(a, 0),
        abs=np.abs, sign=sign, floor=np.floor, exp=np.exp, expm1=np.expm1, log=np.log, log1p=np.log1p, sqrt=np.sqrt,
        square=np.square, sigmoid=sigmoid, sin=np.sin, cos=np.cos, tan=np.tan, asin=np.arcsin, acos=np.arccos,
        atan=np.arctan, sinh=np.sinh, cosh=np.cosh, tanh=np.tanh, acosh=np.arccosh, atanh=np.arctanh, erf=erf,
        where=np.where, full_like=np.full_like, zeros_like=np.zeros_like,
    ),
    "power": np.power, "maximum": np.maximum, "minimum": np.minimum, "choose": choose, "heaviside": heaviside,
    "guarded_product": guarded_product, "softplus": softplus, "sech": sech, "asinh": np.arcsinh, "erfc": erfc,
    "normal_pdf": normal_pdf, "normal_cdf": normal_cdf, "spherical_j": spherical_j,
}  # fmt: skip


@lru_cache(maxsize=256)
def operation(name: str) -> Callable[..., Array]:
    """One operator of the table as a function of its arguments' values."""
    row = OPERATORS[name]
    letters = "abc"[: row.arity]
    code = row.torch.format(*letters)
    return eval(f"lambda {', '.join(letters)}: {code}", dict(NAMESPACE))  # noqa: S307 - the text is a row of the table


def evaluate_node(node: Expr, args: Sequence[Array], x: Array, environment: Mapping[str, Array]) -> Array:
    """The value of one node from its arguments' values, in x's dtype; truth values are 1 and 0."""
    if isinstance(node, Const):
        return x.dtype.type(node.value)
    if isinstance(node, Symbol):
        return x if node.name == "x" else environment[node.name]
    assert isinstance(node, Call)
    row = node.operator
    if not args:
        return x.dtype.type(operation(row.name)())
    value = operation(row.name)(*args)
    return value.astype(x.dtype) if row.boolean else value


def evaluate(roots: Sequence[Expr], x: Array, environment: Mapping[str, Array]) -> list[Array]:
    """The values of several expressions as they stand, each part computed once."""
    known: dict[Expr, Array] = {}

    def visit(node: Expr) -> Array:
        if node not in known:
            known[node] = evaluate_node(node, [visit(arg) for arg in node.args], x, environment)
        return known[node]

    with np.errstate(all="ignore"):
        return [visit(root) for root in roots]
