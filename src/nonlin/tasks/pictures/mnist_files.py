"""MNIST and Fashion-MNIST from a folder on the user's disk. Nothing here touches the network.

Both come as four IDX files: 60,000 images of 28×28 grey values with their labels for training, 10,000 for
testing. They are looked for in the folder that the environment variable NONLIN_DATA names, else in
``~/.cache/nonlin``, there in ``mnist`` or ``fashion-mnist``.

References
----------
[LeCun1998] Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
    recognition", 1998
[Xiao2017] H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST", 2017 (arXiv:1708.07747)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nonlin.errors import TaskError
from nonlin.tasks.data import Data, Part
from nonlin.tasks.folder import FOLDER, data_folder
from nonlin.tasks.pictures.idx import read_idx

SIDE = 28
CLASSES = 10
VALIDATION = 0.2  # of the training files' images, the last ones
# The files of a part: images, labels. The hyphen is a dot in some copies, and .gz may follow.
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


@dataclass(frozen=True)
class ImageFiles:
    """A task's data in four IDX files; call it to read them.

    Attributes
    ----------
    title : the data set's name
    folder : its folder inside `data_folder()`
    task : the task that it belongs to, for messages
    """

    title: str
    folder: str
    task: str

    @property
    def path(self) -> Path:
        return data_folder() / self.folder

    @property
    def there(self) -> bool:
        """Whether all four files are; what is in them is seen when they are read."""
        return not self.missing()

    def missing(self) -> list[str]:
        """The names of the files that are not there."""
        return [name for names in FILES.values() for name in names if _find(self.path, name) is None]

    def __call__(self) -> Data:
        """x of shape (rows, 1, 28, 28), grey values from 0 to 1; y from 0 to 9.

        Validation is the last fifth of the training images, as Keras' validation_split=0.2 takes it: 48,000
        images for training, 12,000 for validation, 10,000 for test. Files with fewer images are welcome.

        Raises
        ------
        TaskError : files that are missing, damaged, or do not fit together
        """
        if missing := self.missing():
            raise TaskError(
                f"task {self.task} needs {self.title}, which is not in {self.path} (missing: {', '.join(missing)}). "
                f"Download it once with: nonlin tasks --download {self.task}. Or set {FOLDER} to a folder in which "
                f"{self.folder}/ holds the four IDX files, plain or gzipped."
            )
        images, labels = self._part("train")
        test = self._part("test")
        cut = int(len(images) * (1 - VALIDATION))
        return Data((images[:cut], labels[:cut]), (images[cut:], labels[cut:]), test)

    def _part(self, part: str) -> Part:
        paths = [_find(self.path, name) for name in FILES[part]]
        assert paths[0]
        assert paths[1]
        images, labels = read_idx(paths[0], 3), read_idx(paths[1], 1)
        if images.shape[1:] != (SIDE, SIDE):
            raise TaskError(f"{paths[0]} holds images of {images.shape[1]}x{images.shape[2]} pixels, expected 28x28.")
        if len(images) != len(labels):
            raise TaskError(
                f"{paths[0]} holds {len(images)} images and {paths[1].name} {len(labels)} labels: they do not belong "
                "together."
            )
        if len(labels) and labels.max() >= CLASSES:
            raise TaskError(f"{paths[1]} holds the label {labels.max()}; labels go from 0 to {CLASSES - 1}.")
        scaled = images[:, None].astype(np.float32) / np.float32(255)
        return torch.from_numpy(scaled), torch.from_numpy(labels.astype(np.int64))


def _find(folder: Path, name: str) -> Path | None:
    for variant in (name, name.replace("-idx", ".idx")):
        for path in (folder / variant, folder / f"{variant}.gz"):
            if path.is_file():
                return path
    return None
