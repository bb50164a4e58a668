"""A trained adaptive layer as a formula of the language."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nonlin.errors import NonlinError
from nonlin.expr import Expr, substitute
from nonlin.expr.tree import Const, X, call
from nonlin.native.module import ActivationModule
from nonlin.nn.adaptive_correction import HermiteCorrection, TableCorrection
from nonlin.nn.adaptive_direction import centres
from nonlin.nn.adaptive_operations import REACH
from nonlin.zoo import Activation

if TYPE_CHECKING:
    from nonlin.nn.adaptive import Adaptive


def frozen(layer: Adaptive, channel: int | None, tolerance: float) -> Activation:
    """See `Adaptive.freeze`."""
    _check(layer, channel, tolerance)
    base = _base(layer.base, channel)
    correction = layer.correction
    if isinstance(correction, HermiteCorrection):
        coefficients = _pick(correction.coefficients, channel)
        tree = base + hermite_terms(coefficients, float(correction.mean), float(correction.deviation))
    else:
        tree = base + _lines(correction, base, _pick(correction.rho, channel)[0], tolerance)
    return Activation(f"adaptive({layer.activation.name})", tree)


def hermite_terms(coefficients: Sequence[float], mean: float, deviation: float) -> Expr:
    """s·Σ a_k z^k e^{-z²/2} with z = clip((x - m)/s, -6, 6), in Horner's form."""
    if mean == 0 and deviation == 1:
        z: Expr = call("clip", X, -REACH, REACH)
    else:
        centred = X - _digits(mean) if mean > 0 else X + _digits(-mean)
        z = call("clip", centred / _digits(deviation), -REACH, REACH)
    scaled = [_digits(a * deviation) for a in coefficients]
    while len(scaled) > 1 and scaled[-1] == 0:
        scaled.pop()
    polynomial: Expr = Const(scaled[-1])
    for a in scaled[-2::-1]:
        polynomial = z * polynomial + a if a else z * polynomial
    return polynomial * call("exp", Const(-0.5) * z**2)


def _lines(correction: TableCorrection, base: Expr, rho: float, tolerance: float) -> Expr:
    """rho·T(f0) as a constant plus slope·clip(f0, from, to) for each line, constant outside."""
    mean, deviation = float(correction.mean), float(correction.deviation)
    nodes = mean + deviation * centres().double()
    values = rho * deviation * correction.table.cpu().double()
    reached = _range(base)
    inside = ((nodes >= reached[0]) & (nodes <= reached[1])).nonzero().reshape(-1)
    if len(inside):  # one node more at either end, so that the range's own ends lie on lines
        kept = slice(max(int(inside[0]) - 1, 0), int(inside[-1]) + 2)
        nodes, values = nodes[kept], values[kept]
    corners = _corners(nodes, values, max(tolerance * deviation, 1e-12))
    constant, pieces = float(values[0]), []
    for first, last in pairwise(corners):
        low, high = _digits(float(nodes[first])), _digits(float(nodes[last]))
        slope = _digits(float(values[last] - values[first]) / (high - low))
        if slope:
            pieces.append(slope * call("clip", base, low, high))
            constant -= slope * low
    tree: Expr = Const(_digits(constant))
    for piece in pieces:
        tree = tree + piece
    return tree


def _corners(nodes: Tensor, values: Tensor, allowed: float) -> list[int]:
    """Indices of the nodes to keep: split at the worst node until none is worse than `allowed`."""
    kept, pending = {0, len(nodes) - 1}, [(0, len(nodes) - 1)]
    while pending:
        first, last = pending.pop()
        if last - first < 2:
            continue
        share = (nodes[first : last + 1] - nodes[first]) / (nodes[last] - nodes[first])
        line = values[first] + share * (values[last] - values[first])
        error = (values[first : last + 1] - line).abs()
        worst = first + int(error.argmax())
        if float(error.max()) > allowed:
            kept.add(worst)
            pending += [(first, worst), (worst, last)]
    return sorted(kept)


def _range(base: Expr) -> tuple[float, float]:
    x = torch.cat([torch.linspace(-50, 50, 20001), torch.tensor([-1e4, 1e4])]).double()
    values = Activation("base", base)(x)
    values = values[torch.isfinite(values)]
    return float(values.min()), float(values.max())


def _base(module: torch.nn.Module, channel: int | None) -> Expr:
    """The base's expression with its trained numbers put in."""
    assert isinstance(module, ActivationModule)
    values = zip(module.parameter_names, module.parameters(), strict=True)
    return substitute(module.expr, {name: Const(_digits(_pick(value, channel)[0])) for name, value in values})


def _pick(values: Tensor, channel: int | None) -> list[float]:
    """One channel's numbers out of (), (order,), (channels,) or (order, channels)."""
    chosen = values.detach() if channel is None or not values.dim() else values.detach()[..., channel]
    return [float(value) for value in chosen.reshape(-1)]


def _digits(value: float) -> float:
    """Nine digits, which is what a float32 holds."""
    return float(f"{value:.9g}")


def _check(layer: Adaptive, channel: int | None, tolerance: float) -> None:
    if not tolerance > 0:
        raise NonlinError(f"tolerance={tolerance!r} must be above 0.")
    if layer.per == "tensor" and channel is not None:
        raise NonlinError("this layer has one function for all channels; leave channel out.")
    if layer.per == "channel" and not (isinstance(channel, int) and 0 <= channel < (layer.channels or 0)):
        raise NonlinError(
            f"this layer has a function for each of {layer.channels} channels; say which one to freeze: "
            f"freeze(channel=0). Got channel={channel!r}."
        )


@torch.no_grad()
def largest_difference(layer: Adaptive, act: Activation, channel: int | None) -> float:
    """See `Adaptive.frozen_error`."""
    correction = layer.correction
    reach = 10 * float(correction.deviation) + abs(float(correction.mean))
    x = torch.cat([torch.linspace(-reach, reach, 20001), torch.linspace(-100, 100, 20001)])
    x = x.to(correction.deviation)
    training = layer.training
    layer.eval()
    try:
        values = layer(x) if channel is None else _of_channel(layer, x, channel)
    finally:
        layer.train(training)
    return float((values - act(x)).abs().max())


def _of_channel(layer: Adaptive, x: Tensor, channel: int) -> Tensor:
    """The layer's values at x of shape (rows,) in one channel, (rows,)."""
    rank = max(2, layer.dim + 1, -layer.dim)
    place = layer.dim % rank
    shape = [1] * rank
    shape[0 if place else 1] = len(x)
    wide = x.reshape(shape)
    shape[place] = layer.channels or 1
    return layer(wide.expand(shape)).select(place, channel).reshape(-1)
