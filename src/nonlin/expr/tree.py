"""The immutable tree that every formula becomes.

Three kinds of node: `Const` (a number), `Symbol` (x, or a trainable parameter) and `Call`
(an operator of the table and its arguments). Nodes are hashable, compare by structure, pickle,
and never change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nonlin.expr.operators import OPERATORS, Operator


class Expr:
    """A node. Arithmetic on nodes builds larger trees: ``X * sigmoid`` style code stays readable.

    Attributes
    ----------
    args : the arguments of a call; empty for numbers and symbols
    symbols : names of all symbols in it, in order of first appearance from left to right
    """

    __slots__ = ("_hash", "symbols")

    args: tuple[Expr, ...]
    symbols: tuple[str, ...]
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

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of all symbols but x, in order of first appearance."""
        return tuple(name for name in self.symbols if name != "x")


Operand = Expr | float | int

# Nodes refuse assignment; their makers fill the slots past that.
_set = object.__setattr__


class Const(Expr):
    """A finite number."""

    __slots__ = ("value",)

    args = ()
    value: float

    def __init__(self, value: float):
        value = float(value) + 0.0  # -0.0 + 0.0 -> 0.0: one zero only
        _set(self, "value", value)
        _set(self, "symbols", ())
        _set(self, "_hash", hash(("const", value)))

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Const) and other.value == self.value)

    __hash__ = Expr.__hash__

    def __reduce__(self):
        return Const, (self.value,)


class Symbol(Expr):
    """The pre-activation x, or a trainable parameter."""

    __slots__ = ("name",)

    args = ()
    name: str

    def __init__(self, name: str):
        _set(self, "name", name)
        _set(self, "symbols", (name,))
        _set(self, "_hash", hash(("symbol", name)))

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Symbol) and other.name == self.name)

    __hash__ = Expr.__hash__

    def __reduce__(self):
        return Symbol, (self.name,)


class Call(Expr):
    """An operator applied to arguments. Build it with `call`."""

    __slots__ = ("args", "name", "operator")

    operator: Operator
    name: str

    def __init__(self, operator: Operator, args: tuple[Expr, ...]):
        name = operator.name
        _set(self, "operator", operator)
        _set(self, "name", name)
        _set(self, "args", args)
        _set(self, "symbols", _symbols_of(args))
        _set(self, "_hash", hash((name, *[arg._hash for arg in args])))

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Call)
            and other._hash == self._hash
            and other.name == self.name
            and other.args == self.args
        )

    __hash__ = Expr.__hash__

    def __reduce__(self):
        return Call, (self.operator, self.args)


def _symbols_of(args: tuple[Expr, ...]) -> tuple[str, ...]:
    if not args:
        return ()
    found = args[0].symbols
    for arg in args[1:]:
        if arg.symbols != found:
            found += tuple([name for name in arg.symbols if name not in found])
    return found


X = Symbol("x")
ZERO, ONE = Const(0.0), Const(1.0)


def as_expr(value: Operand) -> Expr:
    return value if isinstance(value, Expr) else Const(value)


def call(name: str, *args: Operand) -> Expr:
    """The operator called `name` applied to `args`; the negative of a number is a number."""
    operator = OPERATORS[name]
    if len(args) != operator.arity:
        raise TypeError(f"{name} takes {operator.arity} arguments, got {len(args)}")
    nodes = tuple([arg if isinstance(arg, Expr) else Const(arg) for arg in args])
    if name == "neg" and type(nodes[0]) is Const:
        return Const(-nodes[0].value)
    return Call(operator, nodes)


def is_call(node: Expr, *names: str) -> bool:
    """Whether `node` applies one of the operators called `names`."""
    return type(node) is Call and node.name in names


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
        if values.keys().isdisjoint(node.symbols):
            return node
        if isinstance(node, Symbol):
            return as_expr(values[node.name])
        found = memo.get(node)
        if found is None:
            assert isinstance(node, Call)
            found = memo[node] = call(node.name, *[visit(arg) for arg in node.args])
        return found

    return visit(root)
