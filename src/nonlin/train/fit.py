"""Train one child in plain PyTorch. This is the reference that every faster way must equal.

Everything is fixed but the activation: two children with one seed share initial weights (up to the gain
of their activations), batches and their order.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nonlin.errors import NonlinError
from nonlin.native.module import ActivationModule, Per
from nonlin.nn.adaptive_groups import parameter_groups
from nonlin.nn.initialise import match_gain
from nonlin.tasks import Factory, Task
from nonlin.train.outcome import Outcome
from nonlin.zoo import Activation, activation

_EVALUATION_BATCH = 4096


def fit(
    task: Task,
    act: Activation | str,
    seed: int = 0,
    *,
    normalise: bool = True,
    per: Per = "channel",
    rungs: Mapping[int, float] | None = None,
) -> Outcome:
    """Train `task`'s model with one activation on the CPU, in float32.

    Parameters
    ----------
    act : name, formula or activation
    seed : of initial weights and batch order
    normalise : scale the initial weights by the function's own gain
    per : trainable parameters per "channel" or per "tensor"
    rungs : {epoch: loss}; the child is stopped after that many epochs if its validation loss is above

    Returns
    -------
    Outcome : exceptions inside the model's code become the status "failed"; interrupts pass.
    """
    act = activation(act)
    outcome = Outcome("ok", curves={"train_loss": [], "loss": [], "score": []})
    start = time.perf_counter()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            _run(task, act, seed, normalise, per, rungs or {}, outcome)
    except NonlinError:
        raise
    except Exception as error:
        outcome.status = "failed"
        outcome.error = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    outcome.seconds = time.perf_counter() - start
    return outcome


def _run(
    task: Task, act: Activation, seed: int, normalise: bool, per: Per, rungs: Mapping[int, float], outcome: Outcome
) -> None:
    model = task.model(Factory(act, per))
    if normalise:
        match_gain(model, act, task.load().train[0][:2], activation(task.designed_for))
    train_model(model, task, seed, outcome, rungs)


def train_model(
    model: nn.Module, task: Task, seed: int, outcome: Outcome, rungs: Mapping[int, float] | None = None
) -> None:
    """The training loop of `fit`, for any model that fits the task's data; fills in `outcome`."""
    data, budget, rungs = task.load(), task.budget, rungs or {}
    optimizer = _optimizer(model, task)
    order = torch.Generator().manual_seed(seed)
    x, y = data.train
    for epoch in range(1, budget.epochs + 1):
        model.train()
        total = torch.zeros(())
        for rows in torch.randperm(len(x), generator=order).split(budget.batch_size):
            optimizer.zero_grad(set_to_none=True)
            loss = task_loss(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows)
        train_loss = float(total) / len(x)
        validation_loss, score = evaluate(model, *data.validation)
        if not (math.isfinite(train_loss) and math.isfinite(validation_loss)):
            outcome.status = "diverged"
            break
        outcome.epochs, outcome.loss, outcome.score = epoch, validation_loss, score
        for curve, value in (("train_loss", train_loss), ("loss", validation_loss), ("score", score)):
            outcome.curves[curve].append(value)
        if epoch < budget.epochs and validation_loss > rungs.get(epoch, math.inf):
            outcome.status = "stopped"
            break
    outcome.parameters = trained_parameters(model)


def _optimizer(model: nn.Module, task: Task) -> torch.optim.Optimizer:
    budget = task.budget
    groups = parameter_groups(model, budget.weight_decay)
    if budget.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=budget.learning_rate, momentum=0.9)
    kind = torch.optim.Adam if budget.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=budget.learning_rate)


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


@torch.no_grad()
def evaluate(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Mean loss, and accuracy (classification; of all positions alike) or R² (regression)."""
    model.eval()
    outputs = torch.cat([model(part) for part in x.split(_EVALUATION_BATCH)])
    loss = float(task_loss(outputs, y))
    if y.is_floating_point():
        return loss, 1.0 - loss / max(float(y.var(unbiased=False)), 1e-30)
    logits, labels = _decisions(outputs, y)
    return loss, float((logits.argmax(dim=1) == labels).float().mean())


def trained_parameters(model: nn.Module) -> dict[str, float]:
    """Mean of each activation parameter over all layers and channels."""
    values: dict[str, list[Tensor]] = {}
    for module in model.modules():
        if isinstance(module, ActivationModule):
            for name, value in zip(module.parameter_names, module.parameters(), strict=True):
                values.setdefault(name, []).append(value.detach().reshape(-1))
    return {name: float(torch.cat(parts).mean()) for name, parts in values.items()}
