"""Adaptive Gauss-Kronrod quadrature in float64 on many panels at once, with an error estimate.

A function is evaluated on all panels' nodes in one call, and the panels that contribute most to the
error are halved until it is small enough. Kinks and logarithmic singularities at panel edges cost a
few more rounds, nothing else.

References: [Piessens1983] R. Piessens et al., QUADPACK, Springer 1983 (the 7-15 rule and its error
estimate).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Function = Callable[[Array], Array]

# The 15 Kronrod nodes on [-1, 1] with their weights, and the weights of the 7 Gauss nodes among them.
_HALF_NODES = (
    0.991455371120812639206854697526329, 0.949107912342758524526189684047851,
    0.864864423359769072789712788640926, 0.741531185599394439863864773280788,
    0.586087235467691130294144691693930, 0.405845151377397166906606412076961,
    0.207784955007898467600689403773245, 0.0,
)  # fmt: skip
_HALF_KRONROD = (
    0.022935322010529224963732008058970, 0.063092092629978553290700663189204,
    0.104790010322250183839876322541518, 0.140653259715525918745189590510238,
    0.169004726639267902826583426598550, 0.190350578064785409913256402421014,
    0.204432940075298892414161999234649, 0.209482141084727828012999174891714,
)  # fmt: skip
_HALF_GAUSS = (
    0.129484966168869693270611432679082, 0.279705391489276667901467771423780,
    0.381830050505118944950369775488975, 0.417959183673469387755102040816327,
)  # fmt: skip
NODES: Array = np.array([-t for t in _HALF_NODES[:-1]] + list(_HALF_NODES[::-1]))
WEIGHTS: Array = np.array(list(_HALF_KRONROD) + list(_HALF_KRONROD[-2::-1]))
_GAUSS: Array = np.zeros(15)
_GAUSS[1::2] = [*_HALF_GAUSS, *_HALF_GAUSS[-2::-1]]


@dataclass(frozen=True)
class Integral:
    """The value of an integral and an estimate of its error.

    `left`, `right` and `parts`, of shape (panels,), are the final panels in order and what each
    contributes.
    """

    value: float
    error: float
    left: Array
    right: Array
    parts: Array


def nodes(left: Array, right: Array) -> tuple[Array, Array]:
    """Nodes and weights of the 15-point rule on panels, each of shape (panels, 15)."""
    half = 0.5 * (right - left)[:, None]
    middle = 0.5 * (right + left)[:, None]
    return middle + half * NODES, half * WEIGHTS


def integrate(
    function: Function, edges: Array, tolerance: float = 1e-10, limit: int = 150_000, rounds: int = 48
) -> Integral:
    """The integral of `function` over [edges[0], edges[-1]], with panels between the edges at first.

    Parameters
    ----------
    function : of a float64 array of shape (n,), returning shape (n,)
    edges : increasing, shape (panels + 1,)
    tolerance : absolute, and relative to the integral of the absolute value
    limit : largest number of evaluations
    rounds : largest number of halvings of one panel

    Returns
    -------
    Integral; its error is above the tolerance if the limits were reached. It is infinite if the
    function is not finite somewhere.
    """
    left, right = edges[:-1], edges[1:]
    wide = right > left
    left, right = left[wide], right[wide]
    value, error, size = _rule(function, left, right)
    used = left.size * 15
    for _ in range(rounds):
        target = tolerance * max(1.0, float(size.sum()))
        if not np.isfinite(value).all() or error.sum() <= target or used >= limit:
            break
        # halve every panel whose error is above its share, the share being by number, not by width
        poor = error > max(target / (2 * error.size), 1e-3 * float(error.max()))
        middle = 0.5 * (left[poor] + right[poor])
        divisible = (middle > left[poor]) & (middle < right[poor])
        poor[poor] = divisible
        if not poor.any():
            break
        middle = middle[divisible]
        new_left = np.concatenate([left[poor], middle])
        new_right = np.concatenate([middle, right[poor]])
        new = _rule(function, new_left, new_right)
        used += new_left.size * 15
        left, right = np.concatenate([left[~poor], new_left]), np.concatenate([right[~poor], new_right])
        value, error, size = (
            np.concatenate([old[~poor], fresh]) for old, fresh in zip((value, error, size), new, strict=True)
        )
    order = np.argsort(left, kind="stable")
    total = float(value.sum())
    return Integral(
        total, float(error.sum()) if np.isfinite(total) else np.inf, left[order], right[order], value[order]
    )


def _rule(function: Function, left: Array, right: Array) -> tuple[Array, Array, Array]:
    """Value, error estimate and integral of the absolute value on each panel [Piessens1983]."""
    x, weights = nodes(left, right)
    with np.errstate(all="ignore"):
        y = function(x.reshape(-1)).reshape(x.shape)
        kronrod = (weights * y).sum(axis=1)
        half = 0.5 * (right - left)
        gauss = half * (y @ _GAUSS)
        size = (weights * np.abs(y)).sum(axis=1)
        mean = kronrod / np.where(right > left, right - left, 1.0)
        spread = (weights * np.abs(y - mean[:, None])).sum(axis=1)
        error = np.abs(kronrod - gauss)
        scaled = spread * np.minimum(1.0, (200 * error / np.where(spread > 0, spread, 1.0)) ** 1.5)
        error = np.where(spread > 0, scaled, error)
    floor = 2e-16 * size
    return kronrod, np.maximum(error, floor), size
