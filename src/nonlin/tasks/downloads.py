"""Which data is on this machine, and getting it where the user asks for that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from nonlin.errors import UnknownNameError
from nonlin.tasks.pictures import openml
from nonlin.tasks.pictures.mnist_files import ImageFiles
from nonlin.tasks.task import Task

Watcher = Callable[[int], None]  # told how many bytes are there


@runtime_checkable
class Files(Protocol):
    """Data that lies in files: what a task's `data` is then.

    Attributes
    ----------
    title : the data set's name
    there : whether it can be loaded; decided by names of files, nothing is read
    """

    title: str

    @property
    def there(self) -> bool: ...

    def download(self, watcher: Watcher | None = None) -> Path:
        """Get it, unless it is there; the folder. TaskError if it cannot be got from here."""


def is_there(task: Task) -> bool:
    """Whether the task's data can be loaded without a download; reads nothing."""
    return bool(getattr(task.data, "there", True))


def data_title(task: Task) -> str:
    """The name of the data set that must be got first; empty if the data comes with nonlin or from the user."""
    return str(getattr(task.data, "title", ""))


def download(task: Task, watcher: Watcher | None = None) -> Path:
    """Download the data of a task, unless it is there; what is got is checked before it is used.

    It goes where the task looks for it: the folder that NONLIN_DATA names, else ``~/.cache/nonlin``.

    Parameters
    ----------
    watcher : told, now and then, how many bytes have come

    Returns
    -------
    Path : the folder

    Raises
    ------
    UnknownNameError : a task whose data need not be downloaded
    TaskError : no network, a wrong checksum, a full disk, or data that only registered users can get
    """
    if isinstance(task.data, ImageFiles):
        return openml.download(task)
    if not isinstance(task.data, Files):
        raise UnknownNameError("task to download", task.name, [], "All other tasks have their data already.")
    return task.data.download(watcher)
