"""Rules for layers with weights, which differ between children: products, convolutions, normalisations, embeddings."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from nonlin.native import stacked
from nonlin.train.loss_rules import FUSED, native
from nonlin.train.rules import PLAIN, Function, Operation, Rule
from nonlin.train.slot_rules import SLOTS, stays_inside


def _mm(o: Operation) -> Function:
    return stacked.product


def _addmm(o: Operation) -> Function | None:
    if o.node.kwargs or len(o.shape(0)) != 1 or not (o.differ[1] or o.differ[2]):
        return None
    return lambda bias, a, b: stacked.product(a, b, bias)


def _convolution(o: Operation, begin: int) -> stacked.Convolution | None:
    """The layer, if the core has it; its step, border and spread stand at `begin` among the arguments."""
    step, padding, spread, transposed, _, groups = o.args[begin : begin + 6]
    if not native(o, len(o.tensors)) or list(step) != [1, 1] or transposed or groups != 1:
        return None
    return stacked.Convolution(tuple(padding), tuple(spread))


def _convolve(o: Operation) -> Function | None:
    layer = _convolution(o, 3)
    if layer is None or not all(o.differ[1:]) or len(o.shape(0)) != 4 or not layer.fits(o.shape(1)):
        return None
    last = stays_inside(o.node)
    if len(o.tensors) == 2:
        return lambda x, weight: layer.forward(x, weight, None, last)
    return lambda x, weight, bias: layer.forward(x, weight, bias, last)


def _convolve_backward(o: Operation) -> Function | None:
    layer = _convolution(o, 4)
    if layer is None or not (o.differ[0] and o.differ[2]) or len(o.shape(1)) != 4 or not layer.fits(o.shape(2)):
        return None
    wanted = tuple(o.args[-1])
    return lambda gradient, x, weight: layer.backward(gradient, x, weight, wanted)


def _layer_norm(o: Operation) -> Function | None:
    _, shape, weight, bias, eps = o.args
    if not native(o, len(o.tensors)) or not o.all_differ:
        return None
    width, has_weight, has_bias = math.prod(shape), weight is not None, bias is not None
    rows = o.shape(0)[: len(o.shape(0)) - len(shape)]
    kept = (*rows, *[1] * len(shape))

    def run(x: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        given = iter(rest)
        w, b = (next(given) if has else None for has in (has_weight, has_bias))
        out, mean, inverse = stacked.normalise(x, w, b, width, eps)
        return out, mean.view(-1, *kept), inverse.view(-1, *kept)

    return run


def _layer_norm_backward(o: Operation) -> Function | None:
    _, _, shape, _, _, weight, _, _ = o.args
    if not native(o, len(o.tensors)) or not o.all_differ:
        return None
    width, tail = math.prod(shape), tuple(shape)
    has_weight = weight is not None

    def run(gradient: Tensor, x: Tensor, mean: Tensor, inverse: Tensor, *rest: Tensor) -> tuple[Tensor | None, ...]:
        by_x, by_weight, by_bias = stacked.normalise_backward(
            gradient, x, mean, inverse, rest[0] if has_weight else None, width
        )
        return by_x, by_weight.view(-1, *tail), by_bias.view(-1, *tail)

    return run


def _batch_norm(o: Operation) -> Function | None:
    """The channels of all children side by side: (rows, K*channels, ...). Running statistics are changed in place."""
    if not o.all_differ:
        return None

    def run(x: Tensor, *rest: Tensor) -> Any:
        count = x.shape[0]
        out, mean, inverse = o.once(_side_by_side(x), *(t.flatten(0, 1) for t in rest))
        return _apart(out, count), *(t.unflatten(0, (count, -1)) if t.numel() else t for t in (mean, inverse))

    return run


def _batch_norm_backward(o: Operation) -> Function | None:
    if not o.all_differ:
        return None

    def run(gradient: Tensor, x: Tensor, *rest: Tensor) -> Any:
        count = x.shape[0]
        flat = (t.flatten(0, 1) for t in rest)
        by_x, by_weight, by_bias = o.once(_side_by_side(gradient), _side_by_side(x), *flat)
        others = (t if t is None else t.unflatten(0, (count, -1)) for t in (by_weight, by_bias))
        return _apart(by_x, count), *others

    return run


def _side_by_side(x: Tensor) -> Tensor:
    """(K, rows, channels, ...) to (rows, K*channels, ...)."""
    return x.transpose(0, 1).flatten(1, 2).contiguous()


def _apart(x: Tensor, count: int) -> Tensor:
    return x.unflatten(1, (count, -1)).transpose(0, 1)


def _embedding(o: Operation) -> Function | None:
    """The tables of all children one below the other; codes are moved by K·(length of a table)."""
    if o.differ != [True, False] or len(o.args) > 2:
        return None

    def run(weight: Tensor, codes: Tensor) -> Tensor:
        return torch.embedding(weight.flatten(0, 1), _moved(codes, weight.shape[0], weight.shape[1]))

    return run


def _embedding_backward(o: Operation) -> Function | None:
    _, _, length, padding, by_frequency = o.args
    if o.differ != [True, False] or padding != -1 or by_frequency:
        return None

    def run(gradient: Tensor, codes: Tensor) -> Tensor:
        count = gradient.shape[0]
        moved = _moved(codes, count, length)
        found = torch.ops.aten.embedding_dense_backward(gradient, moved, count * length, -1, False)
        return found.unflatten(0, (count, -1))

    return run


def _moved(codes: Tensor, count: int, length: int) -> Tensor:
    return codes + (torch.arange(count) * length).reshape(-1, *[1] * codes.dim())


RULES: dict[str, Rule] = {
    **PLAIN,
    **FUSED,
    **SLOTS,
    "aten.mm.default": _mm,
    "aten.addmm.default": _addmm,
    "aten.convolution.default": _convolve,
    "aten.convolution_backward.default": _convolve_backward,
    "aten.native_layer_norm.default": _layer_norm,
    "aten.native_layer_norm_backward.default": _layer_norm_backward,
    "aten.native_batch_norm.default": _batch_norm,
    "aten.native_batch_norm_backward.default": _batch_norm_backward,
    "aten.embedding.default": _embedding,
    "aten.embedding_dense_backward.default": _embedding_backward,
}
