"""ImageNet-1K from a folder on the user's disk: 1,281,167 pictures for training, 50,000 for test, 1,000 classes.

It is given out to registered users only, so it is not downloaded here. Looked for in ``imagenet`` inside
`data_folder()`:

- folders ``train`` and ``val`` with one folder of pictures per class (n01440764, ...)
- Hugging Face's parquet or arrow files of ILSVRC/imagenet-1k (pyarrow is needed: the extra `hf`)

ImageNet's own validation pictures serve as test, as its test labels are not published. Every 25th training picture
is for validation (51,247 of the whole), which leaves 1,229,920.

References
----------
[Russakovsky2014] O. Russakovsky et al., "ImageNet large scale visual recognition challenge", 2014
    (arXiv:1409.0575)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from nonlin.errors import TaskError
from nonlin.tasks.data import Data
from nonlin.tasks.folder import FOLDER, data_folder
from nonlin.tasks.pictures.decoded import DEVIATION, MEAN, Pictures
from nonlin.tasks.pictures.sources import PictureSource, find_pictures, has_pictures

CLASSES = 1000
EVERY = 25  # which training picture is for validation
_PARTS = {"train": ("train",), "test": ("val", "validation", "valid")}


@dataclass(frozen=True)
class ImageNetFiles:
    """A task's data; call it to look through the files. Pictures are read when a batch asks for them.

    Attributes
    ----------
    task : the task that it belongs to, for messages
    size : pixels along a side of what the network sees
    kept : share of a picture's shorter side that evaluation sees
    mean, deviation : by which colours are scaled
    """

    task: str
    size: int = 224
    kept: float = 0.875
    mean: tuple[float, ...] = MEAN
    deviation: tuple[float, ...] = DEVIATION
    title = "ImageNet-1K"
    folder = "imagenet"

    @property
    def path(self) -> Path:
        return data_folder() / self.folder

    @property
    def there(self) -> bool:
        return has_pictures(self.path, _PARTS)

    def __call__(self) -> Data:
        """x of shape (rows, 3, size, size), made batch by batch; y from 0 to 999. Fewer classes are welcome.

        Raises
        ------
        TaskError : pictures that are missing, or folders in another order than expected
        """
        if not self.there:
            raise self.missing()
        sources = find_pictures(self.path, _PARTS, CLASSES)
        rows = torch.arange(len(sources["train"]))
        aside = rows % EVERY == 0
        if bool(aside.all()):
            raise TaskError(f"{self.path} holds one training picture; ImageNet needs more.")
        return Data(
            self._part(sources["train"], rows[~aside]),
            self._part(sources["train"], rows[aside]),
            self._part(sources["test"], torch.arange(len(sources["test"]))),
        )

    def _part(self, source: PictureSource, rows: torch.Tensor) -> tuple[Pictures, torch.Tensor]:
        pictures = Pictures(source, rows, self.size, self.kept, self.mean, self.deviation)
        return pictures, source.labels[rows]

    def download(self, watcher: Callable[[int], None] | None = None) -> Path:
        """The folder, if the pictures are there; otherwise TaskError: they can only be got by registered users."""
        if self.there:
            return self.path
        raise self.missing()

    def missing(self) -> TaskError:
        flat = self.path / "val"
        loose = flat.is_dir() and not any(entry.is_dir() for entry in flat.iterdir())
        hint = f" {flat} has pictures that are not sorted into a folder per class." if loose else ""
        return TaskError(
            f"task {self.task} needs ImageNet-1K, which is not in {self.path}.{hint} It is given out to registered "
            "users only, by image-net.org or Hugging Face: hf download ILSVRC/imagenet-1k --repo-type dataset "
            f"--include 'data/train*' 'data/validation*' --local-dir {self.path}. Or set {FOLDER} to a folder in which "
            f"{self.folder}/train and {self.folder}/val hold one folder of pictures per class."
        )
