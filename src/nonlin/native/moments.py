"""E[f] and E[f²] for z ~ N(0, 1): a midpoint rule of very many panels, at the price of few points.

The rule that counts has 48,000 panels on [-12, 12]; a second one, whose panels begin elsewhere, must agree with it, or
the integral diverges. Where f is smooth, neither needs its points: between two borders f is interpolated in 21
Chebyshev points, and what the rule would give for the interpolant is a weighted sum of these 21 values. The interpolant
without its six highest degrees must give the same to thirteen digits; where it does not, as at a kink, a pole or a fast
oscillation, the rule's own points between these borders are evaluated, and around 0 they always are. So the result is
the rule's, whatever f is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from nonlin.native.library import FLOAT64, load
from nonlin.native.program import Function

Array = npt.NDArray[Any]

RULES = ((12.0, 48_000), (9.0, 28_001))  # (reach, panels)
AGREEMENT = 1e-3  # of the two rules, relative
NODES = 21  # interpolation points between two borders
KEPT = 15  # degrees that must do
CLOSE = 1e-13  # what the others may change, of the whole
# Narrow near 0, where core-1 and the like have their poles: 1/(|x| + 1e-5) is smooth between these borders.
BORDERS = (0.03, 0.06, 0.12, 0.24, 0.48, 0.96, 1.5, 2.1, 2.7, 3.4, 4.2, 5.0, 6.0, 7.5, 9.0, 12.0)


def moments(function: Function, values: tuple[float, ...]) -> tuple[float, float]:
    """E[f] and E[f²] for parameters of these values, in float64; NaN where the integrals diverge.

    Raises
    ------
    NonlinError : the compiled core is not there, or has no instructions for the function
    """
    with np.errstate(all="ignore"):
        mean, second, check = _sums(function, np.array(values or (0.0,)))
        agree = abs(second - check) <= AGREEMENT * abs(second)
    return (float(mean), float(second)) if agree else (math.nan, math.nan)


def usable(moment: float, second: float) -> bool:
    """Whether a gain follows from this moment of a function, whose second moment is `second`: finite, and not 0."""
    return math.isfinite(moment) and moment > 1e-24 * max(1.0, second)


@lru_cache(maxsize=2)
def midpoints(reach: float, panels: int) -> tuple[Array, Array]:
    """The middles of equal panels on [-reach, reach] and N(0, 1)'s density there times their width."""
    width = 2 * reach / panels
    z = -reach + width * (np.arange(panels) + 0.5)
    return z, width / math.sqrt(2 * math.pi) * np.exp(-0.5 * z * z)


@dataclass(frozen=True)
class _Piece:
    """The part of the rules between two borders."""

    points: Array  # those of both rules, the first's before the second's
    first: Array  # weights of the first rule's points
    second: Array


@dataclass(frozen=True)
class _Plan:
    """Where f is evaluated, and what follows from its values."""

    points: Array  # of the piece around 0, then NODES for each of the other pieces
    centre: _Piece
    pieces: tuple[_Piece, ...]
    first: Array  # (pieces, NODES): weights that give the first rule's result
    high: Array  # likewise, of the highest degrees alone
    second: Array  # likewise, the second rule's


@lru_cache(maxsize=1)
def _plan() -> _Plan:
    edges = [*pairwise(BORDERS)]
    edges += [(-high, -low) for low, high in edges]
    pieces = tuple(_piece(low, high) for low, high in edges)
    nodes = [_nodes(low, high) for low, high in edges]
    centre = _piece(-BORDERS[0], BORDERS[0])
    first = np.array(
        [_interpolated(x, one.points[: len(one.first)], one.first) for x, one in zip(nodes, pieces, strict=True)]
    )
    second = np.array(
        [_interpolated(x, one.points[len(one.first) :], one.second) for x, one in zip(nodes, pieces, strict=True)]
    )
    return _Plan(np.concatenate([centre.points, *nodes]), centre, pieces, first, first @ _highest(), second)


def _piece(low: float, high: float) -> _Piece:
    points, weights = [], []
    for z, weight in (midpoints(*rule) for rule in RULES):
        inside = (low < z) & (z < high)
        points.append(z[inside])
        weights.append(weight[inside])
    return _Piece(np.concatenate(points), *weights)


def _nodes(low: float, high: float) -> Array:
    """Chebyshev points, the borders among them, so that a kink beside a border is not overlooked."""
    return (low + high) / 2 + (high - low) / 2 * np.cos(np.arange(NODES) * math.pi / (NODES - 1))


def _highest() -> Array:
    """(NODES, NODES): from a polynomial's values at the nodes to those of its Chebyshev terms from degree KEPT on."""
    degrees = np.arange(NODES)
    cosines = np.cos(np.outer(degrees, degrees) * math.pi / (NODES - 1))  # of degree k at node j; symmetric
    halved = np.where((degrees == 0) | (degrees == NODES - 1), 0.5, 1.0)
    terms = 2 / (NODES - 1) * halved[:, None] * cosines * halved  # values to coefficients
    return np.asarray(cosines[:, KEPT:] @ terms[KEPT:])


def _interpolated(nodes: Array, points: Array, weights: Array) -> Array:
    """Weights of f(nodes) that give the sum of `weights` times the interpolant's values at `points`.

    Barycentric interpolation [Berrut & Trefethen 2004, equations 4.2 and 5.4].
    """
    signs = (-1.0) ** np.arange(len(nodes))
    signs[[0, -1]] /= 2
    distance = points[:, None] - nodes
    shares = signs / np.where(np.abs(distance) < 1e-15, 1e-15, distance)
    return np.asarray(weights @ (shares / shares.sum(axis=1, keepdims=True)))


def _sums(function: Function, theta: Array) -> tuple[float, float, float]:
    """The first rule's E[f] and E[f²], and the second's E[f²]."""
    plan = _plan()
    values = _values(function, plan.points, theta)
    at = len(plan.centre.points)
    nodes = values[at:].reshape(len(plan.pieces), NODES)
    squares = nodes * nodes
    found = np.stack([_rows(plan.first, nodes), _rows(plan.first, squares), _rows(plan.second, squares)])
    doubt = np.abs(np.stack([_rows(plan.high, nodes), _rows(plan.high, squares)]))
    centre = _by_the_rules(plan.centre, values[:at])
    whole = np.abs(found[1]).sum() + centre[1]
    allowed = CLOSE * np.array([[math.sqrt(whole)], [whole]])
    rough = np.flatnonzero(~(doubt <= allowed).all(axis=0))  # NaN is rough
    if len(rough):
        pieces = [plan.pieces[k] for k in rough]
        values = _values(function, np.concatenate([piece.points for piece in pieces]), theta)
        at = 0
        for k, piece in zip(rough, pieces, strict=True):
            found[:, k] = _by_the_rules(piece, values[at : at + len(piece.points)])
            at += len(piece.points)
    mean, second, check = found.sum(axis=1) + centre
    return mean, second, check


def _rows(weights: Array, values: Array) -> Array:
    """The sum of each row's products."""
    return np.einsum("ij,ij->i", weights, values)


def _by_the_rules(piece: _Piece, values: Array) -> Array:
    """As `_sums`, of the piece, from the values at its own points."""
    ours, others = values[: len(piece.first)], values[len(piece.first) :]
    return np.array([piece.first @ ours, piece.first @ (ours * ours), piece.second @ (others * others)])


def _values(function: Function, points: Array, theta: Array) -> Array:
    library = load()
    program = function.value
    assert library is not None
    out = np.empty_like(points)
    library.call(
        "nl_apply", program.address, FLOAT64, 1, points.size, 1, 1, points.ctypes.data, theta.ctypes.data, None,
        out.ctypes.data, None,
    )  # fmt: skip
    return out
