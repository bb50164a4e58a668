"""The worst activations: those whose output has the most entropy, and so tells least about its class.

With a bounded range no output has more entropy than the uniform one, which the distribution function
makes: f = low + (high - low)·F(x) (the worst activation with boundary conditions of Sun et al. 2024,
their theorem 1). With a fixed variance none has more than the Gaussian one, which
f = mean + sd·Phi^-1(F(x)) makes: for Gaussian pre-activations a straight line.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nonlin.entropy.base import Density
from nonlin.entropy.density import density
from nonlin.entropy.families import normal_quantile
from nonlin.entropy.numeric import NumericActivation, monotone_slopes
from nonlin.errors import EntropyError
from nonlin.expr import Expr, simplify
from nonlin.expr.tree import Const, X
from nonlin.expr.values import normal_cdf
from nonlin.zoo import Activation, activation

Array = npt.NDArray[np.float64]
_KNOTS = 1025


def worst(
    p: Any = "normal",
    low: float = 0.0,
    high: float = 1.0,
    fixed: Literal["range", "variance"] = "range",
) -> Activation | NumericActivation:
    """The activation with the largest output entropy under a density.

    Parameters
    ----------
    p : a density, its name, or samples
    low, high : the range of the output for ``fixed="range"``
    fixed : "range" for the scaled distribution function; "variance" for the map to N(0, 1), which
        has the largest entropy among all maps of one variance

    Returns
    -------
    An `Activation` where the function is in the language, carrying its catalogue name if it has one
    (logistic gives sigmoid); otherwise a `NumericActivation`, a monotone spline that is called the same
    way.

    Raises
    ------
    EntropyError : for bounds that are reversed, equal or infinite, or an unknown `fixed`

    Examples
    --------
    >>> worst("logistic").formula
    'sigmoid(x)'
    """
    source = density(p)
    if fixed == "variance":
        return _gaussian_output(source)
    if fixed != "range":
        raise EntropyError(f"fixed={fixed!r} is not known; use 'range' or 'variance'.")
    if not (_is_number(low) and _is_number(high)):
        raise EntropyError(f"low={low!r} and high={high!r} must be finite numbers.")
    if not low < high:
        remedy = f"; did you mean low={high:g}, high={low:g}?" if low > high else "; the output would be constant."
        raise EntropyError(f"low={low:g} must be below high={high:g}{remedy}")
    expr = _distribution(source, float(low), float(high))
    if expr is not None:
        return named(expr)
    width = high - low

    def output(lower: Array, upper: Array) -> tuple[Array, Array]:
        return low + width * lower, high - width * upper

    return _spline(source, f"worst({source.name})", output, width)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _distribution(source: Density, low: float, high: float) -> Expr | None:
    """low + (high - low)·F in the language, in its centred form for symmetric bounds."""
    cdf, centred = source.formulas.cdf, source.formulas.centred
    if cdf is None:
        return None
    if low == -high and centred is not None:
        return simplify(Const(high) * centred)
    return simplify(Const(low) + Const(high - low) * cdf)


def named(expr: Expr) -> Activation:
    """The catalogue's activation if it is this very function without free parameters, else the formula."""
    from nonlin.zoo.recognise import recognise

    for known in recognise(expr):
        if not known.values:
            found = activation(known.name)
            if not found.parameters:
                return found
    return Activation(str(expr), expr, tuple((name, 1.0) for name in expr.parameters))


def _gaussian_output(source: Density) -> Activation | NumericActivation:
    if source.name == "normal":
        loc, scale = source.parameters["loc"], source.parameters["scale"]
        return named(simplify((X - Const(loc)) / Const(scale)))

    def output(lower: Array, upper: Array) -> tuple[Array, Array]:
        return normal_quantile(lower), -normal_quantile(upper)

    return _spline(source, f"worst({source.name}, variance)", output, None)


Output = Callable[[Array, Array], tuple[Array, Array]]


def _spline(source: Density, name: str, output: Output, width: float | None) -> NumericActivation:
    """A monotone spline through exact values, with exact slopes, at quantiles far into both tails.

    `output` turns lower tail probabilities into one array of outputs, upper ones into another, each
    accurate in its own tail; the slope is p(x)·width, or p(x)/phi(y) for Gaussian output (width None).
    """
    half = _KNOTS // 2
    # evenly in the quantile of N(0, 1): as many knots per unit in the tails as in the middle
    reach = 8.0 if width is None else 7.0
    tails = normal_cdf(np.linspace(-reach, 0.0, half + 1))
    with np.errstate(all="ignore"):
        upper = tails[:-1][::-1]
        x = np.concatenate([source.tail_quantile(tails, False), source.tail_quantile(upper, True)])
        y = np.concatenate(output(tails, upper))
    keep = np.isfinite(x) & (np.diff(x, prepend=-np.inf) > 1e-12 * source.spread)
    x, y = x[keep], np.maximum.accumulate(y[keep])
    pdf = source.pdf(x)
    slopes = pdf * width if width is not None else pdf * np.exp(0.5 * y * y) * math.sqrt(2 * math.pi)
    slopes = monotone_slopes(x, y, np.nan_to_num(slopes, posinf=0.0))
    if width is not None:
        slopes[[0, -1]] = 0.0  # beyond the last quantiles the range is exhausted
    return NumericActivation(name, x, y, slopes)
