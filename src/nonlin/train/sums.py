"""What an epoch's batches add up to: mean loss, and accuracy or R², as they pass, each before its step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nonlin.train.place import Place
from nonlin.train.ranks import Ranks
from nonlin.train.score import Hits, r_squared


class Sums:
    """The running sums of one process.

    Parameters
    ----------
    targets : of the whole training part
    """

    def __init__(self, targets: Tensor, place: Place):
        self.targets = targets
        self.loss = torch.zeros((), device=place.device)
        self.weight = 0.0
        self.hits = None if targets.is_floating_point() else Hits()

    def add(self, loss: Tensor, output: Tensor, target: Tensor, weight: float) -> None:
        """A piece's mean loss and output; `weight` is what its mean counts."""
        if not weight:
            return
        self.loss += loss.detach() * weight
        self.weight += weight
        if self.hits:
            self.hits.add(output, target)

    def figures(self, ranks: Ranks) -> tuple[float, float]:
        """Mean loss, and accuracy or R², over all processes."""
        right, total = self.hits.count() if self.hits else (0, 0)
        loss = self.loss.double()
        if ranks.count > 1:
            loss, weight, right, total = ranks.sum(torch.stack([loss, *loss.new_tensor([self.weight, right, total])]))
            mean = float(loss / weight)
        else:
            mean = float(loss) / self.weight
        return mean, r_squared(mean, self.targets) if self.hits is None else float(right / total)

    def state_dict(self) -> dict[str, Any]:
        right, total = self.hits.count() if self.hits else (0, 0)
        return {"loss": self.loss.cpu(), "weight": self.weight, "right": right, "total": total}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Add what was summed before."""
        self.loss += state["loss"].to(self.loss.device)
        self.weight += state["weight"]
        if self.hits:
            self.hits = Hits(self.hits.right + state["right"], self.hits.total + state["total"])
