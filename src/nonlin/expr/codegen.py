"""Code generation: an expression becomes one Python function on torch tensors.

Equal subexpressions are computed once. Before that the tree is *lowered* for the machine:
simplified (which also stabilises it), and products in which an underflow meets an overflow are
guarded, exactly where sampling the expression over |x| ≤ 1e4 in float32 shows that it happens.
Functions that would hide a NaN in x (a step, the derivative of relu) are made to pass it on.
"""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from nonlin.expr import special
from nonlin.expr.operators import OPERATORS
from nonlin.expr.simplify import simplify
from nonlin.expr.tree import Call, Const, Expr, Symbol, call, is_call

Kernel = Callable[..., tuple[Tensor, ...]]

# What the table's torch column may name: torch, and the functions of `special`.
_NAMESPACE: dict[str, Any] = {
    "torch": torch,
    "inf": math.inf,
    "nan": math.nan,
    **{name: f for name, f in inspect.getmembers(special, inspect.isfunction) if not name.startswith("_")},
}


@lru_cache(maxsize=8192)
def compile_kernel(outputs: tuple[Expr, ...], parameters: tuple[str, ...]) -> Kernel:
    """A function ``kernel(x, *parameters) -> tuple`` with one tensor per expression in `outputs`.

    x is a float tensor of any shape; parameters broadcast against it. Each output has the broadcast
    shape and x's dtype.
    """
    lowered = tuple(lower(node, parameters) for node in outputs)
    kernel = _build(lowered, parameters)
    hides = hides_nan(kernel, parameters)
    return _build(lowered, parameters, hides) if any(hides) else kernel


def kernel_source(outputs: tuple[Expr, ...], parameters: tuple[str, ...]) -> str:
    """The Python text that `compile_kernel` runs."""
    lowered = tuple(lower(node, parameters) for node in outputs)
    return source(lowered, parameters, hides_nan(_build(lowered, parameters), parameters))


def hides_nan(kernel: Kernel, parameters: Sequence[str]) -> tuple[bool, ...]:
    """For each output of a kernel, whether it is a number where x is NaN."""
    probe = torch.full((1,), math.nan, dtype=torch.float64)
    values = kernel(probe, *(torch.ones(1, dtype=torch.float64) for _ in parameters))
    return tuple(not bool(torch.isnan(value).all()) for value in values)


def source(outputs: Sequence[Expr], parameters: Sequence[str], hides: Sequence[bool] = ()) -> str:
    """The Python text of the kernel, for already lowered expressions."""
    return _Writer(parameters).function(tuple(outputs), tuple(hides) or (False,) * len(outputs))


def _build(outputs: tuple[Expr, ...], parameters: tuple[str, ...], hides: tuple[bool, ...] = ()) -> Kernel:
    namespace = dict(_NAMESPACE)
    text = source(outputs, parameters, hides)
    # The text is written by _Writer from a parsed tree: numbers, known names, rows of the table.
    exec(compile(text, f"<kernel of {outputs[0]}>", "exec"), namespace)  # noqa: S102
    return namespace["kernel"]


# Lowering


@lru_cache(maxsize=16384)
def _lowered(node: Expr, parameters: tuple[str, ...]) -> Expr:
    node = simplify(node)
    guarded = _overflowing_products(node, parameters)
    return _guard(node, guarded) if guarded else node


def lower(node: Expr, parameters: Sequence[str] = ()) -> Expr:
    """The tree as the machine evaluates it: simplified, with guarded products where they are needed."""
    return _lowered(node, tuple(parameters))  # a function's value and its derivatives are lowered in several programs


def _guard(node: Expr, guarded: frozenset[Expr]) -> Expr:
    if not isinstance(node, Call):
        return node
    args = [_guard(arg, guarded) for arg in node.args]
    return call("mul0" if node in guarded else node.name, *args)


@lru_cache(maxsize=1)
def _samples() -> Tensor:
    sizes = torch.logspace(-2, 4, 97, dtype=torch.float64).to(torch.float32)
    return torch.cat([-sizes.flip(0), sizes])


def _overflowing_products(root: Expr, parameters: Sequence[str]) -> frozenset[Expr]:
    """The products that meet 0·inf for a float32 x with |x| ≤ 1e4, parameters near 1."""
    x = _samples()
    values: dict[Expr, Tensor] = {}
    found: set[Expr] = set()
    environment = {name: torch.tensor(1.0 + 0.5 * k) for k, name in enumerate(parameters)}

    def visit(node: Expr) -> Tensor:
        if node not in values:
            args = [visit(arg) for arg in node.args]
            if is_call(node, "mul"):
                values[node] = special.guarded_product(*torch.broadcast_tensors(*args))
                if bool((torch.isnan(args[0] * args[1]) & ~torch.isnan(values[node])).any()):
                    found.add(node)
            else:
                values[node] = evaluate_node(node, args, x, environment)
        return values[node]

    visit(root)
    return frozenset(found)


def evaluate_node(node: Expr, args: Sequence[Tensor], x: Tensor, environment: dict[str, Tensor]) -> Tensor:
    """The value of one node from its arguments' values, without compiling the whole tree."""
    if isinstance(node, Const):
        return torch.tensor(node.value, dtype=x.dtype)
    if isinstance(node, Symbol):
        return x if node.name == "x" else environment[node.name]
    assert isinstance(node, Call)
    if node.name == "pi":
        return torch.tensor(math.pi, dtype=x.dtype)
    if node.name == "spherical_j":
        return special.spherical_j(float(args[0]), args[1])
    return _operation(node.operator.name)(*args).to(x.dtype)


@lru_cache(maxsize=256)
def _operation(name: str) -> Callable[..., Tensor]:
    """One operator of the table as a function of tensors."""
    code = OPERATORS[name].torch.format("a", "b", "c")
    return eval(f"lambda a, b=None, c=None: {code}", _NAMESPACE)  # noqa: S307 - the text is a row of the table


# Writing


class _Writer:
    """Writes one kernel: a line for each subexpression that is used more than once."""

    def __init__(self, parameters: Sequence[str]):
        # The user's names never reach the source: p0, p1, ... cannot clash with a keyword.
        self.parameters = {name: f"p{index}" for index, name in enumerate(parameters)}
        self.lines: list[str] = []
        self.names: dict[Expr, str] = {}
        self.uses: Counter[Expr] = Counter()

    def function(self, outputs: tuple[Expr, ...], hides_nan: tuple[bool, ...]) -> str:
        outputs = tuple(fold_numbers(output) for output in outputs)
        for output in outputs:
            self._count(output)
        results = []
        for output, hides in zip(outputs, hides_nan, strict=True):
            text = self._number_as_tensor(output)
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

    def _number_as_tensor(self, node: Expr) -> str:
        if isinstance(node, Const):
            return f"torch.full_like(x, {node.value!r})"
        if node == Symbol("x"):
            return "x.clone()"  # an autograd function must not return its input
        text = self._code(node)
        if isinstance(node, Call) and node.operator.boolean:
            return f"({text}).to(x.dtype)"
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
                code = f"({code}).to(x.dtype)"
            codes.append(code)
        if node.name == "where" and all(isinstance(arg, Const) for arg in node.args[1:]):
            codes[1] = f"x.new_full((), {codes[1]})"  # two plain numbers would lose x's dtype
        return node.operator.torch.format(*codes)


@lru_cache(maxsize=4096)
def fold_numbers(node: Expr) -> Expr:
    """Every part without symbols replaced by its float64 value."""
    if not isinstance(node, Call):
        return node
    args = [fold_numbers(arg) for arg in node.args]
    if node.name == "pi":
        return Const(math.pi)
    if all(isinstance(arg, Const) for arg in args):
        values = [torch.tensor(arg.value, dtype=torch.float64) for arg in args]  # type: ignore[attr-defined]
        return Const(float(evaluate_node(call(node.name, *args), values, values[0], {})))
    return call(node.name, *args)
