"""An activation as the entropy code sees it: values and slopes on arrays, and where it is not smooth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from nonlin.entropy.analytic import evaluator
from nonlin.entropy.numeric import NumericActivation
from nonlin.errors import EntropyError
from nonlin.expr import Expr, derivative, simplify, substitute
from nonlin.expr.tree import Call, X, call, is_call, walk
from nonlin.zoo import Activation, activation

Array = npt.NDArray[np.float64]
Values = Callable[[Array], Array]
ActivationLike = Activation | NumericActivation | Expr | str

_SWITCH_AT_ZERO = {"relu", "abs", "sign"}
_COMPARISONS = {"lt", "le", "gt", "ge", "max", "min"}


@dataclass(frozen=True)
class Curve:
    """A function of one variable with its parameters fixed.

    Attributes
    ----------
    name : for messages
    expr : its expression, or None if it is a table
    value, slope, curvature : f, f' and f'' on float64 arrays of shape (n,)
    switches : functions whose changes of sign mark kinks and jumps of f
    """

    name: str
    expr: Expr | None
    value: Values
    slope: Values
    curvature: Values
    switches: tuple[Values, ...] = ()

    def log_slope(self, x: Array) -> Array:
        """log|f'|, shape (n,); -inf where f is flat."""
        with np.errstate(divide="ignore"):
            return np.log(np.abs(self.slope(x)))


def resolve(f: ActivationLike) -> Activation | NumericActivation:
    """The activation that a name, a formula, an expression or an activation stands for."""
    if isinstance(f, NumericActivation | Activation):
        return f
    if isinstance(f, Expr):
        return activation(str(f))
    if not isinstance(f, str):
        raise EntropyError(
            f"an activation is expected (a name, a formula or an Activation), not {type(f).__name__} {f!r:.60}."
        )
    return activation(f)


def fixed_expression(f: Activation) -> Expr:
    """The expression with every parameter at its initial value."""
    return simplify(substitute(f.expr, f.parameters)) if f.parameters else simplify(f.expr)


def as_curve(f: ActivationLike) -> Curve:
    """The curve of an activation, its parameters at their initial values."""
    act = resolve(f)
    if isinstance(act, NumericActivation):
        return Curve(act.name, None, act.value, act.slope, act.curvature)
    return _expression_curve(act.name, fixed_expression(act))


@lru_cache(maxsize=1024)
def _expression_curve(name: str, expr: Expr) -> Curve:
    first = derivative(expr)
    switches = tuple(evaluator(node) for node in _switches(expr))
    return Curve(name, expr, evaluator(expr), evaluator(first), _Lazy(first), switches)


class _Lazy:
    """The evaluator of an expression's derivative, derived when first asked for."""

    def __init__(self, expr: Expr):
        self.expr = expr

    def __call__(self, x: Array) -> Array:
        return evaluator(derivative(self.expr))(x)


def _switches(expr: Expr) -> list[Expr]:
    """Expressions in x that change sign where a piecewise operator of `expr` changes its piece."""
    found: dict[Expr, None] = {}
    for node in walk(expr):
        if not isinstance(node, Call) or "x" not in node.symbols:
            continue
        a, *rest = node.args
        if node.name in _SWITCH_AT_ZERO or node.name == "heaviside":
            found[a] = None
        elif node.name in _COMPARISONS:
            found[a - rest[0]] = None
        elif node.name == "clip":
            found[a - rest[0]] = found[a - rest[1]] = None
        elif node.name == "floor":
            found[call("sin", call("pi") * a)] = None
        elif node.name == "where" and not (isinstance(a, Call) and a.operator.boolean):
            found[a] = None
        elif is_call(node, "sqrt", "log", "log1p", "asin", "acos", "acosh", "atanh", "pow") and a != X:
            found[a] = None  # a root or a power may have a kink where its argument vanishes
    return [simplify(node) for node in found if "x" in node.symbols]
