"""Losses and scores of a model on batches, for any target that `nonlin.tasks.Data` may hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nonlin.train.place import CPU, Place

Loss = TypeVar("Loss", float, np.ndarray)

IGNORED = -100  # a target that does not count, such as the padding of a sentence; torch's own number for it
EVALUATION_BATCH = 512  # 28x28 images in 64 channels are 100 MB per operation
_PENDING = 2**20  # numbers in outputs that wait to be counted
_GROUP = 2**26  # numbers in outputs that are scored together: 256 MiB


def task_loss(output: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy for whole-number targets, mean squared error for floats.

    `smoothing` spreads that share of a whole-number target's probability over all classes.
    """
    if target.is_floating_point():
        return F.mse_loss(output.reshape(target.shape), target)
    return F.cross_entropy(*_decisions(output, target), label_smoothing=smoothing)


def decisions(target: Tensor) -> int:
    """How many terms a mean loss over these targets has: rows, or of whole numbers per position those that count."""
    if target.is_floating_point() or target.dim() == 1:
        return len(target)
    return int((target != IGNORED).sum())


def _decisions(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Classes in dimension 1, where torch looks for them.

    A language model's logits (rows, positions, classes) and targets (rows, positions) become
    (rows·positions, classes) and (rows·positions,); whatever else is returned as it is.
    """
    if target.dim() > 1 and output.shape[:-1] == target.shape:
        return output.flatten(0, -2), target.flatten()
    return output, target


def _right(output: Tensor, target: Tensor) -> Tensor:
    """Whether each decision that counts is right, (decisions,)."""
    logits, labels = _decisions(output, target)
    right = logits.argmax(dim=1) == labels
    return right if target.dim() == 1 else right[labels != IGNORED]


def r_squared(loss: Loss, targets: Tensor) -> Loss:
    """R² of a mean squared error, or of an array of them."""
    return 1.0 - loss / max(float(targets.var(unbiased=False)), 1e-30)


@torch.no_grad()
def evaluate(
    model: nn.Module, x: Any, y: Tensor, place: Place = CPU, batch_size: int = EVALUATION_BATCH
) -> tuple[float, float]:
    """Mean loss, and accuracy (classification; of all positions alike) or R² (regression).

    x, y : a part of `nonlin.tasks.Data`; they may lie elsewhere than the model, which is where `place` says
    """
    model.eval()
    figures = [(*judge(*group), decisions(group[1])) for group in _groups(model, x, y, place, batch_size)]
    if len(figures) == 1:
        loss, score = figures[0][:2]
    else:
        counted = sum(count for *_, count in figures)
        loss = sum(loss * count for loss, _, count in figures) / counted
        score = sum(score * count for _, score, count in figures) / counted
    return loss, r_squared(loss, y) if y.is_floating_point() else score


def judge(outputs: Tensor, targets: Tensor) -> tuple[float, float]:
    """Mean loss, and accuracy or R², of all of a part's outputs."""
    loss = float(task_loss(outputs, targets))
    if targets.is_floating_point():
        return loss, r_squared(loss, targets)
    return loss, float(_right(outputs, targets).float().mean())


def _groups(model: nn.Module, x: Any, y: Tensor, place: Place, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Outputs and their targets: all at once, or as many batches at a time as stay within `_GROUP` numbers."""
    outputs: list[Tensor] = []
    targets: list[Tensor] = []
    for values, target in zip(x.split(batch_size), y.split(batch_size), strict=True):
        with place.mixed():
            output = model(place.take(values))
        outputs.append(output.float() if output.dtype in (torch.bfloat16, torch.float16) else output)
        targets.append(place.take(target))
        if sum(kept.numel() for kept in outputs) > _GROUP:
            yield torch.cat(outputs), torch.cat(targets)
            outputs, targets = [], []
    if outputs:
        yield torch.cat(outputs), torch.cat(targets)


class Hits:
    """Counts right decisions over the batches of an epoch, many batches at a time: a batch costs next to nothing."""

    def __init__(self, right: int = 0, total: int = 0) -> None:
        self.waiting: list[tuple[Tensor, Tensor]] = []
        self.size = 0
        self.right, self.total = right, total

    def add(self, output: Tensor, target: Tensor) -> None:
        """`output` and `target` of one batch, of whole-number targets."""
        self.waiting.append((output.detach(), target))
        self.size += output.numel()
        if self.size > _PENDING:
            self.count()

    def count(self) -> tuple[int, int]:
        """Right decisions, and all, so far."""
        if self.waiting:
            outputs, targets = zip(*self.waiting, strict=True)
            right = _right(torch.cat(outputs), torch.cat(targets))
            self.right += int(right.sum())
            self.total += right.numel()
            self.waiting, self.size = [], 0
        return self.right, self.total
