"""The exact density q of Y = f(X), by change of variables over the monotone pieces of f.

    q(y) = Σ p(x_i)/|f'(x_i)|   over all x_i with f(x_i) = y                                  (2)
    s_q(y) = (log q)'(y) = Σ w_i·((s_p - f''/f')/f')(x_i),  w_i = the i-th share of (2)       (2b)

Flat pieces are atoms: points of Y with positive probability.

Equation numbers are those of docs/theory.md.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from nonlin.entropy.base import Density, Measured, merge
from nonlin.entropy.curve import Curve
from nonlin.entropy.pieces import Piece, find_pieces
from nonlin.entropy.quadrature import integrate

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
_NEGLIGIBLE = 1e-15  # probability of a piece that is left out
_LEAST_ATOM = 1e-11  # a flat part of less probability (beyond a spline's last knot) is left out too
_UNDERFLOW = 1e-280  # a slope that reaches this before it vanishes has underflowed; it is not 0


class Pushforward:
    """Density of f(X).

    Attributes
    ----------
    pieces : monotone pieces of f in order; None where there are too many
    atoms : (value, probability) of each point with positive probability
    lost : probability of the parts where f' underflows
    """

    def __init__(self, curve: Curve, density: Density):
        self.curve, self.density = curve, density
        self.pieces = find_pieces(curve, density)
        self.atoms: list[tuple[float, float]] = []
        self.lost = 0.0
        self._underflowed: list[Piece] = []
        for index, piece in enumerate(self.pieces or ()):
            if piece.direction == 0 and piece.mass > _LEAST_ATOM:
                if self._underflows(index):
                    self._underflowed.append(piece)
                    self.lost += piece.mass
                else:
                    self.atoms.append((float(piece.y[0]), piece.mass))

    @property
    def moving(self) -> list[Piece]:
        """The pieces on which f is not constant and that have a probability worth counting."""
        return [piece for piece in self.pieces or () if self.counts(piece)]

    @staticmethod
    def counts(piece: Piece) -> bool:
        """Whether f moves on the piece and its probability is worth counting."""
        return piece.direction != 0 and piece.mass > _NEGLIGIBLE

    @property
    def injective(self) -> bool:
        """Whether no two moving pieces share outputs."""
        ranges = sorted(piece.range for piece in self.moving)
        return self.pieces is not None and all(
            before[1] <= after[0] + 1e-12 * (1 + abs(after[0])) for before, after in pairwise(ranges)
        )

    def _underflows(self, index: int) -> bool:
        """Whether a flat piece is flat only because f' is too small for float64."""
        assert self.pieces is not None
        piece = self.pieces[index]
        for neighbour, edge in ((index - 1, piece.low), (index + 1, piece.high)):
            if 0 <= neighbour < len(self.pieces) and self.pieces[neighbour].direction:
                other = self.pieces[neighbour]
                inner = other.high if edge == piece.low else other.low
                if 0 < abs(float(self.curve.slope(np.array([inner]))[0])) < _UNDERFLOW:
                    return True
        return False

    # Values

    def branches(self, x: Array) -> list[tuple[Array, Mask]]:
        """For each moving piece: preimages of f(x), shape (n,), and where there are any, shape (n,).

        On the piece of x itself the preimage is x, exactly.
        """
        y = self.curve.value(x)
        lows = np.array([piece.low for piece in self.pieces or ()])
        # a number between two pieces, or beyond the last, belongs to the one before it
        home = np.clip(np.searchsorted(lows, x, side="right") - 1, 0, max(lows.size - 1, 0))
        result = []
        for index, piece in enumerate(self.pieces or ()):
            if not self.counts(piece):
                continue
            own = home == index
            low, high = piece.range
            reached = own | ((y > low) & (y < high))
            other = reached & ~own
            found = x.copy()
            if other.any():
                found[other] = piece.inverse(y[other], self.curve)
            result.append((found, reached))
        return result

    def log_q(self, x: Array) -> Array:
        """log q(f(x)) at inputs x, shape (n,); equation (2)."""
        parts = []
        for found, reached in self.branches(x):
            with np.errstate(all="ignore"):
                log_part = self.density.log_pdf(found) - self.curve.log_slope(found)
            parts.append(np.where(reached, log_part, -np.inf))
        if not parts:
            return np.full(x.shape, -np.inf)
        return np.logaddexp.reduce(np.stack(parts), axis=0) if len(parts) > 1 else parts[0]

    def score(self, x: Array) -> Array:
        """s_q(f(x)) at inputs x, shape (n,); equation (2b). NaN where f is flat."""
        logs, scores = [], []
        for found, reached in self.branches(x):
            with np.errstate(all="ignore"):
                slope = self.curve.slope(found)
                log_part = self.density.log_pdf(found) - np.log(np.abs(slope))
                score = (self.density.score(found) - self.curve.curvature(found) / slope) / slope
            logs.append(np.where(reached, log_part, -np.inf))
            scores.append(np.where(reached, score, 0.0))
        if not logs:
            return np.full(x.shape, np.nan)
        log_parts = np.stack(logs)
        with np.errstate(all="ignore"):
            share = np.exp(log_parts - np.logaddexp.reduce(log_parts, axis=0))
            total = np.where(share > 0, share * np.stack(scores), 0.0).sum(axis=0)
        return np.where(np.isneginf(log_parts).all(axis=0), np.nan, total)

    def breaks(self) -> Array:
        """Where x ↦ log q(f(x)) is not smooth: the pieces' ends and every other point of the same output."""
        if self.pieces is None:
            return np.empty(0)
        ends = np.array([end for piece in self.pieces for end in (piece.low, piece.high)])
        corners = np.array([value for piece in self.pieces for value in (piece.y[0], piece.y[-1])])
        corners = np.unique(corners)
        found = [ends]
        for piece in self.moving:
            low, high = piece.range
            inner = corners[(corners > low) & (corners < high)]
            if inner.size:
                found.append(piece.inverse(inner, self.curve))
        return np.unique(np.concatenate(found))

    def preimages(self, y: float) -> list[float]:
        """All x with f(x) = y on moving pieces."""
        return [
            float(piece.inverse(np.array([y]), self.curve)[0])
            for piece in self.moving
            if piece.range[0] < y < piece.range[1]
        ]

    # Entropy

    def entropy(self) -> Measured:
        """H(f(X)) = -E[log q(f(X))] in nats; -inf where Y has atoms. Needs `pieces`."""
        if self.atoms or not self.moving:
            return Measured(-math.inf, 0.0)
        # each node is sought on every piece: many pieces are integrated less finely
        tolerance, limit = (1e-9, 150_000) if len(self.moving) <= 12 else (1e-7, 20_000)
        edges = merge(self.density.panels(), graded(self.breaks(), self.density))
        edges = edges[(edges >= self.moving[0].low) & (edges <= self.moving[-1].high)]

        def integrand(x: Array) -> Array:
            weight = np.exp(self.density.log_pdf(x))
            value = -self.log_q(x)
            return np.where((weight > 0) & np.isfinite(value), weight * value, 0.0)

        result = integrate(integrand, edges, tolerance, limit)
        tail, diverges = self.density.tails(result.left, result.right, result.parts)
        if self.lost:
            tail, diverges = self._saturated_tail()
        if diverges:
            return Measured(math.copysign(math.inf, diverges), 0.0)
        return Measured(result.value + tail, result.error + abs(tail) + 1e-14 * (1 + abs(result.value)))

    def _saturated_tail(self) -> tuple[float, float]:
        """E[log|f'|] over the parts where f' underflows, from how it grew just before, and its divergence.

        Compares mass·log|f'| at the border with the same where the tail is e times as heavy.
        """
        total = 0.0
        for piece in self._underflowed:
            upper = piece.low > self.density.centre
            border = piece.low if upper else piece.high
            heavier = self.density.tail_quantile(np.array([piece.mass * math.e]), upper)
            at = np.array([np.nextafter(border, self.density.centre), heavier[0]])
            ends = self.curve.log_slope(at) * np.array([1.0, math.e]) * piece.mass
            ratio = ends[0] / ends[1] if ends[1] else 0.0
            if not math.isfinite(ratio) or ratio > 0.95:
                return 0.0, -1.0
            total += float(ends[0]) / (1 - ratio)
        return total, 0.0


@lru_cache(maxsize=64)
def _pushforward(curve: Curve, density: Density) -> Pushforward:
    return Pushforward(curve, density)


def pushforward(curve: Curve, density: Density) -> Pushforward:
    """The output density of a curve under a density; remembered, since finding the pieces costs most."""
    return _pushforward(curve, density)


def graded(breaks: Array, density: Density) -> Array:
    """Breaks with panels on both sides that shrink by factors of 8 towards them (fewer if many breaks).

    At a fold log q has a logarithmic singularity, which plain panels would approach only slowly.
    """
    if not breaks.size:
        return breaks
    levels = 12 if breaks.size <= 24 else 5
    distance = density.spread * 8.0 ** -np.arange(1, levels + 1)
    near = breaks[:, None] + np.concatenate([-distance, [0.0], distance])
    return np.unique(near)
