"""The direction in which a layer's outputs lose entropy at fixed scale, from a histogram of them.

For outputs Y with density q, a change f → f + t·ξ changes the entropy H at the rate -E[ξ·s_q(Y)], where
s_q = (log q)' is the score; so the steepest descent is the score itself, and it needs neither an inverse
nor a derivative of f nor the density of its input. Shrinking lowers H too and means nothing, so the
score's part in the span of 1 and y is removed: what remains lowers J, the entropy at unit variance.

Atoms, such as ReLU's zeros, have no score. Y is observed with noise of variance σ²: with s the score of
the noisy density, Tweedie's formula E[Y | Y + σZ = u] = u + σ²·s(u) [Efron2011] shows that a step of at most
σ² along s, averaged once more over the noise, keeps outputs within their hull and in their order.

Units: deviations of the outputs from their mean, on a fixed grid.

References
----------
[Efron2011] B. Efron, "Tweedie's formula and selection bias", JASA 106 (2011)
[Sun2024] H. Sun et al., "A method on searching better activation functions", 2024 (arXiv:2405.12954):
    activations of lower entropy, for functions with an inverse
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

LOW, HIGH, BINS = -4.0, 6.0, 128
WIDTH = (HIGH - LOW) / BINS
LEAST_KAPPA = 0.1  # smoothing below the width of a bin would see the bins themselves
_NODES = 7  # of the Gauss-Hermite rule


def centres(device: torch.device | None = None) -> Tensor:
    """Centres of the bins, (BINS,)."""
    return LOW + WIDTH * (torch.arange(BINS, device=device, dtype=torch.float32) + 0.5)


def histogram(z: Tensor) -> Tensor:
    """Counts of standardised values z of shape (count,), as (BINS,); the outer bins take the tails."""
    bins = ((z - LOW) / WIDTH).nan_to_num(nan=0.0).clamp(0, BINS - 1).long()
    return torch.zeros(BINS, device=z.device, dtype=torch.float32).index_add_(
        0, bins, torch.ones_like(z, dtype=torch.float32)
    )


def scale_free_score(weights: Tensor, kappa: float) -> Tensor:
    """κ² times the smoothed score at the centres, without its part along 1 and y, both in L2(weights).

    weights : (BINS,), not negative, of sum 1. Result (BINS,).
    """
    c = centres(weights.device)
    nodes, node_weights = (
        torch.as_tensor(part, device=weights.device, dtype=torch.float32)
        for part in np.polynomial.hermite_e.hermegauss(_NODES)
    )
    noisy = c[:, None] + kappa * nodes  # (BINS, nodes)
    logits = weights.log() - 0.5 * ((noisy[..., None] - c) / kappa) ** 2  # (BINS, nodes, BINS)
    towards = (torch.softmax(logits, dim=-1) * c).sum(dim=-1) - noisy  # Tweedie: E[y | noisy] - noisy
    score = towards @ (node_weights / node_weights.sum())
    centred = c - (weights * c).sum()
    slope = (weights * centred * score).sum() / (weights * centred * centred).sum()
    return score - (weights * score).sum() - slope * centred


def displacement(weights: Tensor, kappa: float) -> Tensor:
    """How far each output moves at rho = 1: the scale-free score within its trust region, (BINS,).

    At most 3κ, and never so that two outputs change places. The mathematics sees to the second; the
    running maximum does so for a quadrature with few nodes.
    """
    c = centres(weights.device)
    move = scale_free_score(weights, kappa).clamp(-3 * kappa, 3 * kappa)
    return torch.cummax(c + move, dim=0).values - c


def segments(values: Tensor) -> Tensor:
    """A table on the centres as straight lines: (2, BINS + 1), intercepts and slopes by position.

    The position of y is 1/2 + (z - LOW)/WIDTH, which is k + 1 at centre k; segment i holds on [i, i + 1), and
    the two outer ones are constant.
    """
    slopes = torch.diff(values)
    places = torch.arange(1, BINS, device=values.device, dtype=values.dtype)
    inner = values[:-1] - slopes * places
    zero = values.new_zeros(1)
    return torch.stack([torch.cat([values[:1], inner, values[-1:]]), torch.cat([zero, slopes, zero])])


def interpolate(lines: Tensor, z: Tensor) -> Tensor:
    """The value of `segments`' lines at standardised outputs z of any shape."""
    place = positions(z)
    index = place.long().clamp_(0, BINS)
    return lines[0][index] + lines[1][index] * place


def positions(z: Tensor) -> Tensor:
    return ((z - LOW) / WIDTH + 0.5).clamp(0, BINS + 0.5)
