"""Lowering: the tree as a machine evaluates it.

It is simplified (which also stabilises it), and products in which an underflow meets an overflow are guarded, exactly
where sampling the expression over |x| ≤ 1e4 in float32 shows that it happens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nonlin.expr.simplify import simplify
from nonlin.expr.tree import Call, Const, Expr, call, is_call, walk
from nonlin.expr.values import evaluate, evaluate_node, guarded_product

_SIZES = np.logspace(-2, 4, 97).astype(np.float32)
_SAMPLES = np.concatenate([-_SIZES[::-1], _SIZES])
_REMEMBERED = 2000  # expressions, of a kilobyte each
_NOT_A_NUMBER = np.full(1, math.nan)


def lower(node: Expr, parameters: Sequence[str] = (), simplified: bool = False) -> Expr:
    """The tree as the machine evaluates it: simplified, unless it is a `derivative` and so is it already, with guarded
    products where they are needed."""
    # remembered: a function's value and its derivatives are lowered in several programs
    return _lowered(node, tuple(parameters), simplified)


@lru_cache(maxsize=16384)
def _lowered(node: Expr, parameters: tuple[str, ...], simplified: bool) -> Expr:
    if not simplified:
        node = simplify(node)
    guarded = _overflowing_products(node, parameters)
    return _guard(node, guarded) if guarded else node


def _guard(node: Expr, guarded: frozenset[Expr]) -> Expr:
    if not isinstance(node, Call):
        return node
    args = [_guard(arg, guarded) for arg in node.args]
    return call("mul0" if node in guarded else node.name, *args)


def _overflowing_products(root: Expr, parameters: Sequence[str]) -> frozenset[Expr]:
    """The products that meet 0·inf for a float32 x with |x| ≤ 1e4, parameters near 1."""
    samples = _samples(tuple(parameters))
    with np.errstate(all="ignore"):
        samples.value(root)
    return frozenset([node for node in walk(root) if node in samples.overflowing])


class _Samples:
    """Values of expressions at the sampled points, remembered by subexpression: functions share most of theirs with
    their derivatives, and with other functions of a space."""

    def __init__(self, parameters: Sequence[str]):
        self.environment = {name: np.float32(1.0 + 0.5 * k) for k, name in enumerate(parameters)}
        self.values: dict[Expr, npt.NDArray[Any]] = {}
        self.overflowing: set[Expr] = set()

    def value(self, root: Expr) -> npt.NDArray[Any]:
        if len(self.values) > _REMEMBERED:
            self.values.clear()
            self.overflowing.clear()
        return self._value(root)

    def _value(self, node: Expr) -> npt.NDArray[Any]:
        found = self.values.get(node)
        if found is None:
            args = [self._value(arg) for arg in node.args]
            if is_call(node, "mul"):
                found = plain = args[0] * args[1]
                if np.isnan(plain).any():
                    found = guarded_product(*args)
                    if np.any(np.isnan(plain) & ~np.isnan(found)):
                        self.overflowing.add(node)
            else:
                found = evaluate_node(node, args, _SAMPLES, self.environment)  # type: ignore[arg-type]
            self.values[node] = found
        return found


@lru_cache(maxsize=16)
def _samples(parameters: tuple[str, ...]) -> _Samples:
    return _Samples(parameters)


def hides_nan(lowered: Sequence[Expr], parameters: Sequence[str]) -> tuple[bool, ...]:
    """For each expression, whether it is a number where x is NaN: a step, the derivative of relu."""
    environment = {name: np.ones(1) for name in parameters}
    return tuple(not bool(np.isnan(value).all()) for value in evaluate(lowered, _NOT_A_NUMBER, environment))


@lru_cache(maxsize=4096)
def fold_numbers(node: Expr) -> Expr:
    """Every part without symbols replaced by its float64 value."""
    if not isinstance(node, Call):
        return node
    args = [fold_numbers(arg) for arg in node.args]
    if node.name == "pi":
        return Const(math.pi)
    folded = call(node.name, *args)
    if all(isinstance(arg, Const) for arg in args):
        return Const(float(evaluate((folded,), _NOT_A_NUMBER, {})[0]))
    return folded
