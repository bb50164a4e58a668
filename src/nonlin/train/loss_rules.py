"""Rules for what the core does in one go beside layers with weights: decisions between classes, attention, pooling."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from nonlin.native import stacked_attention as core
from nonlin.native.library import load
from nonlin.train.rules import Function, Operation, Rule, folded
from nonlin.train.simplify import decision_gradient
from nonlin.train.slot_rules import stays_inside

_FLOATS = (torch.float32, torch.float64)


def native(o: Operation, count: int) -> bool:
    """Whether the core is there and knows the numbers of the first `count` tensors."""
    dtypes = {one.meta["val"].dtype for one in o.tensors[:count]}
    return load() is not None and len(dtypes) == 1 and dtypes <= set(_FLOATS)


def _log_softmax(o: Operation) -> Function | None:
    last = o.args[1] in (-1, len(o.shape(0)) - 1) and not o.args[2]
    return core.log_softmax if last and native(o, 1) else None


def _nll_forward(o: Operation) -> Function | None:
    """Mean negative logarithm of the probabilities (rows, classes) of targets that all children share."""
    _, _, weight, reduction, ignored = o.args
    if weight is not None or reduction != 1 or o.differ != [True, False] or len(o.shape(0)) != 2:
        return None

    if native(o, 1):
        return lambda logarithms, target: (core.decision_loss(logarithms, target, ignored), None)

    def run(logarithms: Tensor, target: Tensor) -> tuple[Tensor, None]:
        index, share = _chosen(target, ignored, logarithms)
        return -(logarithms.gather(2, index) * share).sum(dim=(1, 2)), None

    return run


def _nll_backward(o: Operation) -> Function | None:
    _, _, _, weight, reduction, ignored, _ = o.args
    if weight is not None or reduction != 1 or o.differ[:3] != [False, True, False] or len(o.shape(1)) != 2:
        return None

    def run(gradient: Tensor, logarithms: Tensor, target: Tensor, *_: Any) -> Tensor:
        index, share = _chosen(target, ignored, logarithms)
        return torch.zeros_like(logarithms).scatter_(2, index, (gradient * -share).expand(index.shape))

    return run


def _chosen(target: Tensor, ignored: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's class as an index (K, rows, 1), and its share of the mean (rows, 1), 0 for those that do not count."""
    counts = (target != ignored).to(like.dtype)
    index = target.clamp(min=0).unsqueeze(-1).expand(like.shape[0], -1, 1)
    return index, (counts / counts.sum()).unsqueeze(-1)


def _decision_gradient(o: Operation) -> Function | None:
    """See `nonlin.train.simplify`."""
    ignored: Any = o.args[-1]
    if o.differ != [False, True, False]:
        return None
    if native(o, 2):
        return lambda gradient, logarithms, target: core.decision_gradient(logarithms, target, ignored, float(gradient))

    def run(gradient: Tensor, logarithms: Tensor, target: Tensor) -> Tensor:
        index, share = _chosen(target, ignored, logarithms)
        return (
            gradient * share * logarithms.exp().scatter_add_(2, index, logarithms.new_tensor(-1.0).expand(index.shape))
        )

    return run


def _attention(o: Operation) -> tuple[bool, float] | None:
    """(causal, scale), if the core can do it; dropout and causality are the first two arguments behind the tensors."""
    shape = o.shape(0)
    rest: list[Any] = [*o.args[len(o.tensors) :], *[0.0, False][len(o.args) - len(o.tensors) :]]
    dropout, causal = rest
    scale: Any = o.node.kwargs.get("scale")
    if o.node.kwargs.get("attn_mask") is not None or dropout or not o.all_differ or not native(o, len(o.tensors)):
        return None
    if len(shape) != 4 or shape[2] > core.MOST_POSITIONS or any(o.shape(k) != shape for k in range(1, 3)):
        return None
    return bool(causal), 1 / math.sqrt(shape[-1]) if scale is None else float(scale)


_fold = folded()


def _attend(o: Operation) -> Function | None:
    found = _attention(o)
    if found is None:
        return _fold(o)
    return lambda q, k, v: core.attend(q, k, v, *found)


def _attend_backward(o: Operation) -> Function | None:
    found = _attention(o)
    if found is None:
        return _fold(o)
    return lambda gradient, q, k, v, _, shares: core.attend_backward(gradient, q, k, v, shares, *found)


def _pool_sizes(o: Operation) -> tuple[int, int] | None:
    """(tall, wide) of windows side by side that fill the planes."""
    x, rest = o.shape(len(o.tensors) - 1), list(o.args[len(o.tensors) :])
    given: list[Any] = [*rest, *[[], [0, 0], False, True, None][len(rest) - 1 :]]
    kernel, step, padding, _, _, divisor = given
    tall, wide = kernel
    if not native(o, 1) or not o.all_differ or any(padding) or divisor is not None:
        return None
    if list(step or kernel) != [tall, wide] or x[-2] % tall or x[-1] % wide:
        return None
    return tall, wide


def _pool(o: Operation) -> Function | None:
    sizes = _pool_sizes(o)
    if sizes is None:
        return _fold(o)
    last = stays_inside(o.node)
    return lambda x: core.pool(x, *sizes, last)


def _pool_backward(o: Operation) -> Function | None:
    sizes = _pool_sizes(o)
    return _fold(o) if sizes is None else lambda gradient, x: core.pool_backward(gradient, *sizes, x)


FUSED: dict[str, Rule] = {
    "aten._log_softmax.default": _log_softmax,
    "aten.nll_loss_forward.default": _nll_forward,
    "aten.nll_loss_backward.default": _nll_backward,
    str(decision_gradient): _decision_gradient,
    "aten._scaled_dot_product_flash_attention_for_cpu.default": _attend,
    "aten._scaled_dot_product_flash_attention_for_cpu_backward.default": _attend_backward,
    "aten.avg_pool2d.default": _pool,
    "aten.avg_pool2d_backward.default": _pool_backward,
}
