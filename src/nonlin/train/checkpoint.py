"""A training's whole state in a file, from which it goes on to the same figures.

One file for each training, named after the task and a checksum of all that decides the result: so one folder
serves many, and none is ever continued with other settings or other data. A file is written beside the old one
and put in its place in one step: whatever happens, a whole one is there. Its first line is the checksum of the
rest, by which damage is found.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nonlin.errors import TrainingError

EVERY = 60.0  # seconds: what an interruption may cost
_FORMAT = 1


@dataclass
class Checkpoint:
    """The file of one training.

    Attributes
    ----------
    path : where it is
    identity : what decides the result
    every : seconds between two writings; 0 writes after every step
    """

    path: Path
    identity: dict[str, Any]
    every: float = EVERY
    written: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, folder: str | Path, identity: dict[str, Any], every: float = EVERY) -> Checkpoint:
        """The file in `folder` for the training with this identity; TrainingError if there can be no such folder."""
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(
                f"cannot make the folder {folder} for checkpoints: {error.strerror or error}."
            ) from None
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        name = re.sub(r"[^A-Za-z0-9.-]+", "-", str(identity["task"]))
        return cls(folder / f"{name}-{key}.checkpoint", identity, every)

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() - self.written >= self.every

    def write(self, state: dict[str, Any]) -> None:
        """Write it, whole or not at all.

        Raises
        ------
        TrainingError : the disk does not take it; what was written before is still there
        """
        buffer = io.BytesIO()
        torch.save({"format": _FORMAT, "identity": self.identity, "state": state}, buffer)
        content = buffer.getbuffer()
        part = self.path.with_name(self.path.name + ".part")
        try:
            with open(part, "wb") as file:
                file.write(hashlib.sha256(content).hexdigest().encode() + b"\n")
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self.path)
        except OSError as error:
            raise TrainingError(
                f"cannot write the checkpoint {self.path}: {error.strerror or error}. The one before it is still there."
            ) from None
        self.written = time.monotonic()

    def read(self) -> dict[str, Any] | None:
        """The state; None if there is no such file.

        Raises
        ------
        TrainingError : a file that cannot be read or is not what was written. It is left as it is.
        """
        try:
            line, _, content = self.path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TrainingError(f"cannot read the checkpoint {self.path}: {error.strerror or error}.") from None
        if hashlib.sha256(content).hexdigest().encode() != line:
            raise self._unusable("is damaged: its checksum does not fit its content")
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if found.get("format") != _FORMAT or found.get("identity") != self.identity:
            raise self._unusable("was written by another version of nonlin")
        return found["state"]

    def _unusable(self, what: str) -> TrainingError:
        return TrainingError(
            f"the checkpoint {self.path} {what}. Nothing was changed: move it away to train from the beginning, or "
            "put a copy of it in its place."
        )
