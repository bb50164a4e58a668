"""The learning rate over the steps of a training, as a factor on the budget's.

A pure function of the step: nothing to be saved, nothing that can get out of step when a run is resumed.

References
----------
[Loshchilov2017] I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017
    (arXiv:1608.03983), eq. 5 without restarts
[Vaswani2017] A. Vaswani et al., "Attention is all you need", 2017 (arXiv:1706.03762), eq. 3
"""

from __future__ import annotations

import math

from nonlin.tasks import Budget


def total_steps(budget: Budget, rows: int) -> int:
    """Steps of the optimiser in a whole training on so many rows."""
    steps = budget.epochs * -(-rows // budget.batch_size)
    return steps if budget.steps is None else min(budget.steps, steps)


def factor(budget: Budget, step: int, total: int) -> float:
    """The factor on the learning rate at `step`, 0 … total-1.

    While the warm-up lasts it grows by equal parts, to 1 at step `warmup`. After it, with t the share of the
    remaining steps that has passed: "cosine" (1 + cos πt)/2 [Loshchilov2017], "linear" 1 - t. "step" is decay to
    the number of milestones passed, which are shares of all steps. "inverse-sqrt" is √(warmup/(step + 1))
    [Vaswani2017]: with the budget's learning rate at the peak.
    """
    if step < budget.warmup:
        return (step + 1) / budget.warmup
    share = (step - budget.warmup) / max(1, total - budget.warmup)
    match budget.schedule:
        case "cosine":
            return (1 + math.cos(math.pi * share)) / 2
        case "linear":
            return 1 - share
        case "step":
            return budget.decay ** sum(step >= milestone * total for milestone in budget.milestones)
        case "inverse-sqrt":
            return math.sqrt(budget.warmup / (step + 1))
    return 1.0
