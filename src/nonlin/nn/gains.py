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
from nonlin.zoo import Activation, activation

Keeps = Literal["second-moment", "variance"]
_REACH = 12.0  # φ(12) ~ 1e-32
_PANELS = 48_000  # a kink at any multiple of 0.0005 falls on a node


def gain(f: Activation | str, keeps: Keeps = "second-moment") -> float:
    """Gain of `f` at its initial parameter values, under z ~ N(0, 1).

    Parameters
    ----------
    f : name, formula or activation
    keeps : "second-moment" for 1/√E[f(z)²], which preserves the variance of the pre-activations
        (√2 for ReLU); "variance" for 1/std[f(z)]

    Raises
    ------
    NonlinError : if the moment is zero or not finite, as for a constant under "variance".

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
    """E[f] and E[f²] under N(0, 1) by Simpson's rule in float64."""
    import torch

    z = torch.linspace(-_REACH, _REACH, _PANELS + 1, dtype=torch.float64)
    weight = torch.full_like(z, 2.0)
    weight[1::2] = 4.0
    weight[0] = weight[-1] = 1.0
    weight = weight * (z[1] - z[0]) / 3 * torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    values = act(z)
    return float((weight * values).sum()), float((weight * values * values).sum())
