"""The Gaussian process that grows: its predictions are those of the textbook's formulas, solved at once."""

import math

import numpy as np
import pytest

from nonlin.strategies.process import Process

BLOCKS = ((slice(0, 4), 1.3, 0.4), (slice(4, 6), 2.0, 0.6))
NOISE = 0.1


def kernel(left, right):
    """Matérn 3/2 as [Rasmussen2006] equation 4.17, a weighted sum over blocks."""
    total = 0.0
    for columns, reach, weight in BLOCKS:
        distance = np.sqrt(((left[:, None, columns] - right[None, :, columns]) ** 2).sum(axis=2))
        scaled = math.sqrt(3) * distance / reach
        total = total + weight * (1 + scaled) * np.exp(-scaled)
    return total


@pytest.mark.parametrize("at_once", [0, 1, 7])
def test_predictions_are_the_textbooks(at_once):
    generator = np.random.default_rng(at_once)
    candidates = generator.normal(size=(30, 6)).astype(np.float32)
    places = [None, 3, None, 11, 3]  # two of them candidates, one of these twice
    first = generator.normal(size=(at_once, 6)).astype(np.float32)
    later = [generator.normal(size=6).astype(np.float32) if k is None else candidates[k] for k in places]
    process = Process(candidates, BLOCKS, NOISE, at_once + len(later))
    process.begin(first)
    for point, place in zip(later, places, strict=True):
        assert not process.is_full
        process.add(point, place)
    assert process.is_full
    points = np.array([*first, *later], float)
    values = generator.normal(size=len(points))
    mean, deviation = process.predict(values)
    gram, cross = kernel(points, points) + NOISE * np.eye(len(points)), kernel(points, candidates.astype(float))
    np.testing.assert_allclose(mean, values @ np.linalg.solve(gram, cross), atol=2e-5)
    variance = 1 - (cross * np.linalg.solve(gram, cross)).sum(axis=0)
    np.testing.assert_allclose(deviation, np.sqrt(variance), atol=2e-5)
