"""Which functions of a space are like each other: tanh and atan nearly one, tanh and cosh not at all.

Known by what they compute and by nothing else: outputs at quantiles of N(0, 1), or at pairs of them, over their size.
What is learned of one function then holds, in part, for those like it.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch

from nonlin.strategies.component import Component
from nonlin.strategies.sketch import normalised

POINTS = 16  # quantiles; of two inputs every pair of them
REACH = 0.6  # distance, in deviations of an output, at which two functions say little about each other


@lru_cache(maxsize=16)
def likeness(components: tuple[Component, ...]) -> np.ndarray:
    """(n, n), 1 on its diagonal: a Matérn 3/2 function of the distance of outputs; parameters are at 1."""
    levels = torch.special.ndtri((torch.arange(POINTS, dtype=torch.float64) + 0.5) / POINTS)
    grids = [grid.reshape(1, -1) for grid in torch.meshgrid(*[levels] * len(components[0].inputs), indexing="ij")]
    one = torch.ones(1, 1, dtype=torch.float64)
    with torch.no_grad():
        rows = [f.values(grids, [one] * len(f.parameters)).expand(grids[0].shape).numpy() for f in components]
    outputs = normalised(np.concatenate(rows))
    away = np.sqrt(((outputs[:, None] - outputs) ** 2).mean(axis=2)) * math.sqrt(3) / REACH
    found = (1 + away) * np.exp(-away)
    found.flags.writeable = False  # remembered
    return found


@lru_cache(maxsize=16)
def sharing(components: tuple[Component, ...], share: float) -> np.ndarray:
    """(n, n), symmetric: weights times this have the prior (1 - share)·1 + share·likeness if theirs is 1."""
    values, vectors = np.linalg.eigh((1 - share) * np.eye(len(components)) + share * likeness(components))
    found = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    found.flags.writeable = False
    return found
