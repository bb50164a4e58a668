"""A Gaussian process that takes its observations one at a time, and knows its predictions at fixed candidates.

Adding an observation costs O(n·(n + candidates)), not the O(n³) of beginning anew, so that a strategy can look at
hundreds of candidates for each one it proposes, in a tenth of a millisecond; one that is a candidate itself costs
O(n·candidates). What follows from the observations alone
(`Observed`) is kept apart from what concerns the candidates (`Process`): these come and go, the rest stays.

Reference: [Rasmussen2006] C. Rasmussen & C. Williams, Gaussian processes for machine learning, 2006, algorithm 2.1, and
equation 4.17 for the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.linalg import cholesky
from scipy.linalg.lapack import dtrtri, dtrtrs

Block = tuple[slice, float, float]  # columns, reach and weight of a part of the kernel
FEW = 128  # candidates whose kernel among themselves is kept
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
        self.rows = np.zeros(
            (room, room), np.float32
        )  # of the factor: those that wait in a process, which lives shorter

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

    def extend(self, points: np.ndarray) -> None:
        """Further points, (k, width), in single precision: one step of the factorisation by blocks."""
        n, k = self.count, len(points)
        if not k:
            return
        right = self.kernel.right(points)
        left = self.kernel.left(right)
        known = self.inverse[:n, :n]
        link = known @ self.kernel(self.left(), right)
        rest = self.kernel(left, right) + self.noise * np.eye(k) - link.T @ link
        inverse = dtrtri(cholesky(rest, lower=True, check_finite=False), lower=1)[0]
        self.inverse[n : n + k, :n] = -inverse @ (link.T @ known)
        self.inverse[n : n + k, n : n + k] = inverse
        for kept, form in zip(self.lefts, left, strict=True):
            kept[n : n + k] = form
        self.count = n + k

    def link(self, point: Forms) -> np.ndarray:
        """(count,): factor⁻¹ · kernel(points, point), for one point as it stands on the right."""
        return self.inverse[: self.count, : self.count] @ self.kernel(self.left(), point)[:, 0]

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

    Candidates are in single precision: beside the noise that is exact enough, and takes half the time. What an
    observation at a candidate shares with the others is known from the predictions there, so that it costs O(n·m); it
    waits with others to be taken in by `observed`, until `settle`.

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
        kernel = self.observed.kernel
        self.candidates = candidates.astype(np.float32)
        self.targets = kernel.right(self.candidates)
        few = len(candidates) <= FEW
        self.among = kernel(kernel.left(self.targets), self.targets) if few else None  # the candidates themselves
        self.solved = np.empty((room, len(candidates)), np.float32)  # factor⁻¹ · kernel(points, candidates)
        self.waiting: list[np.ndarray] = []  # the last observations
        self._solve()

    @property
    def is_full(self) -> bool:
        return self.count == self.observed.room

    def begin(self, points: np.ndarray) -> None:
        """The first observations, (n, features), all at once."""
        self.observed.begin(points)
        self._solve()

    def _solve(self) -> None:
        n = self.count = self.observed.count
        self.unexplained = np.ones(len(self.candidates), np.float32)  # variance at the candidates
        if n:
            cross = self.observed.kernel(self.observed.left(), self.targets)
            solved = np.matmul(self.observed.inverse[:n, :n].astype(np.float32), cross, out=self.solved[:n])
            self.unexplained -= np.einsum("ij,ij->j", solved, solved)

    def add(self, point: np.ndarray, place: int | None = None) -> None:
        """One more observation, (features,); `place` if it is one of the candidates."""
        n, kernel = self.count, self.observed.kernel
        if place is None:
            self.settle()
            form = kernel.right(point[None].astype(np.float32))
            link = self.observed.link(form).astype(np.float32)
        else:
            form = [part[place : place + 1] for part in self.targets]
            link = self.solved[:n, place].copy()
        if self.among is None or place is None:
            near = kernel(kernel.left(form), self.targets)[0]
        else:
            near = self.among[place]
        pivot = math.sqrt(max(1 + self.observed.noise - float(link @ link), 1e-9))
        fresh = np.subtract(near, link @ self.solved[:n], out=self.solved[n])
        fresh /= np.float32(pivot)
        self.unexplained -= fresh * fresh
        row = self.observed.rows[len(self.waiting)]
        row[:n], row[n] = link, pivot
        self.waiting.append(point)
        self.count = n + 1

    def settle(self) -> None:
        """Let `observed` have all observations. When that is done shows in the last bits of what follows from it."""
        if self.waiting:
            self.observed.extend(np.array(self.waiting, np.float32))
            self.waiting = []

    def predict(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation at the candidates, each (m,), for the values (n,) of the observations."""
        return self.predict_whitened(self.whitened(values))

    def whitened(self, values: np.ndarray) -> np.ndarray:
        """factor⁻¹ · values, (n,), for the values of all observations."""
        n, known = self.count, self.observed.count
        found = self.observed.whitened(values[:known])
        if not self.waiting:
            return found
        rows = self.observed.rows[: len(self.waiting), :n].astype(float)
        last = dtrtrs(rows[:, known:], values[known:] - rows[:, :known] @ found, lower=1)[0]
        return np.concatenate([found, last])

    def predict_whitened(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same for `whitened` values."""
        mean = values.astype(np.float32) @ self.solved[: self.count]
        return mean, np.sqrt(np.maximum(self.unexplained, 1e-9))
