"""Rules for the places of activations, and for how images lie in memory between layers that take them in any order."""

from __future__ import annotations

import math

from torch import Tensor, fx

from nonlin.native.stacked import channels_last
from nonlin.train.rules import Function, Operation, Rule, Site

# What takes images with their channels last in memory as readily as others.
_ANY_ORDER = {
    f"aten.{name}"
    for name in (
        "convolution.default convolution_backward.default avg_pool2d.default avg_pool2d_backward.default"
    ).split()
}


def stays_inside(node: fx.Node) -> bool:
    """Whether images that are this node's value go only to what takes them with their channels last in memory."""
    return all(
        name in _ANY_ORDER
        or (name == "nonlin.slot_backward.default" and _along_channels(user))
        or (name == "nonlin.slot.default" and _along_channels(user) and stays_inside(user))
        for user, name in ((user, str(user.target)) for user in node.users)
    )


def _along_channels(slot: fx.Node) -> bool:
    """Whether a slot's parameters belong to channels of images, or to none."""
    x, values, dim = slot.args[-3:]
    assert isinstance(x, fx.Node)
    assert isinstance(values, fx.Node)
    assert isinstance(dim, int)
    return x.meta["val"].dim() == 4 and (dim % 4 == 1 or values.meta["val"].shape[-1] == 1)


def _slot_shape(o: Operation) -> tuple[int, int]:
    """(channels, inner) of a slot's input."""
    x, values = (o.shape(len(o.tensors) - 2), o.shape(len(o.tensors) - 1))
    dim = o.args[-1]
    assert isinstance(dim, int)
    if values[-1] == 1 or not len(x):
        return 1, 1
    return values[-1], math.prod(x[dim % len(x) + 1 :])


def _slot(o: Operation) -> Function:
    (channels, inner), site, differ, along_channels = _slot_shape(o), o.site, o.differ, _along_channels(o.node)
    assert site is not None

    def run(x: Tensor, values: Tensor) -> Tensor:
        assert site.activations is not None
        if along_channels and all(differ) and channels_last(x):
            y, site.kept = site.activations.forward(
                x.movedim(2, -1), values.contiguous(), channels, 1, site.differentiated
            )
            return y.movedim(-1, 2)
        x, values = _all_children(site, differ, x, values)
        y, site.kept = site.activations.forward(x, values, channels, inner, site.differentiated)
        return y

    return run


def _slot_backward(o: Operation) -> Function:
    (channels, inner), site, differ, along_channels = _slot_shape(o), o.site, o.differ, _along_channels(o.node)
    assert site is not None

    def run(gradient: Tensor, x: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        assert site.activations is not None
        kept, site.kept = site.kept, None
        if along_channels and all(differ) and channels_last(x):
            by_x, by_values = site.activations.backward(
                gradient.movedim(2, -1).contiguous(), x.movedim(2, -1), values.contiguous(), channels, 1, kept
            )
            return by_x.movedim(-1, 2), by_values
        gradient, x, values = _all_children(site, differ, gradient, x, values)
        return site.activations.backward(gradient, x, values, channels, inner, kept)

    return run


def _all_children(site: Site, differ: list[bool], *tensors: Tensor) -> tuple[Tensor, ...]:
    assert site.activations is not None
    count = len(site.activations.functions)
    return tuple(
        t.contiguous() if differs else t.expand(count, *t.shape).contiguous()
        for t, differs in zip(tensors, differ, strict=True)
    )


SLOTS: dict[str, Rule] = {"nonlin.slot.default": _slot, "nonlin.slot_backward.default": _slot_backward}
