"""Training a multilayer perceptron's child in the compiled core: the same result as `fit`, about ten times faster.

The task's own `build` makes the model, with the same weights as for `fit`; only the loop over batches runs in
the core, with the same batches. Sums are added in another order, so results agree to the noise of float32.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from statistics import median

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from nonlin import native
from nonlin.errors import NonlinError
from nonlin.native.engine import CURVES, check
from nonlin.native.module import ActivationModule, Per
from nonlin.native.training import Trained, Training
from nonlin.nn.gains import gain
from nonlin.tasks import Factory, Task
from nonlin.train.fit import first_batch_bytes, fit, trained_parameters
from nonlin.train.initial import Protocol, check_protocol, initial_model
from nonlin.train.outcome import Outcome, Status
from nonlin.train.place import CPU, place
from nonlin.train.probing import common_model
from nonlin.train.score import evaluate, r_squared
from nonlin.zoo import Activation, activation


@lru_cache(maxsize=8)
def obstacle(task: Task) -> str:
    """Why the core cannot train this task's model; empty if it can."""
    if not native.available():
        return native.reason()
    data = task.load()
    if data.train[0].dim() != 2 or not data.train[0].is_floating_point() or data.train[1].dim() > 2:
        return "its inputs are not rows of numbers"
    if data.classes is not None and data.train[1].dim() != 1:
        return "it has more than one target a row"
    with torch.random.fork_rng(devices=[]):
        model = task.model(Factory(activation("prelu")))
    widths = _widths(model)
    if widths is None:
        return "its model is not a Sequential of Linear layers with an activation between each two"
    if widths[0] != data.train[0].shape[1] or widths[-1] < (data.classes or 1):
        return "its layers do not fit its data"
    if task.budget.weight_decay:
        return "weight decay spares the activations' parameters, which the core does not"
    if task.budget.optimizer == "rmsprop":
        return "the core has no RMSprop"
    if task.budget.clip_value is not None:
        return "the core clips gradients by their norm, not by value"
    if others := task.budget.beyond({"clip_norm"}):
        return f"its budget sets {', '.join(others)}"
    if place(task.budget) != CPU:
        return f"it is trained on {place(task.budget).device}"
    return ""


def _widths(model: nn.Module) -> tuple[int, ...] | None:
    """Widths of Linear, activation, Linear, ..., Linear; None for any other model."""
    if not isinstance(model, nn.Sequential) or len(model) % 2 == 0:
        return None
    widths: list[int] = []
    for index, part in enumerate(model):
        if index % 2:
            if not isinstance(part, ActivationModule):
                return None
        elif type(part) is not nn.Linear or part.bias is None or (index and part.in_features != widths[-1]):
            return None
        else:
            widths += [part.in_features, part.out_features] if index == 0 else [part.out_features]
    return tuple(widths)


def _per(model: nn.Sequential, widths: tuple[int, ...]) -> Per | None:
    """How the activation's parameters are laid out; None if not the same way in every layer."""
    parts = [part for part in model if isinstance(part, ActivationModule)]
    if all(part.per == "tensor" or not part.parameter_names for part in parts):
        return "tensor"
    if all(part.per == "channel" and part.channels == width for part, width in zip(parts, widths[1:], strict=False)):
        return "channel"
    return None


@lru_cache(maxsize=8)
def _data(task: Task) -> native.Data:
    parts = []
    for x, y in (task.load().train, task.load().validation):
        targets = y.numpy() if not y.is_floating_point() else y.reshape(len(y), -1).numpy()
        parts += [np.ascontiguousarray(x.numpy()), np.ascontiguousarray(targets)]
    return native.Data(*parts)


@lru_cache(maxsize=8)
def _order(rows: int, epochs: int, seed: int) -> np.ndarray:
    """The batches of `fit`: row numbers in the order of use, (epochs, rows)."""
    generator = torch.Generator().manual_seed(seed)
    return np.stack([torch.randperm(rows, generator=generator).numpy() for _ in range(epochs)])


def fit_in_core(
    task: Task,
    act: Activation,
    seed: int = 0,
    *,
    normalise: bool = True,
    per: Per = "channel",
    rungs: Mapping[int, float] | None = None,
    protocol: Protocol = "common",
    final: bool = False,
) -> Outcome:
    """What `fit` does, in the compiled core; arguments and result are the same.

    A function or layout that the core does not know is trained by `fit`.
    """
    check_protocol(protocol)
    begin = time.perf_counter()
    shared = None if final else training(task, seed, normalise=normalise, per=per, protocol=protocol)
    if shared and (trained := shared.train(act.expr, act.parameters, rungs)):
        return outcome_of(trained, task)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would prepare every kind of device, for 1 ms
        model = initial_model(task, act, per, normalise, protocol)
    outcome = train_model_in_core(model, task, act, seed, rungs, final)
    if outcome is None:
        return fit(task, act, seed, normalise=normalise, per=per, rungs=rungs, protocol=protocol, final=final)
    outcome.seconds = time.perf_counter() - begin
    return outcome


@lru_cache(maxsize=8)
def training(
    task: Task, seed: int = 0, *, normalise: bool = True, per: Per = "channel", protocol: Protocol = "common"
) -> Training | None:
    """What all children of `fit_in_core` with these arguments share; None where the core cannot train the task, or
    where the model's other weights may depend on the activation."""
    model = None if obstacle(task) else common_model(task, seed, per, protocol)
    widths = None if model is None else _widths(model)
    if widths is None:
        return None
    assert isinstance(model, nn.Sequential)
    layout = _per(model, widths)
    reference = None
    if normalise and protocol == "common":
        with suppress(NonlinError):
            reference = gain(activation(task.designed_for))
    data, order = _data(task), _order(len(task.load().train[0]), task.budget.epochs, seed)
    network = _network(task, widths, layout or "tensor")
    check(network, data, task.budget.batch_size, order)
    return Training(
        network,
        layout,
        tuple(_linear_layers(model)),
        reference,
        data,
        order,
        task.budget.batch_size,
        task.budget.learning_rate,
    )


def _linear_layers(model: nn.Module) -> list[np.ndarray]:
    """Of each linear layer its weight and bias, flat."""
    return [
        parameters_to_vector(part.parameters()).detach().numpy() for part in model.modules() if type(part) is nn.Linear
    ]


def _network(task: Task, widths: tuple[int, ...], layout: Per) -> native.Network:
    budget = task.budget
    return native.Network(
        widths,
        per=layout,
        loss="mse" if task.load().classes is None else "cross-entropy",
        optimiser=budget.optimizer,  # type: ignore[arg-type]  # RMSprop is an obstacle
        momentum=0.9 if budget.optimizer == "sgd" else 0.0,
        clip=budget.clip_norm or 0.0,
    )


def train_model_in_core(
    model: nn.Module,
    task: Task,
    act: Activation,
    seed: int = 0,
    rungs: Mapping[int, float] | None = None,
    final: bool = False,
    enough: Callable[[int, float], bool] | None = None,
) -> Outcome | None:
    """The training of `fit_in_core`, of a model in place; None, and the model as it was, where the core cannot.

    Parameters
    ----------
    model : of `task`, with the activation `act`, before its first step
    enough : called with the number of completed epochs and the validation loss after each of them, the model having
        its weights of that moment; training ends where it returns True
    """
    widths = _widths(model)
    layout = _per(model, widths) if widths and isinstance(model, nn.Sequential) else None
    function = native.function(act.expr, tuple(act.parameters))
    if obstacle(task) or widths is None or layout is None or not function.supported:
        return None
    budget = task.budget
    network = _network(task, widths, layout)
    memory = first_batch_bytes(model, task, seed) if final else None
    weights = parameters_to_vector(model.parameters()).detach().numpy()
    vector_to_parameters(torch.from_numpy(weights), model.parameters())  # views: the model shares the core's weights
    order = _order(len(task.load().train[0]), budget.epochs, seed)
    child = native.Child(function, weights, order, budget.learning_rate)
    stopped = _train(network, child, _data(task), budget.batch_size, rungs or {}, enough)
    status: Status = "stopped" if stopped else "ok" if child.status == "running" else "diverged"
    outcome = _outcome(status, np.stack([getattr(child, name) for name in CURVES]), task)
    outcome.parameters, outcome.saved_bytes = trained_parameters(model), memory
    if final and outcome.status == "ok":
        outcome.test_loss, outcome.test_score = evaluate(model, *task.load().test)
    return outcome


def _train(
    network: native.Network,
    child: native.Child,
    data: native.Data,
    batch: int,
    rungs: Mapping[int, float],
    enough: Callable[[int, float], bool] | None,
) -> bool:
    """Train from rung to rung, or epoch by epoch where somebody asks; whether the child was stopped at one."""
    epochs, first = len(child.order), 0
    stops = range(1, epochs) if enough else sorted(epoch for epoch in rungs if epoch < epochs)
    for last in [*stops, epochs]:
        native.train_mlp(network, [child], data, batch=batch, first_epoch=first, last_epoch=last)
        if child.status == "diverged":
            return False
        loss = float(child.valid_loss[last - 1])
        asked_to = enough is not None and enough(last, loss)
        if last < epochs and (asked_to or loss > rungs.get(last, math.inf)):
            return True
        first = last
    return False


def outcome_of(trained: Trained, task: Task) -> Outcome:
    """The outcome of a child of a `Training` of this task."""
    outcome = _outcome(trained.status, trained.curves, task)
    outcome.parameters, outcome.seconds = trained.parameters, trained.seconds
    return outcome


def _outcome(status: Status, curves: np.ndarray, task: Task) -> Outcome:
    """The curves of the epochs that were completed with finite losses."""
    train_loss, train_score, seconds, loss, score = curves  # as CURVES has them
    finite = np.isfinite(train_loss) & np.isfinite(loss)
    done = len(finite) if finite.all() else int(np.argmin(finite))
    if _classes(task) is None:
        train_score = r_squared(train_loss, task.load().train[1])
        score = r_squared(loss, task.load().validation[1])
    found = {
        "train_loss": train_loss[:done].tolist(),
        "train_score": train_score[:done].tolist(),
        "loss": loss[:done].tolist(),
        "score": score[:done].tolist(),
    }
    last = (float(score[done - 1]), float(loss[done - 1])) if done else (math.nan, math.nan)
    per_epoch = median(seconds[:done].tolist()) if done else math.nan
    return Outcome(status, *last, epochs=done, curves=found, seconds_per_epoch=per_epoch)


@lru_cache(maxsize=8)
def _classes(task: Task) -> int | None:
    return task.load().classes
