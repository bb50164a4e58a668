"""The three steps from an activation to a better one (Sun et al. 2024, section 3), every one shown.

    1  the inverse y of f
    2  eta = -(p'(y)·y' + p(y)·y''/y'), the change of the inverse that lowers entropy fastest
    3  g = y + eps·eta, and the improved activation is its inverse, approximately f - eps·u
       with u(x) = f'(x)·eta(f(x))

A constant factor of eta is absorbed in eps, so p stands for the density divided by its maximum. eps is
trainable and may take either sign, so the activation is written f + eps·u; from ReLU and N(0, 1) it is
CRReLU. Where f has no inverse (SiLU, sin) or no formula, u is the scale-free direction fitted by
Hermite functions, and steps 1 and 2 fall away.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from nonlin.entropy.analytic import evaluator
from nonlin.entropy.base import Density, like
from nonlin.entropy.bound import Bound, exact_inverse, monotone_range, remainder_bound
from nonlin.entropy.correction import Correction, correction
from nonlin.entropy.curve import ActivationLike, as_curve, resolve
from nonlin.entropy.density import density
from nonlin.entropy.hermite import fit
from nonlin.entropy.pushforward import Pushforward, pushforward
from nonlin.entropy.symbolic import by_branch, inverse_of, neat, negative
from nonlin.errors import EntropyError
from nonlin.expr import Expr, to_latex, to_text
from nonlin.expr.tree import Symbol, X, call
from nonlin.zoo import Activation, activation

Array = npt.NDArray[np.float64]
Values = Callable[[Array], Array]


@dataclass(frozen=True)
class Inverse:
    """The inverse y of f on its moving branches: a function of the output.

    `expression` is its formula, or None where the language has none; the values are always there.
    """

    expression: Expr | None
    values: Values = field(repr=False, compare=False)

    def __call__(self, y: Any) -> Any:
        """The x with f(x) = y, elementwise; NaN where there is none. Same type and shape as y."""
        return like(y, self.values)


@dataclass(frozen=True)
class Improvement:
    """An improved activation and how it came about.

    Attributes
    ----------
    base, density : where it started
    eps : initial value of the trainable amplitude
    inverse : step 1; None where f has no inverse
    eta : step 2, a function of the output; None where f has no inverse
    direction : u, a function of the input; the improved activation is f + eps·u
    activation : the result, with `eps` trainable; it carries its catalogue name if it has one
    monotone : the values of eps for which g = y + eps·eta increases; None where there is no g
    bound : Proposition 2: how far the approximate inverse can be from the exact one, |g(f~(x)) - x|
    misfit : relative L2(p) error of the Hermite functions where they were needed, else 0
    """

    base: Activation
    density: Density
    eps: float
    inverse: Inverse | None
    eta: Correction | None
    direction: Activation
    activation: Activation
    monotone: tuple[float, float] | None
    bound: Bound | None
    misfit: float = 0.0

    @cached_property
    def change(self) -> Values:
        """eta(f(z)) as a function of the input z, with the density divided by its maximum."""
        curve = as_curve(self.base)
        u = evaluator(self.direction.expr)

        def change(z: Array) -> Array:
            slope = curve.slope(z)
            # on a flat part (ReLU's) the branch that moves is continued, where f is the identity
            return u(z) / np.where(slope == 0, 1.0, slope)

        return change

    def exact(self, x: Any, eps: float | None = None) -> Any:
        """The exact improved activation, g's inverse, at x: by root finding.

        Solves z + eps·eta(f(z)) = x and returns f(z). Same type and shape as x.

        Raises
        ------
        EntropyError : where f has no inverse, or eps lies outside `monotone`
        """
        if self.monotone is None:
            raise EntropyError(f"{self.base.name} has no inverse, so there is no exact form; use .activation.")
        value = self.eps if eps is None else float(eps)
        low, high = self.monotone
        if not low < value < high:
            raise EntropyError(
                f"g = y + eps·eta does not increase for eps={value:g}; choose eps between {low:.6g} and {high:.6g}."
            )
        curve = as_curve(self.base)
        return like(x, lambda points: curve.value(exact_inverse(self.change, points, value, self.density)))

    def approximate(self, x: Any, eps: float | None = None) -> Any:
        """f - eps·u at x: what `exact` is to first order in eps. Same type and shape as x."""
        value = self.eps if eps is None else float(eps)
        curve, u = as_curve(self.base), evaluator(self.direction.expr)
        return like(x, lambda points: curve.value(points) - value * u(points))

    def steps(self, latex: bool = False) -> list[str]:
        """The derivation, one line for each step, as text or as LaTeX."""
        show = to_latex if latex else to_text

        def line(text: str, left: str, expr: Expr | None, otherwise: str = "by root finding") -> str:
            if expr is None:
                return f"{text}: {otherwise}"
            equation = f"{left} = {show(expr)}"
            formula = f"${equation.replace('eta(', chr(92) + 'eta(')}$" if latex else equation
            return f"{text}: {formula}"

        lines = [
            line("activation", "f(x)", self.base.expr),
            line(f"density ({self.density.name})", "p(x)", self.density.formulas.pdf, "estimated from samples"),
        ]
        if self.inverse is None or self.eta is None or self.monotone is None:
            lines.append("step 1: f has no inverse under this density; the scale-free direction is used instead")
            lines.append(line("step 2, that direction, fitted", "u(x)", self.direction.expr))
        else:
            low, high = self.monotone
            lines += [
                line("step 1, the inverse", "y(x)", self.inverse.expression),
                line("step 2, its correction, up to a constant", "eta(x)", self.eta.shape, "in numbers"),
                line("        seen in f" + ", fitted" * (self.misfit > 0), "u(x)", self.direction.expr),
                f"step 3, g = y + eps*eta: monotone for eps in ({low:.6g}, {high:.6g})",
                f"        its inverse is f - eps*u; |g(f - eps*u) - x| <= {self.bound} for eps={self.eps:g}"
                if low < self.eps < high
                else f"        eps={self.eps:g} lies outside: g has no inverse there, and f - eps*u approximates none",
            ]
        if self.misfit:
            lines.append(
                f"        relative misfit of the fit: {self.misfit:.2g} (0: the direction itself, 1: nothing of it)"
            )
        lines.append(line("improved activation, eps trainable", "f(x)", self.activation.expr))
        if not self.activation.name.startswith("improved("):
            lines.append(f"        known as {self.activation.name}")
        return lines

    def __str__(self) -> str:
        return "\n".join(self.steps())


def improve(f: ActivationLike = "relu", p: Any = "normal", eps: float = 0.01) -> Improvement:
    """Improve an activation by the three steps of entropy-based optimisation.

    Parameters
    ----------
    f : a name, a formula or an Activation
    p : the density of the pre-activation, its name, or samples
    eps : initial value of the trainable amplitude; positive values raise the entropy, negative ones
        lower it, and training chooses

    Raises
    ------
    EntropyError : for an eps that is not finite, a constant f, or one whose correction is 0 (f is the
        worst activation of this density already)

    Examples
    --------
    >>> improve("relu", "normal").activation.name
    'crrelu'
    """
    if isinstance(eps, bool) or not isinstance(eps, int | float) or not math.isfinite(eps):
        raise EntropyError(f"eps={eps!r} is not a finite number.")
    act, source = resolve(f), density(p)
    if not isinstance(act, Activation):
        raise EntropyError(f"{act.name} is a table; improve an activation with a formula.")
    exact = pushforward(as_curve(act), source)
    forward = correction(act, source, "forward")
    if exact.pieces is None or not exact.injective:
        return _without_inverse(act, source, float(eps))
    if forward.shape is not None:
        direction, misfit = negative(forward.shape), 0.0
    else:
        direction, misfit = _fitted_forward(exact, forward)
    if not direction.symbols:
        raise EntropyError(
            f"the correction of {act.name} under the density {source.name} is {direction}: its output is "
            "uniform, the entropy is at its maximum and its slope is 0. Start from another activation."
        )
    eta = correction(act, source, "inverse")
    inverse = Inverse(inverse_of(exact), _inverse_values(exact))
    u = Activation(f"direction({act.name})", direction)
    result = _with_amplitude(act, direction, float(eps))
    draft = Improvement(act, source, float(eps), inverse, eta, u, result, None, None, misfit)
    borders = [neat(piece.low) for piece in exact.moving[1:]]
    allowed = monotone_range(draft.change, source, forward.domain, borders)
    identity = by_branch(exact, lambda branch, piece: branch)
    bound = remainder_bound(
        as_curve(act), draft.change, evaluator(direction), source, float(eps), forward.domain, identity == X
    )
    return replace(draft, monotone=allowed, bound=bound)


def _inverse_values(exact: Pushforward) -> Values:
    def values(y: Array) -> Array:
        result = np.full(y.shape, np.nan)
        for piece in exact.moving:
            low, high = piece.range
            here = (y >= low) & (y <= high)
            if here.any():
                result[here] = piece.inverse(y[here], exact.curve)
        return result

    return values


def _fitted_forward(exact: Pushforward, forward: Correction) -> tuple[Expr, float]:
    """u from the numbers of the forward correction, as Hermite functions; continued over flat parts."""
    source = exact.density
    peak = float(source.pdf(source.panels()).max())

    def direction(x: Array) -> Array:
        # on a flat part f is continued as a straight line, for which the correction is p'
        flat = exact.curve.slope(x) == 0
        change = np.where(flat, source.pdf(x) * source.score(x), forward.values(x))
        return -change / peak

    return fit(direction, source)


def _without_inverse(act: Activation, source: Density, eps: float) -> Improvement:
    """u from the scale-free direction, scaled to about 1, as Hermite functions."""
    descent = correction(act, source, "scale-free")
    largest = float(np.nanmax(np.abs(descent.values(source.panels()[8:-8]))))
    expr, misfit = fit(lambda x: -descent.values(x) / largest, source)
    u = Activation(f"direction({act.name})", expr)
    return Improvement(act, source, eps, None, None, u, _with_amplitude(act, expr, eps), None, None, misfit)


def _with_amplitude(act: Activation, direction: Expr, eps: float) -> Activation:
    """f + eps·u with a trainable eps, under its catalogue name if it has one."""
    name = next(name for name in ("eps", "epsilon", "amplitude", "eps_correction") if name not in act.parameters)
    expr = call("add", act.expr, call("mul", Symbol(name), direction))
    initial = {**act.parameters, name: eps}
    from nonlin.zoo.recognise import recognise

    for known in recognise(expr):
        if not known.values:
            found = activation(known.name)
            if len(found.parameters) == 1 == len(initial):
                return activation(known.name, **{next(iter(found.parameters)): eps})
    ordered = tuple((symbol, initial[symbol]) for symbol in expr.parameters)
    return Activation(f"improved({act.name})", expr, ordered)
