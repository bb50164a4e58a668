"""The correction of an activation: the direction in which its output loses entropy fastest.

For f -> f + eps·xi, dH/d(eps) = -E[xi(X)·s_q(f(X))] with s_q the score of the output's density: no
inverse is needed. Three metrics give three directions:

    "inverse"     eta of the document, a change of the inverse; a function of the output     (8)
    "forward"     xi = |f'|·p·(s_q o f), the same change seen in f; for increasing f p' - p·f''/f'  (10)
    "scale-free"  xi = s_q o f without its affine part, along which J falls fastest               (12)

References: Sun et al. 2024 (arXiv 2405.12954), section 3, for the inverse metric.

Equation numbers are those of docs/theory.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nonlin.entropy.base import Density, like
from nonlin.entropy.curve import ActivationLike, as_curve, resolve
from nonlin.entropy.density import density
from nonlin.entropy.measure import moments, output_scale
from nonlin.entropy.numeric import NumericActivation
from nonlin.entropy.pushforward import Pushforward, pushforward
from nonlin.entropy.smoothed import SmoothedPushforward
from nonlin.entropy.symbolic import forward_expression, inverse_expression, neat, scale_free_expression
from nonlin.errors import EntropyError
from nonlin.expr import Expr, to_latex, to_text
from nonlin.zoo import Activation

Array = npt.NDArray[np.float64]
Values = Callable[[Array], Array]
Metric = Literal["forward", "inverse", "scale-free"]
_PEAKED = 50.0  # a density of the standardised output that counts as infinite (f' touches 0)
_VANISHED = 1e-6  # a density of the standardised output that counts as 0 at an edge
DEFAULT_SMOOTHING = 0.1  # of the output's standard deviation, where the output's density is not smooth


@dataclass(frozen=True)
class Correction:
    """A direction in which entropy falls, as a function.

    Attributes
    ----------
    metric : "forward", "inverse" or "scale-free"
    activation, density : what it corrects, under which density
    expression : its formula on `domain`, or None where there is none (folds, tables, smoothing)
    shape : the same with the density divided by its maximum, so that constants do not show; None for
        the scale-free metric, where they matter
    domain : the interval on which the expression holds: inputs on which f moves, or for the inverse
        metric its outputs
    sigma : standard deviation of the output noise; 0 where the exact density was used
    """

    metric: Metric
    activation: Activation | NumericActivation
    density: Density
    expression: Expr | None
    shape: Expr | None
    domain: tuple[float, float]
    sigma: float
    values: Values = field(repr=False, compare=False)

    def __call__(self, x: Any) -> Any:
        """The correction at x (an input; for the inverse metric an output), elementwise.

        Same type and shape as x. 0 where f is flat (forward); NaN outside f's range (inverse).
        """
        return like(x, self.values)

    @property
    def formula(self) -> str | None:
        """The expression as text."""
        return None if self.expression is None else to_text(self.expression)

    def latex(self) -> str | None:
        """The expression as LaTeX, without dollar signs."""
        return None if self.expression is None else to_latex(self.expression)

    def as_activation(self) -> Activation:
        """The expression as an activation. Raises EntropyError where there is none."""
        if self.expression is None:
            raise EntropyError(
                f"the {self.metric} correction of {self.activation.name} under {self.density.name} has no "
                "formula; call it for numbers, or use improve(), which fits one."
            )
        return Activation(f"correction({self.activation.name})", self.expression)

    def slope(self, smoothing: float | None = None) -> float:
        """dH/d(eps) as f becomes f + eps·(this), in nats: negative, or 0 where nothing is to be gained.

        Of H observed with noise of `smoothing` output standard deviations (default: the correction's own
        noise, or 0.1). Not for the inverse metric.
        """
        if self.metric == "inverse":
            raise EntropyError("an inverse correction changes the inverse of f; ask for metric='forward'.")
        sigma = self.sigma or DEFAULT_SMOOTHING * output_scale(self.activation, self.density)
        if smoothing is not None:
            sigma = smoothing * output_scale(self.activation, self.density)
        return SmoothedPushforward(as_curve(self.activation), self.density, sigma).slope_along(self.values)


def correction(
    f: ActivationLike, p: Any = "normal", metric: Metric = "forward", smoothing: float | None = None
) -> Correction:
    """The direction in which the entropy of f(X) falls fastest.

    Parameters
    ----------
    f : a name, a formula or an Activation; parameters at their initial values
    p : a density, its name, or samples of X
    metric : "forward" or "scale-free" (functions of the input), or "inverse" (of the output)
    smoothing : noise on the output in units of its standard deviation. By default 0 where the output's
        density is smooth enough for the exact form, else 0.1: at folds (SiLU, sin), and for the
        scale-free metric also at atoms (ReLU), jumps (LeakyReLU) and edges (sigmoid under logistic)

    Raises
    ------
    EntropyError : for an unknown metric, a constant f, the inverse of an f that is not monotone, or a
        smoothing of 0 where the exact form does not exist
    """
    if metric not in ("forward", "inverse", "scale-free"):
        raise EntropyError(f"metric={metric!r} is not known; use 'forward', 'inverse' or 'scale-free'.")
    if smoothing is not None and not (isinstance(smoothing, int | float) and 0 <= smoothing < math.inf):
        raise EntropyError(f"smoothing={smoothing!r} must be a number that is 0 or above.")
    act, source = resolve(f), density(p)
    exact = pushforward(as_curve(act), source)
    if exact.pieces is not None and not exact.moving and metric != "scale-free":
        raise EntropyError(
            f"{act.name} is flat wherever the density {source.name} lives, so its {metric} correction is 0 "
            "or does not exist. In Python, nonlin.entropy.correction(f, density, metric='scale-free') may have a "
            "direction."
        )
    if metric == "inverse":
        if smoothing:
            raise EntropyError("the inverse metric has no smoothed form; ask for metric='forward'.")
        return _inverse(act, source, exact)
    if metric == "forward":
        if smoothing == 0 or (smoothing is None and exact.injective):
            return _forward(act, source, exact)
    elif smoothing == 0 or (smoothing is None and _is_smooth(exact)):
        return _scale_free(act, source, exact)
    relative = DEFAULT_SMOOTHING if smoothing is None else smoothing
    return _smoothed(act, source, metric, relative * output_scale(act, source))


def _forward(act: Activation | NumericActivation, source: Density, exact: Pushforward) -> Correction:
    """Equation (10) by the exact density: |f'|·p·s_q(f), and 0 where f is flat."""
    if exact.pieces is None or not exact.injective:
        raise EntropyError(
            f"{act.name} has folds, where the exact correction is infinite. Leave smoothing to its default, "
            "or give a positive one."
        )

    def values(x: Array) -> Array:
        slope = exact.curve.slope(x)
        with np.errstate(all="ignore"):
            value = source.pdf(x) * (source.score(x) - exact.curve.curvature(x) / slope) * np.sign(slope)
        return np.where((slope == 0) | (source.pdf(x) == 0), 0.0, value)

    formulas = source.formulas
    expression = forward_expression(exact, formulas.pdf)
    shape = forward_expression(exact, formulas.kernel)
    return Correction("forward", act, source, expression, shape, _moving_range(exact), 0.0, values)


def _inverse(act: Activation | NumericActivation, source: Density, exact: Pushforward) -> Correction:
    """Equation (8): eta(f(x)) = -(p' - p·f''/f')/|f'|."""
    if exact.pieces is None or not exact.injective:
        raise EntropyError(
            f"{act.name} is not monotone under the density {source.name}, so it has no inverse. "
            "Use metric='forward', the same correction without one, or metric='scale-free'."
        )

    def values(y: Array) -> Array:
        result = np.full(y.shape, np.nan)
        for piece in exact.moving:
            low, high = piece.range
            here = (y >= low) & (y <= high)
            if here.any():
                x = piece.inverse(y[here], exact.curve)
                # just inside the piece: at its border f may have a kink
                x = np.clip(x, np.nextafter(piece.low, np.inf), np.nextafter(piece.high, -np.inf))
                slope = exact.curve.slope(x)
                change = source.score(x) - exact.curve.curvature(x) / slope
                result[here] = -source.pdf(x) * change / np.abs(slope)
        return result

    expression = inverse_expression(exact, source.formulas.pdf)
    shape = inverse_expression(exact, source.formulas.kernel)
    ends = exact.curve.value(np.array(_moving_range(exact)))
    ends = np.where(np.isnan(ends), [exact.moving[0].y[0], exact.moving[-1].y[-1]], ends)
    domain = (neat(ends.min()), neat(ends.max()))
    return Correction("inverse", act, source, expression, shape, domain, 0.0, values)


def _scale_free(act: Activation | NumericActivation, source: Density, exact: Pushforward) -> Correction:
    """Equation (12) by the exact density."""
    mean, variance = moments(act, source)
    mean = mean if abs(mean) > 1e-13 * math.sqrt(variance) else 0.0

    def values(x: Array) -> Array:
        return exact.score(x) + (exact.curve.value(x) - mean) / variance

    expression = scale_free_expression(exact, source.formulas.score, mean, variance)
    return Correction("scale-free", act, source, expression, None, _moving_range(exact), 0.0, values)


def _smoothed(act: Activation | NumericActivation, source: Density, metric: Metric, sigma: float) -> Correction:
    """The same directions with the smoothed score; for the scale-free one, projected off 1 and f."""
    curve = as_curve(act)
    observed = SmoothedPushforward(curve, source, sigma)
    if metric == "forward":

        def values(x: Array) -> Array:
            return np.abs(curve.slope(x)) * source.pdf(x) * observed.score(x)
    else:
        mean, variance = moments(act, source)
        centred, scores = observed.y - mean, observed.score(observed.x)
        level = float((observed.mass * scores).sum())
        tilt = float((observed.mass * scores * centred).sum()) / variance

        def values(x: Array) -> Array:
            return observed.score(x) - level - tilt * (curve.value(x) - mean)

    return Correction(metric, act, source, None, None, source.support, sigma, values)


def _moving_range(exact: Pushforward) -> tuple[float, float]:
    """Inputs between the first and the last on which f moves; infinite where the density is."""
    low, high = exact.density.support
    pieces = exact.moving
    first, last = pieces[0].low, pieces[-1].high
    assert exact.pieces is not None
    return (
        low if first == exact.pieces[0].low else neat(first),
        high if last == exact.pieces[-1].high else neat(last),
    )


def _is_smooth(exact: Pushforward) -> bool:
    """Whether q is continuous, without atoms, and falls to 0 at its edges."""
    if exact.pieces is None or exact.atoms or not exact.injective:
        return False
    ordered = sorted(exact.moving, key=lambda piece: piece.range)
    log_q = [exact.log_q(np.array([piece.low, piece.high]))[:: piece.direction] for piece in ordered]
    at_edges = max(log_q[0][0], log_q[-1][1]) + math.log(max(_quartile_scale(exact), 1e-300))
    if at_edges > math.log(_VANISHED):
        return False
    peak = max(float(exact.log_q(piece.x).max()) for piece in ordered) + math.log(_quartile_scale(exact))
    if peak > math.log(_PEAKED):
        return False
    with np.errstate(invalid="ignore"):
        return all(
            abs(lower.range[1] - upper.range[0]) <= 1e-9 * (1 + abs(upper.range[0]))
            and (below[1] == above[0] or abs(below[1] - above[0]) < 1e-6)
            for lower, upper, below, above in zip(ordered, ordered[1:], log_q, log_q[1:], strict=False)
        )


def _quartile_scale(exact: Pushforward) -> float:
    """The interquartile range of the outputs of a monotone f, over 1.349."""
    quarters = exact.curve.value(exact.density.quantile(np.array([0.25, 0.75])))
    return float(abs(quarters[1] - quarters[0])) / 1.349
