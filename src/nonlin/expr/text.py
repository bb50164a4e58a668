"""Trees back to text and to LaTeX. ``parse(to_text(e)) == e`` for every tree."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from nonlin.expr.operators import ATOM, COMPARISON, POWER, PRODUCT, UNARY
from nonlin.expr.tree import Call, Const, Expr, Symbol, is_call

_SPACED = {"+", "-", "<", "<=", ">", ">="}
_GREEK = ("alpha beta gamma delta epsilon zeta eta theta kappa lambda mu nu xi rho sigma tau phi psi omega").split()


def number(value: float) -> str:
    """The shortest text that reads back as the same number: 2, -0.5, 1e-05."""
    if value == int(value) and abs(value) < 1e16:
        return str(int(value))
    return repr(value)


def precedence(node: Expr) -> int:
    """How tightly the node's own text holds together; see `operators`."""
    if isinstance(node, Const):
        return UNARY if node.value < 0 else ATOM
    if isinstance(node, Call) and (node.operator.symbol or node.name == "mul0"):
        return PRODUCT if node.name == "mul0" else node.operator.precedence
    return ATOM


@lru_cache(maxsize=65536)
def to_text(node: Expr) -> str:
    """The formula of a tree, with the fewest parentheses that keep its shape."""
    if isinstance(node, Symbol):
        return node.name
    return _written(node, to_text)


@lru_cache(maxsize=65536)
def to_nameless_text(node: Expr) -> str:
    """The same with every parameter called _."""
    if isinstance(node, Symbol):
        return "x" if node.name == "x" else "_"
    return _written(node, to_nameless_text) if node.symbols not in ((), ("x",)) else to_text(node)


def _written(node: Expr, write: Callable[[Expr], str]) -> str:
    """A number or a call, its arguments written by `write`."""
    if isinstance(node, Const):
        return number(node.value)
    assert isinstance(node, Call)
    row = node.operator

    def wrap(node: Expr, lowest: int) -> str:
        return write(node) if precedence(node) >= lowest else f"({write(node)})"

    if row.name == "neg":
        return f"-{wrap(node.args[0], UNARY)}"
    if row.name == "pow":
        return f"{wrap(node.args[0], ATOM)}**{wrap(node.args[1], UNARY)}"
    if row.symbol or row.name == "mul0":
        own = precedence(node)
        left_lowest = own + 1 if row.precedence == COMPARISON else own  # no chains: (a < b) < c
        symbol = row.symbol or "*"
        gap = " " if symbol in _SPACED else ""
        left, right = wrap(node.args[0], left_lowest), wrap(node.args[1], own + 1)
        return f"{left}{gap}{symbol}{gap}{right}"
    if row.arity == 0:
        return row.name
    return f"{row.name}({', '.join(map(write, node.args))})"


def to_latex(node: Expr) -> str:
    """LaTeX of a tree, without surrounding dollar signs."""
    if isinstance(node, Const):
        return _latex_number(node.value)
    if isinstance(node, Symbol):
        return _latex_symbol(node.name)
    assert isinstance(node, Call)
    row, args = node.operator, node.args
    if row.name == "neg":
        return f"-{_latex_wrap(args[0], PRODUCT)}"
    if row.name == "pow":
        return _latex_power(*args)
    if row.name in ("mul", "mul0"):
        return row.latex.format(_latex_wrap(args[0], PRODUCT), _latex_factor(args[1]))
    if row.name in ("add", "sub"):
        lowest = row.precedence + (row.name == "sub")
        right = _latex_wrap(args[1], lowest) if precedence(args[1]) != UNARY else _bracket(args[1])
        return row.latex.format(to_latex(args[0]), right)
    return row.latex.format(*map(to_latex, args))


def _bracket(node: Expr) -> str:
    return rf"\left({to_latex(node)}\right)"


def _latex_wrap(node: Expr, lowest: int) -> str:
    return to_latex(node) if precedence(node) >= lowest else _bracket(node)


def _latex_factor(node: Expr) -> str:
    """A factor that is not the first: a sign or a digit would run into what stands before."""
    if precedence(node) <= UNARY and not is_call(node, "mul", "div"):
        return _bracket(node)
    return rf"\cdot {to_latex(node)}" if isinstance(node, Const) else _latex_wrap(node, PRODUCT)


def _latex_power(base: Expr, exponent: Expr) -> str:
    """tanh(x)**2 is written with the exponent outside brackets that are there already."""
    plain = isinstance(base, Symbol) or (isinstance(base, Const) and base.value >= 0)
    bracketed = isinstance(base, Call) and precedence(base) > POWER and base.name not in ("where", "exp")
    shown = to_latex(base) if plain or bracketed else _bracket(base)
    return f"{{{shown}}}^{{{to_latex(exponent)}}}"


def _latex_number(value: float) -> str:
    text = number(value)
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    return rf"{mantissa} \cdot 10^{{{int(exponent)}}}"


def _latex_symbol(name: str) -> str:
    stem = name.rstrip("0123456789").rstrip("_")
    index = name[len(stem) :].lstrip("_")
    shown = rf"\{stem}" if stem in _GREEK else stem if len(stem) == 1 else ""
    if not shown:
        return rf"\mathit{{{name.replace('_', chr(92) + '_')}}}"
    return f"{shown}_{{{index}}}" if index else shown
