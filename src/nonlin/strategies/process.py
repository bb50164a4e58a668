"""A Gaussian process that takes its observations one at a time, and knows its predictions at fixed candidates.

Adding an observation costs O(n·(n + candidates)), not the O(n³) of beginning anew, so that a strategy can look at
hundreds of candidates for each one it proposes, in a tenth of a millisecond. What follows from the observations alone
(`Observed`) is kept apart from what concerns the candidates (`Process`): these come and go, the rest stays.

Reference: [Rasmussen2006] C. Rasmussen & C. Williams, Gaussian processes for machine learning, 2006, algorithm 2.1, and
equation 4.17 for the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.linalg import cholesky
from scipy.linalg.lapack import dtrtri

Block = tuple[slice, float, float]  # columns, reach and weight of a part of the kernel
Forms = list[np.ndarray]  # points as a kernel takes them: an array (n, columns + 2) for each block


class Kernel:
    """A sum over blocks of weight times a Matérn 3/2 function of the distance in the block's columns.

    A squared distance is |a|² + |b|² - 2a·b: one product of rows that have the squares as two more columns. On its left
    such a row is -2a, |a|², 1 and on its right b, 1, |b|², for a and b over the block's reach.
    """

    def __init__(self, blocks: Sequence[Block]):
        self.blocks = [(columns, math.sqrt(3) / reach) for columns, reach, _ in blocks]
        self.weights = np.array([weight for _, _, weight in blocks])
        self.single = self.weights.astype(np.float32)

    def right(self, points: np.ndarray) -> Forms:
        """Points (n, width) as they stand on the right; of the dtype of the points."""
        forms = []
        for columns, scale in self.blocks:
            inside = points[:, columns] * points.dtype.type(scale)
            form = np.ones((len(inside), inside.shape[1] + 2), points.dtype)
            form[:, :-2] = inside
            form[:, -1] = np.einsum("ij,ij->i", inside, inside)
            forms.append(form)
        return forms

    @staticmethod
    def left(right: Forms) -> Forms:
        """The same points as they stand on the left."""
        forms = [form * form.dtype.type(-2) for form in right]
        for form, other in zip(forms, right, strict=True):
            form[:, -2], form[:, -1] = other[:, -1], 1
        return forms

    def __call__(self, left: Forms, right: Forms) -> np.ndarray:
        """(left, right), 1 between equal points."""
        away = np.empty((len(self.blocks), len(left[0]), len(right[0])), left[0].dtype)
        for a, b, part in zip(left, right, away, strict=True):
            np.matmul(a, b.T, out=part)
        np.abs(away, out=away)  # of equal points it is 0 but for roundings
        np.sqrt(away, out=away)
        near = np.negative(away)
        np.exp(near, out=near)
        away += 1
        near *= away
        weights = self.single if near.dtype == np.float32 else self.weights
        return (weights @ near.reshape(len(weights), -1)).reshape(near.shape[1:])


class Observed:
    """Observed points, and the inverse of the Cholesky factor of their kernel matrix with noise.

    The noise keeps the factor far from singular, so its inverse is as good as solving, and every use a product.

    Parameters
    ----------
    blocks, noise : see `Process`
    width, room : numbers of a point, and how many points there can be
    """

    def __init__(self, blocks: Sequence[Block], noise: float, width: int, room: int):
        self.kernel, self.noise, self.count, self.room = Kernel(blocks), noise, 0, room
        forms = self.kernel.right(np.empty((0, width), np.float32))
        self.lefts = [np.empty((room, form.shape[1]), np.float32) for form in forms]
        self.inverse = np.zeros((room, room))

    @property
    def is_full(self) -> bool:
        return self.count == self.room

    def left(self) -> Forms:
        """All points, on the left."""
        return [form[: self.count] for form in self.lefts]

    def begin(self, points: np.ndarray) -> None:
        """The first points, (n, width), all at once."""
        n = self.count = len(points)
        if n:
            double = self.kernel.right(points.astype(float))
            gram = self.kernel(self.kernel.left(double), double)
            factor = cholesky(gram + self.noise * np.eye(n), lower=True, check_finite=False)
            self.inverse[:n, :n] = dtrtri(factor, lower=1)[0]
            for kept, form in zip(self.lefts, self.kernel.left(self.kernel.right(points)), strict=True):
                kept[:n] = form

    def add(self, point: Forms) -> tuple[np.ndarray, float]:
        """One more point, as it stands on the right. Returns its row of the factor: the last number apart."""
        n = self.count
        known = self.inverse[:n, :n]
        link = known @ self.kernel(self.left(), point)[:, 0]
        pivot = math.sqrt(max(1 + self.noise - float(link @ link), 1e-9))
        self.inverse[n, :n] = link @ known / -pivot
        self.inverse[n, n] = 1 / pivot
        for kept, form in zip(self.lefts, self.kernel.left(point), strict=True):
            kept[n] = form[0]
        self.count = n + 1
        return link, pivot

    def whitened(self, values: np.ndarray) -> np.ndarray:
        """factor⁻¹ · values, (k,), for values (k,) of the first points; further points do not change it."""
        return self.inverse[: len(values), : len(values)] @ values

    def bounds(self, candidates: Forms, whitened: np.ndarray, daring: float) -> np.ndarray:
        """(m,): at least mean + daring·deviation at m candidates, on the right, for whitened values (n,).

        The deviation is what the nearest observation alone leaves: the others can only make it smaller. So the n² for
        each candidate that it takes are saved.
        """
        if not self.count:
            return np.full(len(candidates[0]), daring, np.float32)
        cross = self.kernel(self.left(), candidates)
        weights = whitened @ self.inverse[: self.count, : self.count]
        unexplained = np.maximum(1 - cross.max(axis=0) ** 2 / np.float32(1 + self.noise), 0)
        return weights.astype(np.float32) @ cross + np.float32(daring) * np.sqrt(unexplained)


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
    observed : what was observed before, with the same blocks, noise and room; it grows with this process
    """

    def __init__(
        self,
        candidates: np.ndarray,
        blocks: Sequence[Block],
        noise: float,
        room: int,
        observed: Observed | None = None,
    ):
        self.observed = Observed(blocks, noise, candidates.shape[1], room) if observed is None else observed
        self.targets = self.observed.kernel.right(candidates.astype(np.float32))
        self.solved = np.empty((room, len(candidates)), np.float32)  # factor⁻¹ · kernel(points, candidates)
        self.unexplained = np.ones(len(candidates), np.float32)  # variance at the candidates
        self._solve()

    @property
    def count(self) -> int:
        return self.observed.count

    @property
    def is_full(self) -> bool:
        return self.observed.is_full

    def begin(self, points: np.ndarray) -> None:
        """The first observations, (n, features), all at once."""
        self.observed.begin(points)
        self._solve()

    def _solve(self) -> None:
        if n := self.count:
            cross = self.observed.kernel(self.observed.left(), self.targets)
            solved = np.matmul(self.observed.inverse[:n, :n].astype(np.float32), cross, out=self.solved[:n])
            self.unexplained = 1 - np.einsum("ij,ij->j", solved, solved)

    def add(self, point: np.ndarray, place: int | None = None) -> None:
        """One more observation, (features,); `place` if it is one of the candidates."""
        n, observed = self.count, self.observed
        if place is None:
            form = observed.kernel.right(point[None].astype(np.float32))
        else:
            form = [part[place : place + 1] for part in self.targets]
        link, pivot = observed.add(form)
        fresh = observed.kernel([part[n : n + 1] for part in observed.lefts], self.targets)[0]
        fresh -= link.astype(np.float32) @ self.solved[:n]
        fresh /= np.float32(pivot)
        self.solved[n] = fresh
        fresh *= fresh
        self.unexplained -= fresh

    def predict(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation at the candidates, each (m,), for the values (n,) of the observations."""
        return self.predict_whitened(self.observed.whitened(values))

    def predict_whitened(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same for `Observed.whitened` values."""
        mean = values.astype(np.float32) @ self.solved[: self.count]
        return mean, np.sqrt(np.maximum(self.unexplained, 1e-9))
