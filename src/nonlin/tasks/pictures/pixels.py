"""Small images that lie in memory as bytes, a quarter of what floats take, with the usual augmentation.

Padding by four pixels, a random crop of the old size, a random flip: as the residual, wide and dense networks
were trained on CIFAR. The padding has each channel's mean colour (zero after scaling).
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor
from torch.nn import functional as F

from nonlin.tasks.rows import Rows


class Pixels(Rows):
    """Images (rows, channels, height, width) of bytes; read as floats, scaled by channel.

    Parameters
    ----------
    images : uint8
    mean, deviation : (channels,) on the scale of the bytes, 0 to 255
    padding : pixels on every side before a random crop
    """

    def __init__(self, images: Tensor, mean: Tensor, deviation: Tensor, padding: int = 4):
        self.images, self.mean, self.deviation, self.padding = images, mean, deviation, padding
        self.shape = images.shape

    @classmethod
    def measured(cls, images: Tensor, *others: Tensor) -> tuple[Pixels, ...]:
        """Pixels of `images` and of the `others`, all scaled to mean 0 and deviation 1 of `images`' channels."""
        channels = images.transpose(0, 1).flatten(1)
        counts = torch.stack([torch.bincount(values.int(), minlength=256) for values in channels]).double()
        levels, total = torch.arange(256.0, dtype=torch.float64), counts.sum(dim=1)
        mean = (counts * levels).sum(dim=1) / total
        deviation = ((counts * (levels - mean[:, None]) ** 2).sum(dim=1) / total).sqrt()
        deviation = torch.where(deviation > 0, deviation, 1.0)
        return tuple(cls(part, mean.float(), deviation.float()) for part in (images, *others))

    def read(self, rows: Tensor) -> Tensor:
        return (self.images[rows].float() - self.mean[:, None, None]) / self.deviation[:, None, None]

    def augmented(self, rows: Tensor, seed: int, epoch: int) -> Tensor:
        padded = F.pad(self.read(rows), (self.padding,) * 4)
        down, right, flip = self._draws(seed, epoch)[:, rows]
        _, _, height, width = self.shape
        crops = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view of all: (batch, channels, 9, 9, 32, 32)
        chosen = crops[torch.arange(len(rows)), :, down, right]
        return torch.where(flip[:, None, None, None] > 0, chosen.flip(3), chosen)

    def _draws(self, seed: int, epoch: int) -> Tensor:
        """(3, rows): steps down, steps to the right, flip or not; of all rows, so that batches do not matter."""
        if getattr(self, "_drawn", None) != (seed, epoch):
            digest = hashlib.sha256(f"crops of seed {seed}, epoch {epoch}".encode()).digest()
            random = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
            # drawn row by row, so that the first rows of a subset have the draws they have in the whole
            drawn = torch.rand((len(self), 3), generator=random)
            steps = torch.tensor([2 * self.padding + 1, 2 * self.padding + 1, 2])
            self._kept, self._drawn = (drawn * steps).long().T, (seed, epoch)
        return self._kept

    def first(self, count: int) -> Pixels:
        return Pixels(self.images[:count], self.mean, self.deviation, self.padding)

    def fingerprint(self) -> bytes:
        scale = torch.stack([self.mean, self.deviation]).numpy().tobytes()
        return hashlib.sha256(self.images.contiguous().numpy().tobytes() + scale).digest()
