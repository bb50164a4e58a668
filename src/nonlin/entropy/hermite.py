"""A direction as a formula: Hermite functions z^k·exp(-z²/2), k < order, fitted in L2(p)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from nonlin.entropy.base import Density
from nonlin.entropy.quadrature import nodes
from nonlin.expr import Expr, simplify
from nonlin.expr.tree import ZERO, Const, X, call

Array = npt.NDArray[np.float64]
ORDER = 6


def fit(direction: Callable[[Array], Array], source: Density, order: int = ORDER) -> tuple[Expr, float]:
    """The best Σ a_k z^k exp(-z²/2) in L2(p), z = (x - median)/spread, and its relative error.

    Parts on which the direction is not finite have no weight.
    """
    panels = source.panels()
    x, width = nodes(panels[:-1], panels[1:])
    x = x.reshape(-1)
    with np.errstate(all="ignore"):
        weight = np.sqrt(np.maximum(width.reshape(-1) * source.pdf(x), 0.0))
        target = direction(x)
    weight = np.where(np.isfinite(target), weight, 0.0)
    target = np.where(np.isfinite(target), target, 0.0)
    centre, spread = source.centre, source.spread
    centre = 0.0 if abs(centre) < 1e-12 * spread else centre  # a rounding in a quantile
    z: Array = np.clip((x - centre) / spread, -30.0, 30.0)
    basis = np.stack([z**k * np.exp(-0.5 * z * z) for k in range(order)], axis=1)  # (nodes, order)
    coefficients = np.linalg.lstsq(basis * weight[:, None], target * weight, rcond=None)[0]
    values = basis @ coefficients
    size = float(np.linalg.norm(target * weight))
    error = float(np.linalg.norm((values - target) * weight)) / max(size, 1e-300)
    coefficients[np.abs(coefficients) < 1e-9] = 0.0
    argument = simplify((X - Const(centre)) / Const(spread))
    # Horner's form: z occurs `order` times instead of order² times
    polynomial: Expr = ZERO
    for coefficient in coefficients[::-1]:
        polynomial = polynomial * argument + Const(float(f"{coefficient:.10g}"))
    return call("mul", _tidy(polynomial), simplify(call("exp", Const(-0.5) * argument * argument))), error


def _tidy(node: Expr) -> Expr:
    """0·z + a is a; the simplifier itself would multiply Horner's form out."""
    args = tuple(_tidy(arg) for arg in node.args)
    if not args:
        return node
    name = node.name  # type: ignore[attr-defined]
    if name == "mul" and ZERO in args:
        return ZERO
    if name == "add" and args[0] == ZERO:
        return args[1]
    if name == "add" and args[1] == ZERO:
        return args[0]
    return call(name, *args)
