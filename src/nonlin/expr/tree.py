"""The immutable tree that every formula becomes.

Three kinds of node: `Const` (a number), `Symbol` (x, or a trainable parameter) and `Call`
(an operator of the table and its arguments). Nodes are hashable, compare by structure, pickle,
and never change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

from nonlin.expr.operators import OPERATORS, Operator


class Expr:
    """A node. Arithmetic on nodes builds larger trees: ``X * sigmoid`` style code stays readable."""

    args: tuple[Expr, ...] = ()
    _hash: int

    def __hash__(self) -> int:
        return self._hash

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("expressions are immutable")

    def __str__(self) -> str:
        from nonlin.expr.text import to_text

        return to_text(self)

    def __repr__(self) -> str:
        return f"Expr({str(self)!r})"

    def __add__(self, other: Operand) -> Expr:
        return call("add", self, other)

    def __radd__(self, other: Operand) -> Expr:
        return call("add", other, self)

    def __sub__(self, other: Operand) -> Expr:
        return call("sub", self, other)

    def __rsub__(self, other: Operand) -> Expr:
        return call("sub", other, self)

    def __mul__(self, other: Operand) -> Expr:
        return call("mul", self, other)

    def __rmul__(self, other: Operand) -> Expr:
        return call("mul", other, self)

    def __truediv__(self, other: Operand) -> Expr:
        return call("div", self, other)

    def __rtruediv__(self, other: Operand) -> Expr:
        return call("div", other, self)

    def __pow__(self, other: Operand) -> Expr:
        return call("pow", self, other)

    def __neg__(self) -> Expr:
        return call("neg", self)

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """Names of all symbols, in order of first appearance from left to right."""
        seen: dict[str, None] = {}
        for node in walk(self):
            if isinstance(node, Symbol):
                seen.setdefault(node.name)
        return tuple(seen)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of all symbols but x, in order of first appearance."""
        return tuple(name for name in self.symbols if name != "x")


Operand = Expr | float | int


class Const(Expr):
    """A finite number."""

    value: float

    def __init__(self, value: float):
        value = float(value) + 0.0  # -0.0 + 0.0 -> 0.0: one zero only
        self.__dict__.update(value=value, _hash=hash(("const", value)))

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Const) and other.value == self.value)

    __hash__ = Expr.__hash__

    def __reduce__(self):
        return Const, (self.value,)


class Symbol(Expr):
    """The pre-activation x, or a trainable parameter."""

    name: str

    def __init__(self, name: str):
        self.__dict__.update(name=name, _hash=hash(("symbol", name)))

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Symbol) and other.name == self.name)

    __hash__ = Expr.__hash__

    def __reduce__(self):
        return Symbol, (self.name,)


class Call(Expr):
    """An operator applied to arguments. Build it with `call`."""

    operator: Operator

    def __init__(self, operator: Operator, args: tuple[Expr, ...]):
        self.__dict__.update(operator=operator, args=args, _hash=hash((operator.name, args)))

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Call)
            and other._hash == self._hash
            and other.operator.name == self.operator.name
            and other.args == self.args
        )

    __hash__ = Expr.__hash__

    def __reduce__(self):
        return Call, (self.operator, self.args)

    @property
    def name(self) -> str:
        return self.operator.name


X = Symbol("x")
ZERO, ONE = Const(0.0), Const(1.0)


def as_expr(value: Operand) -> Expr:
    return value if isinstance(value, Expr) else Const(value)


def call(name: str, *args: Operand) -> Expr:
    """The operator called `name` applied to `args`; the negative of a number is a number."""
    operator = OPERATORS[name]
    nodes = tuple(as_expr(arg) for arg in args)
    if len(nodes) != operator.arity:
        raise TypeError(f"{name} takes {operator.arity} arguments, got {len(nodes)}")
    if name == "neg" and isinstance(nodes[0], Const):
        return Const(-nodes[0].value)
    return Call(operator, nodes)


def is_call(node: Expr, *names: str) -> bool:
    """Whether `node` applies one of the operators called `names`."""
    return isinstance(node, Call) and node.operator.name in names


def walk(root: Expr) -> Iterator[Expr]:
    """Every node of the tree, parents before children, left to right."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.args))


def size(root: Expr) -> int:
    """Number of nodes."""
    return sum(1 for _ in walk(root))


def depth(root: Expr) -> int:
    """Number of nodes on the longest path from the root to a leaf."""
    return 1 + max((depth(arg) for arg in root.args), default=0)


def substitute(root: Expr, values: Mapping[str, Operand]) -> Expr:
    """`root` with each symbol named in `values` replaced."""
    memo: dict[Expr, Expr] = {}

    def visit(node: Expr) -> Expr:
        if node not in memo:
            if isinstance(node, Symbol):
                memo[node] = as_expr(values[node.name]) if node.name in values else node
            elif isinstance(node, Call):
                memo[node] = call(node.operator.name, *(visit(arg) for arg in node.args))
            else:
                memo[node] = node
        return memo[node]

    return visit(root)
