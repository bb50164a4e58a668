"""Writing to the terminal: tables, JSON, messages."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

WIDTH_WITHOUT_TERMINAL = 120
INTERRUPTED = 130  # the exit status after Ctrl-C: 128 and the number of the signal, as shells and make expect it


def console() -> Console:
    """The standard output; 120 columns wide where it is a file or a pipe."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=WIDTH_WITHOUT_TERMINAL)


def complain(message: str, kind: str = "error") -> None:
    """One message on the standard error stream: an error, or another kind such as a note."""
    print(f"{kind}: {message}", file=sys.stderr)


def complain_of_interruption(store: Path, again: str) -> None:
    """After Ctrl-C: what is kept, and the command that goes on; before there is a store nothing is."""
    kept = f"what was trained is kept. Continue with: {again}" if store.exists() else "nothing had been trained yet."
    complain(f"interrupted; {kept}")


def check_picture(path: Path | None) -> None:
    """NonlinError, before anything is computed, if a picture is asked for that cannot be written."""
    if path is not None:
        from nonlin.report.plot import checked_format

        checked_format(path)


def print_json(value: Any) -> None:
    """Standard JSON: NaN and infinities become null."""
    print(json.dumps(_finite(value), indent=2, ensure_ascii=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def table(*columns: str, right: tuple[str, ...] = (), title: str | None = None) -> Table:
    """An empty table; columns named in `right` are aligned to the right."""
    made = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", no_wrap=column in right)
    return made
