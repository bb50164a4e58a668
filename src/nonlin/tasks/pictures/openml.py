"""Getting a task's data from OpenML. Happens only when the user asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np

from nonlin.errors import TaskError, UnknownNameError
from nonlin.tasks.pictures.idx import write_idx
from nonlin.tasks.pictures.mnist import FASHION_CNN, MNIST_CNN
from nonlin.tasks.pictures.mnist_files import CLASSES, FILES, SIDE, ImageFiles
from nonlin.tasks.task import Task


@dataclass(frozen=True)
class Source:
    """Where a data set lies on OpenML, and what it must look like.

    Attributes
    ----------
    name : on OpenML; always version 1
    train, test : images of the training files and of the test files, in this order in one table
    first : the first labels of either part, by which a table in another order is found out
    """

    name: str
    train: int = 60_000
    test: int = 10_000
    first: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())


SOURCES = {
    MNIST_CNN.name: Source("mnist_784", first=((5, 0, 4, 1, 9), (7, 2, 1, 0, 4))),
    FASHION_CNN.name: Source("Fashion-MNIST", first=((9, 0, 0, 3, 0), (9, 2, 1, 1, 6))),
}
_FILES: dict[str, ImageFiles] = {
    task.name: task.data for task in (MNIST_CNN, FASHION_CNN) if isinstance(task.data, ImageFiles)
}


def download(name: str | Task) -> Path:
    """Download the data of a task from OpenML, unless it is there, and write it as IDX files.

    They are gzipped and go where the task looks for them: the folder that NONLIN_DATA names, else
    ``~/.cache/nonlin``. It is faster where pandas is installed.

    Returns
    -------
    Path : the folder

    Raises
    ------
    UnknownNameError : a task whose data is not downloaded
    TaskError : OpenML does not answer, or sends something else than the data set
    """
    name = name.name if isinstance(name, Task) else name
    if name not in SOURCES:
        raise UnknownNameError("task to download", name, SOURCES, "All other tasks have their data already.")
    files, source = _FILES[name], SOURCES[name]
    if files.there:
        return files.path
    images, labels = _checked(_fetch(files, source), files, source)
    try:
        files.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TaskError(f"cannot make the folder {files.path}: {error}") from None
    rows = {"train": slice(source.train), "test": slice(source.train, None)}
    for part, (image_file, label_file) in FILES.items():
        write_idx(files.path / f"{image_file}.gz", images[rows[part]])
        write_idx(files.path / f"{label_file}.gz", labels[rows[part]])
    return files.path


def _fetch(files: ImageFiles, source: Source) -> Any:
    from sklearn.datasets import fetch_openml

    parser = "pandas" if find_spec("pandas") else "liac-arff"  # the first is faster and no dependency of ours
    try:
        return fetch_openml(source.name, version=1, as_frame=False, parser=parser, cache=False)
    except (URLError, HTTPException, OSError, ValueError) as error:
        raise TaskError(
            f"{files.title} could not be downloaded from OpenML: {error}. Try again later; or put the four IDX files, "
            f"plain or gzipped, into {files.path}."
        ) from None


def _checked(table: Any, files: ImageFiles, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Images (rows, 28, 28) and labels (rows,), both uint8; TaskError unless they are what was asked for."""
    rows = source.train + source.test
    pixels, target = np.asarray(table.data), np.asarray(table.target)
    if pixels.shape != (rows, SIDE * SIDE) or target.shape != (rows,):
        raise _unexpected(files, f"{pixels.shape} pixels and {target.shape} labels, expected {(rows, SIDE * SIDE)}")
    try:
        labels = target.astype(np.int64)
    except (TypeError, ValueError):
        raise _unexpected(files, f"labels such as {target[0]!r}, expected 0 to {CLASSES - 1}") from None
    for values, largest, what in ((pixels, 255, "pixels"), (labels, CLASSES - 1, "labels")):
        if not bool(((values >= 0) & (values <= largest) & (values == np.floor(values))).all()):
            raise _unexpected(files, f"{what} that are no whole numbers from 0 to {largest}")
    for begin, first in zip((0, source.train), source.first, strict=True):
        found = tuple(labels[begin : begin + len(first)].tolist())
        if found != first:
            raise _unexpected(files, f"its rows in another order (labels {found} where {first} should be)")
    return pixels.astype(np.uint8).reshape(rows, SIDE, SIDE), labels.astype(np.uint8)


def _unexpected(files: ImageFiles, what: str) -> TaskError:
    return TaskError(
        f"OpenML sent {files.title} with {what}. Nothing was written; put the IDX files into {files.path}."
    )
