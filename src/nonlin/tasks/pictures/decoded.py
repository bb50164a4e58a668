"""Pictures of any size, decoded where a batch asks for them: for data sets that do not fit into memory.

Training sees a random piece, between 8% and all of a picture's area and between 3:4 and 4:3 in shape, scaled to
the network's size, flipped or not [Szegedy2014, section 6]. Evaluation sees the middle: the shorter side is scaled
a little above the network's size, then the rim is cut off. Colours are scaled by fixed means and deviations.

References
----------
[Szegedy2014] C. Szegedy et al., "Going deeper with convolutions", 2014 (arXiv:1409.4842)
"""

from __future__ import annotations

import io
import math
import multiprocessing
import os
import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nonlin.errors import MissingExtraError, TaskError
from nonlin.tasks.pictures.sources import PictureSource
from nonlin.tasks.rows import Rows

if TYPE_CHECKING:
    from PIL.Image import Image

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours, as everybody uses them
_AREA, _SHAPE, _TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10
_FEW = 512  # pictures that are not worth starting processes for
_MOST_WORKERS = 8


class Pictures(Rows):
    """Pictures (rows, 3, size, size) out of a source.

    Parameters
    ----------
    rows : row numbers in the source, (n,)
    kept : share of the shorter side that evaluation sees
    mean, deviation : of each colour, on a scale from 0 to 1
    workers : processes that decode; default: as many as there are cores, up to 8, and none for few pictures or in
        a worker of a search, which may start none
    """

    def __init__(
        self,
        source: PictureSource,
        rows: Tensor,
        size: int,
        kept: float = 0.875,
        mean: Sequence[float] = MEAN,
        deviation: Sequence[float] = DEVIATION,
        workers: int | None = None,
    ):
        self.source, self.rows, self.size, self.kept, self.workers = source, rows, size, kept, workers
        self.mean, self.deviation = tuple(mean), tuple(deviation)
        self.shape = torch.Size((len(rows), 3, size, size))

    def read(self, rows: Tensor) -> Tensor:
        return torch.stack([self.one(row) for row in rows.tolist()]) if len(rows) else torch.empty(0, *self.shape[1:])

    def augmented(self, rows: Tensor, seed: int, epoch: int) -> Tensor:
        return torch.stack([self.one(row, seed, epoch) for row in rows.tolist()])

    def one(self, row: int, seed: int | None = None, epoch: int = 0) -> Tensor:
        """One picture, (3, size, size); augmented unless `seed` is None."""
        number = int(self.rows[row])
        image = decoded(self.source.content(number), self.source.name(number))
        if seed is None:
            pixels = _middle(image, self.size, self.kept)
        else:
            pixels = _piece(image, self.size, random.Random(f"seed {seed}, epoch {epoch}, picture {row}"))
        values = torch.from_numpy(np.array(pixels, dtype=np.float32)).permute(2, 0, 1) / 255
        return (values - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.deviation)[:, None, None]

    def batches(self, batches: Sequence[Tensor], seed: int | None, epoch: int) -> Iterator[Tensor]:
        loader: DataLoader[Any] = DataLoader(
            _Decoding(self, seed, epoch),
            batch_sampler=[batch.tolist() for batch in batches],
            num_workers=self._processes(sum(map(len, batches))),
            collate_fn=_stacked,
            generator=torch.Generator().manual_seed(0),  # or it would use up one of torch's global random numbers
        )
        for batch in loader:
            if isinstance(batch, TaskError):
                raise batch
            yield batch

    def _processes(self, count: int) -> int:
        if multiprocessing.current_process().daemon:
            return 0
        if self.workers is not None:
            return self.workers
        return 0 if count < _FEW else min(_MOST_WORKERS, os.cpu_count() or 1)

    def first(self, count: int) -> Pictures:
        return Pictures(self.source, self.rows[:count], self.size, self.kept, self.mean, self.deviation, self.workers)

    def fingerprint(self) -> bytes:
        setting = repr((self.size, self.kept, self.mean, self.deviation)).encode()
        return self.source.fingerprint() + self.rows.numpy().tobytes() + setting


class _Decoding(Dataset[Any]):
    """What `DataLoader` asks for pictures. An error is handed on as a value: raised in a worker process, it would
    come with the worker's whole traceback as its text."""

    def __init__(self, pictures: Pictures, seed: int | None, epoch: int):
        self.pictures, self.seed, self.epoch = pictures, seed, epoch

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, row: int) -> Tensor | TaskError:
        try:
            return self.pictures.one(row, self.seed, self.epoch)
        except TaskError as error:
            return error


def _stacked(values: list[Any]) -> Any:
    errors = [value for value in values if isinstance(value, TaskError)]
    return errors[0] if errors else torch.stack(values)


def decoded(content: bytes, name: str) -> Image:
    """A picture in red, green and blue; TaskError if it cannot be read to its end."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingExtraError("pillow", "images", "reading pictures") from None
    try:
        return Image.open(io.BytesIO(content)).convert("RGB")
    except UnidentifiedImageError:
        reason = f"its {len(content)} bytes are in no format that is known"
    except Exception as error:  # the decoders raise OSError, SyntaxError, ValueError and others
        reason = (str(error) or type(error).__name__).splitlines()[0]
    raise TaskError(
        f"cannot read the picture {name}: {reason}. It is damaged or was not copied to its end; get it again, or take "
        "it out of the data."
    )


def as_bytes(source: PictureSource, side: int) -> Tensor:
    """All pictures at once, (rows, 3, side, side) uint8; TaskError for one of another size."""
    pixels = np.empty((len(source), 3, side, side), dtype=np.uint8)
    for row in range(len(source)):
        image = decoded(source.content(row), source.name(row))
        if image.size != (side, side):
            raise TaskError(f"{source.name(row)} has {image.width}x{image.height} pixels, expected {side}x{side}.")
        pixels[row] = np.asarray(image).transpose(2, 0, 1)
    return torch.from_numpy(pixels)


def _piece(image: Image, size: int, draw: random.Random) -> Image:
    """A random piece of the picture at the network's size."""
    width, height = image.size
    for _ in range(_TRIES):
        area = width * height * draw.uniform(*_AREA)
        shape = math.exp(draw.uniform(math.log(_SHAPE[0]), math.log(_SHAPE[1])))
        across, down = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < across <= width and 0 < down <= height:
            left, top = draw.randint(0, width - across), draw.randint(0, height - down)
            break
    else:  # too long or too high for such a piece: the largest one in the middle
        across, down = min(width, round(height * _SHAPE[1])), min(height, round(width / _SHAPE[0]))
        left, top = (width - across) // 2, (height - down) // 2
    flip = draw.random() < 0.5
    piece = _scaled(image, size, size, (left, top, left + across, top + down))
    return _mirrored(piece) if flip else piece


def _middle(image: Image, size: int, kept: float) -> Image:
    """The middle of the picture at the network's size."""
    width, height = image.size
    side = min(width, height) * kept
    left, top = (width - side) / 2, (height - side) / 2
    return _scaled(image, size, size, (left, top, left + side, top + side))


def _scaled(image: Image, width: int, height: int, box: tuple[float, float, float, float]) -> Image:
    from PIL.Image import Resampling

    return image.resize((width, height), Resampling.BICUBIC, box=box)


def _mirrored(image: Image) -> Image:
    from PIL.Image import Transpose

    return image.transpose(Transpose.FLIP_LEFT_RIGHT)
