"""A Gaussian process that takes its observations one at a time, and knows its predictions at fixed candidates.

Adding an observation costs O(n·(n + candidates)), not the O(n³) of beginning anew, so that a strategy can look at
hundreds of candidates for each one it proposes, in a fraction of a millisecond.

Reference: [Rasmussen2006] C. Rasmussen & C. Williams, Gaussian processes for machine learning, 2006, algorithm 2.1, and
equation 4.17 for the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cholesky, solve_triangular


class Process:
    """Predictions at `candidates` (m, features) from observations.

    Parameters
    ----------
    candidates : descriptors (m, features)
    blocks : (columns, reach, weight) of each part of the kernel: a sum over parts of weight times a Matérn 3/2 function
        of the distance in these columns; the weights add up to 1
    noise : variance of an observation that the kernel does not explain
    room : how many observations there can be
    """

    def __init__(self, candidates: np.ndarray, blocks: Sequence[tuple[slice, float, float]], noise: float, room: int):
        self.candidates, self.blocks, self.noise = candidates, blocks, noise
        self.count = 0
        self.points = np.empty((room, candidates.shape[1]))
        self.factor = np.zeros((room, room))  # lower Cholesky factor of the kernel matrix with noise
        self.solved = np.empty((room, len(candidates)))  # factor⁻¹ · kernel(points, candidates)
        self.unexplained = np.ones(len(candidates))  # variance at the candidates

    @property
    def is_full(self) -> bool:
        return self.count == len(self.points)

    def begin(self, points: np.ndarray) -> None:
        """The first observations, (n, features), all at once."""
        n = self.count = len(points)
        self.points[:n] = points
        if n:
            gram = self._kernel(points, points) + self.noise * np.eye(n)
            self.factor[:n, :n] = cholesky(gram, lower=True)
            cross = self._kernel(points, self.candidates)
            self.solved[:n] = solve_triangular(self.factor[:n, :n], cross, lower=True, check_finite=False)
            self.unexplained = 1.0 - (self.solved[:n] ** 2).sum(axis=0)

    def add(self, point: np.ndarray) -> None:
        """One more observation, (features,)."""
        n, row = self.count, point[None]
        link = self._kernel(self.points[:n], row)
        if n:
            link = solve_triangular(self.factor[:n, :n], link, lower=True, check_finite=False)
        pivot = np.sqrt(max(1.0 + self.noise - float((link**2).sum()), 1e-9))
        self.factor[n, :n], self.factor[n, n] = link[:, 0], pivot
        self.solved[n] = (self._kernel(row, self.candidates)[0] - link[:, 0] @ self.solved[:n]) / pivot
        self.unexplained = self.unexplained - self.solved[n] ** 2
        self.points[n] = point
        self.count = n + 1

    def predict(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation at the candidates, each (m,), for the values (n,) of the observations."""
        n = self.count
        whitened = solve_triangular(self.factor[:n, :n], values, lower=True, check_finite=False)
        return whitened @ self.solved[:n], np.sqrt(np.maximum(self.unexplained, 1e-9))

    def _kernel(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """(left, right), 1 between equal points."""
        total = np.zeros((len(left), len(right)))
        for columns, reach, weight in self.blocks:
            a, b = left[:, columns], right[:, columns]
            squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T
            distance = np.sqrt(3 * np.maximum(squares, 0.0)) / reach
            total += weight * (1 + distance) * np.exp(-distance)
        return total
