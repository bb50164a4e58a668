"""Entropy of a batch of outputs, without a density: spacings of the sorted values, or a smoothed histogram.

References: [Vasicek1976] O. Vasicek, A test for normality based on sample entropy, J. R. Stat. Soc. B
38, 1976. [Beirlant1997] J. Beirlant et al., Nonparametric entropy estimation, 1997, section 2.3 (the
m-spacing estimate and its bias, here with the exact digamma correction).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nonlin.entropy.base import Measured
from nonlin.entropy.empirical import linear_bins
from nonlin.errors import EntropyError

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[np.float64]
_BINS_PER_SIGMA = 16
_MOST_BINS = 1 << 22


def spacing_order(count: int) -> int:
    """How many samples a spacing spans: count^(1/3), which balances bias and variance."""
    return max(1, min(count // 3, round(count ** (1 / 3))))


def spacings_entropy(outputs: Any) -> Measured:
    """H in nats from m-spacings: mean of log(y_(i+m) - y_(i)), minus what uniform spacings would give.

    For i.i.d. outputs F(y_(i+m)) - F(y_(i)) is Beta(m, n+1-m), whose expected logarithm is
    psi(m) - psi(n+1) [Beirlant1997]. -inf if the outputs have an atom. The error holds the spread of the
    mean and the difference to the same estimate from every fourth output, whose spacings reach further.

    Parameters
    ----------
    outputs : array of at least 4 finite values, any shape; float32 is sorted as it is
    """
    values = np.sort(np.asarray(outputs).reshape(-1))
    value, spread = _from_sorted(values)
    if not math.isfinite(value):
        return Measured(value, 0.0, "spacings")
    error = spread / math.sqrt(values.size) + spacing_order(values.size) / values.size
    if values.size >= 64:
        error += abs(_from_sorted(values[::4])[0] - value) / 2
    return Measured(value, error, "spacings")


def _from_sorted(values: npt.NDArray[Any]) -> tuple[float, float]:
    """The estimate from sorted outputs, and the standard deviation of the logarithms in it."""
    from scipy.special import digamma

    count = values.size
    order = spacing_order(count)
    stride = max(1, order // 16)  # neighbouring spacings overlap and say nearly the same
    lower, upper = values[:-order:stride], values[order::stride]
    gaps = np.subtract(upper, lower, dtype=np.float64)
    tied = gaps <= 0
    if tied.any():
        if _has_atom(values, np.unique(lower[tied])):
            return -math.inf, 0.0
        gaps = np.maximum(gaps, np.spacing(np.abs(upper)).astype(np.float64))
    logs = np.log(gaps)
    return float(logs.mean()) - float(digamma(order)) + float(digamma(count + 1)), float(logs.std())


def _has_atom(ordered: npt.NDArray[Any], repeated: npt.NDArray[Any]) -> bool:
    """Whether a repeated value is a point of positive probability, and not only rounding.

    Rounding makes equal neighbours where the density is huge (at a fold, near saturation); then the
    numbers within a few units in the last place are populated too.
    """
    reach = 64 * np.spacing(np.abs(repeated))
    equal = np.searchsorted(ordered, repeated, side="right") - np.searchsorted(ordered, repeated, side="left")
    near = np.searchsorted(ordered, repeated + reach, side="right") - np.searchsorted(
        ordered, repeated - reach, side="left"
    )
    return bool((equal > 0.6 * near).any())


def histogram_entropy(outputs: Any, sigma: float) -> Measured:
    """H(Y + sigma·Z) in nats of outputs Y, from a finely binned histogram smoothed by FFT.

    Linear binning widens the outputs by step²/6 in variance; the Gaussian is narrowed by as much.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    values = np.asarray(outputs, dtype=np.float64).reshape(-1)
    step = sigma / _BINS_PER_SIGMA
    margin = 9 * _BINS_PER_SIGMA
    low, high = float(values.min()), float(values.max())
    if (high - low) / step > _MOST_BINS:
        raise EntropyError(
            f"smoothing={sigma:g} is too fine for outputs between {low:.4g} and {high:.4g}: it would need "
            f"{(high - low) / step:.2g} bins. Use a larger smoothing."
        )
    bins = int((high - low) / step) + 2 * margin + 3
    counts = linear_bins(values, low - margin * step, step, bins) / values.size
    length = next_fast_len(bins + margin, real=True)
    width = math.sqrt(sigma**2 - step**2 / 6)
    frequency = np.arange(length // 2 + 1) * (2 * math.pi / (length * step))
    smooth = irfft(rfft(counts, length) * np.exp(-0.5 * (width * frequency) ** 2), length)[:bins]
    used = smooth[smooth > 1e-14]  # what is left of rounding in the transform
    logs = np.log(used / step)
    mean = float((used * logs).sum())
    spread = math.sqrt(max(float((used * logs**2).sum()) - mean**2, 0.0))
    return Measured(-mean, spread / math.sqrt(values.size) + 1e-5, "histogram")


def batch_entropy(outputs: torch.Tensor) -> torch.Tensor:
    """H of a batch as a tensor without dimensions, differentiable by the outputs.

    The estimate of `spacings_entropy`; its gradient is the score of the outputs, from neighbours. Equal
    outputs give -inf and no useful gradient: add noise first.

    Parameters
    ----------
    outputs : tensor of any shape with at least 4 elements; float16 and bfloat16 are computed in float32
    """
    import torch

    values = outputs.reshape(-1)
    if values.numel() < 4:
        raise EntropyError(f"an entropy needs at least 4 outputs; got {values.numel()}.")
    values = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    count = values.numel()
    order = spacing_order(count)
    ordered = values.sort().values
    logs = torch.log(ordered[order:] - ordered[:-order])
    shift = torch.special.digamma(torch.tensor([count + 1.0, float(order)], dtype=torch.float64))
    return logs.mean() + float(shift[0] - shift[1])
