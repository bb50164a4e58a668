"""A density estimated from samples: a Gaussian kernel estimate on a fine grid.

The samples are binned linearly on a grid of spacing bandwidth/4, so that 1e6 of them cost as much as
a thousand afterwards, and every bin becomes a Gaussian. Values, score and distribution function are
exact for that sum of Gaussians and smooth to every order.

References: [Silverman1986] B. W. Silverman, Density Estimation, 1986, eq. 3.31 (rule of thumb).
[Botev2010] Z. Botev, J. Grotowski, D. Kroese, Kernel density estimation via diffusion, Annals of
Statistics 38, 2010, algorithm 1 (bandwidth without a normal reference, safe for several modes).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from nonlin.entropy.base import Density
from nonlin.errors import DensityError

Array = npt.NDArray[np.float64]
_REACH = 9.0  # in bandwidths: a Gaussian's share beyond it is below 1e-18
_FINENESS = 4  # bins per bandwidth
_MOST_BINS = 1 << 17
_LARGEST = 1e100


def as_samples(samples: Any) -> Array:
    """Samples as a flat float64 array.

    Raises DensityError for none, for NaN, infinite or huge values, and where all are equal.
    """
    if type(samples).__module__.startswith("torch"):
        samples = samples.detach().cpu().double().numpy()
    try:
        values = np.asarray(samples, dtype=float).reshape(-1)
    except (TypeError, ValueError):
        raise DensityError(
            f"samples must be an array or tensor of real numbers; got {type(samples).__name__} {samples!r:.60}."
        ) from None
    if values.size == 0:
        raise DensityError("the samples are empty; at least two different values are needed.")
    if bad := int((~np.isfinite(values)).sum()):
        raise DensityError(
            f"{bad} of {values.size} samples are NaN or infinite; remove them, as in samples[isfinite(samples)]."
        )
    if values.min() == values.max():
        raise DensityError(
            f"all {values.size} samples equal {values[0]:g}: they have no density. Give varying samples, or add noise."
        )
    if (largest := float(np.abs(values).max())) > _LARGEST:
        raise DensityError(
            f"the samples reach {largest:g} in size, and their squares are too large for floating point. Remove such "
            f"values, as in samples[abs(samples) < {_LARGEST:g}], or rescale the samples."
        )
    return values


class Samples(Density):
    """The kernel density estimate of samples.

    Parameters
    ----------
    samples : array or tensor of any shape
    bandwidth : "botev" (default), "silverman", or the kernel's standard deviation
    """

    def __init__(self, samples: Any, bandwidth: str | float = "botev"):
        values = as_samples(samples)
        self.bandwidth = choose_bandwidth(values, bandwidth)
        step = max(self.bandwidth / _FINENESS, float(np.ptp(values)) / _MOST_BINS)
        start = float(values.min()) - step
        bins = int(np.ceil((values.max() - start) / step)) + 2
        # Linear binning widens the estimate by about step²/6; the kernel is narrowed by as much.
        self.masses = linear_bins(values, start, step, bins) / values.size
        self.start, self.step = start, step
        self.sigma = math.sqrt(max(self.bandwidth**2 - step**2 / 6, step**2 / 4))
        self._before = np.concatenate([[0.0], np.cumsum(self.masses)])
        self._after = np.concatenate([np.cumsum(self.masses[::-1])[::-1], [0.0]])
        parameters = {"count": values.size, "bandwidth": self.bandwidth}
        self._moments = (float(values.mean()), float(values.var()) + self.bandwidth**2)
        self._range = (float(values.min()), float(values.max()))
        super().__init__("samples", parameters, (-math.inf, math.inf))

    def mean(self) -> float:
        return self._moments[0]

    def variance(self) -> float:
        return self._moments[1]

    def _window(self, x: Array) -> tuple[npt.NDArray[np.int64], Array, Array]:
        """For each x the bins within reach: index of the first, z of shape (n, reach), masses likewise."""
        reach = int(_REACH * self.sigma / self.step) + 1
        place = np.clip((x - self.start) / self.step, -1e9, 1e9)
        first = np.clip(np.floor(place).astype(np.int64) - reach, 0, max(self.masses.size - 1, 0))
        index = first[:, None] + np.arange(2 * reach + 2)
        inside = index < self.masses.size
        mass = np.where(inside, self.masses[np.minimum(index, self.masses.size - 1)], 0.0)
        z = (x[:, None] - (self.start + self.step * index)) / self.sigma
        return first, z, mass

    def _log_terms(self, x: Array) -> tuple[Array, Array]:
        """Log of each bin's share of the density, and z, shape (n, reach); far out, of the end bins."""
        _, z, mass = self._window(x)
        low, high = self.start, self.start + self.step * (self.masses.size - 1)
        lone = (x < low - _REACH / 2 * self.sigma) | (x > high + _REACH / 2 * self.sigma)
        if lone.any():  # beyond the samples the nearest bins decide
            z, mass = z.copy(), mass.copy()
            ends = np.flatnonzero(self.masses)
            width = z.shape[1]
            for side, bins in ((x < low, ends[:width]), (x > high, ends[-width:])):
                rows = lone & side
                centres = np.full(width, self.start + self.step * bins[0])
                weights = np.zeros(width)
                centres[: bins.size], weights[: bins.size] = self.start + self.step * bins, self.masses[bins]
                z[rows], mass[rows] = (x[rows, None] - centres) / self.sigma, weights
        return np.log(mass) - 0.5 * z * z - math.log(self.sigma * math.sqrt(2 * math.pi)), z

    def _log_pdf(self, x: Array) -> Array:
        return _in_chunks(lambda part: np.logaddexp.reduce(self._log_terms(part)[0], axis=1), x)

    def _score(self, x: Array) -> Array:
        def chunk(part: Array) -> Array:
            logs, z = self._log_terms(part)
            top = logs.max(axis=1, keepdims=True)
            share = np.exp(logs - np.where(np.isfinite(top), top, 0.0))
            return -(share * z).sum(axis=1) / (share.sum(axis=1) * self.sigma)

        return _in_chunks(chunk, x)

    def _cdf(self, x: Array) -> Array:
        return _in_chunks(lambda part: self._cumulative(part, upper=False), x)

    def _survival(self, x: Array) -> Array:
        return _in_chunks(lambda part: self._cumulative(part, upper=True), x)

    def _cumulative(self, x: Array, upper: bool) -> Array:
        from scipy.special import ndtr

        first, z, mass = self._window(x)
        last = np.minimum(first + z.shape[1], self.masses.size)
        whole = self._after[last] if upper else self._before[first]
        return whole + (mass * ndtr(-z if upper else z)).sum(axis=1)

    def _bracket(self, tail: Array) -> tuple[Array, Array]:
        low, high = self._range
        beyond = 40.0 * self.bandwidth
        return np.full(tail.shape, low - beyond), np.full(tail.shape, high + beyond)


def _in_chunks(function: Any, x: Array, size: int = 20_000) -> Array:
    if x.size <= size:
        return function(x)
    return np.concatenate([function(x[start : start + size]) for start in range(0, x.size, size)])


def linear_bins(values: Array, start: float, step: float, bins: int) -> Array:
    """Counts on a grid, each value shared between its two neighbours; shape (bins,)."""
    place = (values - start) / step
    left = place.astype(np.int64)
    right_share = place - left
    counts = np.bincount(left, minlength=bins).astype(float)
    right = np.bincount(left, weights=right_share, minlength=bins)[:bins]
    counts = counts[:bins] - right
    counts[1:] += right[:-1]
    return np.maximum(counts, 0.0)


def choose_bandwidth(values: Array, rule: str | float) -> float:
    """The kernel's standard deviation by a rule's name, or as given."""
    if isinstance(rule, int | float) and not isinstance(rule, bool):
        if not (math.isfinite(rule) and rule > 0):
            raise DensityError(f"bandwidth={rule!r} is not a positive number.")
        return float(rule)
    if rule not in ("botev", "silverman"):
        raise DensityError(f"bandwidth={rule!r} is not known; use 'botev', 'silverman' or a positive number.")
    quarters = np.percentile(values, [25, 75])
    spread = min(float(values.std()), float(quarters[1] - quarters[0]) / 1.349) or float(values.std())
    silverman = 0.9 * spread * values.size**-0.2  # [Silverman1986, eq. 3.31]
    if rule == "silverman" or values.size < 50:
        return silverman
    return _botev(values) or silverman


def _botev(values: Array, bins: int = 1 << 12) -> float | None:
    """[Botev2010], algorithm 1: the fixed point t = xi*gamma^[5](t) in the DCT domain."""
    from scipy.fft import dct
    from scipy.optimize import brentq

    margin = 0.1 * float(np.ptp(values))
    low, width = float(values.min()) - margin, float(np.ptp(values)) + 2 * margin
    counts = linear_bins(values, low, width / (bins - 1), bins) / values.size
    power = (dct(counts)[1:] / 2) ** 2
    squares = np.arange(1, bins, dtype=float) ** 2
    count = np.unique(values).size

    def fixed_point(t: float) -> float:
        order = 7
        norm = 2 * math.pi ** (2 * order) * float((squares**order * power * np.exp(-squares * math.pi**2 * t)).sum())
        for s in range(order - 1, 1, -1):
            odd = math.prod(range(1, 2 * s, 2)) / math.sqrt(2 * math.pi)
            time = (2 * (1 + 0.5 ** (s + 0.5)) / 3 * odd / (count * norm)) ** (2 / (3 + 2 * s))
            norm = 2 * math.pi ** (2 * s) * float((squares**s * power * np.exp(-squares * math.pi**2 * time)).sum())
        return t - (2 * count * math.sqrt(math.pi) * norm) ** -0.4

    try:
        with np.errstate(all="ignore"):
            return math.sqrt(float(brentq(fixed_point, 1e-12, 0.1))) * width
    except (ValueError, ZeroDivisionError, OverflowError):  # no fixed point: too few different values
        return None
