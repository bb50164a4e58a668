"""The gain of an activation: by how much weights must grow so that signals keep their size.

For z ~ N(0, 1) and weights of variance gain²/fan_in, the next pre-activation has variance
gain²·E[f(z)²]; it stays 1 for gain = 1/√E[f²] (He et al. 2015, arXiv:1502.01852, equation 10: √2 for
ReLU). The value is computed, for any function, by quadrature.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from nonlin.errors import NonlinError
from nonlin.zoo import Activation, activation

if TYPE_CHECKING:
    from torch import Tensor

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
    if not math.isfinite(moment) or moment <= 1e-24 * max(1.0, second):
        raise NonlinError(
            f"{act.name} has no gain: its {keeps} under N(0, 1) is {moment:g}. "
            "It needs a function that is finite and not constant."
        )
    return 1.0 / math.sqrt(moment)


@lru_cache(maxsize=16384)
def _moments(act: Activation) -> tuple[float, float]:
    """E[f] and E[f²] under N(0, 1); NaN where two rules disagree, as they do for integrals that diverge."""
    fine, coarse = _midpoints(act, 12.0, 48_000), _midpoints(act, 9.0, 28_001)
    agree = abs(fine[1] - coarse[1]) <= 1e-3 * abs(fine[1])
    return fine if agree else (math.nan, math.nan)


def _midpoints(act: Activation, reach: float, panels: int) -> tuple[float, float]:
    """E[f] and E[f²] by the midpoint rule in float64: exact to rounding for smooth f, O(h²) at kinks.

    A jump or a pole at a border of two panels, as at 0, is met by symmetry.
    """
    from nonlin.native.direct import value
    from nonlin.native.program import function

    z, weight = _panels(reach, panels)
    compiled = function(act.expr, tuple(act.parameters))  # the one that a training in the core needs next
    if compiled.supported:
        values = value(compiled, z, [z.new_tensor(number) for _, number in act.initial])
    else:
        values = act(z)
    weighted = weight * values
    return float(weighted.sum()), float((weighted * values).sum())


@lru_cache(maxsize=4)
def _panels(reach: float, panels: int) -> tuple[Tensor, Tensor]:
    """The middles of the panels and N(0, 1)'s density there times their width, each (panels,), float64."""
    import torch

    width = 2 * reach / panels
    z = -reach + width * (torch.arange(panels, dtype=torch.float64) + 0.5)
    return z, width / math.sqrt(2 * math.pi) * torch.exp(-0.5 * z * z)
