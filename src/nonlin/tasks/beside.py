"""Files that a user's script names: they lie in the current folder, or beside the script."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_script: ContextVar[Path | None] = ContextVar("script", default=None)


@contextmanager
def reading(script: Path) -> Iterator[None]:
    """What is looked for inside is also looked for beside this script."""
    token = _script.set(script)
    try:
        yield
    finally:
        _script.reset(token)


def located(path: str | Path) -> Path:
    """The file in the current folder, or else beside the script that is being read; `path` where there is neither."""
    script, here = _script.get(), Path(path)
    if script is None or here.is_absolute() or here.exists():
        return here
    beside = script.parent / here
    return beside if beside.exists() else here


def places(path: str | Path) -> str:
    """Where `located` looked for a path, in words."""
    script = _script.get()
    if Path(path).is_absolute():
        return "there is no such file"
    if script is None or script.parent == Path.cwd():
        return f"there is no such file in {Path.cwd()}"
    return f"there is no such file in the current folder {Path.cwd()} nor beside {script.name} in {script.parent}"
