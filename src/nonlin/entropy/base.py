"""Densities of the pre-activation: what every density can do; `density` makes them.

A density knows its formulas in nonlin's language where they exist (then its values are those of the
formulas, on floats, arrays and tensors, differentiable), and always its numbers.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from nonlin.entropy.quadrature import integrate
from nonlin.errors import DensityError
from nonlin.expr import Expr

Array = npt.NDArray[np.float64]
_SMALLEST_TAIL = 41.0  # -log of the probability beyond which nothing is integrated: 1.6e-18


@dataclass(frozen=True)
class Formulas:
    """Expressions in x, valid on the support; None where the language has none."""

    pdf: Expr | None = None
    kernel: Expr | None = None  # the density divided by its maximum
    log_pdf: Expr | None = None
    score: Expr | None = None
    cdf: Expr | None = None
    centred: Expr | None = None  # 2*cdf - 1, where it has a name
    survival: Expr | None = None


@dataclass(frozen=True)
class Measured:
    """A number and an estimate of its error, from one of these methods.

    "quadrature" (adaptive, of the exact output density), "smoothed" (output observed with noise),
    "spacings" or "histogram" (from samples), "exact".
    """

    value: float
    error: float = 0.0
    method: str = "quadrature"

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:.6g} ± {self.error:.1g}"


class Density(ABC):
    """A probability density of the pre-activation x.

    Attributes
    ----------
    name : the family's name, "samples" or the formula
    parameters : the numbers that it was built with
    support : (low, high); infinite where the density never ends
    kinks : places inside the support where the density or its slope jumps
    formulas : its expressions in x, valid on the support
    """

    def __init__(
        self,
        name: str,
        parameters: Mapping[str, Any],
        support: tuple[float, float],
        formulas: Formulas = Formulas(),
        kinks: tuple[float, ...] = (),
    ):
        self.name, self.parameters = name, dict(parameters)
        self.support, self.formulas, self.kinks = support, formulas, kinks
        self._panels: Array | None = None

    def __repr__(self) -> str:
        shown = ", ".join(f"{key}={_short(value)}" for key, value in self.parameters.items())
        return f"<Density {self.name}{f' ({shown})' if shown else ''}>"

    # What a subclass gives, on float64 arrays inside the support

    @abstractmethod
    def _log_pdf(self, x: Array) -> Array: ...

    @abstractmethod
    def _score(self, x: Array) -> Array: ...

    @abstractmethod
    def _cdf(self, x: Array) -> Array: ...

    def _survival(self, x: Array) -> Array:
        return 1 - self._cdf(x)

    def tail_quantile(self, tail: Array, upper: bool) -> Array:
        """The x with P(X <= x) = tail, or with P(X > x) = tail if `upper`. By bisection."""
        x = self._bracket(tail)
        low, high = x
        for _ in range(110):
            middle = 0.5 * (low + high)
            below = self._survival(middle) > tail if upper else self._cdf(middle) < tail
            low, high = np.where(below, middle, low), np.where(below, high, middle)
            if np.all(high - low <= 4e-16 * np.maximum(np.abs(low), np.abs(high)) + 1e-300):
                break
        return 0.5 * (low + high)

    def _bracket(self, tail: Array) -> tuple[Array, Array]:
        low, high = self.support
        return np.full(tail.shape, low), np.full(tail.shape, high)

    def mean(self) -> float:
        """The expectation; NaN where it does not exist."""
        return self.expect(lambda x: x).value

    def variance(self) -> float:
        """The variance; infinite where it does not exist."""
        centre = self.mean()
        return self.expect(lambda x: (x - centre) ** 2).value if math.isfinite(centre) else math.inf

    # Values: float, NumPy array or tensor in, the same out

    def pdf(self, x: Any) -> Any:
        """The density at x, elementwise; 0 outside the support. Same type and shape as x."""
        return self._like(x, lambda values: np.exp(self._log_pdf(values)), 0.0, 0.0)

    def log_pdf(self, x: Any) -> Any:
        """The logarithm of the density; -inf outside the support."""
        return self._like(x, self._log_pdf, -math.inf, -math.inf)

    def score(self, x: Any) -> Any:
        """(log p)'(x), the score; 0 outside the support."""
        return self._like(x, self._score, 0.0, 0.0)

    def cdf(self, x: Any) -> Any:
        """P(X <= x)."""
        return self._like(x, self._cdf, 0.0, 1.0)

    def survival(self, x: Any) -> Any:
        """P(X > x), accurate in the upper tail."""
        return self._like(x, self._survival, 1.0, 0.0)

    def quantile(self, u: Any) -> Any:
        """The x with P(X <= x) = u. Raises DensityError for u outside [0, 1]."""

        def inside(values: Array) -> Array:
            if not np.all((values >= 0) & (values <= 1)):
                raise DensityError(f"a quantile is asked at u={_short(u)}; u must lie in [0, 1].")
            lower = values <= 0.5
            with np.errstate(all="ignore"):
                found = np.where(
                    lower,
                    self.tail_quantile(np.where(lower, values, 0.25), False),
                    self.tail_quantile(np.where(lower, 0.25, 1 - values), True),
                )
            found = np.where(values == 0, self.support[0], found)
            return np.where(values == 1, self.support[1], found)

        return like(u, inside)

    def sample(self, size: int | tuple[int, ...], generator: Any = None) -> Any:
        """Independent draws of the given size.

        Parameters
        ----------
        generator : a NumPy Generator or a seed (gives a float64 array), or a torch Generator (gives a
            float64 tensor); None draws fresh entropy
        """
        shape = (size,) if isinstance(size, int) else tuple(size)
        if type(generator).__module__.startswith("torch"):
            import torch

            return self.quantile(torch.rand(shape, generator=generator, dtype=torch.float64))
        random = np.random.default_rng(generator)
        return self.quantile(random.uniform(np.finfo(float).tiny, 1.0, shape))

    def _like(self, x: Any, values: Callable[[Array], Array], below: float, above: float) -> Any:
        low, high = self.support

        def masked(points: Array) -> Array:
            inside = (points >= low) & (points <= high)
            with np.errstate(all="ignore"):
                result = values(np.where(inside, points, self.centre))
            result = np.where(inside, result, np.where(points < low, below, above))
            return np.where(np.isnan(points), np.nan, result)

        return like(x, masked)

    # Quadrature

    @cached_property
    def centre(self) -> float:
        """The median."""
        return float(self.tail_quantile(np.array([0.5]), False)[0])

    @cached_property
    def spread(self) -> float:
        """The interquartile range divided by that of N(0, 1): the standard deviation of a normal."""
        quarter = np.array([0.25])
        return float((self.tail_quantile(quarter, True) - self.tail_quantile(quarter, False))[0]) / 1.3489795003921634

    def panels(self) -> Array:
        """Panel edges for quadrature: quantiles a factor of e apart in tail probability, and kinks.

        On this scale heavy tails are no special case: Cauchy's reach 1e18 in 82 panels.
        """
        if self._panels is None:
            tails = 1 / (1 + np.exp(np.arange(0.0, _SMALLEST_TAIL + 1)))
            with np.errstate(all="ignore"):
                lower, upper = self.tail_quantile(tails, False), self.tail_quantile(tails, True)
            edges = np.concatenate([lower, upper, self.kinks, [v for v in self.support if math.isfinite(v)]])
            edges = np.unique(edges[np.isfinite(edges)])
            apart = np.diff(edges, prepend=-np.inf) > 1e-13 * np.maximum(np.abs(edges), self.spread)
            self._panels = edges[apart | np.isin(edges, self.support) | np.isin(edges, self.kinks)]
        return self._panels

    def expect(
        self,
        function: Callable[[Array], Array],
        breaks: Array | tuple[float, ...] = (),
        tolerance: float = 1e-10,
    ) -> Measured:
        """E[function(X)] with an error estimate.

        Parameters
        ----------
        function : of a float64 array of shape (n,), returning shape (n,)
        breaks : places inside the support where the function is not smooth

        Returns
        -------
        Measured; infinite where the tails' contributions do not fall off.
        """
        edges = merge(self.panels(), np.asarray(breaks, dtype=float))

        def integrand(x: Array) -> Array:
            weight = np.exp(self._log_pdf(x))
            return np.where(weight > 0, weight * function(x), 0.0)

        result = integrate(integrand, edges, tolerance)
        tail, diverges = self.tails(result.left, result.right, result.parts)
        if diverges:
            return Measured(math.copysign(math.inf, diverges), 0.0)
        return Measured(result.value + tail, result.error + abs(tail) + 1e-15 * abs(result.value))

    def tails(self, left: Array, right: Array, parts: Array) -> tuple[float, float]:
        """What lies beyond the last panels, and the sign of a divergence (0 if there is none).

        The contributions per factor e of tail probability fall geometrically where the integral exists.
        """
        panels = self.panels()
        total = float(np.abs(parts).sum())
        beyond, diverges = 0.0, 0.0
        for end, edges in ((0, panels[:9]), (1, panels[::-1][:9])):
            if math.isfinite(self.support[end]) or edges.size < 9:
                continue
            inner, middle, outer = edges[8], edges[4], edges[0]
            last = _between(left, right, parts, outer, middle)
            before = _between(left, right, parts, middle, inner)
            if abs(last) <= 1e-12 * max(total, 1e-300) or before == 0:
                continue
            ratio = abs(last / before)
            if ratio > 0.85:
                diverges = math.copysign(1.0, last)
            else:
                beyond += last * ratio / (1 - ratio)
        return beyond, diverges

    def mass(self, low: float, high: float) -> float:
        """P(low < X <= high), accurate in both tails."""
        a, b = self.support
        low, high = min(max(low, a), b), min(max(high, a), b)
        if high <= low:
            return 0.0
        if low > self.centre:
            ends = self.survival(np.array([low, high]))
            return float(max(ends[0] - ends[1], 0.0))
        ends = self.cdf(np.array([low, high]))
        return float(max(ends[1] - ends[0], 0.0))


def _between(left: Array, right: Array, parts: Array, one: float, other: float) -> float:
    middle = 0.5 * left + 0.5 * right
    return float(parts[(middle > min(one, other)) & (middle < max(one, other))].sum())


def merge(edges: Array, extra: Array) -> Array:
    """Panel edges with further breaks inside their range."""
    extra = extra[(extra > edges[0]) & (extra < edges[-1])]
    return np.unique(np.concatenate([edges, extra])) if extra.size else edges


def like(x: Any, function: Callable[[Array], Array]) -> Any:
    """function on x's float64 values, returned as x's own type (float, array or tensor) and dtype."""
    if type(x).__module__.startswith("torch"):
        import torch

        values = function(x.detach().cpu().double().numpy().reshape(-1))
        dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
        return torch.from_numpy(np.ascontiguousarray(values)).reshape(x.shape).to(x.device, dtype)
    if isinstance(x, np.ndarray | np.generic):
        values = function(np.asarray(x, dtype=float).reshape(-1)).reshape(x.shape)
        return values.astype(x.dtype) if np.issubdtype(x.dtype, np.floating) else values
    values = function(np.asarray(x, dtype=float).reshape(-1))
    return float(values[0]) if np.ndim(x) == 0 else values.reshape(np.shape(x))


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float | int) else f"{value!r:.60}"
