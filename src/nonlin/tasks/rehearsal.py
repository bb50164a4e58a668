"""A task tried out on two rows before anything is trained, with a function that has parameters per channel."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from nonlin.errors import NonlinError, TaskError
from nonlin.native.module import ActivationModule
from nonlin.tasks.task import Factory, Task
from nonlin.zoo import activation

_FUNCTION = "swish"  # its beta is per channel: a wrong width shows, as it never would with relu
_ROWS = 2


def reference_model(task: Task) -> nn.Module:
    """The task's model with swish, built from a fixed seed; random generators are left as they were.

    It is built as any other, not on torch's meta device: a `build` that keeps what it loads would keep a model without
    weights.

    Raises
    ------
    TaskError : `build` fails, or returns no model with an activation in it
    """
    try:
        with _fixed_seed():
            return task.model(Factory(activation(_FUNCTION)))
    except NonlinError:
        raise
    except Exception as error:
        raise TaskError(
            f"task {task.name!r}: its build failed with {_FUNCTION}: {type(error).__name__}: {error}"
        ) from error


def rehearse(task: Task, model: nn.Module, widths: bool = True) -> None:
    """Show the task's `reference_model` two rows of the training data.

    Faults that are not known here are left to the training, which tells them with the function that met them.

    Parameters
    ----------
    widths : whether the widths that activations are given matter, as they do with parameters per channel

    Raises
    ------
    TaskError : an activation was given another width than arrives, or there are fewer outputs than classes
    """
    data = task.load()
    rows = torch.arange(min(_ROWS, len(data.train[1])))
    parts = [part for part in model.modules() if isinstance(part, ActivationModule) and part.per == "channel"]
    hooks = [part.register_forward_pre_hook(_width_check(task)) for part in parts if widths]
    try:
        with _fixed_seed(), torch.no_grad():
            x, y = next(iter(data.batches("train", rows, len(rows))))
            _check_outputs(task, model.eval()(x), y, data.classes)
    except TaskError:
        raise
    except Exception:
        return
    finally:
        for hook in hooks:
            hook.remove()


def _width_check(task: Task) -> Callable[[ActivationModule, tuple[Tensor, ...]], None]:
    def check(part: ActivationModule, inputs: tuple[Tensor, ...]) -> None:
        shape, dim = tuple(inputs[0].shape), part.dim
        if not -len(shape) <= dim < len(shape):
            raise TaskError(
                f"{task.name}: build calls activation({part.channels}, dim={dim}), but what arrives there has shape "
                f"{shape} and no such dimension. Say where the features are: activation({part.channels}, dim=-1)."
            )
        if shape[dim] != part.channels:
            other = next((place for place, size in enumerate(shape) if place and size == part.channels), None)
            remedy = f"({part.channels}, dim={other - len(shape)})" if other else f"({shape[dim]})"
            raise TaskError(
                f"{task.name}: build calls activation({part.channels}) where {shape[dim]} features arrive (shape "
                f"{shape}, dimension {dim}). Call activation{remedy} there."
            )

    return check


def _check_outputs(task: Task, output: object, y: Tensor, classes: int | None) -> None:
    if classes is None or y.dim() != 1 or not isinstance(output, Tensor) or output.dim() != 2:
        return
    if output.shape[1] < classes:
        raise TaskError(
            f"{task.name}: the model has {output.shape[1]} outputs for {classes} classes. Let its last layer have "
            f"{classes}, as in nn.Linear(..., {classes})."
        )


@contextmanager
def _fixed_seed() -> Iterator[None]:
    """Torch, NumPy and Python draw from a fixed seed inside, and go on afterwards as if nothing had been."""
    numbers, python = np.random.get_state(), random.getstate()  # noqa: NPY002  a build of the user's may draw from it
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        random.seed(0)
        try:
            yield
        finally:
            np.random.set_state(numbers)  # noqa: NPY002
            random.setstate(python)
