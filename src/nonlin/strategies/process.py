"""A Gaussian process that takes its observations one at a time, and knows its predictions at fixed candidates.

Adding an observation costs O(n·(n + candidates)), not the O(n³) of beginning anew, so that a strategy can look at
hundreds of candidates for each one it proposes, in a fraction of a millisecond.

Reference: [Rasmussen2006] C. Rasmussen & C. Williams, Gaussian processes for machine learning, 2006, algorithm 2.1, and
equation 4.17 for the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.linalg.lapack import dtrtrs

# For each block the columns over its reach, (n, columns), and their squared lengths, (blocks, n).
Scaled = tuple[list[np.ndarray], np.ndarray]


class Process:
    """Predictions at `candidates` (m, features) from observations.

    Candidates are in single precision: beside the noise that is exact enough, and takes half the time.

    Parameters
    ----------
    candidates : descriptors (m, features)
    blocks : (columns, reach, weight) of each part of the kernel: a sum over parts of weight times a Matérn 3/2 function
        of the distance in these columns; the weights add up to 1
    noise : variance of an observation that the kernel does not explain
    room : how many observations there can be
    """

    def __init__(self, candidates: np.ndarray, blocks: Sequence[tuple[slice, float, float]], noise: float, room: int):
        self.blocks, self.noise = blocks, noise
        self.weights = np.array([weight for _, _, weight in blocks], np.float32)
        self.targets = self._scaled(candidates.astype(np.float32))
        self.count, self.room = 0, room
        self.points = np.empty((room, candidates.shape[1]), np.float32)
        # Lower Cholesky factor of the kernel matrix with noise; Fortran's order is what LAPACK reads without a copy.
        self.factor = np.empty((room, room), order="F")
        self.solved = np.empty((room, len(candidates)), np.float32)  # factor⁻¹ · kernel(points, candidates)
        self.unexplained = np.ones(len(candidates), np.float32)  # variance at the candidates

    @property
    def is_full(self) -> bool:
        return self.count == self.room

    def begin(self, points: np.ndarray) -> None:
        """The first observations, (n, features), all at once."""
        n = self.count = len(points)
        self.points[:n] = points
        if n:
            gram = self._kernel(self._scaled(points.astype(float)), self._scaled(points.astype(float)))
            self.factor[:n, :n] = cholesky(gram + self.noise * np.eye(n), lower=True, check_finite=False)
            cross = self._kernel(self._scaled(self.points[:n]), self.targets)
            single = self.factor[:n, :n].astype(np.float32)
            self.solved[:n] = solve_triangular(single, cross, lower=True, overwrite_b=True, check_finite=False)
            self.unexplained = 1 - np.einsum("ij,ij->j", self.solved[:n], self.solved[:n])

    def add(self, point: np.ndarray, place: int | None = None) -> None:
        """One more observation, (features,); `place` if it is one of the candidates."""
        n = self.count
        if place is None:
            row = self._scaled(point[None].astype(np.float32))
            link = self._whitened(self._kernel(self._scaled(self.points[:n]), row)[:, 0].astype(float))
        else:  # what a candidate has in common with the observations is known
            parts, squares = self.targets
            row = [part[place : place + 1] for part in parts], squares[:, place : place + 1]
            link = self.solved[:n, place].astype(float)
        pivot = math.sqrt(max(1 + self.noise - float(link @ link), 1e-9))
        self.factor[n, :n], self.factor[n, n] = link, pivot
        fresh = self._kernel(row, self.targets)[0]
        fresh -= link.astype(np.float32) @ self.solved[:n]
        fresh /= np.float32(pivot)
        self.solved[n] = fresh
        self.unexplained -= fresh * fresh
        self.points[n] = point
        self.count = n + 1

    def predict(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation at the candidates, each (m,), for the values (n,) of the observations."""
        mean = self._whitened(values).astype(np.float32) @ self.solved[: self.count]
        return mean, np.sqrt(np.maximum(self.unexplained, 1e-9))

    def _whitened(self, values: np.ndarray) -> np.ndarray:
        """factor⁻¹ · values, (n,)."""
        n = self.count
        return dtrtrs(self.factor[:n, :n], values, lower=1)[0] if n else np.zeros(0)

    def _scaled(self, points: np.ndarray) -> Scaled:
        parts = [points[:, columns] * points.dtype.type(math.sqrt(3) / reach) for columns, reach, _ in self.blocks]
        return parts, np.stack([np.einsum("ij,ij->i", part, part) for part in parts])

    def _kernel(self, left: Scaled, right: Scaled) -> np.ndarray:
        """(left, right), 1 between equal points."""
        (left_parts, left_squares), (right_parts, right_squares) = left, right
        distance = np.stack([a @ b.T for a, b in zip(left_parts, right_parts, strict=True)])  # (blocks, left, right)
        distance *= -2
        distance += left_squares[:, :, None]
        distance += right_squares[:, None]
        np.maximum(distance, 0, out=distance)
        np.sqrt(distance, out=distance)
        parts = np.exp(-distance)
        distance += 1
        parts *= distance
        return np.tensordot(self.weights.astype(parts.dtype), parts, axes=1)
