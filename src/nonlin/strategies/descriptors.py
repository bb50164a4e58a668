"""What a surrogate sees of a function: outputs, slopes, and six numbers that follow from them.

A network whose weights are drawn symmetrically trains f(x), -f(x) and f(-x) alike, so of these forms one is taken.
"""

from __future__ import annotations

import numpy as np

from nonlin.strategies.sketch import LEVELS, QUANTILES, Sketches, spacing_entropy

SLOPE_WEIGHT = 0.5  # of slopes beside outputs in the distance of two functions
# Typical middle and spread of the six numbers among the functions of core-1; no outcome went into these.
MIDDLE = np.array([0.5, 0.45, -0.2, 0.15, -0.7, 0.5])
SPREAD = np.array([0.35, 0.35, 1.3, 0.2, 0.5, 1.1])
SHAPE, NUMBERS = slice(None, -len(MIDDLE)), slice(-len(MIDDLE), None)  # columns of `descriptors`
WIDTH = 2 * QUANTILES - 1 + len(MIDDLE)


def descriptors(sketches: Sketches) -> np.ndarray:
    """(n, 101): 48 outputs and 47 slopes, scaled so that squared distances are means over N(0, 1); then six numbers.

    Of f(x), -f(x), f(-x) and -f(-x) the form with a positive mean and a positive correlation with x is taken. The
    numbers: mean, correlation with x, log E[f'²], share that is flat, entropy, log of the largest slope.
    """
    y = sketches.outputs()
    y = np.where(y.mean(axis=1, keepdims=True) < 0, -y, y)
    falls = (y * LEVELS).mean(axis=1) < 0
    y[falls] = y[falls, ::-1]
    slopes = np.clip(np.diff(y, axis=1) / np.diff(LEVELS), -4.0, 4.0)
    numbers = np.stack(
        [
            y.mean(axis=1),
            (y * LEVELS).mean(axis=1),
            np.log((slopes**2).mean(axis=1) + 1e-3),
            (np.abs(slopes) < 0.05).mean(axis=1),
            spacing_entropy(y),
            np.log(np.abs(slopes).max(axis=1) + 1e-3),
        ],
        axis=1,
    )
    return np.hstack(
        [y / np.sqrt(QUANTILES), SLOPE_WEIGHT * slopes / np.sqrt(QUANTILES - 1), (numbers - MIDDLE) / SPREAD]
    )
