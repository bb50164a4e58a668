"""H and J of an activation: how much entropy its output has, in nats.

    H(f) = -∫ q log q            q the density of Y = f(X)                                  (1)
    J(f) = H(f) - log sd(Y) - log(2πe)/2  <= 0, and 0 exactly for Gaussian Y                    (5)

H can be lowered by shrinking the output alone, H(a·f + b) = H(f) + log|a|; J cannot (Comon 1994's
negentropy, negated). Neither alone says which activation trains better.

Equation numbers are those of docs/theory.md.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from nonlin.entropy.base import Density, Measured
from nonlin.entropy.curve import ActivationLike, Curve, as_curve, resolve
from nonlin.entropy.density import density
from nonlin.entropy.empirical import as_samples
from nonlin.entropy.pushforward import pushforward
from nonlin.entropy.samples import histogram_entropy, spacings_entropy
from nonlin.entropy.smoothed import smoothed_entropy
from nonlin.errors import DensityError, EntropyError

Array = npt.NDArray[np.float64]
HALF_LOG_2PIE = 0.5 * math.log(2 * math.pi * math.e)
_DRAWS, _SEED = 1 << 19, 20240524  # where an output has too many pieces for quadrature


def is_samples(p: Any) -> bool:
    """Whether `p` is data (an array, a tensor, a list), not a density, a name or a function."""
    return not isinstance(p, Density | str) and not callable(p)


def H(f: ActivationLike, p: Any = "normal", smoothing: float = 0.0) -> float:
    """Entropy of f(X), in nats. See `entropy`, which also gives the error."""
    return entropy(f, p, smoothing).value


def J(f: ActivationLike, p: Any = "normal", smoothing: float = 0.1) -> float:
    """Scale-free entropy of f(X), in nats: at most 0. See `scale_free`, which also gives the error."""
    return scale_free(f, p, smoothing).value


def entropy(f: ActivationLike, p: Any = "normal", smoothing: float = 0.0) -> Measured:
    """H(f(X) + smoothing·Z) in nats, with an error estimate. Equation (1).

    Parameters
    ----------
    f : a name, a formula or an Activation; parameters at their initial values
    p : a density or its name (the exact output density is integrated), or samples of X as an array or
        tensor of any shape (spacings, or a smoothed histogram)
    smoothing : standard deviation of Gaussian noise added to the output, in units of the output

    Returns
    -------
    Measured. -inf without smoothing where a positive part of the probability falls on one output (an
    atom: ReLU's zero half, a step), and where the integral itself diverges to it.

    Raises
    ------
    EntropyError : if f is not finite on a part of the support, or smoothing is negative
    DensityError : for samples that are empty or not finite
    """
    sigma = _check_smoothing(smoothing)
    if is_samples(p):
        return _of_batch(_outputs(f, p), sigma)
    source, curve = density(p), as_curve(f)
    if sigma > 0:
        return smoothed_entropy(curve, source, sigma)
    exact = pushforward(curve, source)
    return exact.entropy() if exact.pieces is not None else _from_draws(curve, source)


def scale_free(f: ActivationLike, p: Any = "normal", smoothing: float = 0.1) -> Measured:
    """J(f) = H_sigma - ½·log(Var f(X) + sigma²) - ½·log(2πe), sigma = smoothing·sd. Equation (5).

    Parameters
    ----------
    f, p : as for `entropy`
    smoothing : standard deviation of the noise in units of the output's standard deviation, which keeps
        J unchanged by every a·f + b; 0 for none

    Raises
    ------
    EntropyError : if f is constant, or its output has no variance under p
    """
    relative = _check_smoothing(smoothing)
    if is_samples(p):
        outputs = _outputs(f, p)
        variance = float(np.var(outputs, dtype=np.float64))
        _check_variance(f, variance, "the samples")
        measured = _of_batch(outputs, relative * math.sqrt(variance))
    else:
        source = density(p)
        variance = moments(f, source)[1]
        measured = entropy(f, source, relative * math.sqrt(variance))
    shift = 0.5 * math.log(variance * (1 + relative**2)) + HALF_LOG_2PIE
    return Measured(measured.value - shift, measured.error, measured.method)


def moments(f: ActivationLike, p: Any = "normal") -> tuple[float, float]:
    """Mean and variance of f(X).

    Raises EntropyError if f is constant, or if they are infinite or do not exist.
    """
    source, curve = density(p), as_curve(f)
    exact = pushforward(curve, source)
    if exact.pieces is None:
        y = curve.value(draws(source, _DRAWS))
        mean, variance = float(y.mean()), float(y.var())
    else:
        breaks = np.array([end for piece in exact.pieces for end in (piece.low, piece.high)])
        mean = source.expect(curve.value, breaks).value
        variance = (
            source.expect(lambda x: (curve.value(x) - mean) ** 2, breaks).value if math.isfinite(mean) else math.inf
        )
    _check_variance(f, variance, f"the density {source.name}")
    return mean, variance


def output_scale(f: ActivationLike, source: Density) -> float:
    """The standard deviation of f(X), or where it has none the interquartile range in its place."""
    try:
        return math.sqrt(moments(f, source)[1])
    except EntropyError:
        quarters = np.percentile(as_curve(f).value(draws(source, 1 << 14)), [25, 75])
        spread = float(quarters[1] - quarters[0]) / 1.349
        if not (math.isfinite(spread) and spread > 0):
            raise
        return spread


def draws(source: Density, count: int) -> Array:
    """Draws of a density that are the same each time, shape (count,)."""
    return source.sample(count, _SEED)


def _from_draws(curve: Curve, source: Density) -> Measured:
    """H by spacings of draws, for outputs with too many pieces."""
    y = curve.value(draws(source, _DRAWS))
    if not np.isfinite(y).all():
        raise EntropyError(f"{curve.name} is not finite on a part of the density {source.name}.")
    return spacings_entropy(y)


def _outputs(f: ActivationLike, samples: Any) -> npt.NDArray[Any]:
    """f of samples, flat, in their own precision (half precision in float32)."""
    import torch

    act = resolve(f)
    if isinstance(samples, np.ndarray) and samples.dtype in (np.float32, np.float64):
        samples = torch.from_numpy(np.ascontiguousarray(samples))
    elif not isinstance(samples, torch.Tensor):
        samples = torch.from_numpy(as_samples(samples))
    if samples.numel() == 0 or not bool(torch.isfinite(samples).all()):
        as_samples(samples)  # says what is wrong
    if samples.numel() < 4:
        raise DensityError(f"an entropy needs at least 4 samples; got {samples.numel()}.")
    if samples.dtype in (torch.float16, torch.bfloat16) or not samples.is_floating_point():
        samples = samples.float()
    flat = samples.detach().reshape(-1)
    with torch.no_grad():
        y = act(flat).cpu().numpy()
    if not np.isfinite(y).all():
        bad = samples.reshape(-1)[int(np.flatnonzero(~np.isfinite(y))[0])]
        raise EntropyError(
            f"{act.name} is not finite at {int((~np.isfinite(y)).sum())} of the samples, such as x={float(bad):.4g}."
        )
    return y


def _of_batch(outputs: npt.NDArray[Any], sigma: float) -> Measured:
    return histogram_entropy(outputs, sigma) if sigma > 0 else spacings_entropy(outputs)


def _check_smoothing(smoothing: float) -> float:
    if isinstance(smoothing, bool) or not isinstance(smoothing, int | float) or not 0 <= smoothing < math.inf:
        raise EntropyError(f"smoothing={smoothing!r} must be a number that is 0 or above.")
    return float(smoothing)


def _check_variance(f: ActivationLike, variance: float, where: str) -> None:
    name = resolve(f).name
    if not math.isfinite(variance):
        raise EntropyError(
            f"the output of {name} has no finite variance under {where}, so it has no scale-free entropy. "
            "Use H, or a density with lighter tails."
        )
    if variance <= 1e-28:
        raise EntropyError(f"{name} is constant under {where}; the entropy of a constant has no scale.")
