"""Train one child in plain PyTorch. This is the reference that every faster way must equal.

Everything is fixed but the activation: two children with one seed share initial weights (up to the gain
of their activations), batches and their order.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nonlin.errors import NonlinError, TaskError
from nonlin.native.module import ActivationModule, Per
from nonlin.tasks import Task
from nonlin.tasks import task as task_called
from nonlin.tasks.digest import data_digest, model_digest
from nonlin.tasks.rehearsal import reference_model
from nonlin.train.checkpoint import EVERY, Checkpoint
from nonlin.train.initial import Protocol, check_protocol, initial_model
from nonlin.train.loop import Loop
from nonlin.train.memory import saved_bytes, shortage
from nonlin.train.outcome import Outcome
from nonlin.train.pace import Watcher
from nonlin.train.place import CPU, Place
from nonlin.train.place import place as chosen_place
from nonlin.train.ranks import ALONE, Ranks, ranks
from nonlin.train.score import evaluate, task_loss
from nonlin.zoo import Activation, activation

__all__ = ["first_batch_bytes", "fit", "task_loss", "train_model", "trained_parameters"]


def fit(
    task: Task | str,
    act: Activation | str,
    seed: int = 0,
    *,
    normalise: bool = True,
    per: Per = "channel",
    rungs: Mapping[int, float] | None = None,
    protocol: Protocol = "common",
    final: bool = False,
    device: str | None = None,
    precision: str | None = None,
    accumulate: int | None = None,
    checkpoint: str | Path | None = None,
    every: float = EVERY,
    watcher: Watcher | None = None,
) -> Outcome:
    """Train `task`'s model with one activation.

    Where torch.distributed has a group of processes (see `nonlin.train.ranks`), they train it together.

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
    device, precision, accumulate : in place of the budget's, see `nonlin.tasks.budget`; "auto" chooses a device
    checkpoint : folder in which the training's state is kept; if it holds this training's, it goes on from there
    every : seconds between two checkpoints
    watcher : is told of every step

    Returns
    -------
    Outcome : exceptions inside the model's code become the status "failed"; interrupts pass.
    """
    task, act = task_called(task), activation(act)
    check_protocol(protocol)
    place, crew = chosen_place(task.budget, device, precision), ranks()
    outcome = Outcome("ok", curves={"train_loss": [], "train_score": [], "loss": [], "score": []})
    kept = None
    if checkpoint is not None:
        settings = {"seed": seed, "normalise": normalise, "per": per, "protocol": protocol,
                    "rungs": sorted((rungs or {}).items()), "precision": place.precision}  # fmt: skip
        kept = Checkpoint.of(checkpoint, _identity(task, act, settings), every)
    start = time.perf_counter()
    try:
        with torch.random.fork_rng(devices=place.devices):
            torch.manual_seed(seed)
            model = initial_model(task, act, per, normalise, protocol).to(place.device)
            if crew.rank:
                torch.manual_seed(seed + 1_000_003 * crew.rank)  # dropout differs between processes
            train_model(
                model, task, seed, outcome, rungs, final,
                place=place, ranks=crew, accumulate=accumulate, checkpoint=kept, watcher=watcher,
            )  # fmt: skip
    except NonlinError:
        raise
    except Exception as error:
        if crew.count > 1:
            raise  # the other processes wait for this one: only its end ends them
        outcome.status = "failed"
        outcome.error = (
            shortage(error, task.budget, place, accumulate)
            or (f"{type(error).__name__}: {error}".splitlines()[0][:300])
        )
    outcome.seconds += time.perf_counter() - start
    return outcome


def _identity(task: Task, act: Activation, settings: dict[str, Any]) -> dict[str, Any]:
    """All that decides a training's result."""
    try:
        model = model_digest(reference_model(task), task.designed_for)
    except TaskError:
        model = ""  # the training meets the same fault, and says so
    return {
        "task": task.name,
        "data": data_digest(task.load()),
        "model": model,
        "training": replace(task.budget, accumulate=1, precision="float32").as_dict(),
        "formula": act.formula,
        "parameters": dict(act.parameters),
        **settings,
    }


def train_model(
    model: nn.Module,
    task: Task,
    seed: int,
    outcome: Outcome,
    rungs: Mapping[int, float] | None = None,
    final: bool = False,
    *,
    place: Place = CPU,
    ranks: Ranks = ALONE,
    accumulate: int | None = None,
    checkpoint: Checkpoint | None = None,
    watcher: Watcher | None = None,
) -> None:
    """The training of `fit`, for any model that fits the task's data; fills in `outcome`."""
    loop = Loop(
        model, task, seed, outcome, rungs,
        place=place, ranks=ranks, accumulate=accumulate, checkpoint=checkpoint, watcher=watcher,
    )  # fmt: skip
    memory = first_batch_bytes(model, task, seed, place, loop.accumulate) if final else None
    loop.run()
    outcome.saved_bytes = memory
    outcome.parameters = trained_parameters(model)
    if final and outcome.status == "ok":
        test = task.load().test
        outcome.test_loss, outcome.test_score = evaluate(model, *test, place, task.budget.evaluation_batch)
        if task.measure:
            with torch.no_grad():
                outcome.measures = task.measure(model, test)


def first_batch_bytes(model: nn.Module, task: Task, seed: int, place: Place = CPU, accumulate: int = 1) -> int:
    """`saved_bytes` of the batch that training with this seed begins with, or of the part of it that passes first."""
    x, y = task.load().train
    rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    rows = rows[: task.budget.batch_size][: -(-task.budget.batch_size // accumulate)]
    return saved_bytes(model, place.take(x[rows]), place.take(y[rows]))


def trained_parameters(model: nn.Module) -> dict[str, float]:
    """Mean of each activation parameter over all layers and channels."""
    values: dict[str, list[Tensor]] = {}
    for module in model.modules():
        if isinstance(module, ActivationModule):
            for name, value in zip(module.parameter_names, module.parameters(), strict=True):
                if not value.requires_grad:  # of a frozen copy
                    continue
                values.setdefault(name, []).append(value.detach().reshape(-1))
    return {name: float(torch.cat(parts).mean()) for name, parts in values.items()}
