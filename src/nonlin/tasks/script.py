"""A task from a user's own script: ``nonlin pipeline train.py``, or any ``--task train.py``.

The script defines either ``build(activation)`` and ``data``, or a ``task``; nothing else of it is needed, and what it
trains by itself belongs under ``if __name__ == "__main__":``. The task is called as the script is, seen from the
current folder, so that a store finds it again.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from nonlin.errors import NonlinError, TaskError
from nonlin.tasks.beside import reading
from nonlin.tasks.budget import Budget
from nonlin.tasks.data import Data
from nonlin.tasks.task import ActivationFactory, Task, uncalled

_OPTIONAL = ("budget", "designed_for", "remark")
_EXPECTED = (
    "A script needs  build(activation), which returns your model, and  data = nl.Data.from_csv(...)  or a function "
    "data() that returns one; budget = nl.Budget(...) is optional. Or one  task = nl.Task(...)."
)


def is_script(name: object) -> bool:
    """Whether this is the path of a script and not the name of a task."""
    return isinstance(name, str | Path) and str(name).endswith(".py")


def script_task(path: str | Path) -> Task:
    """The task that a script defines.

    Raises
    ------
    TaskError : no such file, a script that fails (with its line), or one that defines no task
    """
    found = Path(path)
    if not found.is_file():
        raise TaskError(f"there is no script {path}. Name a Python file that defines build(activation) and data.")
    return _task(found.resolve(), _shown(found), found.stat().st_mtime_ns)


def _shown(path: Path) -> str:
    """The path from the current folder where the script is below it, else the whole path."""
    resolved, here = path.resolve(), Path.cwd().resolve()
    return (resolved.relative_to(here) if resolved.is_relative_to(here) else resolved).as_posix()


@lru_cache(maxsize=8)
def _task(path: Path, name: str, version: int) -> Task:
    script = _module(path, version)
    if isinstance(own := getattr(script, "task", None), Task):
        data = own.data if isinstance(own.data, Data) else _ScriptData(path, version)
        return replace(own, name=name, build=_ScriptBuild(path, version), data=data)
    missing = [word for word in ("build", "data") if not hasattr(script, word)]
    if missing:
        raise TaskError(f"{name} defines no {' and no '.join(missing)}. {_EXPECTED}")
    if not callable(script.build):
        raise TaskError(f"{name}: build must be a function, not {type(script.build).__name__}. {_EXPECTED}")
    settings: dict[str, Any] = {word: getattr(script, word) for word in _OPTIONAL if hasattr(script, word)}
    settings.setdefault("budget", Budget())
    data = _ScriptData(path, version) if callable(script.data) else script.data
    return Task(name, _ScriptBuild(path, version), data, **settings)


@dataclass(frozen=True)
class _ScriptBuild:
    """The script's `build`. Worker processes get the path, and read the script themselves.

    `version` is the time of the file's last change: a script that was edited is another task, also in one process.
    """

    path: Path
    version: int

    def __call__(self, activation: ActivationFactory) -> nn.Module:
        script = _module(self.path, self.version)
        own = getattr(script, "task", None)
        build = own.build if isinstance(own, Task) else script.build
        with _told(self.path, "build failed"):
            return build(activation)


@dataclass(frozen=True)
class _ScriptData:
    """The script's `data()`."""

    path: Path
    version: int

    def __call__(self) -> Data:
        script = _module(self.path, self.version)
        own = getattr(script, "task", None)
        load: Any = own.data if isinstance(own, Task) else script.data
        with _told(self.path, "data() failed"):
            return load()


@lru_cache(maxsize=8)
def _module(path: Path, version: int) -> ModuleType:
    """The script, run once in a process for each version; what it imports from beside itself is found."""
    name = f"nonlin_script_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    sys.modules[name] = module  # dataclasses and pickle look there
    with _told(path, "cannot be read"):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _told(path: Path, what: str) -> Iterator[None]:
    """Whatever goes wrong in the script, as one TaskError with its line."""
    try:
        with reading(path):
            yield
    except TaskError as error:
        if path.name in str(error):
            raise
        raise TaskError(f"{_place(error, path)}: {error}") from None
    except NonlinError:
        raise
    except SystemExit as end:
        raise TaskError(
            f"{path.name} ended itself while it was read (exit code {end.code}). Keep what the script runs, such as "
            'reading its own arguments, under  if __name__ == "__main__":'
        ) from None
    except Exception as error:
        said = uncalled(error) or f"{type(error).__name__}: {_said(error)}"
        raise TaskError(f"{_place(error, path)}: {what}: {said}") from error


def _said(error: Exception) -> str:
    """The message; a syntax error's without file and line, which come first already."""
    return str(error.msg if isinstance(error, SyntaxError) else error)


def _place(error: Exception, path: Path) -> str:
    line = _line(error, path)
    return f"{path.name}, line {line}" if line else path.name


def _line(error: Exception, path: Path) -> int | None:
    """The last line of the script that was on the way to the error."""
    if isinstance(error, SyntaxError) and error.filename and os.path.samefile(error.filename, path):
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines else None
