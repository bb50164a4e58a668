"""Where a result comes from: versions, commit, machine."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import nonlin


def provenance(engine_reason: str = "") -> dict[str, Any]:
    """Versions, git commit of the source (if it is a checkout), machine and core count; and why this engine trains."""
    import numpy
    import torch

    found = {
        "nonlin": nonlin.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
    }
    return {**found, "engine_reason": engine_reason} if engine_reason else found


def _commit() -> str:
    """The commit of the source tree, with "+" if it was changed since; empty outside a checkout of nonlin."""
    folder = Path(__file__).resolve().parents[3]
    if not (folder / ".git").exists():
        return ""
    try:
        head, changed = (
            subprocess.run(["git", *args], cwd=folder, capture_output=True, text=True, timeout=5, check=True).stdout
            for args in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return head.strip() + ("+" if changed.strip() else "")


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
