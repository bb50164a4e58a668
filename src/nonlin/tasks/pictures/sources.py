"""Pictures with labels on disk: one folder per class, or Hugging Face's parquet and arrow files.

Finding them looks at names only. Pictures are read one at a time, where a batch asks for them.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nonlin.errors import MissingExtraError, TaskError

ENDINGS = (".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm")
CONVERTED = "converted-to-arrow"  # folder beside large parquet files
_IN_MEMORY = 2**30  # parquet files up to so many bytes are read at once
_IMAGE, _LABEL = ("image", "img"), ("label", "fine_label", "labels")  # names of columns


class PictureSource(ABC):
    """Encoded pictures by row number, with `labels` (rows,)."""

    labels: Tensor

    @abstractmethod
    def content(self, row: int) -> bytes:
        """The picture as it lies there, in JPEG or another format."""

    @abstractmethod
    def name(self, row: int) -> str:
        """What to call it in messages."""

    @abstractmethod
    def fingerprint(self) -> bytes:
        """A checksum of names and sizes; the pictures themselves are not read."""

    def __len__(self) -> int:
        return len(self.labels)


def has_pictures(place: Path, parts: Mapping[str, Sequence[str]]) -> bool:
    """Whether every part can be found, all in one form, under one of its names.

    Where the first part lies in class folders, no other form is looked for: that would go through all pictures.
    """
    in_folders = [_class_folder(place, names) is not None for names in parts.values()]
    return all(in_folders) if in_folders[0] else all(_arrow_files(place, names) for names in parts.values())


def find_pictures(place: Path, parts: Mapping[str, Sequence[str]], classes: int) -> dict[str, PictureSource]:
    """The sources of the parts.

    Parameters
    ----------
    parts : names under which each part may lie, such as {"train": ["train"], "test": ["val", "validation"]}
    classes : labels go from 0 to classes - 1; of folders, there may be fewer

    Raises
    ------
    TaskError : a part that is not there, a folder without pictures, a class that training does not have, labels
        that do not exist
    MissingExtraError : parquet or arrow files without pyarrow
    """
    found: dict[str, PictureSource] = {}
    known: list[str] | None = None
    for part, names in parts.items():
        source: PictureSource
        if folder := _class_folder(place, names):
            source = folders = FolderSource(folder, known)
            known = known or folders.classes
        elif not known and (files := _arrow_files(place, names)):
            source = ArrowSource(files)
        else:
            raise TaskError(f"{place} has no folder and no parquet or arrow files called {' or '.join(names)}.")
        low, high = int(source.labels.min()), int(source.labels.max())
        if low < 0 or high >= classes:
            raise TaskError(
                f"the labels of {part} in {place} go from {low} to {high}, expected 0 to {classes - 1}. Is it another "
                "data set, or a part whose labels are not published?"
            )
        found[part] = source
    return found


class FolderSource(PictureSource):
    """One folder per class; classes are numbered in alphabetical order of their names, pictures too."""

    def __init__(self, folder: Path, classes: list[str] | None = None):
        own = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        self.folder, self.classes = folder, own if classes is None else classes
        if new := [name for name in own if name not in self.classes]:
            raise TaskError(f"{folder} has the class {new[0]!r}, which the training pictures do not have.")
        number = {name: index for index, name in enumerate(self.classes)}
        self.names: list[str] = []
        labels: list[int] = []
        for name in own:
            pictures = sorted(_pictures(folder / name))
            self.names += [f"{name}/{picture}" for picture in pictures]
            labels += [number[name]] * len(pictures)
        if not labels:
            raise TaskError(f"{folder} has {len(own)} folders, but no picture ({', '.join(ENDINGS)}) in any of them.")
        self.labels = torch.tensor(labels)

    def content(self, row: int) -> bytes:
        try:
            return (self.folder / self.names[row]).read_bytes()
        except OSError as error:
            raise TaskError(f"cannot read the picture {self.name(row)}: {error}") from None

    def name(self, row: int) -> str:
        return str(self.folder / self.names[row])

    def fingerprint(self) -> bytes:
        return hashlib.sha256("\n".join(self.names).encode()).digest()


class ArrowSource(PictureSource):
    """Hugging Face's files: a column of encoded pictures and one of labels."""

    def __init__(self, files: list[Path]):
        self.files = files
        self._table: Any = None
        column = _one_of(self.table.column_names, _LABEL, files[0])
        labels = self.table.column(column).to_numpy()
        if not len(labels) or labels.dtype.kind not in "iu":
            raise TaskError(f"{files[0]}: the column {column!r} holds no whole numbers.")
        self.labels = torch.from_numpy(labels.astype(np.int64))
        self.column = _one_of(self.table.column_names, _IMAGE, files[0])

    @property
    def table(self) -> Any:
        """All rows; opened where it is used, as worker processes get the names of the files only."""
        if self._table is None:
            self._table = _table(self.files)
        return self._table

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_table": None}

    def content(self, row: int) -> bytes:
        cell = self.table.column(self.column)[row].as_py()
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(content, bytes):
            raise TaskError(f"{self.name(row)} holds no picture, but {type(content).__name__}.")
        return content

    def name(self, row: int) -> str:
        return f"row {row} of {self.files[0].parent}"

    def fingerprint(self) -> bytes:
        sizes = [f"{file.name} {file.stat().st_size}" for file in self.files]
        return hashlib.sha256("\n".join(sizes).encode() + self.labels.numpy().tobytes()).digest()


def _class_folder(place: Path, names: Sequence[str]) -> Path | None:
    for name in names:
        folder = place / name
        if folder.is_dir() and any(entry.is_dir() for entry in folder.iterdir()):
            return folder
    return None


def _pictures(folder: Path) -> Iterator[str]:
    return (entry.name for entry in folder.iterdir() if entry.suffix.lower() in ENDINGS)


def _arrow_files(place: Path, names: Sequence[str]) -> list[Path]:
    """Files of a part, in order: those in whose name, or folder's name, one of the names is a word."""
    for ending in ("parquet", "arrow"):
        files = [file for file in sorted(place.glob(f"**/*.{ending}")) if CONVERTED not in file.parts]
        for name in names:
            chosen = [file for file in files if name in _words(file.relative_to(place))]
            if chosen:
                return chosen
    return []


def _words(path: Path) -> list[str]:
    return re.split("[^a-z]+", str(path).lower())


def _one_of(columns: list[str], wanted: Sequence[str], file: Path) -> str:
    for name in wanted:
        if name in columns:
            return name
    raise TaskError(f"{file} has the columns {', '.join(columns)}, but none called {' or '.join(wanted)}.")


def _table(files: list[Path]) -> Any:
    """The rows of all files. Arrow files are mapped, not read; small parquet files are read, large ones converted."""
    try:
        import pyarrow
    except ImportError:
        raise MissingExtraError("pyarrow", "hf", f"reading {files[0].name}") from None
    tables = []
    small = sum(file.stat().st_size for file in files) <= _IN_MEMORY
    for file in files:
        try:
            tables.append(_read(file, small))
        except (pyarrow.ArrowException, OSError) as error:
            raise TaskError(
                f"cannot read {file}: {str(error).splitlines()[0]} It is damaged or was not copied to its end; get it "
                "again."
            ) from None
    try:
        return pyarrow.concat_tables(tables)
    except pyarrow.ArrowInvalid:
        raise TaskError(f"the {len(files)} files beside {files[0]} have different columns.") from None


def _read(file: Path, small: bool) -> Any:
    import pyarrow

    if file.suffix == ".parquet":
        from pyarrow import parquet

        if small:
            return parquet.read_table(file)
        file = _converted(file)
    mapped = pyarrow.memory_map(str(file))
    try:
        return pyarrow.ipc.open_stream(mapped).read_all()
    except pyarrow.ArrowInvalid:
        return pyarrow.ipc.open_file(mapped).read_all()


def _converted(file: Path) -> Path:
    """The arrow twin of a large parquet file, from which single rows can be read; made once, file by file."""
    import os

    import pyarrow
    from pyarrow import parquet

    target = file.parent / CONVERTED / f"{file.stem}.arrow"
    if target.is_file() and target.stat().st_mtime >= file.stat().st_mtime:
        return target
    target.parent.mkdir(exist_ok=True)
    part = target.with_suffix(".part")
    source = parquet.ParquetFile(file)
    with pyarrow.ipc.new_file(part, source.schema_arrow) as writer:
        for batch in source.iter_batches(256):
            writer.write_batch(batch)
    os.replace(part, target)
    return target
