"""`density`: the one way to make a density of the pre-activation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nonlin.entropy.analytic import Family, Formula, Mixture, evaluator, family_name
from nonlin.entropy.base import Density
from nonlin.entropy.empirical import Samples
from nonlin.entropy.families import ALIASES, FAMILIES
from nonlin.errors import DensityError, UnknownNameError
from nonlin.expr import parse

_ALLOWED = {"student_t": ("loc", "scale", "df"), "uniform": ("loc", "scale", "low", "high")}


def density(source: Any = "normal", **parameters: Any) -> Density:
    """A density of the pre-activation X.

    Parameters
    ----------
    source :
        - a family: "normal", "logistic", "laplace", "uniform", "student_t", "gumbel", "cauchy", with
          `loc` (default 0) and `scale` (default 1) as in scipy.stats, and `df` for student_t; the
          uniform's support is [loc, loc + scale], or give `low` and `high`
        - "mixture", with `weights`, `locs`, `scales`, and `family` (default "normal")
        - a formula of x, or a function of a NumPy array, with `support` (default: the whole line); its
          integral must be 1
        - samples: an array or tensor; estimated with a Gaussian kernel, `bandwidth` "botev" (default),
          "silverman" or a number
        - a Density, which is returned as it is

    Raises
    ------
    UnknownNameError : for a family that is not known
    DensityError : for parameters that do not fit, an unnormalised function, or samples without a density

    Examples
    --------
    >>> density("logistic").formulas.cdf
    Expr('sigmoid(x)')
    >>> round(density("normal", loc=1.0).pdf(1.0), 4)
    0.3989
    """
    if isinstance(source, Density):
        _only(source.name, parameters, ())
        return source
    if isinstance(source, str):
        return _named(source, parameters)
    if callable(source):
        _only("a density function", parameters, ("support",))
        name = getattr(source, "__name__", "function")
        return Formula(_elementwise(source), _support(parameters), name)
    _only("samples", parameters, ("bandwidth",))
    return Samples(source, **parameters)


def _named(source: str, parameters: dict[str, Any]) -> Density:
    key = source.strip().lower()
    if key == "mixture":
        return _mixture(parameters)
    if family := family_name(source):
        allowed = _ALLOWED.get(family, ("loc", "scale"))
        _only(family, parameters, allowed)
        numbers = {name: _number(family, name, value) for name, value in parameters.items()}
        if "low" in numbers or "high" in numbers:
            if set(numbers) != {"low", "high"} or numbers["low"] >= numbers["high"]:
                raise DensityError(f"uniform takes low < high together, without loc and scale; got {numbers}.")
            numbers = {"loc": numbers["low"], "scale": numbers["high"] - numbers["low"]}
        if family == "student_t":
            if "df" not in numbers:
                raise DensityError("student_t needs its degrees of freedom, as in density('student_t', df=3).")
            if numbers["df"] <= 0:
                raise DensityError(f"student_t: df={numbers['df']:g} must be above 0.")
        if numbers.get("scale", 1.0) <= 0:
            raise DensityError(f"{family}: scale={numbers['scale']:g} must be above 0.")
        return Family(family, numbers.get("loc", 0.0), numbers.get("scale", 1.0), numbers.get("df", 0.0))
    if key.replace("-", "_").replace(" ", "_").isidentifier() and key != "x":
        known = [*FAMILIES, "mixture", *ALIASES]
        raise UnknownNameError("density", source, known, f"Known: {', '.join(FAMILIES)}, mixture.")
    _only("a formula", parameters, ("support",))
    expr = parse(source)
    if expr.parameters:
        raise DensityError(f"the density {source} has the free name {expr.parameters[0]!r}; write its number instead.")
    return Formula(evaluator(expr), _support(parameters), source, expr)


def _mixture(parameters: dict[str, Any]) -> Density:
    _only("mixture", parameters, ("weights", "locs", "scales", "family", "df"))
    missing = [name for name in ("weights", "locs", "scales") if name not in parameters]
    if missing:
        raise DensityError(
            f"mixture needs {missing[0]!r}, as in density('mixture', weights=[.5, .5], locs=[-1, 1], scales=[1, 1])."
        )
    lists = {name: _numbers(name, parameters[name]) for name in ("weights", "locs", "scales")}
    if len({len(values) for values in lists.values()}) > 1:
        sizes = ", ".join(f"{len(values)} {name}" for name, values in lists.items())
        raise DensityError(f"mixture: one weight, loc and scale for each component are needed; got {sizes}.")
    weights = np.array(lists["weights"])
    if (weights < 0).any() or abs(weights.sum() - 1) > 1e-6:
        raise DensityError(
            f"mixture: weights must be positive and add up to 1; {lists['weights']} add up to {weights.sum():g}."
        )
    kind = parameters.get("family", "normal")
    extra = {"df": parameters["df"]} if "df" in parameters else {}
    kept = weights > 0
    components = [
        _named(kind, {"loc": loc, "scale": scale, **extra})
        for loc, scale, keep in zip(lists["locs"], lists["scales"], kept, strict=True)
        if keep
    ]
    return Mixture(components, weights[kept] / weights.sum(), {**lists, "family": kind})


def _only(what: str, parameters: dict[str, Any], allowed: Sequence[str]) -> None:
    for name in parameters:
        if name not in allowed:
            takes = ", ".join(allowed) or "no parameters"
            raise DensityError(f"{what} has no parameter {name!r}; it takes: {takes}.")


def _number(what: str, name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise DensityError(f"{what}: {name}={value!r} is not a finite number.")
    return number


def _numbers(name: str, values: Any) -> list[float]:
    try:
        items = list(values)
    except TypeError:
        raise DensityError(f"mixture: {name} must be a list of numbers, not {values!r:.60}.") from None
    if not items:
        raise DensityError(f"mixture: {name} is empty.")
    return [_number("mixture", name, value) for value in items]


def _support(parameters: dict[str, Any]) -> tuple[float, float]:
    support = parameters.get("support", (-math.inf, math.inf))
    try:
        low, high = map(float, support)
    except (TypeError, ValueError):
        raise DensityError(f"support={support!r} must be two numbers (low, high).") from None
    if not low < high:
        raise DensityError(f"support=({low:g}, {high:g}) must have low < high.")
    return low, high


def _elementwise(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of one number is applied to each element; one of arrays is taken as it is."""
    try:
        fits = np.shape(function(np.array([0.25, 0.5]))) == (2,)
    except Exception:  # whatever a scalar function does with an array
        fits = False
    return function if fits else np.vectorize(function, otypes=[float])
