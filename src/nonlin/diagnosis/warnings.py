"""What looks wrong in a diagnosis, as sentences with their numbers.

The limits are rules of thumb and stand here in the open; none is a law.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median
from typing import TYPE_CHECKING

from nonlin.diagnosis.tables import percent, show

if TYPE_CHECKING:
    from nonlin.diagnosis.diagnosis import ActivationLayer, Diagnosis, WeightLayer

VANISHING = 1e-3  # gradient of the first matrices over that of the last
EXPLODING = 1e3
DEAD = 0.1  # share of a layer's units
SATURATED = 0.8  # share of places; ReLU is flat on half of them by nature
SLOWEST = 1e-3  # |update|/|weight| over the median of all matrices
FASTEST = 0.1  # |update|/|weight|
SHRINKING, GROWING = 1e-2, 1e2  # deviation of the last layer's outputs over the first's
SPARSE = 0.95


def warnings_of(diagnosis: Diagnosis) -> list[str]:
    """The sentences, worst first."""
    return [
        *_not_finite(diagnosis.layers, diagnosis.loss),
        *_gradients(diagnosis.weights),
        *_updates(diagnosis.weights),
        *_layers(diagnosis.layers),
        *_signal(diagnosis.layers),
    ]


def _not_finite(layers: Iterable[ActivationLayer], loss: float | None) -> Iterable[str]:
    bad = next((layer for layer in layers if layer.finite < 1), None)
    if bad is not None:
        yield f"{bad.title} is the first layer whose outputs are not all finite: {percent(1 - bad.finite)} are not."
    if loss is not None and not math.isfinite(loss):
        yield f"the loss is {loss}: nothing can be learned from this batch."


def _gradients(weights: tuple[WeightLayer, ...]) -> Iterable[str]:
    """The first quarter of the matrices against the last, by the largest size per element in each.

    One matrix alone may be small by nature, as those of queries and keys are in a fresh transformer.
    Embeddings are left out: most of their rows are unused in a batch.
    """
    sizes = [(w.name, w.gradient) for w in weights if w.gradient is not None and not w.looked_up]
    bad = next((name for name, size in sizes if not math.isfinite(size)), None)
    if bad is not None:
        yield f"the gradient of {bad} is not finite."
        return
    if len(sizes) < 2:
        return
    if not any(size for _, size in sizes):
        yield "all gradients are exactly 0: nothing is learned."
        return
    count = max(1, len(sizes) // 4)
    first, last = (max(size for _, size in part) for part in (sizes[:count], sizes[-count:]))
    ratio = first / last if last > 0 else math.inf
    names = (sizes[0][0], sizes[-1][0]) if count == 1 else (f"the first {count} matrices", f"the last {count}")
    most = "" if count == 1 else "at most "
    numbers = f"{most}{show(first)} per element for {names[0]}, {most}{show(last)} for {names[1]} (ratio {show(ratio)})"
    if ratio < VANISHING:
        yield f"gradients vanish on the way to the first layer: {numbers}."
    elif ratio > EXPLODING:
        yield f"gradients explode on the way to the first layer: {numbers}."


def _updates(weights: tuple[WeightLayer, ...]) -> Iterable[str]:
    ratios = [(w.update_ratio, w.name) for w in weights if w.update_ratio is not None and not w.looked_up]
    known = [(ratio, name) for ratio, name in ratios if math.isfinite(ratio)]
    if not known:
        return
    (slow, slowest), (fast, fastest) = min(known), max(known)
    typical = median(ratio for ratio, _ in known)
    if slow < SLOWEST * typical:
        yield (
            f"{slowest} hardly learns: a step changes it by {show(slow)} of its size, {show(slow / typical)} of "
            "what is typical here."
        )
    if fast > FASTEST:
        count = sum(ratio > FASTEST for ratio, _ in known)
        yield (
            f"{fastest} changes by {show(fast)} of its size in one step{_others(count)}: above {FASTEST:g} the "
            "learning rate is usually too large."
        )


def _layers(layers: tuple[ActivationLayer, ...]) -> Iterable[str]:
    """Dead, constant, saturated and sparse layers; the worst of each kind is named."""
    dead = [(layer.dead, layer) for layer in layers if layer.dead is not None and layer.dead >= DEAD]
    if dead:
        share, worst = max(dead, key=lambda pair: pair[0])
        yield f"{percent(share)} of the units of {worst.title} are dead on this batch{_others(len(dead))}."
    still = [layer for layer in layers if layer.constant == 1.0]
    if still:
        yield f"{still[0].title} gives the same output for every input{_others(len(still))}: nothing passes it."
    flat = [(layer.saturated, layer) for layer in layers if layer.saturated is not None]
    flat = [pair for pair in flat if pair[0] >= SATURATED]
    if flat:
        share, worst = max(flat, key=lambda pair: pair[0])
        yield f"{worst.title} is saturated at {percent(share)} of its places: hardly a gradient passes" + (
            f"{_others(len(flat))}."
        )
    sparse = [layer for layer in layers if layer.sparsity >= SPARSE]
    if sparse:
        yield f"{percent(sparse[0].sparsity)} of the outputs of {sparse[0].title} are 0{_others(len(sparse))}."


def _others(count: int) -> str:
    return "" if count == 1 else f" ({count} layers are like that)"


def _signal(layers: tuple[ActivationLayer, ...]) -> Iterable[str]:
    sizes = [(layer.std, layer) for layer in layers if math.isfinite(layer.std)]
    if len(sizes) < 2 or not sizes[0][0] > 0:
        return
    ratio = sizes[-1][0] / sizes[0][0]
    if ratio < SHRINKING or ratio > GROWING:
        word = "shrinks" if ratio < 1 else "grows"
        yield (
            f"the signal {word} with depth: outputs of {sizes[0][1].title} deviate by {show(sizes[0][0])}, "
            f"those of {sizes[-1][1].title} by {show(sizes[-1][0])}."
        )
