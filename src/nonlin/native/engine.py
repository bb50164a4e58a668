"""Whole trainings of multilayer perceptrons that differ in their activation, seed or learning rate.

The compiled core trains each child from first batch to last validation without returning to Python, in
cache. Where the core is not there, or has no instructions for a function, plain PyTorch does the same.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from ctypes import Array
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from nonlin.errors import NonlinError
from nonlin.native.library import FLOAT32, FLOAT64, load
from nonlin.native.program import Function
from nonlin.native.structures import CChild, CNetwork

LOSSES = ("cross-entropy", "mse")
OPTIMISERS = ("sgd", "adam", "adamw")
CURVES = ("train_loss", "train_accuracy", "train_seconds", "valid_loss", "valid_accuracy")


@dataclass(frozen=True)
class Network:
    """Linear, activation, linear, ..., linear; and how it is trained.

    Attributes
    ----------
    widths : inputs, hidden widths ..., outputs
    bias : whether the linear layers have one
    per : activation parameters per "tensor" or per "channel" of each hidden layer
    loss : "cross-entropy" (targets are classes) or "mse"; both averaged as torch does
    optimiser : "sgd" (momentum, nesterov), "adam" or "adamw", with torch's formulas
    clip : the largest norm of the whole gradient, 0 for no clipping
    """

    widths: tuple[int, ...]
    bias: bool = True
    per: Literal["tensor", "channel"] = "tensor"
    loss: Literal["cross-entropy", "mse"] = "cross-entropy"
    optimiser: Literal["sgd", "adam", "adamw"] = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False
    clip: float = 0.0

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise NonlinError(
                f"widths={self.widths} is no network; give inputs, hidden widths and outputs, all above 0."
            )
        for value, known in ((self.loss, LOSSES), (self.optimiser, OPTIMISERS), (self.per, ("tensor", "channel"))):
            if value not in known:
                raise NonlinError(f"{value!r} is not known; use one of {', '.join(known)}.")

    @property
    def hidden(self) -> tuple[int, ...]:
        return self.widths[1:-1]

    def size(self, function: Function) -> int:
        """How many parameters a child with this activation has."""
        linear = sum(a * b + b * self.bias for a, b in zip(self.widths, self.widths[1:], strict=False))
        per_layer = self.hidden if self.per == "channel" else (1,) * len(self.hidden)
        return linear + len(function.parameters) * sum(per_layer)


@dataclass(frozen=True)
class Data:
    """A task's rows. All arrays are C-contiguous; the inputs' dtype, float32 or float64, is the training's.

    Attributes
    ----------
    train_x, valid_x : (rows, inputs); valid_x may have no rows
    train_y, valid_y : classes (rows,) int64, or targets (rows, outputs) in the inputs' dtype
    """

    train_x: np.ndarray
    train_y: np.ndarray
    valid_x: np.ndarray
    valid_y: np.ndarray


@dataclass
class Child:
    """One child: what it starts from, and all of its state, so that training can go on in a later call.

    Attributes
    ----------
    function : the activation of every hidden layer
    weights : flat, in the order of `torch.nn.utils.parameters_to_vector(model.parameters())` for
        Sequential(Linear, ActivationModule, Linear, ..., Linear); changed in place
    order : (epochs, rows used per epoch) int64, row numbers of each epoch in the order of use
    learning_rate : of this child
    first, second : the optimiser's moments, flat like `weights`
    steps : optimiser steps taken
    status : "running", or "diverged" once a batch's or a validation's loss was not finite
    diverged_epoch : where that was, or -1
    train_loss, train_accuracy : one entry per epoch, NaN where not trained: over the epoch's batches, each
        before its step; no accuracy with the loss "mse"
    train_seconds : likewise, wall-clock seconds of the epoch without its validation
    valid_loss, valid_accuracy : likewise, on the validation rows after the epoch
    """

    function: Function
    weights: np.ndarray
    order: np.ndarray
    learning_rate: float = 1e-3
    first: np.ndarray = field(default_factory=lambda: np.zeros(0))
    second: np.ndarray = field(default_factory=lambda: np.zeros(0))
    steps: int = 0
    status: Literal["running", "diverged"] = "running"
    diverged_epoch: int = -1
    train_loss: np.ndarray = field(default_factory=lambda: np.zeros(0))
    train_accuracy: np.ndarray = field(default_factory=lambda: np.zeros(0))
    train_seconds: np.ndarray = field(default_factory=lambda: np.zeros(0))
    valid_loss: np.ndarray = field(default_factory=lambda: np.zeros(0))
    valid_accuracy: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def make_buffers(self) -> None:
        """Moments of zero and curves of NaN, where they are not there yet."""
        for name in ("first", "second"):
            moments = getattr(self, name)
            if moments.shape != self.weights.shape or moments.dtype != self.weights.dtype:
                setattr(self, name, np.zeros_like(self.weights))
        for name in CURVES:
            if getattr(self, name).shape != self.order.shape[:1]:
                setattr(self, name, np.full(self.order.shape[0], math.nan))


def train_mlp(
    network: Network,
    children: Sequence[Child],
    data: Data,
    *,
    batch: int,
    first_epoch: int = 0,
    last_epoch: int | None = None,
    schedule: np.ndarray | None = None,
    threads: int = 1,
) -> None:
    """Train each child over epochs first_epoch ... last_epoch - 1, and validate it after each of them.

    Children are changed in place; those that have diverged are left alone, so that halving is: train all
    to epoch 2, keep some, train these from 2 to 5. A loss that is not finite stops a child before the
    step that it would have made. The curve of training is the mean over the rows of an epoch, each batch
    evaluated before its step.

    Parameters
    ----------
    batch : rows per step; the last batch of an epoch may be smaller
    last_epoch : all that the children's `order` has, unless given
    schedule : (epochs, steps per epoch) factors of the learning rate; all 1 unless given
    threads : children trained at the same time
    """
    last_epoch = _check(network, children, data, batch, first_epoch, last_epoch, schedule)
    native = load() is not None
    compiled = [child for child in children if native and child.function.supported]
    if compiled:
        _train_compiled(network, compiled, data, batch, first_epoch, last_epoch, schedule, threads)
    if len(compiled) < len(children):
        from nonlin.native.reference import train_one

        for child in children:
            if not (native and child.function.supported):
                train_one(network, child, data, batch, first_epoch, last_epoch, schedule)


def _check(network, children, data, batch, first_epoch, last_epoch, schedule) -> int:
    """The last epoch; NonlinError for what cannot be trained. Missing buffers are made."""
    _check_data(network, data)
    if batch < 1 or first_epoch < 0:
        raise NonlinError(f"batch={batch} and first_epoch={first_epoch} must be at least 1 and 0.")
    if not children:
        return last_epoch or 0
    epochs, length = children[0].order.shape
    last_epoch = epochs if last_epoch is None else last_epoch
    if last_epoch > epochs:
        raise NonlinError(f"last_epoch={last_epoch}, but the order of the rows is given for {epochs} epochs.")
    if schedule is not None and schedule.size < last_epoch * math.ceil(length / batch):
        raise NonlinError(f"schedule has {schedule.size} factors; expected {last_epoch}*{math.ceil(length / batch)}.")
    dtype = data.train_x.dtype
    checked: set[int] = set()  # children often share one order
    for child in children:
        if id(child.order) not in checked:
            checked.add(id(child.order))
            _check_order(child.order, (epochs, length), len(data.train_x))
        size = network.size(child.function)
        if child.weights.shape != (size,) or child.weights.dtype != dtype or not child.weights.flags.c_contiguous:
            raise NonlinError(
                f"the weights for {child.function.expr} are {child.weights.dtype} {child.weights.shape}; "
                f"expected C-contiguous {dtype} ({size},)."
            )
        child.make_buffers()
    return last_epoch


def check(network: Network, data: Data, batch: int, order: np.ndarray) -> None:
    """NonlinError for what no child can be trained with; for those who call the core without `train_mlp`."""
    _check_data(network, data)
    if batch < 1:
        raise NonlinError(f"batch={batch} must be at least 1.")
    _check_order(order, order.shape, len(data.train_x))


def _check_data(network: Network, data: Data) -> None:
    dtype = data.train_x.dtype
    if dtype not in (np.float32, np.float64):
        raise NonlinError(f"the inputs are {dtype}; the engine trains in float32 or float64.")
    target = np.dtype(np.int64) if network.loss == "cross-entropy" else dtype
    for name in ("train", "valid"):
        x, y = getattr(data, f"{name}_x"), getattr(data, f"{name}_y")
        shape = (len(x),) if network.loss == "cross-entropy" else (len(x), network.widths[-1])
        for array, label, kind, expected in (
            (x, f"{name}_x", dtype, (len(x), network.widths[0])),
            (y, f"{name}_y", target, shape),
        ):
            if array.shape != expected or array.dtype != kind or not array.flags.c_contiguous:
                raise NonlinError(f"{label} is {array.dtype} {array.shape}; expected C-contiguous {kind} {expected}.")
        if network.loss == "cross-entropy" and len(y) and (y.min() < 0 or y.max() >= network.widths[-1]):
            raise NonlinError(f"{name}_y has classes outside 0 ... {network.widths[-1] - 1}.")


def _check_order(order: np.ndarray, shape: tuple[int, ...], rows: int) -> None:
    epochs, length = shape
    fits = order.shape == shape and order.dtype == np.int64 and order.flags.c_contiguous
    if not fits or length < 1 or order.min() < 0 or order.max() >= rows:
        raise NonlinError(
            f"order is {order.dtype} {order.shape}; expected C-contiguous int64 ({epochs}, {length}) "
            f"with row numbers below {rows}."
        )


def _train_compiled(network, children, data, batch, first_epoch, last_epoch, schedule, threads) -> None:
    c_network = prepared(network, data, batch, children[0].order, schedule)
    rows = (CChild * len(children))()
    for row, child in zip(rows, children, strict=True):
        fill_in(row, child)
    run_epochs(c_network, rows, first_epoch, last_epoch, threads)
    for row, child in zip(rows, children, strict=True):
        child.steps, child.diverged_epoch = row.steps, row.diverged_epoch
        child.status = "diverged" if row.status else "running"


def prepared(
    network: Network, data: Data, batch: int, order: np.ndarray, schedule: np.ndarray | None = None
) -> CNetwork:
    """What `train_mlp` has checked, as the core takes it; it lives as long as this result and the arrays that are
    given."""
    widths = np.array(network.widths, dtype=np.int64)
    if schedule is not None:
        schedule = np.ascontiguousarray(schedule, dtype=np.float64)
    found = CNetwork(
        dtype=FLOAT32 if data.train_x.dtype == np.float32 else FLOAT64,
        layers=len(widths) - 1,
        widths=widths.ctypes.data,
        bias=int(network.bias),
        per_channel=int(network.per == "channel"),
        loss=LOSSES.index(network.loss),
        optimiser=OPTIMISERS.index(network.optimiser),
        beta1=network.betas[0],
        beta2=network.betas[1],
        eps=network.eps,
        weight_decay=network.weight_decay,
        momentum=network.momentum,
        nesterov=int(network.nesterov),
        clip=network.clip,
        schedule=None if schedule is None else schedule.ctypes.data,
        batch=batch,
        order_length=order.shape[1],
        train_rows=len(data.train_x),
        valid_rows=len(data.valid_x),
        train_x=data.train_x.ctypes.data,
        valid_x=data.valid_x.ctypes.data,
        train_y=data.train_y.ctypes.data,
        valid_y=data.valid_y.ctypes.data,
    )
    found.kept = widths, schedule  # the structure has their addresses alone
    return found


def fill_in(row: CChild, child: Child) -> None:
    """A child, with its buffers made, as the core takes it; it must outlive the row."""
    row.value, row.derivatives = child.function.value.pointer, child.function.derivatives.pointer
    for name in ("weights", "first", "second", "order", *CURVES):
        setattr(row, name, getattr(child, name).ctypes.data)
    row.learning_rate, row.steps = child.learning_rate, child.steps
    row.status, row.diverged_epoch = int(child.status == "diverged"), child.diverged_epoch


def run_epochs(network: CNetwork, rows: Array[CChild], first_epoch: int, last_epoch: int, threads: int = 1) -> None:
    """Let the core train over these epochs."""
    library = load()
    assert library is not None
    network.first_epoch, network.last_epoch = first_epoch, last_epoch
    library.call("nl_train_mlp", ctypes.byref(network), rows, len(rows), threads)
