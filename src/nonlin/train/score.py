"""Losses and scores of a model on batches, for any target that `nonlin.tasks.Data` may hold."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Loss = TypeVar("Loss", float, np.ndarray)

_EVALUATION_BATCH = 512  # 28x28 images in 64 channels are 100 MB per operation
_PENDING = 2**20  # numbers in outputs that wait to be counted


def task_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy for whole-number targets, mean squared error for floats."""
    if target.is_floating_point():
        return F.mse_loss(output.reshape(target.shape), target)
    return F.cross_entropy(*_decisions(output, target))


def _decisions(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Classes in dimension 1, where torch looks for them.

    A language model's logits (rows, positions, classes) and targets (rows, positions) become
    (rows·positions, classes) and (rows·positions,); whatever else is returned as it is.
    """
    if target.dim() > 1 and output.shape[:-1] == target.shape:
        return output.flatten(0, -2), target.flatten()
    return output, target


def r_squared(loss: Loss, targets: Tensor) -> Loss:
    """R² of a mean squared error, or of an array of them."""
    return 1.0 - loss / max(float(targets.var(unbiased=False)), 1e-30)


@torch.no_grad()
def evaluate(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Mean loss, and accuracy (classification; of all positions alike) or R² (regression)."""
    model.eval()
    outputs = torch.cat([model(part) for part in x.split(_EVALUATION_BATCH)])
    loss = float(task_loss(outputs, y))
    if y.is_floating_point():
        return loss, r_squared(loss, y)
    logits, labels = _decisions(outputs, y)
    return loss, float((logits.argmax(dim=1) == labels).float().mean())


class Hits:
    """Counts right decisions over the batches of an epoch, many batches at a time: a batch costs next to nothing."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Tensor, Tensor]] = []
        self.size = self.right = self.total = 0

    def add(self, output: Tensor, target: Tensor) -> None:
        """`output` and `target` of one batch, of whole-number targets."""
        self.waiting.append((output.detach(), target))
        self.size += output.numel()
        if self.size > _PENDING:
            self._count()

    def _count(self) -> None:
        if self.waiting:
            outputs, targets = zip(*self.waiting, strict=True)
            logits, labels = _decisions(torch.cat(outputs), torch.cat(targets))
            self.right += int((logits.argmax(dim=1) == labels).sum())
            self.total += labels.numel()
            self.waiting, self.size = [], 0

    def share(self) -> float:
        """Right decisions per decision so far."""
        self._count()
        return self.right / self.total
