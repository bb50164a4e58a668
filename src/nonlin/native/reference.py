"""The engine's work in plain PyTorch: what runs where the compiled core is not there, and its oracle."""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, parameters_to_vector, vector_to_parameters

from nonlin.native.engine import Child, Data, Network
from nonlin.native.module import ActivationModule
from nonlin.native.program import Function


def build_model(network: Network, function: Function, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Linear, activation, ..., linear; activation parameters start at 1."""
    layers: list[nn.Module] = []
    initial = dict.fromkeys(function.parameters, 1.0)
    for width, following in zip(network.widths, network.widths[1:], strict=False):
        if layers:
            layers.append(ActivationModule(function.expr, initial, network.per, width, dim=-1))
        layers.append(nn.Linear(width, following, bias=network.bias))
    return nn.Sequential(*layers).to(dtype)


def build_optimiser(network: Network, parameters: list[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    if network.optimiser == "sgd":
        return torch.optim.SGD(
            parameters, rate, network.momentum, weight_decay=network.weight_decay, nesterov=network.nesterov
        )
    rule = torch.optim.Adam if network.optimiser == "adam" else torch.optim.AdamW
    return rule(parameters, rate, network.betas, network.eps, network.weight_decay)


def train_one(
    network: Network,
    child: Child,
    data: Data,
    batch: int,
    first_epoch: int,
    last_epoch: int,
    schedule: np.ndarray | None,
) -> None:
    """As `engine.train_mlp`, for one child."""
    if child.status == "diverged":
        return
    child.make_buffers()
    dtype = torch.from_numpy(data.train_x).dtype
    model = build_model(network, child.function, dtype)
    parameters = list(model.parameters())
    vector_to_parameters(torch.from_numpy(child.weights.copy()), parameters)
    optimiser = build_optimiser(network, parameters, child.learning_rate)
    _load_moments(network, child, optimiser, parameters)
    x, y = torch.from_numpy(data.train_x), torch.from_numpy(data.train_y)
    valid_x, valid_y = torch.from_numpy(data.valid_x), torch.from_numpy(data.valid_y)
    criterion = nn.CrossEntropyLoss() if network.loss == "cross-entropy" else nn.MSELoss()
    per_epoch = math.ceil(child.order.shape[1] / batch)
    factors = None if schedule is None else np.asarray(schedule, dtype=np.float64).reshape(-1)
    for epoch in range(first_epoch, last_epoch):
        begun, total, correct = time.perf_counter(), 0.0, 0
        for number, rows in enumerate(torch.from_numpy(child.order[epoch]).split(batch)):
            outputs = model(x[rows])
            loss = criterion(outputs, y[rows])
            if network.loss == "cross-entropy":
                correct += int((outputs.argmax(1) == y[rows]).sum())
            total += loss.item() * len(rows)
            if not math.isfinite(loss.item()):
                child.status, child.diverged_epoch = "diverged", epoch
                break
            optimiser.zero_grad()
            loss.backward()
            if network.clip:
                clip_grad_norm_(parameters, network.clip)
            if factors is not None:
                for group in optimiser.param_groups:
                    group["lr"] = child.learning_rate * float(factors[epoch * per_epoch + number])
            optimiser.step()
            child.steps += 1
        if child.status == "diverged":
            break
        child.train_seconds[epoch] = time.perf_counter() - begun
        child.train_loss[epoch] = total / child.order.shape[1]
        if network.loss == "cross-entropy":
            child.train_accuracy[epoch] = correct / child.order.shape[1]
        if len(valid_x):
            with torch.no_grad():
                outputs = model(valid_x)
                child.valid_loss[epoch] = float(criterion(outputs, valid_y))
                if network.loss == "cross-entropy":
                    child.valid_accuracy[epoch] = float((outputs.argmax(1) == valid_y).double().mean())
            if not math.isfinite(child.valid_loss[epoch]):
                child.status, child.diverged_epoch = "diverged", epoch
                break
    child.weights[:] = parameters_to_vector(parameters).detach().numpy()
    _save_moments(network, child, optimiser, parameters)


def _moment_names(network: Network) -> tuple[str, ...]:
    if network.optimiser == "sgd":
        return ("momentum_buffer",) if network.momentum else ()
    return ("exp_avg", "exp_avg_sq")


def _load_moments(network: Network, child: Child, optimiser, parameters: list[nn.Parameter]) -> None:
    if not child.steps:
        return
    start = 0
    for parameter in parameters:
        state = optimiser.state[parameter]
        stretch = slice(start, start + parameter.numel())
        for name, moments in zip(_moment_names(network), (child.first, child.second), strict=False):
            state[name] = torch.from_numpy(moments[stretch].copy()).reshape(parameter.shape)
        if network.optimiser != "sgd":
            state["step"] = torch.tensor(float(child.steps))
        start = stretch.stop


def _save_moments(network: Network, child: Child, optimiser, parameters: list[nn.Parameter]) -> None:
    for name, moments in zip(_moment_names(network), (child.first, child.second), strict=False):
        if all(name in optimiser.state[parameter] for parameter in parameters):
            parts: list[Tensor] = [optimiser.state[parameter][name].reshape(-1) for parameter in parameters]
            moments[:] = torch.cat(parts).numpy()
