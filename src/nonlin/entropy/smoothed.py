"""Output observed with a little Gaussian noise: H_sigma = H(f(X) + sigma·Z), and the smoothed score.

The noise makes q_sigma(y) = E[phi_sigma(y - f(X))] smooth for every measurable f: atoms, kinks, jumps
and folds need no special case. X is replaced by quadrature nodes, so that q_sigma is a finite sum of
Gaussians, and every integral over y is a trapezoidal sum with step sigma/4, which is exact to about
1e-9 where outputs lie in separate heaps, and to 1e-13 elsewhere.

    dH_sigma/d(eps) along f + eps·xi = -E[xi(X)·s^(f(X))],   s^ = (log q_sigma)' * N(0, sigma²)      (11)

Equation numbers are those of docs/theory.md.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import numpy.typing as npt

from nonlin.entropy.base import Density, Measured, merge
from nonlin.entropy.curve import Curve
from nonlin.entropy.pushforward import Pushforward, pushforward
from nonlin.entropy.quadrature import nodes
from nonlin.errors import EntropyError

Array = npt.NDArray[np.float64]
_STEPS_PER_SIGMA = 4  # two atoms ten sigma apart make log q bend within sigma/10
_REACH = 8.5  # in sigma: there a Gaussian has fallen to 2e-16
_MOST_SIGMAS = 3e4  # the widest range of outputs that is put on a grid
_LEAST_INSIDE = 1e-9  # probability that has to be there
_MOST_NODES = 200_000
_CHUNK = 20_000


class SmoothedOutput:
    """Σ_j w_j·delta(y - y_j) convolved with N(0, sigma²).

    Parameters
    ----------
    outputs, weights : y_j and w_j, shape (n,); the range of the outputs must be below 3e4·sigma
    sigma : standard deviation of the noise, in units of the output
    steps : grid steps per sigma
    """

    def __init__(self, outputs: Array, weights: Array, sigma: float, steps: int = _STEPS_PER_SIGMA):
        self.outputs, self.weights, self.sigma, self.steps = outputs, weights, sigma, steps
        self.step = sigma / steps
        self.reach = int(_REACH * steps)
        self.start = float(outputs.min()) - (self.reach + 1) * self.step
        self.count = int((float(outputs.max()) - self.start) / self.step) + self.reach + 3
        self.density, self._slope = self._spread()

    @property
    def grid(self) -> Array:
        """Where `density` is known, shape (steps,)."""
        return self.start + self.step * np.arange(self.count, dtype=float)

    def _gaussians(self, y: Array) -> tuple[npt.NDArray[np.int64], Array, Array]:
        """Grid indices within reach of each y, the Gaussian there and its slope by y; shape (n, reach)."""
        place = (y - self.start) / self.step
        nearest = np.floor(place).astype(np.int64)
        offsets = np.arange(-self.reach, self.reach + 2)
        z = (offsets - (place - nearest)[:, None]) / self.steps
        value = np.exp(-0.5 * z * z) / (self.sigma * np.sqrt(2 * np.pi))
        index = np.clip(nearest[:, None] + offsets, 0, self.count - 1)
        return index, value, -z / self.sigma * value

    def _spread(self) -> tuple[Array, Array]:
        density, slope = np.zeros(self.count), np.zeros(self.count)
        for part in range(0, self.outputs.size, _CHUNK):
            chunk = slice(part, part + _CHUNK)
            index, value, change = self._gaussians(self.outputs[chunk])
            weight = self.weights[chunk, None]
            for total, term in ((density, value), (slope, change)):
                total += np.bincount(index.reshape(-1), (weight * term).reshape(-1), self.count)
        return density, slope

    @cached_property
    def entropy(self) -> float:
        """-∫ q log q dy over the grid, in nats."""
        q = self.density[self.density > 0]
        return float(-self.step * (q * np.log(q)).sum())

    @cached_property
    def raw_score(self) -> Array:
        """(log q_sigma)' on the grid, shape (steps,); 0 where no Gaussian reaches."""
        safe = np.where(self.density > 0, self.density, 1.0)
        return np.where(self.density > 0, self._slope / safe, 0.0)

    def score(self, y: Array) -> Array:
        """The smoothed score s^ of equation (11) at outputs y inside the range, shape (n,)."""
        result = np.empty(y.size)
        for part in range(0, y.size, _CHUNK):
            chunk = slice(part, part + _CHUNK)
            index, value, _ = self._gaussians(y[chunk])
            result[chunk] = self.step * (value * self.raw_score[index]).sum(axis=1)
        return result

    def slope_along(self, direction: Array) -> float:
        """dH/d(eps) as y_j becomes y_j + eps·direction_j; shape (n,). Equation (11), exact for the sum."""
        return float(-(self.weights * direction * self.score(self.outputs)).sum())


class SmoothedPushforward:
    """f(X) + sigma·Z for a density of X.

    Outputs in tails so heavy that no grid holds them are left to the exact density,
    which noise does not change there.
    """

    def __init__(
        self,
        curve: Curve,
        density: Density,
        sigma: float,
        resolution: float = 4.0,
        steps: int = _STEPS_PER_SIGMA,
    ):
        self.curve, self.source, self.sigma = curve, density, sigma
        self.exact: Pushforward = pushforward(curve, density)
        self.window = self._window()
        self.x, weights = self._nodes(resolution)
        with np.errstate(all="ignore"):
            y = curve.value(self.x)
            mass = weights * np.exp(density.log_pdf(self.x))
        good = np.isfinite(y) & (mass > 0)
        self.x, y, mass = self.x[good], y[good], mass[good]
        mass /= mass.sum()
        self.y, self.mass = y, mass
        self.inside = (y >= self.window[0]) & (y <= self.window[1])
        if not mass[self.inside].sum() > _LEAST_INSIDE:
            raise EntropyError(
                f"the output under the density {density.name} is spread so widely that no grid of noise {sigma:g} "
                "holds it (has the function a pole?); smooth more, or ask for the exact entropy with smoothing=0."
            )
        self.core = SmoothedOutput(y[self.inside], mass[self.inside], sigma, steps)

    def _edges(self) -> Array:
        breaks = self.exact.breaks() if self.exact.pieces is not None else np.empty(0)
        return merge(self.source.panels(), breaks)

    def _window(self) -> tuple[float, float]:
        """The range of outputs of the widest middle part of X that the grid can hold."""
        edges = self._edges()
        with np.errstate(all="ignore"):
            y = self.curve.value(edges)
        most = _MOST_SIGMAS * self.sigma
        for cut in range(edges.size // 2):
            part = y[cut : y.size - cut]
            part = part[np.isfinite(part)]
            if part.size and np.ptp(part) <= most:
                # margins: folds between the edges may reach further than the edges
                margin = 0.25 * (most - float(np.ptp(part))) if cut == 0 else 0.0
                return float(part.min()) - margin, float(part.max()) + margin
        middle = float(np.median(y[np.isfinite(y)]))
        return middle - most / 2, middle + most / 2

    def _nodes(self, resolution: float) -> tuple[Array, Array]:
        """Nodes and weights on panels across each of which f changes by at most resolution·sigma."""
        edges = self._edges()
        if self.exact.pieces is not None:
            extra = [x for end in self.window for x in self.exact.preimages(end)]
            edges = merge(edges, np.array(extra))
        left, right = edges[:-1], edges[1:]
        share = np.linspace(0.0, 1.0, 33)
        with np.errstate(all="ignore"):
            y = self.curve.value((left[:, None] + (right - left)[:, None] * share).reshape(-1)).reshape(-1, 33)
            y = np.clip(np.nan_to_num(y), *self.window)
        change = np.abs(np.diff(y, axis=1)).sum(axis=1)
        parts = np.maximum(np.ceil(change / (resolution * self.sigma)), 1.0)
        parts = np.maximum(parts * min(1.0, _MOST_NODES / 15 / parts.sum()), 1.0).astype(np.int64)
        start = np.repeat(left, parts)
        width = np.repeat((right - left) / parts, parts)
        position = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
        x, weights = nodes(start + position * width, start + (position + 1) * width)
        return x.reshape(-1), weights.reshape(-1)

    def entropy(self) -> float:
        """H_sigma in nats."""
        total = self.core.entropy
        if self.inside.all():
            return total
        if self.exact.pieces is None:
            return total + self._binned_tails()
        x, mass = self.x[~self.inside], self.mass[~self.inside]
        return total - float((mass * self.exact.log_q(x)).sum())

    def _binned_tails(self, nodes_per_bin: int = 15) -> float:
        """-∫ q log q beyond the grid, from bins of a number of nodes, for functions with too many pieces."""
        total = 0.0
        for side in (self.y < self.window[0], self.y > self.window[1]):
            order = np.argsort(self.y[side])
            y, mass = self.y[side][order], self.mass[side][order]
            for first in range(0, y.size - 1, nodes_per_bin):
                last = min(first + nodes_per_bin, y.size - 1)
                inside = float(mass[first:last].sum())
                if inside > 0 and y[last] > y[first]:
                    total -= inside * float(np.log(inside / (y[last] - y[first])))
        return total

    def score(self, x: Array) -> Array:
        """The smoothed score s^(f(x)) at inputs x, shape (n,); where noise does not matter, the exact one."""
        y = self.curve.value(x)
        low, high = self.core.outputs.min(), self.core.outputs.max()
        result = self.core.score(np.clip(y, low, high))
        if not self.inside.all() and self.exact.pieces is not None:
            slack = self.core.step  # at a turn of f the exact score has a pole, and rounding must not lead there
            beyond = (y < low - slack) | (y > high + slack)
            result[beyond] = np.nan_to_num(self.exact.score(x[beyond]))
        return result

    def slope_along(self, direction: Callable[[Array], Array]) -> float:
        """dH_sigma/d(eps) as f becomes f + eps·direction. Equation (11)."""
        values = direction(self.x) * self.mass
        return float(-(values * self.score(self.x)).sum())


def smoothed_entropy(curve: Curve, density: Density, sigma: float) -> Measured:
    """H(f(X) + sigma·Z); its error is the difference to coarser nodes and a coarser grid."""
    fine = SmoothedPushforward(curve, density, sigma)
    coarse = SmoothedPushforward(curve, density, sigma, resolution=7.0, steps=2)
    value = fine.entropy()
    error = abs(value - coarse.entropy()) + 1e-12
    if fine.exact.pieces is None:
        error += float(fine.mass[~fine.inside].sum())  # binned: known to about a nat
    return Measured(value, error, "smoothed")
