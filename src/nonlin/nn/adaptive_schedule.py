"""When an adaptive layer looks at its data: at some optimiser steps, and never inside the graph.

A layer that keeps running statistics (`Observing`) works in two halves. Its forward pass in training mode
puts aside a sample of at most 8,192 values, and only if the next optimiser step is one at which the layer
is due. After the optimiser's step, `Observing.step` counts it and, if due, turns the sample into new
statistics. So

- gradient accumulation and activation checkpointing, which run forward more often than the optimiser
  steps, neither miscount nor change a layer between a forward pass and its recomputation;
- ``torch.compile`` sees no control flow that depends on data: the sample is an ordinary output of the graph;
- with `torch.distributed` every process reaches the exchange of statistics at the same place.

Steps of every ``torch.optim`` optimiser are noticed by themselves (a hook that torch offers for all
optimisers); a layer counts one only if it ran in training mode since the last. A training loop without
``torch.optim`` calls ``nonlin.nn.step(model)`` after each update; doing both counts once.
"""

from __future__ import annotations

import copy
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo  # torch.compiler.disable that loads the compiler when it is first needed
from torch.optim.optimizer import register_optimizer_step_post_hook

from nonlin.errors import NonlinError

SAMPLE = 8192
SPREAD = 1327217885  # (√5 − 1)/2 of 2^31

# In the order of their making, which is the same in all processes of a distributed run, as the exchange needs.
_layers: list[weakref.ref[Observing]] = []
_hook: list = []  # the handle of the hook, once it is set


class Turn:
    """Where a layer stands between a forward pass and the optimiser's step. (`nn.Module`'s attributes are slow.)"""

    def __init__(self, count: int, due: bool):
        self.count = count  # of steps, on the host: reading a buffer would wait for the accelerator
        self.due = due  # whether the next optimiser step needs a sample
        self.seen = False  # whether the layer ran in training mode since the last one
        self.sample: tuple[Tensor, ...] = ()


class Observing(nn.Module, ABC):
    """A module that learns statistics of what passes through it, at some of the optimiser's steps.

    A subclass calls `observe` in its forward pass and defines `refresh`.

    Parameters
    ----------
    every : the statistics are refreshed at each optimiser step whose number is a multiple of this
    early : and at these
    momentum : the weight of new statistics in the moving average; the first ones count fully
    synchronise : whether to sum statistics over the processes of `torch.distributed`, where it is
        initialised. All of them must then run the layer in the same steps.

    State
    -----
    steps : int64, optimiser steps counted; updates : int64, refreshes that were not skipped
    """

    steps: Tensor
    updates: Tensor

    def __init__(self, every: int, early: tuple[int, ...], momentum: float, synchronise: bool):
        super().__init__()
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise NonlinError(f"every={every!r} must be a whole number of optimiser steps above 0.")
        if not 0 < momentum <= 1:
            raise NonlinError(f"momentum={momentum!r} is the weight of new statistics; it must be in (0, 1].")
        self.every, self.early, self.momentum, self.synchronise = every, early, momentum, synchronise
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.wanted = torch.zeros((), dtype=torch.bool, device="cpu")  # `Turn.due` as compiled graphs read it
        self._begin(0)
        _enrol(self)

    @abstractmethod
    def refresh(self, sample: tuple[Tensor, ...]) -> None:
        """Take in what `observe` was given, in float32, at most SAMPLE values of each tensor."""

    def _begin(self, count: int) -> None:
        self._turn = Turn(count, self._is_due(count + 1))
        self.wanted.fill_(self._turn.due)

    def sample_size(self, x: Tensor) -> int:
        """How many values of x a sample has, none in eval mode."""
        return min(x.numel(), SAMPLE) if self.training else 0

    def observed(self, *sample: Tensor) -> None:
        """Called in forward instead of `observe`: a sample that holds values only if `wanted` did."""
        if self.training:
            self._turn.seen, self._turn.sample = True, sample

    def observe(self, pick: Callable[[Tensor], Tensor], *values: Tensor) -> None:
        """Called in forward: put aside `pick` of each tensor if the next optimiser step needs it."""
        if not self.training:
            return
        self._turn.seen = True
        if torch.compiler.is_compiling() or self._turn.due:
            self._turn.sample = tuple(pick(value.detach()).float() for value in values)

    @_disable_dynamo
    def step(self) -> None:
        """Count one optimiser step, if the layer took part in it, and refresh if due."""
        if self._turn.seen:
            self._step()

    def _step(self) -> None:
        turn = self._turn
        turn.count += 1
        steps = self._buffers["steps"]
        assert steps is not None
        steps.fill_(turn.count)
        if turn.due:
            with torch.no_grad(), torch.autocast(steps.device.type, enabled=False):
                self.refresh(turn.sample)
        turn.seen, turn.sample = False, ()
        if (due := self._is_due(turn.count + 1)) != turn.due:
            turn.due = due
            self.wanted.fill_(due)

    def _is_due(self, count: int) -> bool:
        return count in self.early or count % self.every == 0

    def _total(self, *values: Tensor) -> list[Tensor]:
        """The sums of `values`, tensors of one dtype, over all processes."""
        together = torch.distributed.is_available() and torch.distributed.is_initialized()
        if not (self.synchronise and together):
            return list(values)
        flat = torch.cat([value.reshape(-1) for value in values])
        torch.distributed.all_reduce(flat)
        parts = flat.split([value.numel() for value in values])
        return [part.reshape(value.shape) for part, value in zip(parts, values, strict=True)]

    def _moments(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and deviation along dimension 0 over all processes, and whether they can be used.

        values : (rows, ...). All three have shape (...). They cannot be used where a value is not finite
        or all are equal up to rounding: a dead or constant layer.
        """
        wide = values.to(_widest(values.device))
        count = torch.full_like(wide.sum(dim=0), len(values))
        total, squares, count = self._total(wide.sum(dim=0), (wide * wide).sum(dim=0), count)
        mean = total / count
        variance = squares / count - mean * mean
        usable = torch.isfinite(variance) & (variance > 1e-12 * mean * mean + 1e-24)
        deviation = torch.where(usable, variance, 1.0).sqrt()
        return mean.float(), deviation.float(), usable

    def _average(self, buffer: Tensor, new: Tensor, usable: Tensor) -> None:
        """Move a buffer towards `new` where that is usable; without waiting for the accelerator."""
        weight = torch.where(self.updates > 0, self.momentum, 1.0)
        buffer.copy_(torch.where(usable, buffer + weight * (new - buffer), buffer))

    def _apply(self, fn, recurse=True):
        """Statistics follow a model to its device and stay float32 when it becomes half precision."""
        kept = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, before in kept.items():
            moved = self._buffers[name]
            if before is not None and moved is not None and moved.dtype != before.dtype:
                self._buffers[name] = before.to(moved.device)
        return self

    def _load_from_state_dict(self, *args) -> None:
        super()._load_from_state_dict(*args)
        self._begin(self._turn.count if self.steps.is_meta else int(self.steps))

    def __setstate__(self, state) -> None:
        super().__setstate__(state)
        self._turn = copy.copy(self._turn)
        _enrol(self)  # copies and unpickled layers too


def step(model: nn.Module) -> None:
    """Tell the adaptive layers of `model` that its parameters were updated.

    Only needed where no ``torch.optim`` optimiser does the updates.
    """
    for layer in model.modules():
        if isinstance(layer, Observing):
            layer.step()


def pick_values(values: Tensor) -> Tensor:
    """At most SAMPLE values of a tensor of any shape, as (count,).

    Multiples of the golden ratio, which no arrangement of channels and positions can beat with.
    """
    flat = values.reshape(-1)
    return flat.clone() if flat.numel() <= SAMPLE else flat.index_select(0, _spread(SAMPLE, flat.numel(), flat))


def pick_rows(values: Tensor) -> Tensor:
    """Rows of a (..., features) tensor with at most SAMPLE values, at least 64 rows, as (rows, features)."""
    table = values.reshape(-1, values.shape[-1])
    rows = max(64, SAMPLE // max(1, table.shape[1]))
    return table.clone() if table.shape[0] <= rows else table.index_select(0, _spread(rows, table.shape[0], table))


def _spread(count: int, size: int, like: Tensor) -> Tensor:
    """`count` places below `size` (or 2^32, if that is less), by whole numbers alone."""
    parts = torch.arange(1, count + 1, device=like.device) * SPREAD & 0x7FFFFFFF  # of 2^31
    return parts * min(size, 2**32) >> 31


def _widest(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64


def _enrol(layer: Observing) -> None:
    _layers.append(weakref.ref(layer, _layers.remove))
    if not _hook:
        _hook.append(register_optimizer_step_post_hook(_after_optimizer_step))


def _after_optimizer_step(*_) -> None:
    if torch.compiler.is_compiling():  # the guard is only paid for where it is needed
        _advance_uncompiled()
    else:
        _advance()


def _advance() -> None:
    for reference in tuple(_layers):
        layer = reference()
        if layer is not None and layer._turn.seen:
            layer._step()


_advance_uncompiled = _disable_dynamo(_advance)
