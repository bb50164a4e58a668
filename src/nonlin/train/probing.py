"""Whether children with different activations begin with the same other weights, so that these need drawing once.

They do unless a task's `build` asks what it was given, as an initialisation for sine networks might, or draws numbers
of its own for an activation's parameters. The first is watched, with a factory and modules that notice being asked; the
second shows in models of a few functions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from nonlin.native.module import ActivationModule, Per
from nonlin.tasks import Factory, Task
from nonlin.train.initial import Protocol, initial_model
from nonlin.zoo import activation

PROBES = ("prelu", "relu", "sin")  # with a parameter, and without


def common_model(task: Task, seed: int, per: Per, protocol: Protocol) -> nn.Module | None:
    """The model of the first probe before its first step, unscaled, if those of all functions have its weights; None
    if that is not certain."""
    models = []
    for probe in PROBES:
        factory = _Watching(activation(probe), per)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                model = initial_model(task, activation(probe), per, False, protocol, factory)
        except Exception:  # whatever the user's code does not like about a probe
            return None
        if _asked(factory, model) or not _untouched(model):
            return None
        models.append(model)
    first, *others = (_other_weights(model) for model in models)
    same = all(
        [name for name, _ in other] == [name for name, _ in first]
        and all(torch.equal(one, another) for (_, one), (_, another) in zip(first, other, strict=True))
        for other in others
    )
    return models[0] if same else None


def _other_weights(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """Parameters and buffers that do not belong to activations."""
    return [
        (f"{place}.{name}", value)
        for place, part in model.named_modules()
        if not isinstance(part, ActivationModule)
        for name, value in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False))
    ]


def _untouched(model: nn.Module) -> bool:
    """Whether the activations' parameters have the values they came with."""
    return all(
        bool((getattr(part, name) == value).all())
        for part in model.modules()
        if isinstance(part, ActivationModule)
        for name, value in part.initial.items()
    )


def _asked(factory: _Watching, model: nn.Module) -> bool:
    """Whether anybody has asked; from now on everybody may."""
    noticed = object.__getattribute__(factory, "noticed")
    for part in model.modules():
        if isinstance(part, _Watched):
            object.__setattr__(part, "__class__", ActivationModule)
    return bool(noticed)


class _Watching(Factory):
    """A factory that notices when it is asked for its activation; so do its modules."""

    def __init__(self, act: Any, per: Per):
        super().__init__(act, per)
        object.__setattr__(self, "noticed", [])

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if name in ("activation", "__dict__"):
            object.__getattribute__(self, "noticed").append(name)
        return found

    def __call__(self, channels: int | None = None, dim: int = 1) -> ActivationModule:
        noticed: list[str] = object.__getattribute__(self, "noticed")
        before = list(noticed)
        module = super().__call__(channels, dim)
        noticed[:] = before  # that was ourselves
        object.__setattr__(module, "noticed", noticed)
        object.__setattr__(module, "__class__", _Watched)
        return module


class _Watched(ActivationModule):
    """What `_Watching` makes."""

    def __getattribute__(self, name: str) -> Any:
        if name in _TELLING:
            object.__getattribute__(self, "__dict__")["noticed"].append(name)
        return super().__getattribute__(name)


# What of a module tells its function: reading these, printing it, or computing with it.
_TELLING = frozenset(
    ("expr", "label", "initial", "parameter_names", "_attributes", "_program", "forward", "extra_repr")
)
