"""Data that took long to make, kept in a file beside its sources: tokens, for one."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from nonlin.errors import TaskError
from nonlin.tasks.data import Part
from nonlin.tasks.folder import data_folder


def prepared(name: str, sources: Iterable[Path], settings: tuple, make: Callable[[], list[Part]]) -> list[Part]:
    """What `make` returns; read from a file where it was made before from the same sources.

    Sources are the same by path, size and time of change. The file is written whole or not at all, and made again
    if it cannot be read.
    """
    marks = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in sources]
    key = hashlib.sha256(repr((settings, marks)).encode()).hexdigest()[:16]
    place = data_folder() / "prepared" / f"{name}-{key}.pt"
    if place.is_file():
        try:
            return [(x, y) for x, y in torch.load(place, weights_only=True)]
        except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError):
            place.unlink(missing_ok=True)  # damaged: nothing is lost but time
    parts = make()
    part = place.with_suffix(f".{os.getpid()}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        torch.save(parts, part)
        os.replace(part, place)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise TaskError(f"cannot keep the prepared data in {place.parent}: {error}") from None
    return parts
