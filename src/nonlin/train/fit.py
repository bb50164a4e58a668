"""Train one child in plain PyTorch. This is the reference that every faster way must equal.

Everything is fixed but the activation: two children with one seed share initial weights (up to the gain
of their activations), batches and their order.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from nonlin.errors import NonlinError
from nonlin.native.module import ActivationModule, Per
from nonlin.nn.adaptive_groups import parameter_groups
from nonlin.tasks import Budget, Task
from nonlin.train.initial import Protocol, check_protocol, initial_model
from nonlin.train.memory import saved_bytes
from nonlin.train.outcome import Outcome
from nonlin.train.score import Hits, evaluate, r_squared, task_loss
from nonlin.zoo import Activation, activation


def fit(
    task: Task,
    act: Activation | str,
    seed: int = 0,
    *,
    normalise: bool = True,
    per: Per = "channel",
    rungs: Mapping[int, float] | None = None,
    protocol: Protocol = "common",
    final: bool = False,
) -> Outcome:
    """Train `task`'s model with one activation on the CPU, in float32.

    Parameters
    ----------
    act : name, formula or activation
    seed : of initial weights and batch order
    normalise : scale the initial weights by the function's own gain
    per : trainable parameters per "channel" or per "tensor"
    rungs : {epoch: loss}; the child is stopped after that many epochs if its validation loss is above
    protocol : "common", or "selu": initialised and dropped out as SELU's authors require; `normalise` is then
        without effect
    final : a final run, as no search makes: the test part is evaluated once, after training to the end, and
        the memory that a batch keeps is measured

    Returns
    -------
    Outcome : exceptions inside the model's code become the status "failed"; interrupts pass.
    """
    act = activation(act)
    check_protocol(protocol)
    outcome = Outcome("ok", curves={"train_loss": [], "train_score": [], "loss": [], "score": []})
    start = time.perf_counter()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = initial_model(task, act, per, normalise, protocol)
            train_model(model, task, seed, outcome, rungs, final)
    except NonlinError:
        raise
    except Exception as error:
        outcome.status = "failed"
        outcome.error = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    outcome.seconds = time.perf_counter() - start
    return outcome


def train_model(
    model: nn.Module,
    task: Task,
    seed: int,
    outcome: Outcome,
    rungs: Mapping[int, float] | None = None,
    final: bool = False,
) -> None:
    """The training loop of `fit`, for any model that fits the task's data; fills in `outcome`."""
    data, budget, rungs = task.load(), task.budget, rungs or {}
    if final:
        outcome.saved_bytes = first_batch_bytes(model, task, seed)
    optimizer, clip = _optimizer(model, budget), _clipping(model, budget)
    order = torch.Generator().manual_seed(seed)
    durations: list[float] = []
    for epoch in range(1, budget.epochs + 1):
        begun = time.perf_counter()
        train_loss, train_score = _train_epoch(model, data.train, budget.batch_size, optimizer, clip, order)
        duration = time.perf_counter() - begun
        validation_loss, score = evaluate(model, *data.validation)
        if not (math.isfinite(train_loss) and math.isfinite(validation_loss)):
            outcome.status = "diverged"
            break
        durations.append(duration)
        outcome.epochs, outcome.loss, outcome.score = epoch, validation_loss, score
        values = {"train_loss": train_loss, "train_score": train_score, "loss": validation_loss, "score": score}
        for curve, value in values.items():
            outcome.curves.setdefault(curve, []).append(value)
        if epoch < budget.epochs and validation_loss > rungs.get(epoch, math.inf):
            outcome.status = "stopped"
            break
    outcome.seconds_per_epoch = median(durations) if durations else math.nan
    outcome.parameters = trained_parameters(model)
    if final and outcome.status == "ok":
        outcome.test_loss, outcome.test_score = evaluate(model, *data.test)


def _train_epoch(
    model: nn.Module,
    part: tuple[Tensor, Tensor],
    batch_size: int,
    optimizer: torch.optim.Optimizer,
    clip: Callable[[], object] | None,
    order: torch.Generator,
) -> tuple[float, float]:
    """Mean loss, and accuracy or R², over the batches as they pass, each before its step."""
    x, y = part
    model.train()
    total = torch.zeros(())
    hits = None if y.is_floating_point() else Hits()
    for rows in torch.randperm(len(x), generator=order).split(batch_size):
        optimizer.zero_grad(set_to_none=True)
        output, target = model(x[rows]), y[rows]
        loss = task_loss(output, target)
        loss.backward()
        if clip:
            clip()
        optimizer.step()
        total += loss.detach() * len(rows)
        if hits:
            hits.add(output, target)
    mean = float(total) / len(x)
    return mean, r_squared(mean, y) if hits is None else hits.share()


def _optimizer(model: nn.Module, budget: Budget) -> torch.optim.Optimizer:
    groups = parameter_groups(model, budget.weight_decay)
    if budget.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=budget.learning_rate, momentum=0.9)
    kind = torch.optim.Adam if budget.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=budget.learning_rate)


def _clipping(model: nn.Module, budget: Budget) -> Callable[[], object] | None:
    """What to call between the backward pass and the step; None if the budget does not clip."""
    parameters, value, norm = list(model.parameters()), budget.clip_value, budget.clip_norm
    if value is not None:
        return lambda: clip_grad_value_(parameters, value)
    if norm is not None:
        return lambda: clip_grad_norm_(parameters, norm)
    return None


def first_batch_bytes(model: nn.Module, task: Task, seed: int) -> int:
    """`saved_bytes` of the batch that training with this seed begins with."""
    x, y = task.load().train
    rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[: task.budget.batch_size]
    return saved_bytes(model, x[rows], y[rows])


def trained_parameters(model: nn.Module) -> dict[str, float]:
    """Mean of each activation parameter over all layers and channels."""
    values: dict[str, list[Tensor]] = {}
    for module in model.modules():
        if isinstance(module, ActivationModule):
            for name, value in zip(module.parameter_names, module.parameters(), strict=True):
                values.setdefault(name, []).append(value.detach().reshape(-1))
    return {name: float(torch.cat(parts).mean()) for name, parts in values.items()}
