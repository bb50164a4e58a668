"""Code generation: an expression becomes one Python function, on torch tensors or on NumPy arrays.

Equal subexpressions are computed once. Before that the tree is lowered for the machine (see `lowering`), and functions
that would hide a NaN in x (a step, the derivative of relu) are made to pass it on.
"""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from nonlin.expr import values
from nonlin.expr.lowering import fold_numbers, hides_nan, lower
from nonlin.expr.shortcuts import shortened
from nonlin.expr.tree import Call, Const, Expr, Symbol, is_call

if TYPE_CHECKING:
    from torch import Tensor

Kernel = Callable[..., "tuple[Tensor, ...]"]
ArrayFunction = Callable[..., values.Array]


@dataclass(frozen=True)
class _Dialect:
    """What tensors and arrays say differently."""

    cast: str  # of a truth value to x's dtype
    copy: str  # of x
    number: str  # in x's dtype


_TORCH = _Dialect("({0}).to(x.dtype)", "x.clone()", "x.new_full((), {0})")
_NUMPY = _Dialect("({0}).astype(x.dtype)", "x.copy()", "x.dtype.type({0})")


@lru_cache(maxsize=8192)
def compile_kernel(outputs: tuple[Expr, ...], parameters: tuple[str, ...]) -> Kernel:
    """A function ``kernel(x, *parameters) -> tuple`` with one tensor per expression in `outputs`.

    x is a float tensor of any shape; parameters broadcast against it. Each output has the broadcast
    shape and x's dtype.
    """
    return _run(kernel_source(outputs, parameters), _torch_names(), outputs)


@lru_cache(maxsize=4096)
def compile_array_function(expr: Expr, parameters: tuple[str, ...] = ()) -> ArrayFunction:
    """The same for NumPy arrays: ``function(x, *parameters) -> array``, without loading torch.

    x is a floating array, each parameter a NumPy number or an array that broadcasts against x.
    """
    kernel = _run(_source((expr,), parameters, _NUMPY), {**_NUMBERS, **values.NAMESPACE}, (expr,))

    def function(x: values.Array, *given: Any) -> values.Array:
        with np.errstate(all="ignore"):
            return kernel(x, *given)[0]

    return function


def kernel_source(outputs: tuple[Expr, ...], parameters: tuple[str, ...]) -> str:
    """The Python text that `compile_kernel` runs."""
    return _source(outputs, parameters, _TORCH)


def _source(outputs: tuple[Expr, ...], parameters: tuple[str, ...], dialect: _Dialect) -> str:
    lowered = tuple(shortened(lower(node, parameters)) for node in outputs)
    return _Writer(parameters, dialect).function(lowered, hides_nan(lowered, parameters))


def _run(text: str, names: dict[str, Any], outputs: tuple[Expr, ...]) -> Callable[..., Any]:
    namespace = dict(names)
    # The text is written by _Writer from a parsed tree: numbers, known names, rows of the table.
    exec(compile(text, f"<kernel of {outputs[0]}>", "exec"), namespace)  # noqa: S102
    return namespace["kernel"]


_NUMBERS = {"inf": math.inf, "nan": math.nan}


@lru_cache(maxsize=1)
def _torch_names() -> dict[str, Any]:
    """What the table's text may name in a torch kernel: torch, and the functions of `special`."""
    import torch

    from nonlin.expr import special

    functions = inspect.getmembers(special, inspect.isfunction)
    return {"torch": torch, **_NUMBERS, **{name: f for name, f in functions if not name.startswith("_")}}


class _Writer:
    """Writes one kernel: a line for each subexpression that is used more than once."""

    def __init__(self, parameters: Sequence[str], dialect: _Dialect):
        # The user's names never reach the source: p0, p1, ... cannot clash with a keyword.
        self.parameters = {name: f"p{index}" for index, name in enumerate(parameters)}
        self.dialect = dialect
        self.lines: list[str] = []
        self.names: dict[Expr, str] = {}
        self.uses: Counter[Expr] = Counter()

    def function(self, outputs: tuple[Expr, ...], hides_nan: tuple[bool, ...]) -> str:
        outputs = tuple(fold_numbers(output) for output in outputs)
        for output in outputs:
            self._count(output)
        results = []
        for output, hides in zip(outputs, hides_nan, strict=True):
            text = self._in_full(output)
            if "x" not in output.symbols and output.symbols:
                text = f"{text} + torch.zeros_like(x)"
            results.append(f"torch.where(x != x, x, {text})" if hides else text)
        arguments = ", ".join(["x", *self.parameters.values()])
        body = "".join(f"    {line}\n" for line in self.lines)
        return f"def kernel({arguments}):\n{body}    return ({', '.join(results)},)\n"

    def _count(self, node: Expr) -> None:
        self.uses[node] += 1
        if self.uses[node] == 1:
            for arg in node.args:
                self._count(arg)

    def _in_full(self, node: Expr) -> str:
        """The code of an output, which is a tensor (an array) also where the expression is a number."""
        if isinstance(node, Const):
            return f"torch.full_like(x, {node.value!r})"
        if node == Symbol("x"):
            return self.dialect.copy  # an autograd function must not return its input
        text = self._code(node)
        if isinstance(node, Call) and node.operator.boolean:
            return self.dialect.cast.format(text)
        return text

    def _code(self, node: Expr) -> str:
        if isinstance(node, Const):
            return f"{node.value!r}" if node.value >= 0 else f"({node.value!r})"
        if isinstance(node, Symbol):
            return self.parameters.get(node.name, "x")
        if node in self.names:
            return self.names[node]
        assert isinstance(node, Call)
        text = self._call(node)
        if self.uses[node] > 1:
            name = f"t{len(self.names)}"
            self.names[node] = name
            self.lines.append(f"{name} = {text}")
            return name
        return f"({text})"

    def _call(self, node: Call) -> str:
        if is_call(node, "pow") and node.args[1] == Const(2):
            base = self._code(node.args[0])
            return f"{base} * {base}" if base.isidentifier() else f"torch.square({base})"
        codes = []
        for index, arg in enumerate(node.args):
            code = self._code(arg)
            truth = isinstance(arg, Call) and arg.operator.boolean
            if truth and not (node.name == "where" and index == 0):
                code = self.dialect.cast.format(code)
            codes.append(code)
        if node.name == "where" and all(isinstance(arg, Const) for arg in node.args[1:]):
            codes[1] = self.dialect.number.format(codes[1])  # two plain numbers would lose x's dtype
        return node.operator.torch.format(*codes)
