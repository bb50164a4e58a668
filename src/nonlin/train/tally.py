"""The losses and right decisions of K children, from what the cohort's plans gave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from nonlin.train.score import decisions, r_squared


class Known(nn.Module):
    """A model whose outputs, batch after batch, are known."""

    def __init__(self, outputs: Iterator[Tensor]):
        super().__init__()
        self.outputs = outputs

    def forward(self, _: Tensor) -> Tensor:
        return next(self.outputs)


class Tally:
    """Losses and right decisions of an epoch's batches, for each child."""

    def __init__(self, count: int, targets: Tensor):
        self.targets, self.weight, self.decisions = targets, 0.0, 0
        self.total = torch.zeros(count)
        self.right = torch.zeros(count, dtype=torch.int64)

    def add(self, loss: Tensor, output: Tensor, target: Tensor, weight: float) -> None:
        """loss (K,), output (K, rows, ...) and target (rows, ...) of one batch; `weight` is what its mean counts."""
        self.total += loss * weight
        self.weight += weight
        if target.is_floating_point():
            return
        last = target.dim() > 1 and output.shape[1:-1] == target.shape
        right = output.argmax(dim=-1 if last else 2) == target  # no class is what does not count
        self.right += right.flatten(1).sum(dim=1)
        self.decisions += decisions(target)

    def keep(self, rows: Sequence[int]) -> None:
        self.total, self.right = self.total[rows], self.right[rows]

    def losses(self) -> list[float]:
        return [total / self.weight for total in self.total.tolist()]

    def scores(self) -> list[float]:
        if self.targets.is_floating_point():
            return [r_squared(loss, self.targets) for loss in self.losses()]
        return [right / self.decisions for right in self.right.tolist()]
