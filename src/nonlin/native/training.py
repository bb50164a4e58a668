"""The children of one task and seed in the compiled core, from formula to result, without torch.

What the children share is made once, by `nonlin.train.engine`, from the task; a worker process that is given it trains
child after child and loads NumPy and the language of expressions, no more.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nonlin.expr import Expr
from nonlin.native.engine import CURVES, Child, Data, Network, fill_in, prepared, run_epochs
from nonlin.native.moments import moments, usable
from nonlin.native.program import Function, function
from nonlin.native.structures import CChild, CNetwork

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Trained:
    """What became of one child.

    Attributes
    ----------
    status : as in `nonlin.train.Outcome`
    curves : (5, epochs): the rows of `engine.CURVES`, NaN where not trained
    parameters : mean of each trained activation parameter over layers and channels
    seconds : wall-clock, of everything
    """

    status: Literal["ok", "stopped", "diverged"]
    curves: Array
    parameters: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Begun:
    """A child before its first step: its function, its parameters' names, its weights, and the time that this took."""

    function: Function
    names: tuple[str, ...]
    weights: Array
    seconds: float


@dataclass(frozen=True, eq=False)
class Training:
    """What the children share.

    Attributes
    ----------
    network : how they are built and trained
    per : the layout of activation parameters; None if it is none that the core knows, which matters only to
        functions that have some
    layers : of each linear layer its weight and bias, flat, before they are scaled
    reference : the gain of the function for which these weights are made: those of all layers but the first, which
        follow an activation, are scaled by the child's own gain over it; None to leave them as they are
    data, order, batch, learning_rate : as for `engine.train_mlp`, which has checked them
    """

    network: Network
    per: Literal["tensor", "channel"] | None
    layers: tuple[Array, ...]
    reference: float | None
    data: Data
    order: Array
    batch: int
    learning_rate: float

    def __reduce__(self):
        return Training, tuple(getattr(self, one.name) for one in fields(self))

    def train(
        self,
        expr: Expr,
        initial: Mapping[str, float],
        rungs: Mapping[int, float] | None = None,
        learning_rate: float | None = None,
    ) -> Trained | None:
        """Train one child; None where the core cannot.

        Parameters
        ----------
        initial : the value that each parameter begins with
        rungs : {epoch: loss}; the child is stopped after that many epochs if its validation loss is above
        """
        begun = self.begin(expr, initial)
        return None if begun is None else self.finish(begun, rungs, learning_rate)

    def begin(self, expr: Expr, initial: Mapping[str, float]) -> Begun | None:
        """What comes before a child's first step; None where the core cannot train it."""
        start = time.perf_counter()
        compiled = function(expr, tuple(initial))
        if not compiled.supported or (initial and self.per is None):
            return None
        weights = self.initial_weights(compiled, tuple(initial.values()))
        return Begun(compiled, tuple(initial), weights, time.perf_counter() - start)

    def finish(self, begun: Begun, rungs: Mapping[int, float] | None, learning_rate: float | None) -> Trained:
        """Train what was begun; see `train`."""
        start, epochs = time.perf_counter(), len(self.order)
        curves = np.full((len(CURVES), epochs), math.nan)
        first, second = np.zeros((2, len(begun.weights)), begun.weights.dtype)
        rate = self.learning_rate if learning_rate is None else learning_rate
        own: dict[str, Any] = dict(zip(CURVES, curves, strict=True))
        child = Child(begun.function, begun.weights, self.order, rate, first, second, **own)
        rows = (CChild * 1)()
        fill_in(rows[0], child)
        status = self._epochs(rows, curves[CURVES.index("valid_loss")], rungs or {})
        means = self._means(begun.weights, begun.names)
        return Trained(status, curves, means, begun.seconds + time.perf_counter() - start)

    def initial_weights(self, compiled: Function, values: tuple[float, ...]) -> Array:
        """A child's flat parameters before its first step, those of the activation with these values."""
        factor = self._factor(compiled, values)
        parts: list[Array] = []
        for number, (layer, width) in enumerate(zip(self.layers, self.network.widths[1:], strict=True)):
            if number:  # follows an activation
                count = self.network.widths[number] if self.network.per == "channel" else 1
                parts += [np.full(count, value, layer.dtype) for value in values]
            parts.append(layer.copy())
            if number and factor is not None:
                parts[-1][: len(layer) - width] *= layer.dtype.type(factor)  # the biases stand behind the weight
        return np.concatenate(parts)

    def _factor(self, compiled: Function, values: tuple[float, ...]) -> float | None:
        if self.reference is None:
            return None
        second = moments(compiled, values)[1]
        return 1 / math.sqrt(second) / self.reference if usable(second, second) else None

    @cached_property
    def _prepared(self) -> CNetwork:
        return prepared(self.network, self.data, self.batch, self.order)

    def _epochs(self, rows: Any, losses: Array, rungs: Mapping[int, float]) -> Literal["ok", "stopped", "diverged"]:
        """Train from rung to rung."""
        epochs, first = len(self.order), 0
        for last in (*sorted(epoch for epoch in rungs if epoch < epochs), epochs):
            run_epochs(self._prepared, rows, first, last)
            if rows[0].status:
                return "diverged"
            if last < epochs and losses[last - 1] > rungs[last]:
                return "stopped"
            first = last
        return "ok"

    def _means(self, weights: Array, names: tuple[str, ...]) -> dict[str, float]:
        if not names:
            return {}
        rows, at = [], 0
        for layer, width in zip(self.layers, self.network.hidden, strict=False):
            count = width if self.network.per == "channel" else 1
            at += len(layer)
            rows.append(weights[at : at + len(names) * count].reshape(len(names), count))
            at += len(names) * count
        means = np.concatenate(rows, axis=1).mean(axis=1, dtype=np.float64)
        return dict(zip(names, means.tolist(), strict=True))
