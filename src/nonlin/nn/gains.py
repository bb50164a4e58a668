"""The gain of an activation: by how much weights must grow so that signals keep their size.

For z ~ N(0, 1) and weights of variance gain²/fan_in, the next pre-activation has variance
gain²·E[f(z)²]; it stays 1 for gain = 1/√E[f²] (He et al. 2015, arXiv:1502.01852, equation 10: √2 for
ReLU). The value is computed, for any function, by quadrature.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

from nonlin.errors import NonlinError
from nonlin.native.moments import AGREEMENT, RULES, midpoints, moments, usable
from nonlin.native.program import function
from nonlin.zoo import Activation, activation

Keeps = Literal["second-moment", "variance"]


def gain(f: Activation | str, keeps: Keeps = "second-moment") -> float:
    """Gain of `f` at its initial parameter values, under z ~ N(0, 1).

    Parameters
    ----------
    f : name, formula or activation
    keeps : "second-moment" for 1/√E[f(z)²], which preserves the variance of the pre-activations
        (√2 for ReLU); "variance" for 1/std[f(z)]

    Raises
    ------
    NonlinError : if the moment is zero or does not exist, as for a constant under "variance", or for 1/x.

    >>> round(gain("relu"), 6)
    1.414214
    """
    act = activation(f)
    if keeps not in ("second-moment", "variance"):
        raise NonlinError(f"keeps={keeps!r} is not known; use 'second-moment' or 'variance'.")
    mean, second = _moments(act)
    moment = second if keeps == "second-moment" else second - mean * mean
    if not usable(moment, second):
        raise NonlinError(
            f"{act.name} has no gain: its {keeps} under N(0, 1) is {moment:g}. "
            "It needs a function that is finite and not constant."
        )
    return 1.0 / math.sqrt(moment)


@lru_cache(maxsize=16384)
def _moments(act: Activation) -> tuple[float, float]:
    """E[f] and E[f²] under N(0, 1); NaN where two rules disagree, as they do for integrals that diverge."""
    compiled = function(act.expr, tuple(act.parameters))  # the one that a training in the core needs next
    if compiled.supported:
        return moments(compiled, tuple(value for _, value in act.initial))
    fine, coarse = (_midpoints(act, *rule) for rule in RULES)
    agree = abs(fine[1] - coarse[1]) <= AGREEMENT * abs(fine[1])
    return fine if agree else (math.nan, math.nan)


def _midpoints(act: Activation, reach: float, panels: int) -> tuple[float, float]:
    """E[f] and E[f²] by the midpoint rule in float64, evaluated by torch: exact to rounding for smooth f, O(h²) at
    kinks. A jump or a pole at a border of two panels, as at 0, is met by symmetry.
    """
    z, weight = midpoints(reach, panels)
    values = act(z)
    weighted = weight * values
    return float(weighted.sum()), float((weighted * values).sum())
