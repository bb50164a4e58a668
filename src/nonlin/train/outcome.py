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
    status : "ok" trained to the end; "stopped" early, being among the worst of its predecessors;
        "diverged" a loss that is not finite; "failed" an exception
    score : validation accuracy (classification) or R² (regression) after the last epoch; NaN unless
        trained to some epoch's end
    loss : validation loss after the last epoch
    epochs : completed epochs
    seconds : wall-clock seconds of everything: building, training, validation
    curves : lists per epoch under "train_loss" and "train_score", "loss" and "score" (these two on
        validation data). The first two are running means over the epoch's batches as they passed, in train
        mode, each before its step, as in Keras' history: so they lag behind the other two by half an epoch,
        and dropout counts against them.
    parameters : mean of each trained activation parameter over layers and channels
    error : one line, for "failed"
    seconds_per_epoch : wall-clock seconds of training without validation, the median over the completed
        epochs; NaN if there are none
    test_score, test_loss : on the test part, looked at once, after training to the end. NaN unless it was a
        final run (``final=True``) with the status "ok".
    saved_bytes : memory that one training batch keeps for its backward pass, see `nonlin.train.memory`;
        None unless it was a final run
    measures : the task's further figures, see `nonlin.Task.measure`, on the test part; empty unless it was a final
        run of a task that has some
    """

    status: Status
    score: float = math.nan
    loss: float = math.nan
    epochs: int = 0
    seconds: float = 0.0
    curves: dict[str, list[float]] = field(default_factory=dict)
    parameters: dict[str, float] = field(default_factory=dict)
    error: str = ""
    seconds_per_epoch: float = math.nan
    test_score: float = math.nan
    test_loss: float = math.nan
    saved_bytes: int | None = None
    measures: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
