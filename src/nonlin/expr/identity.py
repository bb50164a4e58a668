"""When are two expressions the same function?

First by normal form (`canonical`): simplified, parameters renamed in order of appearance, and parts
that a trainable parameter can absorb replaced by that parameter (2·β·x and β·x are one family, since
training β reaches every function of either). Then by *fingerprint*: float64 values on a fixed grid
for several draws of the parameters. `IdentityIndex` finds the expression that was there before.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from nonlin.expr.collect import factors_of, sort_key, terms_of
from nonlin.expr.simplify import is_settled, simplify
from nonlin.expr.text import to_nameless_text
from nonlin.expr.tree import Call, Const, Expr, Symbol, call, is_call, substitute
from nonlin.expr.values import evaluate_node

Array = npt.NDArray[np.float64]

DRAWS = 3
TOLERANCE = 1e-9
# Points at irregular places, dense where pre-activations lie, with both signs; no kink falls on one.
_POINTS = 48
_HALF = 0.0137 + 9.3 * ((np.arange(_POINTS // 2) + np.sqrt(2) / 2) / (_POINTS // 2)) ** 1.7
_X = np.sort(np.concatenate([-_HALF * 1.0171, _HALF]))  # (points,)
_INSIDE = np.abs(_X) <= 3.0


# Normal form


@lru_cache(maxsize=65536)
def canonical(node: Expr) -> Expr:
    """The normal form of the family of functions that `node` stands for.

    Parameters are called p0, p1, ... in order of appearance.
    """
    node = simplify(node)
    for _ in range(8):
        absorbed = _absorb(node, _private(node))
        if absorbed is node and is_settled(node):
            break
        node, before = simplify(absorbed), node
        if node == before:
            break
    return _rename(node)


def _rename(node: Expr) -> Expr:
    names = node.parameters
    if not names:
        return node
    # Symmetric functions meet their parameters in any order: the smallest text wins.
    if len(names) in (2, 3) and _has_twins(node):
        return min((simplify(_named(node, order)) for order in itertools.permutations(names)), key=sort_key)
    # Names decide the order of twins alone, so without them the tree keeps its form, and the names given in order
    # of appearance make the smallest text.
    renamed = _named(node, names)
    return simplify(renamed) if len(names) > 3 else renamed


def _named(node: Expr, order: Sequence[str]) -> Expr:
    return substitute(node, {name: Symbol(f"p{i}") for i, name in enumerate(order)})


@lru_cache(maxsize=65536)
def _has_twins(node: Expr) -> bool:
    """Whether a sum, a product or a symmetric function in it has two parts that differ in parameters' names alone."""
    if not isinstance(node, Call) or len(node.symbols) - ("x" in node.symbols) < 2:
        return False
    if is_call(node, "add", "sub", "neg"):
        parts = [part for part, _ in terms_of(node)]
    elif is_call(node, "mul", "div", "pow"):
        parts = [part for part, _ in factors_of(node)]
    else:
        parts = list(node.args) if node.operator.commutative else []
    if len({to_nameless_text(part) for part in parts}) < len(parts):
        return True
    return any(_has_twins(arg) for arg in node.args)


def _private(node: Expr) -> frozenset[str]:
    """Parameters that occur once: nothing else in the function depends on them."""
    counts: dict[str, int] = {}
    parts = [node]
    while parts:
        part = parts.pop()
        if part.symbols in _OF_X:
            continue
        if isinstance(part, Symbol):
            counts[part.name] = counts.get(part.name, 0) + 1
        parts += part.args
    return frozenset([name for name, count in counts.items() if count == 1])


_OF_X: tuple[tuple[str, ...], ...] = ((), ("x",))  # the symbols of what has no parameters


def _absorb(node: Expr, private: frozenset[str]) -> Expr:
    """Replace each largest part without x that takes every real value by one parameter in it.

    Where there is none to replace, the very node comes back.
    """
    if private.isdisjoint(node.symbols) or not isinstance(node, Call):
        return node
    if "x" not in node.symbols:
        return Symbol(owner) if (owner := _onto(node, private)) else node
    if is_call(node, "add", "sub", "mul", "div", "neg"):
        return _absorb_chain(node, private)
    args = [_absorb(arg, private) for arg in node.args]
    return node if _unchanged(args, node.args) else call(node.name, *args)


def _unchanged(after: Sequence[Expr], before: Sequence[Expr]) -> bool:
    return all(map(operator.is_, after, before))


def _absorb_chain(node: Call, private: frozenset[str]) -> Expr:
    """The same among the terms of a sum, or the factors of a product."""
    additive = node.name in ("add", "sub")
    parts = list(_flatten(node, additive, True))
    fixed = [(part, sign) for part, sign in parts if "x" not in part.symbols]
    owner = next((name for part, _ in fixed if (name := _onto(part, private))), None)
    if owner and not additive and any(not sign and _onto(part, private) == owner for part, sign in fixed):
        owner = None  # x/beta is not onto: 1/beta is never 0
    moving = [(part, sign) for part, sign in parts if "x" in part.symbols]
    absorbed = [_absorb(part, private) for part, _ in moving]
    kept = [(Symbol(owner), True)] if owner else fixed
    if kept == fixed and _unchanged(absorbed, [part for part, _ in moving]):
        return node
    moving = [(part, sign) for part, (_, sign) in zip(absorbed, moving, strict=True)]
    result: Expr = Const(0.0 if additive else 1.0)
    for part, sign in [*kept, *moving]:
        result = call(("add" if sign else "sub") if additive else ("mul" if sign else "div"), result, part)
    return result


def _flatten(node: Expr, additive: bool, sign: bool):
    """Terms of a sum, or factors of a product, each with whether it is added (multiplied)."""
    plus, minus = ("add", "sub") if additive else ("mul", "div")
    if is_call(node, plus, minus):
        yield from _flatten(node.args[0], additive, sign)
        yield from _flatten(node.args[1], additive, sign if is_call(node, plus) else not sign)
    elif is_call(node, "neg") and not additive:
        yield Const(-1.0), True
        yield from _flatten(node.args[0], additive, sign)
    else:
        yield node, sign


def _onto(node: Expr, private: frozenset[str]) -> str | None:
    """A private parameter through which `node` (without x) takes every real value, or None."""
    if isinstance(node, Symbol):
        return node.name if node.name in private else None
    if is_call(node, "neg", "sinh", "asinh"):
        return _onto(node.args[0], private)
    if is_call(node, "add", "sub"):
        return _onto(node.args[0], private) or _onto(node.args[1], private)
    if is_call(node, "mul"):
        left, right = node.args
        for part, other in ((left, right), (right, left)):
            independent = isinstance(other, Const) or _onto(other, private) is not None
            if independent and (owner := _onto(part, private)):
                return owner
    if is_call(node, "div") and isinstance(node.args[1], Const):
        return _onto(node.args[0], private)
    odd = is_call(node, "pow") and isinstance(node.args[1], Const) and node.args[1].value in (1.0, 3.0, 5.0)
    return _onto(node.args[0], private) if odd else None


# Fingerprint


class _Grid:
    """Values of expressions on the fixed points, remembered by subexpression."""

    def __init__(self, draws: int, parameters: dict[str, Array]) -> None:
        self.draws, self.parameters = draws, parameters
        self.values: dict[Expr, Array] = {}

    def value(self, node: Expr) -> Array:
        """Values of shape (draws, points)."""
        if len(self.values) > 50_000:
            self.values.clear()
        values = np.empty((self.draws, len(_X)))
        with np.errstate(all="ignore"):
            values[:] = self._value(node)
        return values

    def _value(self, node: Expr) -> Array:
        found = self.values.get(node)
        if found is None:
            args = [self._value(arg) for arg in node.args]
            found = self.values[node] = evaluate_node(node, args, _X, self.parameters)
        return found


class _ParameterDraws(dict[str, Array]):
    """Generic values with both signs for p0, p1, ..., each of shape (draws, 1)."""

    def __missing__(self, name: str) -> Array:
        generator = np.random.default_rng([20171016, int(name.removeprefix("p"))])
        sizes = generator.uniform(0.35, 1.9, DRAWS) * np.array([1.0, 1.0, -1.0])
        self[name] = sizes.reshape(DRAWS, 1)
        return self[name]


class _Ones(dict[str, Array]):
    """1 for every parameter: what training begins with."""

    def __missing__(self, name: str) -> Array:
        return _ONE


_ONE = np.ones((1, 1))
_GRID = _Grid(DRAWS, _ParameterDraws())  # for canonical expressions, whose parameters are called p0, p1, ...
_START = _Grid(1, _Ones())


@lru_cache(maxsize=16384)
def fingerprint(node: Expr) -> Array:
    """Compressed float64 values of a canonical expression, shape (draws·points,).

    asinh compresses the range, so that one absolute tolerance compares small and huge values; values
    that are not finite become sentinels.
    """
    marks = np.arcsinh(_GRID.value(node)).reshape(-1)
    if not np.isfinite(marks).all():
        marks = np.nan_to_num(marks, nan=1e4, posinf=2e4, neginf=-2e4)
    marks.flags.writeable = False  # remembered
    return marks


def _equal(one: Array, other: Array) -> bool:
    """Whether two fingerprints agree to `TOLERANCE`, relative and absolute."""
    return bool((np.abs(one - other) <= TOLERANCE + TOLERANCE * np.abs(other)).all())


class IdentityIndex:
    """Which functions have been seen before.

    ``add(expr)`` returns the canonical text of the first expression that was the same function, which
    serves as the function's key.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}  # canonical text -> key
        self._buckets: dict[int, list[tuple[Array, str, int]]] = {}
        self._missed: tuple[Expr, Array, int] | None = None  # the last that was not found: it is often added next

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def find(self, node: Expr) -> str | None:
        """The key of the same function, if it has been added."""
        return self._lookup(canonical(node))[0]

    def add(self, node: Expr) -> tuple[str, bool]:
        """The key of this function, and whether it is new here."""
        form = canonical(node)
        if self._missed is not None and self._missed[0] is form:
            _, marks, bucket = self._missed
        else:
            key, marks, bucket = self._lookup(form)
            if key is not None:
                self._texts[str(form)] = key
                return key, False
        self._missed = None  # no longer missing
        key = str(form)
        self._texts[key] = key
        self._buckets.setdefault(bucket, []).append((marks, key, len(form.parameters)))
        return key, True

    def _lookup(self, form: Expr) -> tuple[str | None, Array, int]:
        text = str(form)
        if text in self._texts:
            return self._texts[text], np.empty(0), 0
        marks = fingerprint(form)
        projection = float(marks @ _PROJECTION)
        bucket = round(projection / 1e-5)
        for near in (bucket, bucket - 1, bucket + 1):
            for other, key, parameters in self._buckets.get(near, ()):
                if parameters == len(form.parameters) and _equal(marks, other):
                    return key, marks, bucket
        self._missed = form, marks, bucket
        return None, marks, bucket


_PROJECTION = np.random.default_rng(1).uniform(0.5, 1.5, DRAWS * len(_X)) / (DRAWS * len(_X))


def same_function(left: Expr, right: Expr) -> bool:
    """Whether two expressions are one family of functions, up to the names of their parameters."""
    a, b = canonical(left), canonical(right)
    if a == b:
        return True
    if len(a.parameters) != len(b.parameters):
        return False
    return _equal(fingerprint(a), fingerprint(b))


# Kinds


@lru_cache(maxsize=65536)
def kind(node: Expr) -> str:
    """What training can expect: "constant", "affine", "undefined" (not finite for |x| ≤ 3) or "ordinary".

    Judged by float64 values at the fixed points inside |x| ≤ 3: finite with every parameter at 1, where training
    begins; constant or a straight line there and for every draw of the parameters with which it is finite.
    """
    start = _START.value(node)[:, _INSIDE]
    if not np.isfinite(start).all():
        return "undefined"
    with np.errstate(all="ignore"):
        found = _kind_of(start)
        if found != "ordinary":  # it may be no more than that with these parameters
            values = _GRID.value(canonical(node))[:, _INSIDE]
            found = _kind_of(np.concatenate([start, values[np.isfinite(values).all(axis=1)]]))
    return found


def _kind_of(values: Array) -> str:
    """The kind of a function with these finite values, (draws, points inside)."""
    scale = np.abs(values).max(axis=1, keepdims=True) + 1e-300
    x = _X[_INSIDE]
    slope = (values[:, -1:] - values[:, :1]) / (x[-1] - x[0])
    line = values[:, :1] + slope * (x - x[0])
    if not (np.abs(values - line) <= 1e-10 * scale).all():  # a constant is a line, more exactly
        return "ordinary"
    return "constant" if (np.abs(values - values[:, :1]) <= 1e-12 * scale).all() else "affine"
