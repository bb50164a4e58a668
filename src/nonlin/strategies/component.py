"""One function of a space: a formula of its inputs, with trainable parameters of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from nonlin.expr import Const, Expr, Symbol, parse, substitute
from nonlin.expr.tree import Call, X, call

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Bound = dict[str, Expr]


@dataclass(frozen=True)
class Component:
    """A formula in `inputs` (a, or a and b, in functions of a space); every other name is a parameter."""

    formula: str
    inputs: tuple[str, ...]

    @cached_property
    def expr(self) -> Expr:
        return parse(self.formula)

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        return tuple(name for name in self.expr.symbols if name not in self.inputs)

    @cached_property
    def used(self) -> tuple[int, ...]:
        """Which of the inputs the formula contains."""
        return tuple(k for k, name in enumerate(self.inputs) if name in self.expr.symbols)

    @cached_property
    def is_identity(self) -> bool:
        return self.expr == Symbol("a")

    def apply(self, arguments: Sequence[Expr], names: Mapping[str, str]) -> Expr:
        """The formula with expressions for its inputs, and its parameters renamed."""
        if all(names[name] == name for name in self.parameters) and all(argument is X for argument in arguments):
            return self._of_x
        values: dict[str, Expr] = dict(zip(self.inputs, arguments, strict=True))
        for name in self.parameters:
            values[name] = Symbol(names[name])
        return _filled(self.expr, values)

    @cached_property
    def _of_x(self) -> Expr:
        """The formula with x for every input: what most holes of small spaces hold."""
        return _filled(self.expr, dict.fromkeys(self.inputs, X) | {name: Symbol(name) for name in self.parameters})

    def values(self, arguments: Sequence[Tensor], parameters: Sequence[Tensor]) -> Tensor:
        """The formula's values, elementwise; all arguments have one shape, parameters broadcast."""
        return self._kernel(arguments[0], *arguments[1:], *parameters)[0]

    def array_values(self, arguments: Sequence[np.ndarray], parameters: Sequence[np.ndarray]) -> np.ndarray:
        """The same for arrays: of some hundred numbers several times as fast."""
        return self._array_function(arguments[0], *arguments[1:], *parameters)

    @cached_property
    def _kernel(self):
        from nonlin.expr.codegen import compile_kernel

        expr, order = self._of_names
        return compile_kernel((expr,), order)

    @cached_property
    def _array_function(self):
        from nonlin.expr.codegen import compile_array_function

        return compile_array_function(*self._of_names)

    @property
    def _of_names(self) -> tuple[Expr, tuple[str, ...]]:
        """The formula of x and further names, and these in the order of inputs and parameters."""
        names = {self.inputs[0]: Symbol("x")} | {name: Symbol(f"i{k}") for k, name in enumerate(self.inputs) if k}
        names |= {name: Symbol(f"q{k}") for k, name in enumerate(self.parameters)}
        order = tuple(symbol.name for symbol in names.values() if symbol.name != "x")
        return substitute(self.expr, names), order

    def unify(self, tree: Expr) -> Bound | None:
        """What inputs and parameters must be for the formula to be `tree`, or None."""
        return _unify(self.expr, tree, self.inputs, {})

    def __reduce__(self):
        return Component, (self.formula, self.inputs)


def _filled(pattern: Expr, values: Mapping[str, Expr]) -> Expr:
    """A pattern whose every symbol is replaced; for patterns of some nodes ten times as fast as `substitute`."""
    if isinstance(pattern, Symbol):
        return values[pattern.name]
    if not isinstance(pattern, Call):
        return pattern
    args = tuple([_filled(arg, values) for arg in pattern.args])
    return call("neg", *args) if pattern.operator.name == "neg" else Call(pattern.operator, args)


def _unify(pattern: Expr, tree: Expr, inputs: Sequence[str], bound: Bound) -> Bound | None:
    if isinstance(pattern, Symbol):
        if pattern.name in bound:
            return bound if bound[pattern.name] == tree else None
        if pattern.name not in inputs and (not isinstance(tree, Symbol) or tree.name == "x"):
            return None  # a parameter is a name
        return {**bound, pattern.name: tree}
    if isinstance(pattern, Const) or not isinstance(tree, Call) or not isinstance(pattern, Call):
        return bound if pattern == tree else None
    if pattern.name != tree.name:
        return None
    for inner, part in zip(pattern.args, tree.args, strict=True):
        extended = _unify(inner, part, inputs, bound)
        if extended is None:
            return None
        bound = extended
    return bound


def matches(components: Sequence[Component], tree: Expr, fixed: int | None) -> Iterator[tuple[int, Component, Bound]]:
    """The components that `tree` can be made with, or the one numbered `fixed` if it can."""
    for number, component in enumerate(components):
        if fixed in (None, number) and (bound := component.unify(tree)) is not None:
            yield number, component, bound
