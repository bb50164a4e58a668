"""How an operation of torch is done for K children at once: one rule for each operation that matters.

A rule gets an `Operation` and returns a function of its tensors, in the order in which they stand among its
arguments; those that differ between children have K in front. None means that the rule does not apply to these
arguments: then torch's own batching rule does it. Layers with weights are in `nonlin.train.layer_rules`.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from nonlin.native.stacked_activation import Activations

Function = Callable[..., Any]
Rule = Callable[["Operation"], "Function | None"]


@dataclass
class Site:
    """One place of an activation: what stands there, and what its forward pass keeps for the backward pass."""

    activations: Activations | None = None
    kept: Tensor | None = None
    differentiated: bool = False  # whether there is a backward pass


# The result depends on the shape of the tensors alone, so that it is one for all children. Dropout's masks are among
# them: children of one seed draw the same.
SHAPE_ALONE = {
    f"aten.{name}"
    for name in (
        "empty_like.default ones_like.default zeros_like.default full_like.default rand_like.default "
        "randn_like.default new_empty.default new_zeros.default new_ones.default new_full.default "
        "new_empty_strided.default bernoulli.p uniform.default normal_functional.default"
    ).split()
}


class Operation:
    """A node of a recording.

    Attributes
    ----------
    tensors : the nodes among its arguments, in order
    differ : for each of them, whether it has K in front
    stacked : whether the result has
    site : of a slot
    """

    def __init__(self, node: fx.Node, stacked: Mapping[fx.Node, bool]):
        self.node, self.name = node, str(node.target)
        self.args: tuple[Any, ...] = node.args
        self.leaves, self._structure = pytree.tree_flatten((node.args, node.kwargs))
        self._places = [k for k, leaf in enumerate(self.leaves) if isinstance(leaf, fx.Node)]
        self.tensors = [self.leaves[k] for k in self._places]
        self.differ = [stacked[one] for one in self.tensors]
        self.stacked = any(self.differ) and self.name not in SHAPE_ALONE
        self.site: Site | None = None
        self._flat = (
            len(self.leaves) == len(node.args)
            and not node.kwargs
            and all(not isinstance(argument, list | tuple | dict) for argument in node.args)
        )

    @property
    def constant(self) -> bool:
        """Whether the result is the same in every step: it depends on shapes alone, and is not random."""
        tags = getattr(self.node.target, "tags", ())
        return self.name in SHAPE_ALONE and torch.Tag.nondeterministic_seeded not in tags

    @property
    def all_differ(self) -> bool:
        return all(self.differ)

    def shape(self, tensor: int) -> torch.Size:
        """The shape of a tensor argument for one child."""
        return self.tensors[tensor].meta["val"].shape

    @property
    def result_shape(self) -> torch.Size:
        return self.node.meta["val"].shape

    def argument(self, index: int, default: Any = None) -> Any:
        return self.args[index] if len(self.args) > index else default

    def rebuild(self, tensors: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with tensors in place of nodes."""
        leaves = list(self.leaves)
        for place, tensor in zip(self._places, tensors, strict=True):
            leaves[place] = tensor
        return pytree.tree_unflatten(leaves, self._structure)

    def once(self, *tensors: Any) -> Any:
        """The operation itself."""
        if self._flat:
            leaves = list(self.leaves)
            for place, tensor in zip(self._places, tensors, strict=True):
                leaves[place] = tensor
            return self.node.target(*leaves)  # type: ignore[operator]
        args, kwargs = self.rebuild(tensors)
        return self.node.target(*args, **kwargs)  # type: ignore[operator]

    def function(self, rules: Mapping[str, Rule]) -> Function:
        """What performs it, by its rule, else by torch's own."""
        if self.node.target is operator.getitem:
            index = self.args[1]
            return lambda sequence: sequence[index]
        if not self.stacked:
            return self._shared()
        rule = rules.get(self.name)
        found = rule(self) if rule else None
        if found is None and torch.Tag.pointwise in getattr(self.node.target, "tags", ()):
            found = pointwise(self)
        return by_vmap(self) if found is None else found

    def _shared(self) -> Function:
        if not any(self.differ) and not self.constant:
            return self.once
        examples = [
            torch.empty_strided(val.shape, val.stride(), dtype=val.dtype)
            for val in (one.meta["val"] for one in self.tensors)
        ]
        return lambda *_: self.once(*examples)


def by_vmap(o: Operation) -> Function:
    """torch's batching rule."""
    dims = tuple(0 if one else None for one in o.differ)
    there: list[bool] = []

    def given(*tensors: Tensor) -> Any:
        found = o.once(*tensors)
        if isinstance(found, Tensor):
            return found
        there[:] = [one is not None for one in found]  # vmap takes no None
        return tuple(one for one in found if one is not None)

    mapped = torch.vmap(given, in_dims=dims)

    def run(*tensors: Tensor) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that an operation is done child by child
            found = mapped(*tensors)
        if isinstance(found, Tensor):
            return found
        values = iter(found)
        return [next(values) if one else None for one in there]

    return run


def pointwise(o: Operation) -> Function:
    """Element by element, with broadcasting: all tensors get the same number of dimensions behind K."""
    rank = max(len(o.shape(k)) for k in range(len(o.tensors)))
    shapes = [
        (*[1] * (rank - len(o.shape(k))), *o.shape(k)) if differs and len(o.shape(k)) < rank else None
        for k, differs in enumerate(o.differ)
    ]
    if any(shapes):

        def aligned(*tensors: Tensor) -> Tensor:
            return o.once(*(
                t if shape is None else t.reshape(t.shape[0], *shape)
                for t, shape in zip(tensors, shapes, strict=True)
            ))  # fmt: skip

        return aligned
    if len(o.leaves) == len(o.tensors):
        return o.node.target  # type: ignore[return-value]
    return o.once


def behind(dim: int) -> int:
    """A dimension of one child, counted with K in front."""
    return dim if dim < 0 else dim + 1


def _reshape(o: Operation) -> Function:
    shape = tuple(o.result_shape)
    return lambda t: t.reshape(t.shape[0], *shape)


def _expand(o: Operation) -> Function:
    shape, before = tuple(o.result_shape), o.shape(0)
    ones = [1] * (len(shape) - len(before))
    return lambda t: t.reshape(t.shape[0], *ones, *before).expand(t.shape[0], *shape)


def _permute(o: Operation) -> Function:
    dims = o.args[1]
    order = [0, *(dim % len(dims) + 1 for dim in dims)]
    return lambda t: t.permute(order)


def _matrix_transpose(o: Operation) -> Function:
    return (lambda t: t.mT) if len(o.shape(0)) == 2 else (lambda t: t)


def _along(name: str, dims: tuple[int, ...]) -> Rule:
    """The tensor's method `name` whose arguments `dims` (counted without the tensor) are dimensions, 0 by default."""

    def rule(o: Operation) -> Function | None:
        if o.node.kwargs or len(o.tensors) > 1:
            return None
        rest = list(o.args[1:])
        for place in dims:
            rest.extend([0] * (place + 1 - len(rest)))
            rest[place] = behind(rest[place])
        return lambda t: getattr(t, name)(*rest)

    return rule


def _slice(o: Operation) -> Function:
    given: list[Any] = [*o.args[1:], *[0, None, None, 1][len(o.args) - 1 :]]
    dim, start, end, step = given
    dim = behind(dim)
    return lambda t: torch.ops.aten.slice.Tensor(t, dim, start, end, step)


def _reduce(o: Operation) -> Function | None:
    """sum and mean, of some dimensions or of all."""
    if o.node.kwargs:
        return None
    method = "sum" if o.name.startswith("aten.sum") else "mean"
    dims = o.argument(1) or range(len(o.shape(0)))
    moved, keep = [behind(dim) for dim in dims], bool(o.argument(2, False))
    if not moved:
        return lambda t: t
    return lambda t: getattr(t, method)(moved, keep)


def _softmax(o: Operation) -> Function | None:
    """A softmax or a logarithm of one, or its backward pass: the dimension is the first number."""
    if not o.all_differ:
        return None
    target, rest = o.node.target, list(o.args[len(o.tensors) :])
    rest[0] = behind(rest[0])
    return lambda *tensors: target(*tensors, *rest)  # type: ignore[operator]


def _cat(o: Operation) -> Function:
    dim, shapes = behind(o.argument(1, 0)), [tuple(o.shape(k)) for k in range(len(o.tensors))]
    first = o.differ.index(True)

    def run(*tensors: Tensor) -> Tensor:
        count = tensors[first].shape[0]
        return torch.cat([
            t if differs else t.expand(count, *shape)
            for t, differs, shape in zip(tensors, o.differ, shapes, strict=True)
        ], dim)  # fmt: skip

    return run


def _clone(o: Operation) -> Function | None:
    """Nothing is ever written to, so that what is contiguous need not be copied."""
    if o.node.kwargs.get("memory_format", torch.contiguous_format) != torch.contiguous_format:
        return None
    return lambda t: t.contiguous()


def _stack(o: Operation) -> Function | None:
    """Parts of one tensor, at equal distances in memory, become that tensor again, without a copy."""
    if not o.all_differ:
        return None
    dim = o.argument(1, 0) % len(o.result_shape) + 1

    def run(*tensors: Tensor) -> Tensor:
        first, offsets = tensors[0], [t.storage_offset() for t in tensors]
        step = offsets[1] - offsets[0] if len(offsets) > 1 else 0
        place = first.untyped_storage().data_ptr()
        if step <= 0 or any(
            t.untyped_storage().data_ptr() != place or t.stride() != first.stride() or offset != offsets[0] + k * step
            for k, (t, offset) in enumerate(zip(tensors, offsets, strict=True))
        ):
            return torch.stack(tensors, dim)
        shape: list[int] = list(first.shape)
        strides: list[int] = list(first.stride())
        shape.insert(dim, len(tensors))
        strides.insert(dim, int(step))
        return first.as_strided(shape, strides)

    return run


def folded(*results: int) -> Rule:
    """K joins the first dimension of every tensor; of the results too (all, unless their numbers are given)."""

    def rule(o: Operation) -> Function | None:
        if not o.all_differ:
            return None

        def run(*tensors: Tensor) -> Any:
            count = tensors[0].shape[0]
            found = o.once(*(t.flatten(0, 1) for t in tensors))
            if isinstance(found, Tensor):
                return found.unflatten(0, (count, -1))
            wanted = results or range(len(found))
            return [
                one.unflatten(0, (count, -1)) if k in wanted and one is not None else one for k, one in enumerate(found)
            ]

        return run

    return rule


def _copy_into(o: Operation) -> Function | None:
    """A buffer's new value, as functionalised models end with."""
    return (lambda to, value: to.copy_(value)) if o.differ[0] else None


_VIEWS = {
    "view.default": _reshape, "_unsafe_view.default": _reshape, "reshape.default": _reshape,
    "squeeze.default": _reshape, "expand.default": _expand, "permute.default": _permute, "t.default": _matrix_transpose,
    "transpose.int": _along("transpose", (0, 1)), "unsqueeze.default": _along("unsqueeze", (0,)),
    "squeeze.dim": _along("squeeze", (0,)), "select.int": _along("select", (0,)), "slice.Tensor": _slice,
    "unbind.int": _along("unbind", (0,)), "split.Tensor": _along("split", (1,)), "cat.default": _cat,
    "split_with_sizes.default": _along("split_with_sizes", (1,)), "detach.default": lambda o: lambda t: t,
    "alias.default": lambda o: lambda t: t,
}  # fmt: skip
_SUMS = {
    "sum.dim_IntList": _reduce, "sum.default": _reduce, "mean.dim": _reduce, "mean.default": _reduce,
    "_softmax.default": _softmax, "_log_softmax.default": _softmax, "_softmax_backward_data.default": _softmax,
    "_log_softmax_backward_data.default": _softmax,
}  # fmt: skip
_WINDOWS = {
    name: folded()
    for name in (
        "avg_pool2d.default avg_pool2d_backward.default max_pool2d_with_indices.default "
        "max_pool2d_with_indices_backward.default _adaptive_avg_pool2d.default _adaptive_avg_pool2d_backward.default "
        "_scaled_dot_product_flash_attention_for_cpu.default "
        "_scaled_dot_product_flash_attention_for_cpu_backward.default bmm.default"
    ).split()
}
PLAIN: dict[str, Rule] = {
    **{f"aten.{name}": rule for name, rule in {**_VIEWS, **_SUMS, **_WINDOWS}.items()},
    "aten.clone.default": _clone,
    "aten.stack.default": _stack,
    "aten._to_copy.default": lambda o: o.once,
    "aten.copy_.default": _copy_into,
}
