"""Tasks by name, and the plug-in point for a user's own model and data."""

from nonlin.errors import UnknownNameError
from nonlin.tasks.data import Data
from nonlin.tasks.digits import DIGITS_MLP
from nonlin.tasks.task import ActivationFactory, Budget, Factory, Task

TASKS: dict[str, Task] = {task.name: task for task in (DIGITS_MLP,)}


def task(name: str | Task) -> Task:
    """The task called `name`, or the task itself; UnknownNameError if there is none."""
    if isinstance(name, Task):
        return name
    if name not in TASKS:
        raise UnknownNameError("task", str(name), TASKS, "See 'nonlin tasks', or pass a nonlin.Task.")
    return TASKS[name]


__all__ = ["TASKS", "ActivationFactory", "Budget", "Data", "Factory", "Task", "task"]
