"""The shape of an expression: a formula with holes, into which a space's functions go.

A shape is a plan: steps in the order of evaluation, each reading the results of earlier ones. The same plan turns a
code (one number for each hole) into an expression, an expression back into a code, and (`nonlin.strategies.evaluate`)
many codes into values at once.

    core unit b(u(x), u(x))     0: x    1: hole 1 of (0)    2: hole 2 of (0)    3: hole 0 of (1, 2)

Two kinds of text make plans: *templates*, in which u(.) stands for any unary function, b(., .) for any binary one,
n(., ., ...) for any n-ary one and g(.) for a core unit b(u(.), u(.)); and *units*, N core units of which each reads x
and earlier units.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal

import numpy as np

from nonlin.errors import SearchError
from nonlin.expr import Expr, parse
from nonlin.expr.tree import X
from nonlin.strategies.component import Component, matches

Kind = Literal["unary", "binary", "nary", "input"]
Functions = Mapping[str, tuple[Component, ...]]


@dataclass(frozen=True)
class Input:
    """The pre-activation x."""

    reads: tuple[int, ...] = ()


@dataclass(frozen=True)
class Fixed:
    """A given formula of earlier results."""

    component: Component
    reads: tuple[int, ...]


@dataclass(frozen=True)
class Hole:
    """Any of the space's functions of one kind, applied to earlier results."""

    slot: int
    reads: tuple[int, ...]


@dataclass(frozen=True)
class Pick:
    """One of several earlier results."""

    slot: int
    reads: tuple[int, ...]


Step = Input | Fixed | Hole | Pick


@dataclass(frozen=True)
class Slot:
    """A place of a code: what it chooses, and among how many."""

    kind: Kind
    count: int


class Shape:
    """A plan with the functions that may stand in its holes.

    Parameters
    ----------
    text : the template, or a description
    steps : the plan; its last step is the result
    kinds : kind of each hole, in the order of a code
    functions : the space's functions by kind
    """

    def __init__(self, text: str, steps: Sequence[Step], kinds: Sequence[Kind], functions: Functions):
        self.text, self.steps, self.functions = text, tuple(steps), functions
        choices = {step.slot: len(step.reads) for step in steps if isinstance(step, Pick)}
        self.slots = tuple(
            Slot(kind, choices[k] if kind == "input" else len(functions[kind])) for k, kind in enumerate(kinds)
        )

    @cached_property
    def size(self) -> int:
        """How many codes there are."""
        return prod(slot.count for slot in self.slots)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """How many choices each place of a code has."""
        return tuple(slot.count for slot in self.slots)

    @cached_property
    def widths(self) -> np.ndarray:
        """The same as an array, (slots,)."""
        return np.array([slot.count for slot in self.slots])

    @cached_property
    def identities(self) -> np.ndarray:
        """Which choice of each place is the function that changes nothing, (slots,); -1 where none is."""
        functions = [() if slot.kind == "input" else self.functions[slot.kind] for slot in self.slots]
        return np.array([next((k for k, f in enumerate(row) if f.is_identity), -1) for row in functions])

    def component(self, step: Fixed | Hole, code: Sequence[int]) -> Component:
        if isinstance(step, Fixed):
            return step.component
        return self.functions[self.slots[step.slot].kind][code[step.slot]]

    def decode(self, code: Sequence[int]) -> Expr:
        """The expression of a code. Each function has parameters of its own, numbered if a name occurs twice."""
        live = self._live(code)
        owners: dict[str, list[int]] = {}  # name of a parameter -> steps that have one
        for number, component in live:
            if component is not None:
                for name in component.parameters:
                    owners.setdefault(name, []).append(number)
        results: list[Expr] = [X] * len(self.steps)  # what is not read may be anything
        for number, component in live:
            step = self.steps[number]
            if component is not None:
                names = {name: _named(name, owners[name], number) for name in component.parameters}
                results[number] = component.apply([results[index] for index in step.reads], names)
            elif isinstance(step, Pick):
                results[number] = results[step.reads[code[step.slot]]]
        return results[-1]

    def _live(self, code: Sequence[int]) -> list[tuple[int, Component | None]]:
        """The steps that the result depends on, in order, with their functions; None for those that have none."""
        last = len(self.steps) - 1
        needed = [False] * last + [True]
        found: list[tuple[int, Component | None]] = []
        for number in range(last, -1, -1):
            if not needed[number]:
                continue
            step, options = self._options[number]
            if isinstance(step, Pick):
                needed[step.reads[code[step.slot]]] = True
                found.append((number, None))
            elif isinstance(step, Input):
                found.append((number, None))
            else:
                component = options[code[step.slot]] if isinstance(step, Hole) else step.component
                for k in component.used:
                    needed[step.reads[k]] = True
                found.append((number, component))
        return found[::-1]

    @cached_property
    def _options(self) -> list[tuple[Step, tuple[Component, ...]]]:
        """Each step, and the functions that a hole may hold."""
        return [
            (step, self.functions[self.slots[step.slot].kind] if isinstance(step, Hole) else ()) for step in self.steps
        ]

    def encode(self, tree: Expr) -> tuple[int, ...] | None:
        """The first code whose expression is `tree`, up to the names of parameters; None if there is none.

        Holes that do not matter for it get 0.
        """
        for found, owners in self._match(len(self.steps) - 1, tree, {}, {}, {}):
            if len(set(owners.values())) == len(owners):
                return tuple(found.get(k, 0) for k in range(len(self.slots)))
        return None

    def _match(
        self, number: int, tree: Expr, code: dict[int, int], trees: dict[int, Expr], owners: dict[tuple[int, str], str]
    ) -> Iterator[tuple[dict[int, int], dict[tuple[int, str], str]]]:
        """All (code, owner of each parameter) with which step `number` results in `tree`."""
        for code_found, _, owners_found in self._all(((number, tree),), code, trees, owners):
            yield code_found, owners_found

    def _all(self, goals, code, trees, owners):
        """Solve `goals`, pairs of a step and the tree it must result in, one after another."""
        if not goals:
            yield code, trees, owners
            return
        (number, tree), *rest = goals
        if number in trees:
            if trees[number] == tree:
                yield from self._all(rest, code, trees, owners)
            return
        step, trees = self.steps[number], {**trees, number: tree}
        if isinstance(step, Input):
            if tree == X:
                yield from self._all(rest, code, trees, owners)
        elif isinstance(step, Pick):
            for choice, index in enumerate(step.reads):
                if code.get(step.slot, choice) == choice:
                    yield from self._all([(index, tree), *rest], {**code, step.slot: choice}, trees, owners)
        else:
            fixed = None if isinstance(step, Fixed) else code.get(step.slot)
            options = (step.component,) if isinstance(step, Fixed) else self.functions[self.slots[step.slot].kind]
            for choice, component, bound in matches(options, tree, fixed):
                inner = [
                    (index, bound[name])
                    for name, index in zip(component.inputs, step.reads, strict=True)
                    if name in bound
                ]
                more = {(number, name): str(bound[name]) for name in component.parameters}
                chosen = code if isinstance(step, Fixed) else {**code, step.slot: choice}
                yield from self._all([*inner, *rest], chosen, trees, owners | more)


def _named(name: str, owners: Sequence[int], number: int) -> str:
    """A parameter of step `number`, numbered where several steps have one of this name."""
    return f"{name}{owners.index(number) + 1}" if len(owners) > 1 else name


# Units


def units(count: int, wiring: Literal["chain", "free"], functions: Functions) -> Shape:
    """`count` core units b(u(.), u(.)). The code is b, u, u of the first unit, then of the second, and so on.

    "chain": the first reads x twice, each later one the unit before it and x. "free": each input is x or any earlier
    unit, chosen by two more places before b, u and u.
    """
    steps: list[Step] = [Input()]
    kinds: list[Kind] = []
    outputs = [0]  # steps whose results a unit may read
    for unit in range(count):
        if wiring == "free" and unit:
            inputs = []
            for _ in range(2):
                inputs.append(len(steps))
                steps.append(Pick(len(kinds), tuple(outputs)))
                kinds.append("input")
        else:
            inputs = [outputs[-1], 0]
        slot = len(kinds)
        kinds += ["binary", "unary", "unary"]
        first = len(steps)
        steps += [Hole(slot + 1, (inputs[0],)), Hole(slot + 2, (inputs[1],)), Hole(slot, (first, first + 1))]
        outputs.append(first + 2)
    return Shape(f"{count} core units, {wiring}", steps, kinds, functions)


# Templates

HOLES = {"u": "unary", "b": "binary", "n": "nary"}


def template(text: str, functions: Functions) -> Shape:
    """The shape of a template such as "b(x, g(x))" or "x*sigmoid(u(x))".

    Raises
    ------
    SearchError : with the template and what is wrong with it
    """
    reader = _TemplateReader(text)
    reader.read()
    for kind in reader.kinds:
        if not functions.get(kind):
            raise SearchError(f"the template {text!r} has a {kind} hole, but the space has no {kind} functions.")
    if not reader.kinds:
        raise SearchError(f"the template {text!r} has no hole; write u(.), b(., .), n(., ., ...) or g(.) in it.")
    return Shape(text, reader.steps, reader.kinds, functions)


class _TemplateReader:
    """Reads a template by Python's grammar: holes become steps, what is between them formulas."""

    def __init__(self, text: str):
        self.text = text
        self.steps: list[Step] = [Input()]
        self.kinds: list[Kind] = []

    def fail(self, problem: str) -> SearchError:
        return SearchError(f"cannot read the template {self.text!r}: {problem}")

    def read(self) -> int:
        try:
            tree = ast.parse(self.text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError) as error:
            raise self.fail(f"{getattr(error, 'msg', error)}. Write it as in b(x, u(x)).") from None
        return self.part(tree)

    def part(self, tree: ast.expr) -> int:
        """The number of the step that computes `tree`."""
        if isinstance(tree, ast.Name) and tree.id == "x":
            return 0
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id in (*HOLES, "g"):
            return self.hole(tree, tree.func.id)
        reads: list[int] = []
        names: list[str] = []

        class Replace(ast.NodeTransformer):
            def visit_Call(inner, node: ast.Call) -> ast.expr:
                if isinstance(node.func, ast.Name) and node.func.id in (*HOLES, "g"):
                    reads.append(self.part(node))
                    names.append(f"hole{len(reads)}")
                    return ast.Name(names[-1])
                return ast.Call(node.func, [inner.visit(arg) for arg in node.args], node.keywords)

        formula = ast.unparse(Replace().visit(tree))
        if "x" in parse(formula).symbols:
            reads.append(0)
            names.append("x")
        if not names:  # a number: it reads x, and does not use it
            reads, names = [0], ["x"]
        return self.add(Fixed(Component(formula, tuple(names)), tuple(reads)))

    def hole(self, tree: ast.Call, name: str) -> int:
        wanted = {"u": (1, 1), "g": (1, 1), "b": (2, 2), "n": (2, 9)}[name]
        if tree.keywords or not wanted[0] <= len(tree.args) <= wanted[1]:
            number = str(wanted[0]) if wanted[0] == wanted[1] else f"{wanted[0]} to {wanted[1]}"
            raise self.fail(f"{name} takes {number} argument{'s' if wanted[1] > 1 else ''}, not {len(tree.args)}.")
        if name == "g":
            slot = len(self.kinds)
            self.kinds += ["binary", "unary", "unary"]
            inner = self.part(tree.args[0])
            first, second = self.add(Hole(slot + 1, (inner,))), self.add(Hole(slot + 2, (inner,)))
            return self.add(Hole(slot, (first, second)))
        slot = len(self.kinds)
        self.kinds.append(HOLES[name])  # type: ignore[arg-type]
        arguments = [self.part(arg) for arg in tree.args]
        if name == "u":
            return self.add(Hole(slot, (arguments[0],)))
        result = arguments[0]
        for argument in arguments[1:]:  # n-ary: the same function, folded from the left
            result = self.add(Hole(slot, (result, argument)))
        return result

    def add(self, step: Step) -> int:
        self.steps.append(step)
        return len(self.steps) - 1
