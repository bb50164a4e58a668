"""Mean-field theory of signals in a deep random network: variance, correlation, edge of chaos, self-normalisation.

Weights N(0, σ_w²/fan_in), biases N(0, σ_b²), infinite width; Z, Z₁, Z₂ ~ N(0, 1):

    V(q)   = σ_w² E[f(√q Z)²] + σ_b²                           variance map [Poole2016, eq. 3]
    χ₁(q)  = σ_w² E[f'(√q Z)²]                                 slope of the correlation map at 1 [Poole2016, eq. 8]
    C(c)   = (σ_w² E[f(√q Z₁) f(√q (c Z₁ + √(1-c²) Z₂))] + σ_b²)/q    correlation map at a fixed point q
    ξ      = 1/|ln χ₁|                                         depth scale of gradients [Schoenholz2017, eq. 9]

χ₁ is also the factor by which the mean square of gradients changes in one layer; χ₁ = 1 is the edge of chaos.

References: [Poole2016] B. Poole et al., arXiv 1606.05340. [Schoenholz2017] S. Schoenholz et al., arXiv
1611.01232. [Klambauer2017] G. Klambauer et al., arXiv 1706.02515.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nonlin.diagnosis.landscape import REACH, Landscape
from nonlin.entropy import density
from nonlin.entropy.quadrature import nodes

Array = npt.NDArray[np.float64]
Q_RANGE = (1e-4, 1e4)
_ORDERS = 200  # Hermite coefficients of the correlation map
_STEP = 1e-4  # relative step of difference quotients in q


@dataclass(frozen=True)
class EdgeOfChaos:
    """(σ_w, σ_b) with χ₁ = 1 and the fixed point q; None, and the reason, where there are none."""

    q: float
    sigma_w: float | None
    sigma_b: float | None
    reason: str = ""


@dataclass(frozen=True)
class FixedPoint:
    """A fixed point of the variance map.

    Attributes
    ----------
    q : the variance; 0 where a signal dies out
    slope : V'(q): a deviation of the variance is multiplied by it in every layer
    chi : χ₁(q), None where it does not exist
    stable : slope < 1; None for a neutral one, where every variance near is a fixed point too
    """

    q: float
    slope: float | None
    chi: float | None
    stable: bool | None


@dataclass(frozen=True)
class Normalisation:
    """The fixed point of the map (mean, variance) of outputs for weights of sum 0 and sum of squares 1.

    Attributes
    ----------
    mean, variance : the fixed point nearest to variance 1
    radius : spectral radius of the map's Jacobian there; the map does not depend on the mean, so the other
        eigenvalue is 0 [Klambauer2017, eqs. 4-8 with ω = 0, τ = 1]
    mean_slope : ∂mean/∂variance there
    stable : radius < 1
    self_normalising : stable, and within 0.05 of (0, 1)
    """

    mean: float
    variance: float
    radius: float
    mean_slope: float
    stable: bool
    self_normalising: bool


class Signals:
    """Gaussian averages of a surveyed function, and the maps made of them."""

    def __init__(self, land: Landscape):
        self.curve = land.curve
        self._breaks = np.array([b.x for b in land.breaks])
        self._singular = np.array([b.x for b in land.breaks if math.isinf(b.size)])
        # panels that shrink towards a singularity
        steps = np.concatenate([sign * 0.3 ** np.arange(1, 30) for sign in (-1, 1)])
        self._breaks = np.sort(np.concatenate([self._breaks, (self._singular[:, None] + steps).reshape(-1)]))
        self.jumps = any(b.order == 0 for b in land.breaks) or land.countless_breaks
        self._poles = bool(land.poles)
        self._lowest_order = min((b.order for b in land.breaks), default=3)
        self._normal = density("normal")
        restless = np.count_nonzero(np.diff(np.sign(land.slope[np.abs(land.x) <= REACH]))) > 100
        self._tolerance = 1e-6 if restless or self._singular.size else 1e-10  # each digit takes many evaluations

    def average(self, function: Callable[[Array], Array], q: float) -> float | None:
        """E[function(√q Z)], or None where it does not exist."""
        if q == 0:
            value = float(function(np.zeros(1))[0])
            return value if math.isfinite(value) else None
        if not self._integrable(function):
            return None
        root = math.sqrt(q)

        def scaled(z: Array) -> Array:
            y = function(root * z)
            return np.where(np.isfinite(y), y, np.where(np.abs(z) > 9, 0.0, y))  # overflow where the weight is 1e-19

        with np.errstate(all="ignore"):
            measured = self._normal.expect(scaled, self._breaks / root, self._tolerance)
        sound = math.isfinite(measured.value) and measured.error <= max(
            1e-7, 10 * self._tolerance, 1e-3 * abs(measured.value)
        )
        return float(measured.value) if sound else None

    def _integrable(self, function: Callable[[Array], Array]) -> bool:
        """Whether a function grows more slowly than 1/distance towards every singularity of f."""
        if not self._singular.size:
            return True
        with np.errstate(all="ignore"):
            far, near = (
                np.abs(function(np.concatenate([self._singular - h, self._singular + h]))) * h for h in (1e-9, 1e-11)
            )
        return bool(np.all(np.isnan(near) | (near == 0) | (near < 0.9 * far)))

    def moments(self, q: float = 1.0) -> tuple[float | None, float | None]:
        """E[f] and E[f²]."""
        second = self.average(lambda x: self.curve.value(x) ** 2, q)
        return (self.average(self.curve.value, q), second) if second is not None else (None, None)

    def slope_square(self, q: float = 1.0) -> float | None:
        """E[f'²]; None where f jumps, since f' then has no square."""
        return None if self.jumps else self.average(lambda x: self.curve.slope(x) ** 2, q)

    def edge(self, q: float) -> EdgeOfChaos:
        """The edge of chaos whose fixed point is q: σ_w² = 1/E[f'²], σ_b² = q - σ_w² E[f²]."""
        second, slope = self.moments(q)[1], self.slope_square(q)
        if self.jumps:
            what = "has a pole" if self._poles else "jumps"
            return EdgeOfChaos(q, None, None, f"f {what}, so E[f'²] is infinite: every network of it is chaotic")
        if second is None or slope is None:
            what = "E[f²]" if second is None else "E[f'²]"
            return EdgeOfChaos(q, None, None, f"{what} does not exist at q = {q:g}")
        if slope <= 1e-24:
            return EdgeOfChaos(q, None, None, "f' is 0: every network of it forgets its input")
        weight = 1 / slope
        bias = q - weight * second
        if abs(bias) < 1e-9 * q:
            bias = 0.0
        if bias < 0:
            return EdgeOfChaos(q, None, None, f"σ_b² = q - E[f²]/E[f'²] = {bias:.4g} would be negative at q = {q:g}")
        return EdgeOfChaos(q, math.sqrt(weight), math.sqrt(bias))

    def variance_map(self, q: float, sigma_w: float, sigma_b: float) -> float | None:
        """V(q)."""
        second = self.average(lambda x: self.curve.value(x) ** 2, q)
        return None if second is None else sigma_w**2 * second + sigma_b**2

    def fixed_points(self, sigma_w: float, sigma_b: float) -> tuple[tuple[FixedPoint, ...], bool]:
        """Fixed points of V in `Q_RANGE` and at 0, and whether every variance is one."""
        qs = np.geomspace(*Q_RANGE, 49)
        gaps = np.array([self._gap(float(q), sigma_w, sigma_b) for q in qs])
        if np.all(np.abs(gaps) < 1e-6):
            return (), True
        # q = 1 lies on the grid: a root there may come out as rounding on either side
        gaps = np.where(np.abs(gaps) < 1e-9, 0.0, gaps)
        roots = _lone_roots(qs, gaps)
        for i in np.flatnonzero(gaps[:-1] * gaps[1:] < 0):
            roots.append(self._root(float(qs[i]), float(qs[i + 1]), float(gaps[i]), sigma_w, sigma_b))
        found = [self._at_zero(sigma_w)] if sigma_b == 0 and self.average(self.curve.value, 0.0) == 0 else []
        found += [self._fixed_point(q, sigma_w, sigma_b) for q in sorted(roots)]
        return tuple(found), False

    def _gap(self, q: float, sigma_w: float, sigma_b: float) -> float:
        """V(q)/q - 1; NaN where V does not exist."""
        value = self.variance_map(q, sigma_w, sigma_b)
        return math.nan if value is None else value / q - 1

    def _root(self, low: float, high: float, at_low: float, sigma_w: float, sigma_b: float) -> float:
        for _ in range(42):
            middle = math.sqrt(low * high)
            gap = self._gap(middle, sigma_w, sigma_b)
            if gap == 0 or math.isnan(gap):
                return middle
            low, high = (middle, high) if gap * at_low > 0 else (low, middle)
        return math.sqrt(low * high)

    def _fixed_point(self, q: float, sigma_w: float, sigma_b: float) -> FixedPoint:
        below, above = (self.variance_map(q * (1 + step), sigma_w, sigma_b) for step in (-_STEP, _STEP))
        square = self.slope_square(q)
        chi = None if square is None else sigma_w**2 * square
        if below is None or above is None:
            return FixedPoint(q, None, chi, None)
        slope = (above - below) / (2 * _STEP * q)
        return FixedPoint(q, slope, chi, _stable(slope))

    def _at_zero(self, sigma_w: float) -> FixedPoint:
        """q = 0 for f(0) = 0: V'(0) = χ₁(0) = σ_w² f'(0)², a kink counting by the mean of both sides."""
        sides = self.curve.slope(np.array([-1e-12, 1e-12]))
        slope = sigma_w**2 * float((sides**2).mean())
        if self.jumps or not math.isfinite(slope):
            return FixedPoint(0.0, None, None, None)
        return FixedPoint(0.0, slope, slope, _stable(slope))

    def hermite(self, q: float) -> Array | None:
        """Squares of the Hermite coefficients of f(√q Z), shape (orders,); the rest of E[f²] is not in them."""
        root = math.sqrt(q)
        edges = np.unique(np.concatenate([np.linspace(-13, 13, 261), np.clip(self._breaks / root, -13, 13)]))
        z, width = nodes(edges[:-1], edges[1:])
        z, width = z.reshape(-1), width.reshape(-1)
        with np.errstate(all="ignore"):
            y = self.curve.value(root * z)
        weight = width * np.exp(-0.25 * z * z) / math.sqrt(2 * math.pi)
        if not np.isfinite(y * weight).all():
            return None
        before, now = np.zeros(z.size), np.exp(-0.25 * z * z)  # He_k(z)/√k! exp(-z²/4): bounded for all k
        squares = []
        for k in range(_ORDERS):
            squares.append(float((weight * y) @ now) ** 2)
            before, now = now, (z * now - math.sqrt(k) * before) / math.sqrt(k + 1)
        return np.array(squares)

    def correlation_map(self, c: Array, q: float, sigma_w: float, sigma_b: float) -> Array | None:
        """C(c) for c in [0, 1], shape (n,), by Mehler's formula E[f(Z₁)f(Z₂)] = Σ a_k² c^k.

        What the first 200 orders leave of E[f²] is spread over higher ones by the law a_k² ~ k^-(n + 3/2) of a
        function whose n-th derivative jumps. Exact at c = 1 and, to rounding, for c < 0.85.
        """
        squares, second = self.hermite(q), self.moments(q)[1]
        if squares is None or second is None:
            return None
        rest = max(second - float(squares.sum()), 0.0)
        beyond = _ORDERS * 1.15 ** np.arange(0.5, 80)  # evenly in log k, so that dk adds one power of k
        shares = beyond ** -(self._lowest_order + 0.5)
        orders = np.concatenate([np.arange(_ORDERS), beyond])
        weights = np.concatenate([squares, rest * shares / shares.sum()])
        return (sigma_w**2 * (c[:, None] ** orders @ weights) + sigma_b**2) / q

    def correlation_limit(self, chi: float | None, q: float, sigma_w: float, sigma_b: float) -> float | None:
        """The stable fixed point of C in [0, 1]: 1 for χ₁ <= 1, else the largest one below 1 [Poole2016]."""
        if chi is not None and chi <= 1 + 1e-6:
            return 1.0
        c = np.linspace(0.0, 0.999, 400)
        mapped = self.correlation_map(c, q, sigma_w, sigma_b)
        if mapped is None:
            return None
        gap = np.where(np.abs(mapped - c) < 1e-12, 0.0, mapped - c)
        under = np.flatnonzero(gap <= 0)  # C starts at or above the diagonal, and is convex
        if not under.size:
            return 1.0
        i = int(under[0])
        if i == 0 or gap[i] == 0:
            return float(c[i])
        return float(c[i - 1] + (c[i] - c[i - 1]) * gap[i - 1] / (gap[i - 1] - gap[i]))

    def normalisation(self) -> Normalisation | None:
        """The fixed point of (mean, variance) nearest to variance 1 within [0.1, 10]; None without one."""

        def moments(v: float) -> tuple[float, float]:
            mean, second = self.moments(v)
            return (math.nan, math.nan) if mean is None or second is None else (mean, second - mean * mean)

        vs = np.geomspace(0.1, 10, 25)
        gaps = np.array([moments(float(v))[1] / v - 1 for v in vs])
        gaps = np.where(np.abs(gaps) < 1e-9, 0.0, gaps)
        roots = _lone_roots(vs, gaps)
        for i in np.flatnonzero(gaps[:-1] * gaps[1:] < 0):
            low, high = float(vs[i]), float(vs[i + 1])
            for _ in range(42):
                middle = math.sqrt(low * high)
                same = (moments(middle)[1] / middle - 1) * gaps[i] > 0
                low, high = (middle, high) if same else (low, middle)
            roots.append(math.sqrt(low * high))
        if not roots:
            return None
        v = min(roots, key=lambda root: abs(math.log(root)))
        (mean, _), below, above = moments(v), moments(v * (1 - _STEP)), moments(v * (1 + _STEP))
        mean_slope, slope = ((up - down) / (2 * _STEP * v) for up, down in zip(above, below, strict=True))
        stable = abs(slope) < 1 - 1e-6
        close = abs(mean) < 0.05 and abs(v - 1) < 0.05
        return Normalisation(mean, v, abs(slope), mean_slope, stable, stable and close)


def _lone_roots(x: Array, gaps: Array) -> list[float]:
    """Grid points where a gap is 0; of a run of them the one nearest to 1, x being positive."""
    marks = np.flatnonzero(np.diff(np.concatenate([[False], gaps == 0, [False]]).astype(int)))
    runs = [x[start:stop] for start, stop in zip(marks[::2], marks[1::2], strict=True)]
    return [float(run[np.argmin(np.abs(np.log(run)))]) for run in runs]


def _stable(slope: float) -> bool | None:
    """Whether deviations shrink; None where they stay as they are."""
    return None if abs(slope - 1) < 1e-6 else abs(slope) < 1
