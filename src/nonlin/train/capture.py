"""What a task's model does in one step, recorded as a list of operations: the user's own module, traced once.

The module is run with slots where its activations stand, through its loss and backward pass, and every operation of
torch that it performs is written down (`make_fx`), free of side effects. `nonlin.train.plan` then performs them for K
children at once. What the recording cannot hold is found here, and named: see `Unstackable`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.func import functional_call, functionalize
from torch.fx.experimental.proxy_tensor import make_fx

from nonlin.native.module import Per
from nonlin.native.stacked_activation import Slot
from nonlin.nn.self_normalising import alpha_dropout
from nonlin.tasks import Task
from nonlin.train.initial import Protocol
from nonlin.train.score import task_loss
from nonlin.train.simplify import simplify


class Unstackable(Exception):
    """Why a task's children cannot be trained as one. Its text is a reason, for a sentence: "..., because it ..."."""


@dataclass(frozen=True)
class SlotFactory:
    """What `build` receives instead of a factory of activations; `count` parameters for each slot."""

    count: int
    per: Per

    def __call__(self, channels: int | None = None, dim: int = 1) -> Slot:
        return Slot(self.count, channels if self.per == "channel" else None, dim)


@dataclass(frozen=True)
class Recording:
    """Operations of one step or of one evaluation, for a batch of one shape.

    Attributes
    ----------
    graph : placeholders in the order parameters, buffers, x (and y); functional operations of torch
    parameters, buffers : their names
    training : outputs are loss, model's output, then a gradient (or None) for each parameter; else the output alone
    """

    graph: fx.Graph
    module: nn.Module
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]
    training: bool


def template(task: Task, per: Per, protocol: Protocol, count: int) -> nn.Module:
    """`task`'s model with slots for its activations; Unstackable if `build` needs more than that."""
    try:
        with torch.random.fork_rng(devices=[]):
            model = task.model(SlotFactory(count, per))
    except Exception as error:
        raise Unstackable(f"its build function fails without a true activation ({_line(error)})") from None
    if not any(isinstance(part, Slot) for part in model.modules()):
        raise Unstackable("its model has no activation of the search in it")
    if protocol == "selu":
        alpha_dropout(model)
    return model


def record(model: nn.Module, x: Tensor, y: Tensor | None, smoothing: float = 0.0) -> Recording:
    """One training step's loss and gradients (with y), or one evaluation (without). The model is left as it was.

    Raises
    ------
    Unstackable : the model looks at its numbers (`if x.sum() > 0`), keeps state outside its buffers, draws random
        numbers outside torch, or does not do twice what it did once
    """
    training = model.training
    model.train(y is not None)
    step = _step(model, y is not None, smoothing)
    values = [p.detach().clone() for p in model.parameters()] + [b.clone() for b in model.buffers()]
    inputs = [*values, x] if y is None else [*values, x, y]
    before, generator = _outside(model), np.random.get_state()  # noqa: NPY002 - what a user's model may draw from
    try:
        with torch.random.fork_rng(devices=[]):
            traced = make_fx(step)(*(t.clone() for t in inputs))
            pure = make_fx(functionalize(traced))(*(t.clone() for t in inputs))
    except Exception as error:
        raise Unstackable(f"its model cannot be recorded ({_line(error)})") from None
    finally:
        model.train(training)
        changed = _outside(model) != before
        random.setstate(before[1])
        np.random.set_state(generator)  # noqa: NPY002
    if changed:
        raise Unstackable("its model keeps state outside its buffers, or draws random numbers outside torch")
    _check_same(step, pure, inputs, model, y is not None)
    simplify(pure.graph)
    names = tuple(name for name, _ in model.named_parameters()), tuple(name for name, _ in model.named_buffers())
    return Recording(pure.graph, pure, *names, training=y is not None)


def _step(model: nn.Module, training: bool, smoothing: float) -> Callable[..., list[Tensor | None]]:
    """(parameters, buffers, x[, y]) to the outputs of a `Recording`."""
    parameters = [name for name, _ in model.named_parameters()]
    buffers = [name for name, _ in model.named_buffers()]
    split, end = len(parameters), len(parameters) + len(buffers)

    def step(*inputs: Tensor) -> list[Tensor | None]:
        # In evaluation too: without gradients some of torch's layers take short cuts that have no rule.
        free = [value.detach().requires_grad_(value.is_floating_point()) for value in inputs[:split]]
        state = {**dict(zip(parameters, free, strict=True)), **dict(zip(buffers, inputs[split:end], strict=True))}
        with torch.enable_grad():
            output = functional_call(model, state, (inputs[end],))
            if not training:
                return [output.detach()]
            loss = task_loss(output, inputs[end + 1], smoothing)
            gradients = torch.autograd.grad(loss, free, allow_unused=True)
        return [loss.detach(), output.detach(), *gradients]

    return step


def _check_same(
    step: Callable, recorded: fx.GraphModule, inputs: list[Tensor], model: nn.Module, training: bool
) -> None:
    """Unstackable if the recording does not give what the model gives: then the model changes from call to call."""
    mode = model.training
    model.train(training)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            expected = step(*(t.clone() for t in inputs))
            torch.manual_seed(0)
            found = recorded(*(t.clone() for t in inputs))
    finally:
        model.train(mode)
    for a, b in zip(expected, found, strict=True):
        if a is not None and not torch.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True):
            raise Unstackable("its model does not do the same in every step")


def _outside(model: nn.Module) -> tuple[Any, ...]:
    """What a forward pass must not change: plain attributes of the modules, other generators than torch's."""
    plain = (bool, int, float, str, tuple, type(None))
    attributes = [
        (name, key, value)
        for name, part in model.named_modules()
        for key, value in vars(part).items()
        if isinstance(value, plain) and key != "training"
    ]
    generator: Any = np.random.get_state()  # noqa: NPY002
    return attributes, random.getstate(), generator[1].tobytes(), generator[2]


def _line(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    return text if len(text) < 200 else text[:200] + " ..."
