"""A checksum of a task's data."""

from __future__ import annotations

import hashlib

from nonlin.tasks.data import Data
from nonlin.tasks.rows import Rows


def data_digest(data: Data) -> str:
    """A short checksum of all parts, so that a study or a training is never continued on other data."""
    digest = hashlib.sha256()
    for part in (data.train, data.validation, data.test):
        for tensor in part:
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.fingerprint() if isinstance(tensor, Rows) else tensor.numpy().tobytes())
    return digest.hexdigest()[:16]
