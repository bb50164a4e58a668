"""Where the data of tasks lies on the user's disk."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = "NONLIN_DATA"  # environment variable


def data_folder() -> Path:
    """Where downloaded data lies: NONLIN_DATA, else ~/.cache/nonlin."""
    return Path(os.environ.get(FOLDER) or Path.home() / ".cache" / "nonlin").expanduser()
