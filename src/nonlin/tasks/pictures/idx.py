"""The IDX format of MNIST's files: bytes 0, 0, the type of the numbers, how many dimensions; the sizes; the numbers.

Sizes are 32-bit whole numbers, the most significant byte first. Only unsigned bytes (type 8) are read and
written, as all of MNIST's and Fashion-MNIST's files hold them; a file may be gzipped.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from nonlin.errors import TaskError

_BYTES = 8  # the type of unsigned bytes


def read_idx(path: str | Path, dimensions: int) -> np.ndarray:
    """The file's array, uint8 of `dimensions` dimensions. A gzipped file is known by its content, not its name.

    Raises
    ------
    TaskError : a file that cannot be read, is no IDX file of that kind, or is longer or shorter than it says
    """
    path = Path(path)
    content = _content(path)
    begin = 4 + 4 * dimensions
    expected = bytes((0, 0, _BYTES, dimensions))
    if content[:4] != expected:
        raise TaskError(
            f"{path} is no IDX file of {dimensions}-dimensional bytes: it begins with "
            f"{content[:4].hex(' ') or 'nothing'}, expected {expected.hex(' ')}. Is it under the right name?"
        )
    if len(content) < begin:
        raise TaskError(f"{path} ends inside its header, after {len(content)} bytes. {_AGAIN}")
    shape = struct.unpack(f">{dimensions}I", content[4:begin])
    if len(content) - begin != math.prod(shape):
        raise TaskError(
            f"{path} says that it holds {'x'.join(map(str, shape))} = {math.prod(shape)} bytes, but it holds "
            f"{len(content) - begin}. {_AGAIN}"
        )
    return np.frombuffer(content, np.uint8, offset=begin).reshape(shape)


_AGAIN = "It is damaged or was not copied to its end; get it again."


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TaskError(f"{path} cannot be unpacked ({error}). {_AGAIN}") from None
    except OSError as error:
        raise TaskError(f"cannot read {path}: {error}") from None


def write_idx(path: str | Path, array: np.ndarray) -> None:
    """Write a uint8 array; gzipped if the name ends in .gz. The file is there whole or not at all."""
    path = Path(path)
    if array.dtype != np.uint8:
        raise TaskError(f"IDX files hold unsigned bytes here; got {array.dtype}.")
    header = bytes((0, 0, _BYTES, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + np.ascontiguousarray(array).tobytes()
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(gzip.compress(content, 6, mtime=0) if path.suffix == ".gz" else content)
        os.replace(part, path)
    except OSError as error:
        raise TaskError(f"cannot write {path}: {error}") from None
