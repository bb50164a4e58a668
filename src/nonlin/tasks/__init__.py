"""Tasks by name, and the plug-in point for a user's own model and data."""

from nonlin.errors import UnknownNameError
from nonlin.tasks.data import Data
from nonlin.tasks.digits import DIGITS_MLP
from nonlin.tasks.mnist import FASHION_CNN, MNIST_CNN
from nonlin.tasks.openml import SOURCES, download, is_there
from nonlin.tasks.tabular import TABULAR_CANCER
from nonlin.tasks.task import ActivationFactory, Budget, Factory, Task
from nonlin.tasks.text import CHARS_GPT
from nonlin.tasks.vision import DIGITS_CNN, DIGITS_VIT

_ALL = (DIGITS_MLP, DIGITS_CNN, DIGITS_VIT, TABULAR_CANCER, CHARS_GPT, MNIST_CNN, FASHION_CNN)
TASKS: dict[str, Task] = {task.name: task for task in _ALL}


def task(name: str | Task) -> Task:
    """The task called `name`, or the task itself; UnknownNameError if there is none."""
    if isinstance(name, Task):
        return name
    if name not in TASKS:
        raise UnknownNameError("task", str(name), TASKS, "See 'nonlin tasks', or pass a nonlin.Task.")
    return TASKS[name]


__all__ = [
    "SOURCES",
    "TASKS",
    "ActivationFactory",
    "Budget",
    "Data",
    "Factory",
    "Task",
    "download",
    "is_there",
    "task",
]
