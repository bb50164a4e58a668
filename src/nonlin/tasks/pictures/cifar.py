"""CIFAR-10 and CIFAR-100 from a folder on the user's disk: 32×32 colour images, 50,000 for training, 10,000 for test.

Looked for in ``cifar10`` or ``cifar100`` inside `data_folder()`, in every form in which they are given out:

- the python or the binary version of their authors, as the archive (``.tar.gz``) or unpacked
- Hugging Face's parquet or arrow files (pyarrow is needed: the extra `hf`)
- folders ``train`` and ``test`` with one folder of pictures per class

The last tenth of the training images is for validation: 45,000, 5,000 and 10,000.

References
----------
[Krizhevsky2009] A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009;
    https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nonlin.errors import TaskError
from nonlin.tasks.data import Data
from nonlin.tasks.folder import FOLDER, data_folder
from nonlin.tasks.pictures.archives import RemoteFile, check, fetch
from nonlin.tasks.pictures.cifar_formats import SIDE, Images, read_batch, read_records
from nonlin.tasks.pictures.decoded import as_bytes
from nonlin.tasks.pictures.pixels import Pixels
from nonlin.tasks.pictures.sources import find_pictures, has_pictures

VALIDATION = 0.1  # of the training images, the last ones


@dataclass(frozen=True)
class Version:
    """One of the forms in which CIFAR's authors give out a data set.

    Attributes
    ----------
    archive : the packed file
    folder : the folder inside it
    train, test : its files with images, each with its MD5 checksum where that is published; it is compared if
        the file holds as many images as the original
    read : reads the content of one of them
    """

    archive: RemoteFile
    folder: str
    train: Mapping[str, str]
    test: Mapping[str, str]
    read: Callable[[bytes, str, int], Images]

    def find(self, place: Path) -> Path | None:
        """The folder with all files of this version, the archive, or None."""
        for folder in (place / self.folder, place):
            if not self.missing(folder):
                return folder
        packed = place / self.archive.name
        return packed if packed.is_file() else None

    def missing(self, folder: Path) -> list[str]:
        return [name for name in (*self.train, *self.test) if not (folder / name).is_file()]


_SITE = "https://www.cs.toronto.edu/~kriz/"
VERSIONS: dict[int, tuple[Version, ...]] = {
    10: (
        Version(
            RemoteFile(
                f"{_SITE}cifar-10-python.tar.gz", 170_498_071, "sha256",
                "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
            ),
            "cifar-10-batches-py",
            {
                "data_batch_1": "c99cafc152244af753f735de768cd75f",
                "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
                "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
                "data_batch_4": "634d18415352ddfa80567beed471001a",
                "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            },
            {"test_batch": "40351d587109b95175f43aff81a1287e"},
            read_batch,
        ),
        Version(
            RemoteFile(f"{_SITE}cifar-10-binary.tar.gz", 0, "md5", "c32a1d4ab5d03f1284b67883e8d87530"),
            "cifar-10-batches-bin",
            {f"data_batch_{number}.bin": "" for number in range(1, 6)},
            {"test_batch.bin": ""},
            read_records,
        ),
    ),
    100: (
        Version(
            RemoteFile(
                f"{_SITE}cifar-100-python.tar.gz", 169_001_437, "sha256",
                "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
            ),
            "cifar-100-python",
            {"train": "16019d7e3df5f24257cddd939b257f8d"},
            {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
            read_batch,
        ),
        Version(
            RemoteFile(f"{_SITE}cifar-100-binary.tar.gz", 168_513_733, "md5", "03b5dce01913d631647c71ecec9e9cb8"),
            "cifar-100-binary",
            {"train.bin": "6172c7755cfe09b2fe270c85cebc1b15"},
            {"test.bin": "4499cfba6c016c1be1438163640a0898"},
            read_records,
        ),
    ),
}  # fmt: skip
TRAIN_ROWS, TEST_ROWS = 50_000, 10_000
_PARTS = {"train": ("train",), "test": ("test", "val", "validation", "valid")}


@dataclass(frozen=True)
class CifarFiles:
    """A task's data; call it to read them.

    Attributes
    ----------
    classes : 10 or 100
    task : the task that it belongs to, for messages
    """

    classes: int
    task: str

    @property
    def title(self) -> str:
        return f"CIFAR-{self.classes}"

    @property
    def folder(self) -> str:
        return f"cifar{self.classes}"

    @property
    def path(self) -> Path:
        return data_folder() / self.folder

    @property
    def there(self) -> bool:
        """Whether files of some form are; what is in them is seen when they are read."""
        return self._version() is not None or has_pictures(self.path, _PARTS)

    def __call__(self) -> Data:
        """x of shape (rows, 3, 32, 32), each channel at mean 0 and deviation 1 on the training part; y from 0.

        Training images are shifted by up to four pixels and flipped, see `nonlin.tasks.pictures.pixels`. Files with
        fewer images are welcome.

        Raises
        ------
        TaskError : files that are missing, damaged, changed, or of the other data set
        """
        if found := self._version():
            images, labels, test_images, test_labels = _from_version(*found, self.classes)
        elif has_pictures(self.path, _PARTS):
            images, labels, test_images, test_labels = _from_pictures(self.path, self.classes)
        else:
            raise self._missing()
        cut = len(images) - max(1, int(len(images) * VALIDATION))
        if not cut:
            raise TaskError(f"{self.path} holds one training image; {self.title} needs more.")
        train, validation, test = Pixels.measured(images[:cut], images[cut:], test_images)
        return Data((train, labels[:cut]), (validation, labels[cut:]), (test, test_labels))

    def download(self, watcher: Callable[[int], None] | None = None) -> Path:
        """Get the python version from its authors' site, unless some form is there; returns the folder."""
        if not self.there:
            fetch(VERSIONS[self.classes][0].archive, self.path, watcher)
        return self.path

    def _version(self) -> tuple[Version, Path] | None:
        for version in VERSIONS[self.classes]:
            if place := version.find(self.path):
                return version, place
        return None

    def _missing(self) -> TaskError:
        begun = [
            f"{folder} lacks {', '.join(missing)}"
            for version in VERSIONS[self.classes]
            for folder in (self.path / version.folder, self.path)
            if 0 < len(missing := version.missing(folder)) < len(version.train) + len(version.test)
        ]
        what = "; ".join(begun) or f"nothing of it is in {self.path}"
        first = VERSIONS[self.classes][0]
        return TaskError(
            f"task {self.task} needs {self.title}: {what}. Download it once with: nonlin tasks --download {self.task}. "
            f"Or set {FOLDER} to a folder in which {self.folder}/ holds {first.archive.name}, {first.folder}/, the "
            "binary version, parquet or arrow files, or folders train and test with a folder of pictures per class."
        )


Parts = tuple[Tensor, Tensor, Tensor, Tensor]  # images and labels for training, images and labels for test


def _from_version(version: Version, place: Path, classes: int) -> Parts:
    if place.is_file():
        check(place, version.archive)
        contents = _packed(place, version)
    else:
        contents = {name: _content(place / name) for name in (*version.train, *version.test)}
    found: list[Tensor] = []
    for names, rows in ((version.train, TRAIN_ROWS), (version.test, TEST_ROWS)):
        images, labels = [], []
        for name, checksum in names.items():
            shown = f"{place}{':' if place.is_file() else '/'}{name}"
            some = version.read(contents[name], shown, classes)
            if len(some[1]) == rows // len(names) and checksum:
                _check_original(contents[name], checksum, shown)
            images.append(some[0])
            labels.append(some[1])
        found += [torch.from_numpy(np.concatenate(images)), torch.from_numpy(np.concatenate(labels))]
    return found[0], found[1], found[2], found[3]


def _from_pictures(place: Path, classes: int) -> Parts:
    sources = find_pictures(place, _PARTS, classes)
    train, test = sources["train"], sources["test"]
    return as_bytes(train, SIDE), train.labels, as_bytes(test, SIDE), test.labels


def _check_original(content: bytes, checksum: str, shown: str) -> None:
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != checksum:
        raise TaskError(
            f"{shown} has the wrong checksum: md5 {found}, expected {checksum}. It has as many images as the original, "
            "but is not the same; get it again."
        )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TaskError(f"cannot read {path}: {error}") from None


def _packed(archive: Path, version: Version) -> dict[str, bytes]:
    """The files with images out of an archive; nothing is unpacked onto the disk."""
    wanted = {f"{version.folder}/{name}": name for name in (*version.train, *version.test)}
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r|gz") as packed:  # in one go: looking for a name would unpack it anew each time
            for member in packed:
                name = wanted.get(member.name.removeprefix("./"))
                if name and (file := packed.extractfile(member)):
                    contents[name] = file.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise TaskError(f"{archive} cannot be unpacked ({error}). Delete it and get it again.") from None
    if missing := [name for name in wanted.values() if name not in contents]:
        raise TaskError(f"{archive} lacks {', '.join(missing)}. Delete it and get it again.")
    return contents
