"""Watch one forward and backward pass of a copy of a model, and one step of a copy of its optimizer.

The user's model is only ever copied: its weights, gradients, BatchNorm statistics, mode and hooks stay as
they are, and so does the state of torch's random numbers.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nonlin.diagnosis.batch import Loss, loss_of, read_batch
from nonlin.diagnosis.layers import Wanted, activation_layers, channels_first, unit_dimension, weights
from nonlin.errors import DiagnosisError


@dataclass
class Call:
    """One call of an activation layer; tensors are copies, all of one shape except for unusual layers."""

    name: str
    number: int
    module: nn.Module
    before: Tensor
    after: Tensor
    dim: int  # of units
    gradient: Tensor | None = None


@dataclass
class Matrix:
    """A weight before the step; `gradient` and `update` are None where no gradient arrives."""

    name: str
    module: nn.Module
    value: Tensor
    gradient: Tensor | None = None
    update: Tensor | None = None


@dataclass
class Observation:
    """All that was seen. `stand_ins`: no activation was found, the calls are those of layers with weights."""

    calls: list[Call] = field(default_factory=list)
    matrices: list[Matrix] = field(default_factory=list)
    loss: float | None = None
    stand_ins: bool = False


def observe(
    model: nn.Module, batch: Any, loss: Loss | None, optimizer: torch.optim.Optimizer | None, layers: Wanted | None,
    learning_rate: float,
) -> Observation:  # fmt: skip
    """Run a copy of `model` on `batch`, in the mode the model is in, and note what passes."""
    seen = Observation()
    with _untouched_random_numbers(model), torch.inference_mode(False), torch.enable_grad():
        model, optimizer = _copies(model, optimizer)
        chosen = activation_layers(model, layers)
        matrices = weights(model)
        if not chosen:
            seen.stand_ins = True
            chosen = {name: module for name, (module, _) in matrices.items() if name in dict(model.named_modules())}
        ready = read_batch(batch, model)
        order = _watch(model, ready, loss, chosen, matrices, seen)
        seen.matrices = _matrices(matrices, order)
        if seen.loss is not None:
            _take_step(seen.matrices, matrices, optimizer, learning_rate)
    return seen


def _copies(
    model: nn.Module, optimizer: torch.optim.Optimizer | None
) -> tuple[nn.Module, torch.optim.Optimizer | None]:
    """Copies that belong together: the optimizer's parameters are those of the copied model."""
    if optimizer is not None:
        ours = {id(p) for p in model.parameters()}
        if not any(id(p) in ours for group in optimizer.param_groups for p in group["params"]):
            raise DiagnosisError("optimizer: it holds no parameter of this model. Pass the one that trains it.")
    try:
        copied = copy.deepcopy((model, optimizer))
    except Exception as error:
        raise DiagnosisError(
            f"the model cannot be copied, and a diagnosis never works on the original: {type(error).__name__}: {error}"
        ) from error
    copied[0].zero_grad(set_to_none=True)
    return copied


@contextmanager
def _untouched_random_numbers(model: nn.Module) -> Iterator[None]:
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=[device.index or 0 for device in devices]):
        yield


def _watch(model, batch, loss: Loss | None, chosen: dict[str, nn.Module], matrices, seen: Observation) -> list[str]:
    """One pass with hooks; fills in `seen` and returns the weights' names in order of execution."""
    order: dict[str, None] = {}
    names: dict[int, list[str]] = {}
    for name, (module, _) in matrices.items():
        names.setdefault(id(module), []).append(name)
    last: list[bool | None] = [None]
    inputs: dict[int, list[Tensor | None]] = {}
    count: dict[str, int] = {}

    def start(module: nn.Module, arguments) -> None:
        for name in names[id(module)]:
            order.setdefault(name)

    def arrive(module: nn.Module, arguments, keywords) -> None:
        given = next((v for v in (*arguments, *keywords.values()) if isinstance(v, Tensor)), None)
        inputs.setdefault(id(module), []).append(None if given is None else given.detach().clone())

    def leave(name: str):
        def hook(module: nn.Module, arguments, keywords, output) -> None:
            before = inputs[id(module)].pop()
            after = output[0] if isinstance(output, tuple | list) and output else output
            if before is None or not isinstance(after, Tensor) or not after.is_floating_point():
                return
            number = count[name] = count.get(name, 0) + 1
            copied = after.detach().clone()
            before = copied if seen.stand_ins else before  # what the unseen activation receives
            call = Call(name, number, module, before, copied, unit_dimension(module, after, last[0]))
            seen.calls.append(call)
            if after.requires_grad:

                def keep(gradient: Tensor) -> None:
                    call.gradient = gradient.detach().clone()

                after.register_hook(keep)

        return hook

    def passed(module: nn.Module, arguments, output) -> None:
        last[0] = channels_first(module)

    handles = []
    for part in model.modules():
        if id(part) in names:
            handles.append(part.register_forward_pre_hook(start))
        if id(part) in names or channels_first(part):
            handles.append(part.register_forward_hook(passed))
    for name, module in chosen.items():
        handles.append(module.register_forward_pre_hook(arrive, with_kwargs=True))
        handles.append(module.register_forward_hook(leave(name), with_kwargs=True))
    try:
        value = loss_of(batch.call(model), batch, loss)
        if value is not None:
            seen.loss = float(value.detach())
            if value.requires_grad and math.isfinite(seen.loss):
                value.backward()
    finally:
        for handle in handles:
            handle.remove()
    return list(order)


def _matrices(matrices: dict[str, tuple[nn.Module, nn.Parameter]], order: list[str]) -> list[Matrix]:
    """In order of execution; those that no hook saw, such as learned positions, stand where they were defined."""
    names = list(matrices)
    place = {name: float(index) for index, name in enumerate(order)}
    previous = -1.0
    for name in names:
        previous = place.setdefault(name, previous + 1e-3)
    found = []
    for name in sorted(names, key=place.__getitem__):
        module, parameter = matrices[name]
        gradient = parameter.grad
        if gradient is not None and gradient.is_sparse:
            gradient = gradient.to_dense()
        found.append(Matrix(name, module, parameter.detach().clone(), None if gradient is None else gradient.clone()))
    return found


def _take_step(
    found: list[Matrix], matrices: dict[str, tuple[nn.Module, nn.Parameter]],
    optimizer: torch.optim.Optimizer | None, learning_rate: float,
) -> None:  # fmt: skip
    """Fill in the updates: those of the optimizer's next step, or learning rate times gradient."""
    if optimizer is None:
        for matrix in found:
            matrix.update = None if matrix.gradient is None else learning_rate * matrix.gradient
        return
    step: Any = type(optimizer).step
    if getattr(step, "hooked", False):  # torch's wrapper runs hooks of all optimizers, also those of user's layers
        step = step.__wrapped__
    held = [p for group in optimizer.param_groups for p in group["params"]]
    before = [p.detach().clone() for p in held]
    try:
        step(optimizer)
    except TypeError as error:
        raise DiagnosisError(
            f"optimizer: a step of {type(optimizer).__name__} cannot be taken here ({error}). Leave it out and pass "
            "learning_rate."
        ) from error
    for matrix in found:
        if matrix.gradient is not None:
            matrix.update = matrices[matrix.name][1].detach() - matrix.value
    with torch.no_grad():  # slopes and parameters of activations are still to be measured, as they were
        for parameter, value in zip(held, before, strict=True):
            parameter.copy_(value)
