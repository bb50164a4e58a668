"""What training one child yields. A child that diverges is a result, not an error."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["ok", "stopped", "diverged", "failed"]


@dataclass
class Outcome:
    """The result of one child.

    Attributes
    ----------
    status : "ok" trained to the end; "stopped" early, being in the worst third of its predecessors;
        "diverged" a loss that is not finite; "failed" an exception
    score : validation accuracy (classification) or R² (regression) after the last epoch; NaN unless
        trained to some epoch's end
    loss : validation loss after the last epoch
    epochs : completed epochs
    seconds : wall-clock seconds of training
    curves : lists per epoch under "train_loss", "loss" and "score" (the last two on validation data)
    parameters : mean of each trained activation parameter over layers and channels
    error : one line, for "failed"
    """

    status: Status
    score: float = math.nan
    loss: float = math.nan
    epochs: int = 0
    seconds: float = 0.0
    curves: dict[str, list[float]] = field(default_factory=dict)
    parameters: dict[str, float] = field(default_factory=dict)
    error: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
