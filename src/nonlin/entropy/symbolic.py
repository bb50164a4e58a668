"""The corrections as formulas, built literally from the document's equations and simplified.

On each monotone branch b of f, with inverse y and density p (Sun et al. 2024, section 3, and its
forward form):

    eta = -(p'(y)·y' + p(y)·y''/y')                       change of the inverse                   (8)
    xi  = p' - p·b''/b'  = -b'·eta(b)                     the same change, seen in f              (10)
    xi  = (s_p - b''/b')/b' + (b - mean)/variance         steepest descent of J                   (12)

A decreasing branch takes (8) and (10) with the other sign.

Equation numbers are those of docs/theory.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from nonlin.entropy.analytic import evaluator
from nonlin.entropy.curve import Curve
from nonlin.entropy.invert import invert, on_branch
from nonlin.entropy.pieces import Piece
from nonlin.entropy.pushforward import Pushforward
from nonlin.expr import Expr, derivative, simplify, substitute, to_text
from nonlin.expr.tree import ZERO, Const, X, call, is_call

Array = npt.NDArray[np.float64]
Formula = Callable[[Expr, Piece], Expr | None]


def inside(piece: Piece) -> float:
    """A point well inside a piece: the middle of its table of quantiles."""
    return float(piece.x[piece.x.size // 2])


def branch(curve: Curve, piece: Piece) -> Expr:
    """The smooth formula of f on a piece."""
    assert curve.expr is not None
    return on_branch(curve.expr, inside(piece))


def log_derivative(expr: Expr) -> Expr:
    """(log|expr|)', factor by factor: for sigmoid(x)*sigmoid(-x) it is sigmoid(-x) - sigmoid(x)."""
    if is_call(expr, "mul", "div"):
        left, right = map(log_derivative, expr.args)
        return simplify(left + right if is_call(expr, "mul") else left - right)
    if is_call(expr, "neg"):
        return log_derivative(expr.args[0])
    if is_call(expr, "pow") and isinstance(expr.args[1], Const):
        return simplify(expr.args[1] * log_derivative(expr.args[0]))
    if is_call(expr, "exp"):
        return derivative(expr.args[0])
    return simplify(derivative(expr) / expr)


def forward_form(f: Expr, p: Expr, direction: int = 1) -> Expr:
    """Equation (10) on one branch."""
    form = simplify(derivative(p) - p * log_derivative(derivative(f)))
    return form if direction > 0 else simplify(-form)


def inverse_form(inverse: Expr, p: Expr, direction: int = 1) -> Expr:
    """Equation (8), a function of the output."""
    first = derivative(inverse)
    there, slope_there = substitute(p, {"x": inverse}), substitute(derivative(p), {"x": inverse})
    form = simplify(-(slope_there * first + there * log_derivative(first)))
    return form if direction > 0 else simplify(-form)


def scale_free_form(f: Expr, score: Expr, mean: float, variance: float) -> Expr:
    """Equation (12) on one branch."""
    first = derivative(f)
    return simplify((score - log_derivative(first)) / first + (f - Const(mean)) / Const(variance))


def forward_expression(exact: Pushforward, p: Expr | None) -> Expr | None:
    """Equation (10) on all moving branches; None without formulas, or where outputs coincide."""
    if p is None:
        return None

    def form(f: Expr, piece: Piece) -> Expr:
        # p keeps all its branches, so that a formula continued over a flat part stays bounded
        return settled(forward_form(f, p, piece.direction), piece.x, p)

    return by_branch(exact, form)


def inverse_expression(exact: Pushforward, p: Expr | None) -> Expr | None:
    """Equation (8) on the outputs of all moving branches."""
    if p is None:
        return None

    def form(f: Expr, piece: Piece) -> Expr | None:
        inverse = invert(f, inside(piece))
        if inverse is None:
            return None
        local = on_branch(p, inside(piece))
        size = substitute(local, {"x": inverse}) * derivative(inverse)
        return settled(inverse_form(inverse, local, piece.direction), piece.y, size)

    return by_branch(exact, form, over_outputs=True)


def scale_free_expression(exact: Pushforward, score: Expr | None, mean: float, variance: float) -> Expr | None:
    """Equation (12) on all moving branches."""
    if score is None:
        return None

    def form(f: Expr, piece: Piece) -> Expr:
        size = (f - Const(mean)) / Const(variance)
        return settled(scale_free_form(f, on_branch(score, inside(piece)), mean, variance), piece.x, size)

    return by_branch(exact, form)


def settled(form: Expr, points: Array, size: Expr) -> Expr:
    """0 where a form is 0 up to rounding, compared with `size`: the rules do not see every identity."""
    with np.errstate(all="ignore"):
        values, scale = evaluator(form)(points), evaluator(size)(points)
    middle = slice(points.size // 4, -(points.size // 4) or None)
    vanishes = np.all(np.abs(values[middle]) <= 1e-12 * np.abs(scale[middle]).max(initial=0.0))
    return ZERO if vanishes else form


def inverse_of(exact: Pushforward) -> Expr | None:
    """The inverse of f on the outputs of its moving branches, if it is in the language."""
    return by_branch(exact, lambda f, piece: invert(f, inside(piece)), over_outputs=True)


def by_branch(exact: Pushforward, formula: Formula, over_outputs: bool = False) -> Expr | None:
    """One formula for each moving branch, joined with where() at their borders.

    With `over_outputs` the result is a function of the output, and the borders are outputs.
    """
    if exact.curve.expr is None or exact.pieces is None or not exact.injective:
        return None
    found: list[tuple[float, Expr]] = []  # the lower border of each part, and its formula
    for piece in exact.moving:
        form = formula(branch(exact.curve, piece), piece)
        if form is None:
            return None
        found.append((piece.range[0] if over_outputs else piece.low, form))
    if not found:
        return None
    found.sort(key=lambda part: part[0])
    merged = found[:1]
    for border, form in found[1:]:
        if form != merged[-1][1]:
            merged.append((border, form))
    result = merged[-1][1]
    for (_, form), (border, _) in zip(merged[-2::-1], merged[:0:-1], strict=True):
        result = call("where", call("lt", X, Const(neat(border))), form, result)
    return simplify(result)


def neat(border: float) -> float:
    """A border found by bisection, without the last few units: 5e-324 is 0."""
    border = float(border)
    rounded = round(border, 12) if math.isfinite(border) else border
    return rounded if abs(rounded - border) <= 1e-13 * (1 + abs(border)) else border


def negative(node: Expr) -> Expr:
    """-node, with the sign carried inside where that reads better: -(a - b)*c is (b - a)*c."""
    flipped = _flip(node)
    if flipped is not None:
        return flipped
    if is_call(node, "mul", "div"):  # -(a*b) is -a*b
        return call(node.name, negative(node.args[0]), node.args[1])  # type: ignore[attr-defined]
    return call("neg", node)


def _flip(node: Expr) -> Expr | None:
    """-node without a new sign, or None."""
    if isinstance(node, Const):
        return Const(-node.value)
    if is_call(node, "neg"):
        return node.args[0]
    if is_call(node, "where"):
        return call("where", node.args[0], negative(node.args[1]), negative(node.args[2]))
    if is_call(node, "sub"):
        return _minus(node.args[1], node.args[0])
    if is_call(node, "add"):
        first, second = node.args
        if (flipped := _flip(first)) is not None:
            return _minus(flipped, second)
        return None if (flipped := _flip(second)) is None else _minus(flipped, first)
    if is_call(node, "mul", "div"):
        for index, arg in enumerate(node.args):
            if (flipped := _flip(arg)) is not None:
                args = list(node.args)
                args[index] = flipped
                return call(node.name, *args)  # type: ignore[attr-defined]
    return None


def _minus(left: Expr, right: Expr) -> Expr:
    """left - right, as a sum where right itself begins with a sign."""
    if to_text(right).startswith("-") and (flipped := _flip(right)) is not None:
        return call("add", left, flipped)
    return call("sub", left, right)
