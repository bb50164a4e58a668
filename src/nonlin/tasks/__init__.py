"""Tasks by name, and the plug-in point for a user's own model and data."""

from pathlib import Path

from nonlin.errors import UnknownNameError
from nonlin.tasks.budget import Budget
from nonlin.tasks.data import Data
from nonlin.tasks.downloads import Watcher, data_title, is_there
from nonlin.tasks.downloads import download as download_task
from nonlin.tasks.language.dpo import GPT2_DPO_HH, GPT2_DPO_SHP
from nonlin.tasks.language.text import CHARS_GPT
from nonlin.tasks.language.translation import WMT14_TRANSFORMER
from nonlin.tasks.library_models import LIBRARY_TASKS, is_library, library_task
from nonlin.tasks.pictures.digits import DIGITS_MLP
from nonlin.tasks.pictures.digits_images import DIGITS_CNN, DIGITS_VIT
from nonlin.tasks.pictures.mnist import FASHION_CNN, MNIST_CNN
from nonlin.tasks.pictures.openml import SOURCES
from nonlin.tasks.pictures.papers import IMAGE_TASKS
from nonlin.tasks.script import is_script, script_task
from nonlin.tasks.tabular import TABULAR_CANCER
from nonlin.tasks.task import ActivationFactory, Factory, Task

_ALL = (
    DIGITS_MLP,
    DIGITS_CNN,
    DIGITS_VIT,
    TABULAR_CANCER,
    CHARS_GPT,
    MNIST_CNN,
    FASHION_CNN,
    *IMAGE_TASKS,
    *LIBRARY_TASKS,
    GPT2_DPO_SHP,
    GPT2_DPO_HH,
    WMT14_TRANSFORMER,
)
TASKS: dict[str, Task] = {task.name: task for task in _ALL}


def task(name: str | Path | Task) -> Task:
    """The task called `name`, the one of a script (`train.py`), a library's model (`timm:NAME`), or the task itself.

    Raises
    ------
    UnknownNameError : there is none of this name
    TaskError : the script is not there, fails, or defines no task
    """
    if isinstance(name, Task):
        return name
    if is_script(name):
        return script_task(name)
    if name not in TASKS and is_library(name):
        return library_task(str(name))
    if name not in TASKS:
        raise UnknownNameError(
            "task", str(name), TASKS, "See 'nonlin tasks', or pass a script such as train.py, or a nonlin.Task."
        )
    return TASKS[str(name)]


def known(name: str) -> bool:
    """Whether `task(name)` can make this task again, so that a store need not hold its code."""
    return name in TASKS or is_script(name) or is_library(name)


def download(name: str | Task, watcher: Watcher | None = None) -> Path:
    """Download the data of a task, unless it is there, and check it; see `nonlin.tasks.downloads`."""
    return download_task(task(name), watcher)


__all__ = [
    "SOURCES",
    "TASKS",
    "ActivationFactory",
    "Budget",
    "Data",
    "Factory",
    "Task",
    "data_title",
    "download",
    "is_script",
    "is_there",
    "known",
    "script_task",
    "task",
]
