"""Two classes seen through an activation: how much their outputs overlap, and what entropy has to do with it.

With class C and output Y, the best classifier of Y errs with probability E[min(P(0|Y), P(1|Y))]. No
function of X can lower that below the error on X itself; an invertible one leaves it, a fold or a flat
part can only raise it. Entropy enters by H(Y) = H(Y|C) + I(C;Y): an activation is good for the classes
not when H(Y) is low but when it spends its entropy between them, and

    error <= (H(C) - I(C;Y)) / (2·log 2)                [Hellman1970]                               (16)

References: [Hellman1970] M. Hellman, J. Raviv, Probability of error, equivocation, and the Chernoff
bound, IEEE Trans. Inf. Theory 16, 1970.

Equation numbers are those of docs/theory.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nonlin.entropy.analytic import Mixture
from nonlin.entropy.base import Measured, merge
from nonlin.entropy.curve import ActivationLike, as_curve, resolve
from nonlin.entropy.density import density
from nonlin.entropy.pushforward import Pushforward, graded, pushforward
from nonlin.entropy.quadrature import integrate
from nonlin.errors import EntropyError

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Overlap:
    """Two classes after an activation. Entropies in nats.

    Attributes
    ----------
    bayes_error : error of the best classifier of the output
    coefficient : ∫ min(q0, q1) dy, the overlap of the two output densities, from 0 to 1
    information : I(C;Y), what the output tells about the class
    equivocation : H(C|Y) = H(C) - I(C;Y), what stays open
    entropy : H(Y) of the output over both classes; -inf with atoms
    error : estimated error of these numbers
    """

    bayes_error: float
    coefficient: float
    information: float
    equivocation: float
    entropy: float
    error: float

    @property
    def error_bound(self) -> float:
        """The largest Bayes error that this equivocation allows; equation (16)."""
        return self.equivocation / (2 * math.log(2))

    @property
    def within(self) -> float:
        """H(Y|C), the entropy of the output inside the classes."""
        return self.entropy - self.information


def overlap(f: ActivationLike, p0: Any, p1: Any, priors: tuple[float, float] = (0.5, 0.5)) -> Overlap:
    """Overlap and Bayes error of two classes' outputs.

    Parameters
    ----------
    f : a name, a formula or an Activation
    p0, p1 : the classes' densities of the pre-activation, their names, or samples
    priors : probabilities of the classes

    Raises
    ------
    EntropyError : for priors that are not positive or do not add up to 1, or an f with too many folds
    """
    if len(priors) != 2 or min(priors) <= 0 or abs(sum(priors) - 1) > 1e-9:
        raise EntropyError(f"priors={priors!r} must be two positive numbers that add up to 1.")
    classes = [density(p0), density(p1)]
    both = Mixture(classes, np.array(priors, dtype=float), {"weights": list(priors)})
    exact = pushforward(as_curve(f), both)
    if exact.pieces is None:
        raise EntropyError(f"{resolve(f).name} has too many folds under these densities; use narrower ones.")
    shares = _Shares(exact, both)
    error = shares.expect(lambda share: np.minimum(share, 1 - share))
    coefficient = shares.expect(lambda share: np.minimum((1 - share) / priors[0], share / priors[1]))
    information = shares.expect(lambda share: _divergence(share, priors[1]))
    prior_entropy = -sum(prior * math.log(prior) for prior in priors)
    told = min(max(information.value, 0.0), prior_entropy)
    return Overlap(
        error.value, coefficient.value, told, prior_entropy - told, exact.entropy().value,
        max(error.error, coefficient.error, information.error),
    )  # fmt: skip


def _divergence(share: Array, prior: float) -> Array:
    """Relative entropy of (1 - share, share) from the priors."""
    with np.errstate(all="ignore"):
        one = np.where(share > 0, share * np.log(share / prior), 0.0)
        zero = np.where(share < 1, (1 - share) * np.log((1 - share) / (1 - prior)), 0.0)
    return one + zero


class _Shares:
    """P(class 1 | Y), over the pieces on which f moves and at its atoms."""

    def __init__(self, exact: Pushforward, both: Mixture):
        self.exact, self.both = exact, both
        self.edges = merge(both.panels(), graded(exact.breaks(), both))

    def posterior(self, x: Array) -> Array:
        """P(class 1 | Y = f(x)) where f moves at x, shape (n,)."""
        total, first = [], []
        for found, reached in self.exact.branches(x):
            with np.errstate(all="ignore"):
                log_slope = self.exact.curve.log_slope(found)
                parts = self.both.log_parts(found) - log_slope
            parts = np.where(reached, parts, -np.inf)
            total.append(np.logaddexp.reduce(parts, axis=0))
            first.append(parts[1])
        with np.errstate(all="ignore"):
            share = np.exp(np.logaddexp.reduce(np.stack(first)) - np.logaddexp.reduce(np.stack(total)))
        return np.nan_to_num(np.clip(share, 0.0, 1.0))

    def expect(self, function: Callable[[Array], Array]) -> Measured:
        """E[function(P(class 1 | Y))]."""

        def integrand(x: Array) -> Array:
            moving = np.zeros(x.shape, dtype=bool)
            for piece in self.exact.moving:
                moving |= (x >= piece.low) & (x <= piece.high)
            return np.where(moving, np.exp(self.both.log_pdf(x)) * function(self.posterior(x)), 0.0)

        value, error = 0.0, 0.0
        if self.exact.moving:
            result = integrate(integrand, self.edges, tolerance=1e-8, limit=30_000)
            value, error = result.value, result.error
        for mass, share in self._atoms():
            value += mass * float(function(np.array([share]))[0])
        return Measured(float(value), error + 1e-12)

    def _atoms(self) -> list[tuple[float, float]]:
        """Probability of each atom, and the share of class 1 in it; flat parts of one value are one."""
        values: dict[float, list[float]] = {}
        for piece in self.exact.pieces or ():
            if piece.direction == 0:
                masses = [
                    float(weight) * part.mass(piece.low, piece.high)
                    for weight, part in zip(self.both.weights, self.both.components, strict=True)
                ]
                held = values.setdefault(round(float(piece.y[0]), 12), [0.0, 0.0])
                values[round(float(piece.y[0]), 12)] = [held[0] + masses[0], held[1] + masses[1]]
        return [(sum(held), held[1] / sum(held)) for held in values.values() if sum(held) > 0]
