"""A dry run on an example input: how many channels each activation sees, and which layers its output feeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nonlin.errors import NonlinError
from nonlin.nn.swap_sites import Site

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
_CONVOLUTION = nn.modules.conv._ConvNd


@dataclass
class Seen:
    """What one place met: (channels, dimension) of each call, and the weighted layers that ran next."""

    channels: list[tuple[int, int]] = field(default_factory=list)
    followers: list[tuple[str, nn.Module]] = field(default_factory=list)


class Probe(nn.Module):
    """Stands in for an activation and notes the shapes that pass."""

    def __init__(self, old: nn.Module, log: list, position: int):
        super().__init__()
        self.old, self.log, self.position = old, log, position

    def forward(self, x: Tensor) -> Tensor:
        self.log.append((self.position, tuple(x.shape)))
        return self.old(x)


def run_example(model: nn.Module, example: Any) -> None:
    """The model on an example: a tensor, a tuple of arguments, or a mapping of keyword arguments."""
    training = {module: module.training for module in model.modules()}
    model.eval()  # leaves BatchNorm's statistics and Dropout's random numbers alone
    try:
        with torch.no_grad():
            if isinstance(example, Mapping):
                model(**example)
            elif isinstance(example, tuple | list):
                model(*example)
            else:
                model(example)
    except NonlinError:
        raise
    except Exception as error:
        raise NonlinError(
            f"the dry run of the model on example= failed: {type(error).__name__}: {error}. Pass one batch that the "
            "model takes: a tensor, a tuple of arguments, or a dictionary of keyword arguments."
        ) from error
    finally:
        for module, mode in training.items():
            module.training = mode


def observe(model: nn.Module, sites: list[Site], example: Any, log: list) -> list[Seen]:
    """Run `example` through a model whose sites hold probes that write to `log`; what each site met."""
    layers = [(n, m) for n, m in model.named_modules() if _weighted(m) or isinstance(m, _NORMS)]
    handles = [m.register_forward_hook(lambda _m, _i, _o, at=(n, m): log.append(at)) for n, m in layers]
    try:
        run_example(model, example)
    finally:
        for handle in handles:
            handle.remove()
    seen = [Seen() for _ in sites]
    before: nn.Module | None = None
    current: int | None = None
    for entry, value in log:
        if isinstance(entry, int):
            seen[entry].channels.append(channels_of(value, before))
            current = entry
        else:
            before = value
            if _weighted(value):
                if current is not None and (entry, value) not in seen[current].followers:
                    seen[current].followers.append((entry, value))
                current = None
    return seen


def channels_of(shape: tuple[int, ...], before: nn.Module | None) -> tuple[int, int]:
    """The number of channels of an input and their dimension, by the layer that made it where that is known."""
    rank = len(shape)
    if rank == 0:
        raise NonlinError("an activation of the model has a single number as its input, which has no channels.")
    size, dim = _output(before)
    if size is None or not -rank <= dim < rank or shape[dim] != size:
        dim = 1 if rank >= 4 else -1
    return shape[dim], dim


def _output(layer: nn.Module | None) -> tuple[int | None, int]:
    """How many channels a layer makes, and along which dimension."""
    if isinstance(layer, nn.Linear):
        return layer.out_features, -1
    if isinstance(layer, _CONVOLUTION):
        return layer.out_channels, -len(layer.kernel_size) - 1
    if isinstance(layer, nn.modules.batchnorm._NormBase):
        return layer.num_features, 1
    if isinstance(layer, nn.GroupNorm):
        return layer.num_channels, 1
    if isinstance(layer, nn.LayerNorm | nn.RMSNorm):
        return layer.normalized_shape[-1], -1
    return getattr(layer, "nf", None), -1  # the Conv1D of GPT-2, a linear layer in fact


def _weighted(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | _CONVOLUTION) or type(module).__name__ == "Conv1D"


def gain_of(module: nn.Module) -> float | None:
    """1/√E[f(z)²] for z ~ N(0, 1) of any elementwise module; None where it has none."""
    parameter = next(module.parameters(), None)
    width = parameter.numel() if parameter is not None and parameter.dim() == 1 else 1
    like = parameter if parameter is not None else torch.empty(0)
    z = torch.arange(-9.9995, 10, 0.001, dtype=torch.float64)
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            values = module(z.to(like)[:, None].expand(-1, width)).double().cpu()
    except Exception:
        return None
    finally:
        module.train(training)
    weight = torch.exp(-0.5 * z * z)[:, None] / z.numel() * 20 / math.sqrt(2 * math.pi)
    moment = float((weight * values * values).sum() / width)
    return 1 / math.sqrt(moment) if math.isfinite(moment) and moment > 1e-24 else None
