"""What one child has to compute, recorded while torch trains one batch of it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nonlin.benchmarks.plain import plain_model
from nonlin.tasks import Task
from nonlin.train.score import task_loss

STATE_PASSES = 7  # Adam reads weight, gradient and two moments, and writes three of them


@dataclass(frozen=True, order=True)
class Product:
    """`batch` products of (rows, inner) by (inner, columns). A convolution is one, over its patches."""

    batch: int
    rows: int
    inner: int
    columns: int

    @property
    def operations(self) -> int:
        return 2 * self.batch * self.rows * self.inner * self.columns


@dataclass(frozen=True)
class Work:
    """Of a whole training of one child, without its validation.

    Attributes
    ----------
    products : how often each occurs in one step of training
    operations : multiplications and additions of all products of all steps
    activations : elements that activations are applied to, forward
    optimiser_bytes : read and written by the optimiser's steps
    """

    products: dict[Product, int]
    operations: float
    activations: float
    optimiser_bytes: float


class Recorder(TorchDispatchMode):
    """Counts the matrix products and convolutions that torch runs, in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.products: Counter[Product] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ("mm", "bmm"):
            self._product(args[0], args[1])
        elif name in ("addmm", "baddbmm"):
            self._product(args[1], args[2])
        elif name == "convolution":
            self._convolution(result, args[1])
        elif name == "convolution_backward":
            wanted = args[-1]
            for _ in range(sum(wanted[:2])):  # by the input, by the weight
                self._convolution(args[0], args[2])
        elif "scaled_dot_product" in name:
            self._attention(args, backward="backward" in name)
        return result

    def _product(self, a: Tensor, b: Tensor) -> None:
        self.products[Product(math.prod(a.shape[:-2]), a.shape[-2], a.shape[-1], b.shape[-1])] += 1

    def _convolution(self, result: Tensor, weight: Tensor) -> None:
        """One filter bank on one batch: patches (images·places, inputs·window) by (inputs·window, filters)."""
        places = result.numel() // result.shape[1]
        self.products[Product(1, places, math.prod(weight.shape[1:]), weight.shape[0])] += 1

    def _attention(self, args: tuple, backward: bool) -> None:
        """Two products forward, and five backward (the scores are computed again)."""
        query, key = (args[1], args[2]) if backward else (args[0], args[1])
        batch, length, width = math.prod(query.shape[:-2]), query.shape[-2], query.shape[-1]
        scores = Product(batch, length, width, key.shape[-2])
        mixed = Product(batch, length, key.shape[-2], width)
        self.products[scores] += 2 if backward else 1
        self.products[mixed] += 3 if backward else 1


def work_of(task: Task, formula: str) -> Work:
    """The work of one child of `task` with this activation."""
    data, budget = task.load(), task.budget
    model = plain_model(task, formula)
    elements = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal elements
        elements += inputs[0].numel()

    for module in model.modules():
        if hasattr(module, "kernel"):
            module.register_forward_hook(count)
    x, y = data.train
    rows = torch.arange(min(budget.batch_size, len(x)))
    recorder = Recorder()
    with recorder:
        task_loss(model(x[rows]), y[rows]).backward()
    steps = budget.epochs * len(x) / len(rows)  # the last batch of an epoch is a part of one
    size = sum(parameter.numel() for parameter in model.parameters())
    updates = budget.epochs * math.ceil(len(x) / budget.batch_size)
    return Work(
        dict(recorder.products),
        steps * sum(count * one.operations for one, count in recorder.products.items()),
        steps * elements,
        updates * size * 4 * STATE_PASSES,
    )
