"""Densities given by formulas: the named families, their mixtures, and a formula of the user's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nonlin.entropy.base import Density, Formulas
from nonlin.entropy.families import ALIASES, FAMILIES, formula
from nonlin.entropy.quadrature import integrate, nodes
from nonlin.errors import DensityError
from nonlin.expr import Expr, derivative, simplify
from nonlin.expr.codegen import compile_array_function
from nonlin.expr.tree import ZERO, Const, X, call

Array = npt.NDArray[np.float64]
_NORMALISED_TO = 1e-3  # a density whose integral is further from 1 is an error


@lru_cache(maxsize=1024)
def evaluator(expr: Expr) -> Callable[[Array], Array]:
    """The float64 NumPy function of an expression in x alone; shape (n,) to (n,)."""
    function = compile_array_function(expr)
    return lambda x: function(np.asarray(x, dtype=np.float64))


def require(expr: Expr | None) -> Expr:
    """An expression that every family has."""
    assert expr is not None
    return expr


class Family(Density):
    """A family of `families` at a location and a scale."""

    def __init__(self, family: str, loc: float, scale: float, df: float = 0.0):
        self.family, self.loc, self.scale, self.df = FAMILIES[family], loc, scale, df
        parameters = {"loc": loc, "scale": scale} | ({"df": df} if df else {})
        low, high = (loc + scale * end if math.isfinite(end) else end for end in self.family.support)
        z = simplify((X - Const(loc)) / Const(scale))
        found = {name: formula(family, name, z, df) for name in ("kernel", "cdf", "centred", "survival")}
        peak, kernel, log_pdf, score = (
            require(formula(family, name, z, df)) for name in ("peak", "kernel", "log_pdf", "score")
        )
        # N(0, 1) has a name in the language; the others are kernel times peak
        body = call("phi", z) if family == "normal" else peak * kernel
        found["pdf"] = simplify(body / Const(scale))
        found["log_pdf"] = simplify(log_pdf - call("log", scale))
        found["score"] = simplify(score / Const(scale))
        kinks = tuple(loc + scale * kink for kink in self.family.kinks)
        super().__init__(family, parameters, (low, high), Formulas(**found), kinks)

    def _log_pdf(self, x: Array) -> Array:
        return evaluator(self.formulas.log_pdf)(x)

    def _score(self, x: Array) -> Array:
        return evaluator(self.formulas.score)(x)

    def _cdf(self, x: Array) -> Array:
        if self.formulas.cdf is None:
            from scipy.special import stdtr

            return stdtr(self.df, (x - self.loc) / self.scale)
        return evaluator(self.formulas.cdf)(x)

    def _survival(self, x: Array) -> Array:
        if self.formulas.survival is None:
            return self._cdf(2 * self.loc - x)
        return evaluator(self.formulas.survival)(x)

    def tail_quantile(self, tail: Array, upper: bool) -> Array:
        inverse = self.family.upper_quantile if upper else self.family.quantile
        with np.errstate(all="ignore"):
            return self.loc + self.scale * inverse(tail, self.df)

    def mean(self) -> float:
        return self.loc + self.scale * self.family.mean(self.df)

    def variance(self) -> float:
        return self.scale**2 * self.family.variance(self.df)

    # The formulas are differentiable and exact on every type; outside the support they are masked.

    def pdf(self, x: Any) -> Any:
        return self._formula_value("pdf", x, super().pdf)

    def log_pdf(self, x: Any) -> Any:
        return self._formula_value("log_pdf", x, super().log_pdf)

    def score(self, x: Any) -> Any:
        return self._formula_value("score", x, super().score)

    def cdf(self, x: Any) -> Any:
        return self._formula_value("cdf", x, super().cdf)

    def survival(self, x: Any) -> Any:
        return self._formula_value("survival", x, super().survival)

    def _formula_value(self, which: str, x: Any, otherwise: Callable[[Any], Any]) -> Any:
        """A tensor goes through the formula, and keeps its graph; the rest through the numbers."""
        expr = getattr(self.formulas, which)
        unbounded = not any(map(math.isfinite, self.support))
        if expr is None or not unbounded or not type(x).__module__.startswith("torch"):
            return otherwise(x)
        from nonlin.zoo import Activation

        return Activation(which, expr)(x)


class Mixture(Density):
    """A weighted sum of densities of one support."""

    def __init__(self, components: list[Density], weights: Array, parameters: dict[str, Any]):
        self.components, self.weights = components, weights
        support = (min(c.support[0] for c in components), max(c.support[1] for c in components))
        bounded = any(math.isfinite(end) for end in support)
        kinks = {kink for part in components for kink in part.kinks}
        if bounded:
            kinks |= {end for part in components for end in part.support if support[0] < end < support[1]}
        formulas = Formulas() if bounded else self._formulas()
        super().__init__("mixture", parameters, support, formulas, tuple(sorted(kinks)))

    def _formulas(self) -> Formulas:
        def weighted(which: str) -> Expr | None:
            total: Expr = ZERO
            for weight, part in zip(self.weights, self.components, strict=True):
                term = getattr(part.formulas, which)
                if term is None:
                    return None
                total = total + Const(float(weight)) * term
            return simplify(total)

        pdf = weighted("pdf")
        if pdf is None:
            return Formulas()
        score = simplify(derivative(pdf) / pdf)
        log_pdf = simplify(call("log", pdf))
        return Formulas(pdf, pdf, log_pdf, score, weighted("cdf"), weighted("centred"), weighted("survival"))

    def log_parts(self, x: Array) -> Array:
        """log(weight·density) of each component, shape (components, n)."""
        return np.stack([math.log(w) + c.log_pdf(x) for w, c in zip(self.weights, self.components, strict=True)])

    def _log_pdf(self, x: Array) -> Array:
        return np.logaddexp.reduce(self.log_parts(x), axis=0)

    def _score(self, x: Array) -> Array:
        parts = self.log_parts(x)
        share = np.exp(parts - np.logaddexp.reduce(parts, axis=0))
        scores = np.stack([component.score(x) for component in self.components])
        return np.where(share > 0, share * scores, 0.0).sum(axis=0)

    def _cdf(self, x: Array) -> Array:
        return self.weights @ np.stack([component.cdf(x) for component in self.components])

    def _survival(self, x: Array) -> Array:
        return self.weights @ np.stack([component.survival(x) for component in self.components])

    def _bracket(self, tail: Array) -> tuple[Array, Array]:
        ends = [
            component.tail_quantile(np.minimum(tail / divisor, 0.5), upper)
            for component in self.components for upper in (False, True) for divisor in (1.0, 1e3)
        ]  # fmt: skip
        return np.min(ends, axis=0), np.max(ends, axis=0)


class Formula(Density):
    """A density of the user's own: a formula or a function, checked for its integral."""

    def __init__(
        self,
        function: Callable[[Array], Array],
        support: tuple[float, float],
        text: str,
        expr: Expr | None = None,
    ):
        self._function = function
        formulas = Formulas()
        if expr is not None:
            formulas = Formulas(expr, expr, simplify(call("log", expr)), simplify(derivative(expr) / expr))
        super().__init__(text, {"support": support}, support, formulas)
        low, high = support
        result = integrate(self._checked, self._start(), tolerance=1e-11)
        if not math.isfinite(result.value) or abs(result.value - 1) > max(_NORMALISED_TO, 10 * result.error):
            raise DensityError(
                f"the density {text} integrates to {result.value:.6g} over ({low:g}, {high:g}), not to 1. "
                "Divide it by that number; give support=(low, high) if it lives on an interval or is narrow."
            )
        self._edges = np.append(result.left, result.right[-1])
        self._masses = result.parts / result.parts.sum()
        self._log_total = math.log(result.value)

    def _start(self) -> Array:
        """First panels: sinh-spaced from 1e-6 to 1e12 around 0, or around the middle of the support."""
        low, high = self.support
        if math.isfinite(low) and math.isfinite(high):
            return np.linspace(low, high, 65)
        steps = np.sinh(np.linspace(-42.0, 42.0, 337)) * 1e-6
        if math.isfinite(low):
            return low + np.unique(np.append(steps[steps >= 0], 0.0))
        if math.isfinite(high):
            return high + np.unique(np.append(steps[steps <= 0], 0.0))
        return steps

    def _checked(self, x: Array) -> Array:
        values = np.asarray(self._function(x), dtype=float)
        if values.shape != x.shape:
            raise DensityError(
                f"the density function returned shape {values.shape} for {x.shape} points; "
                "it must work elementwise on a NumPy array."
            )
        if np.isnan(values).any() or (values < 0).any():
            wrong = x[np.isnan(values) | (values < 0)][0]
            raise DensityError(f"the density {self.name} is negative or NaN at x={wrong:g}; give its support.")
        return values

    def _log_pdf(self, x: Array) -> Array:
        return np.log(self._checked(x)) - self._log_total

    def _score(self, x: Array) -> Array:
        if self.formulas.score is not None:
            return evaluator(self.formulas.score)(x)
        # central difference of fourth order, its step bounded by the distance to the support's ends
        step = np.full(x.shape, 1e-3 * self.spread)
        for end in self.support:
            if math.isfinite(end):
                step = np.minimum(step, np.maximum(np.abs(x - end) / 4, 1e-9 * self.spread))
        near = self._log_pdf(x + step) - self._log_pdf(x - step)
        far = self._log_pdf(x + 2 * step) - self._log_pdf(x - 2 * step)
        return (8 * near - far) / (12 * step)

    def _cdf(self, x: Array) -> Array:
        return self._partial(x, np.cumsum(self._masses) - self._masses, upper=False)

    def _survival(self, x: Array) -> Array:
        beyond = np.cumsum(self._masses[::-1])[::-1] - self._masses
        return self._partial(x, beyond, upper=True)

    def _partial(self, x: Array, before: Array, upper: bool) -> Array:
        """The mass of whole panels on one side, and of the part of x's own panel."""
        own = np.clip(np.searchsorted(self._edges, x, side="right") - 1, 0, self._masses.size - 1)
        left, right = (x, self._edges[own + 1]) if upper else (self._edges[own], x)
        points, weights = nodes(left, np.maximum(left, right))
        values = self._function(points.reshape(-1)).reshape(points.shape)
        return before[own] + (weights * values).sum(axis=1) / math.exp(self._log_total)

    def _bracket(self, tail: Array) -> tuple[Array, Array]:
        return np.full(tail.shape, self._edges[0]), np.full(tail.shape, self._edges[-1])


def family_name(name: str) -> str:
    """The row that a spelling means ("Gaussian" is normal), or an empty string."""
    key = name.strip().lower().replace("-", "_").replace(" ", "_")
    key = ALIASES.get(key, key)
    return key if key in FAMILIES else ""
