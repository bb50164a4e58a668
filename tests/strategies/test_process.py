"""The Gaussian process that grows: its predictions are those of the textbook's formulas, solved at once."""

import math

import numpy as np
import pytest

from nonlin.strategies.process import Observed, Process

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


def test_observations_outlive_their_candidates():
    """A second process of the same observations predicts what one of its own would."""
    generator = np.random.default_rng(0)
    points, candidates, others = (generator.normal(size=(n, 6)).astype(np.float32) for n in (9, 5, 7))
    values = generator.normal(size=9)
    first = Process(candidates, BLOCKS, NOISE, 9)
    first.begin(points[:4])
    for point in points[4:7]:
        first.add(point)
    first.settle()
    second = Process(others, BLOCKS, NOISE, 9, first.observed)
    for point in points[7:]:
        second.add(point)
    alone = Process(others, BLOCKS, NOISE, 9)
    alone.begin(points)
    for found, expected in zip(second.predict(values), alone.predict(values), strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("count", [0, 1, 40, 200])
def test_bounds(count):
    """Never below what is exact; what the nearest observation alone leaves, which of a single one is all."""
    generator = np.random.default_rng(count)
    points, candidates = (generator.normal(size=(n, 6)).astype(np.float32) for n in (count, 30))
    values, observed = generator.normal(size=count), Observed(BLOCKS, NOISE, 6, 200)
    observed.begin(points)
    mean, deviation = Process(candidates, BLOCKS, NOISE, 200, observed).predict(values)
    bounds = observed.bounds(observed.kernel.right(candidates), observed.whitened(values), 1.5)
    assert (bounds > mean + 1.5 * deviation - 1e-3).all()
    nearest = kernel(points, candidates).max(axis=0, initial=0.0)
    np.testing.assert_allclose(bounds, mean + 1.5 * np.sqrt(1 - nearest**2 / (1 + NOISE)), atol=1e-3)
    if count <= 1:
        np.testing.assert_allclose(bounds, mean + 1.5 * deviation, atol=1e-3)


def test_a_whitened_zero_is_what_was_predicted():
    """An observation that comes to its prediction changes no mean."""
    generator = np.random.default_rng(0)
    points, candidates = (generator.normal(size=(n, 6)).astype(np.float32) for n in (8, 12))
    process = Process(candidates, BLOCKS, NOISE, 9)
    process.begin(points)
    before = process.observed.whitened(generator.normal(size=8))
    mean, deviation = process.predict_whitened(before)
    process.add(candidates[3], 3)
    after, closer = process.predict_whitened(np.append(before, 0))
    np.testing.assert_allclose(after, mean, atol=1e-6)
    assert (closer <= deviation).all()
    assert closer[3] < 0.5 * deviation[3]
