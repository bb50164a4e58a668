"""The two forms in which CIFAR's authors give out their data: pickled batches, and a binary form.

Pickles can run any code when they are read. The reader here knows no classes and no functions but the three that
stand for a numpy array of bytes, and makes those itself: anything else in a file is an error, never a call.

References
----------
[Krizhevsky2009] A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np

from nonlin.errors import TaskError

SIDE = 32
PIXELS = 3 * SIDE * SIDE
_AGAIN = "It is damaged, was not copied to its end, or is another file; get it again."

Images = tuple[np.ndarray, np.ndarray]  # (rows, 3, 32, 32) uint8, and labels (rows,) int64


class _Array:
    """What stands for a numpy array in a pickle: its shape and bytes."""

    values: np.ndarray | None = None

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_columns, content = state
        if isinstance(content, str):
            content = content.encode("latin-1")
        plain = isinstance(kind, _Bytes) and isinstance(content, bytes) and len(content) == math.prod(shape)
        if not plain:
            raise pickle.UnpicklingError(f"an array of shape {shape} that does not hold so many bytes")
        self.values = np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_columns else "C")


class _Bytes:
    """What stands for numpy's type of unsigned bytes in a pickle."""

    def __init__(self, name: Any, *_: Any):
        if name not in ("u1", b"u1", "|u1"):
            raise pickle.UnpicklingError(f"an array of {name!r}, expected unsigned bytes")

    def __setstate__(self, state: Any) -> None:
        pass


def _latin(text: Any, encoding: Any) -> bytes:
    """How Python 3 writes bytes in the old pickle protocols: as text with this function to be called on it."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"text in {encoding!r}")
    return text.encode("latin-1")


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Bytes,
    ("_codecs", "encode"): _latin,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no part of images and labels")
        return _KNOWN[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to an object outside of the file")


def read_batch(content: bytes, name: str, classes: int) -> Images:
    """The images of one pickled batch. It runs no code of the file.

    Parameters
    ----------
    name : the file's, for messages
    classes : 10 for the key "labels", 100 for the key "fine_labels"

    Raises
    ------
    TaskError : no pickle, a pickle of something else, one that is cut off
    """
    key = "labels" if classes == 10 else "fine_labels"
    try:
        batch = _Reader(io.BytesIO(content), encoding="latin-1").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise TaskError(f"{name} is no batch of CIFAR's python version: {error}. {_AGAIN}") from None
    if isinstance(batch, dict):
        batch = {word.decode("latin-1") if isinstance(word, bytes) else word: value for word, value in batch.items()}
    if not isinstance(batch, dict) or "data" not in batch or key not in batch:
        found = f"the keys {', '.join(map(repr, batch))}" if isinstance(batch, dict) else type(batch).__name__
        raise TaskError(f"{name} holds {found}, expected 'data' and {key!r}. Is it a file of the other CIFAR?")
    pixels, labels = batch["data"], batch[key]
    values = pixels.values if isinstance(pixels, _Array) else None
    if values is None or values.ndim != 2 or values.shape[1] != PIXELS:
        raise TaskError(f"{name}: its 'data' is no array of rows of {PIXELS} bytes. {_AGAIN}")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise TaskError(f"{name}: its {key!r} is no list of whole numbers. {_AGAIN}")
    return _checked(values, np.array(labels, dtype=np.int64), name, classes)


def read_records(content: bytes, name: str, classes: int) -> Images:
    """The images of one file of the binary version.

    A record is the label in one byte (two for CIFAR-100: the coarse one, then the fine one, which counts), then
    1,024 bytes each of red, green and blue, row by row.

    Raises
    ------
    TaskError : a size that is no number of whole records, labels that do not exist
    """
    label_bytes = 1 if classes == 10 else 2
    record = label_bytes + PIXELS
    if not content or len(content) % record:
        raise TaskError(
            f"{name} has {len(content)} bytes, which is no number of whole records of {record} bytes as the binary "
            f"version of CIFAR-{classes} has them. {_AGAIN}"
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, record)
    return _checked(rows[:, label_bytes:], rows[:, label_bytes - 1].astype(np.int64), name, classes)


def _checked(pixels: np.ndarray, labels: np.ndarray, name: str, classes: int) -> Images:
    if len(pixels) != len(labels) or not len(labels):
        raise TaskError(f"{name} holds {len(pixels)} images and {len(labels)} labels. {_AGAIN}")
    if labels.min() < 0 or labels.max() >= classes:
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise TaskError(f"{name} holds the label {wrong}; labels go from 0 to {classes - 1}. {_AGAIN}")
    return pixels.reshape(-1, 3, SIDE, SIDE), labels
