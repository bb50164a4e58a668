"""Inputs that are made when a batch asks for them: images in files, or kept as bytes, with augmentation.

An object of this kind may stand in `nonlin.tasks.Data` where otherwise the tensor x stands. For everything that
only evaluates it is as good as that tensor: ``len(x)``, ``x.shape``, ``x.dim()``, ``x[:2]``, ``x[rows]`` and
``x.split(512)`` work and give plain float tensors, always the same ones. Training asks `Data.batches`, which
augments.

Random changes belong to a row and an epoch, not to a batch: which crop row 17 gets in epoch 3 under seed 0
depends on nothing else. So batch size, accumulation, the number of processes and where a run was interrupted
make no difference to what is seen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor


class Rows(ABC):
    """Inputs by row number.

    Attributes
    ----------
    shape : (rows, ...) of the whole, as a batch of all rows would have it
    """

    shape: torch.Size

    @abstractmethod
    def read(self, rows: Tensor) -> Tensor:
        """The inputs of these rows as they are evaluated, float32 of shape (len(rows), ...)."""

    @abstractmethod
    def augmented(self, rows: Tensor, seed: int, epoch: int) -> Tensor:
        """The inputs of these rows as they are trained on in this epoch; same shape as `read`."""

    @abstractmethod
    def first(self, count: int) -> Rows:
        """The first `count` rows alone; reads nothing."""

    @abstractmethod
    def fingerprint(self) -> bytes:
        """What tells these inputs from others, for checksums."""

    def batches(self, batches: Sequence[Tensor], seed: int | None, epoch: int) -> Iterator[Tensor]:
        """The inputs of one batch of row numbers after the other; augmented unless `seed` is None."""
        for rows in batches:
            yield self.read(rows) if seed is None else self.augmented(rows, seed, epoch)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice | Tensor | Iterable[int]) -> Tensor:
        if isinstance(rows, slice):
            return self.read(torch.arange(len(self))[rows])
        if isinstance(rows, int):
            return self.read(torch.arange(len(self))[[rows]])[0]
        wanted = torch.as_tensor(rows)
        return self.read(torch.arange(len(self))[wanted])

    def split(self, size: int) -> Iterator[Tensor]:
        """All rows in order, `size` at a time, as ``Tensor.split`` gives them."""
        return self.batches(torch.arange(len(self)).split(size), None, 0)

    def dim(self) -> int:
        return len(self.shape)

    def is_floating_point(self) -> bool:
        return True
