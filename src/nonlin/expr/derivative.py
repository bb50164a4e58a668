"""The exact derivative, inside the language, from the partials of the operator table."""

from __future__ import annotations

from functools import lru_cache

from nonlin.errors import FormulaError
from nonlin.expr.operators import Operator
from nonlin.expr.parse import parse
from nonlin.expr.simplify import is_settled, simplify
from nonlin.expr.text import to_text
from nonlin.expr.tree import ONE, ZERO, Call, Expr, Symbol, call, substitute

_ARGUMENTS = ("a", "b", "c")


@lru_cache(maxsize=16384)
def derivative(node: Expr, by: str = "x") -> Expr:
    """d(node)/d(by), simplified. `by` is x or a parameter's name.

    Where the derivative does not exist (at a kink), the conventions of `operators` apply.
    """
    found = _chain_rule(simplify(node), by)
    return found if is_settled(found) else simplify(found)


@lru_cache(maxsize=65536)
def _chain_rule(node: Expr, by: str) -> Expr:
    if isinstance(node, Symbol):
        return ONE if node.name == by else ZERO
    if not isinstance(node, Call):
        return ZERO
    total: Expr = ZERO
    values = dict(zip(_ARGUMENTS, node.args, strict=False))
    for index, arg in enumerate(node.args):
        inner = _chain_rule(arg, by)
        if inner == ZERO:
            continue
        outer = partial(node.operator, index)
        if outer is None:
            if node.name == "where":  # a jump of the condition has derivative 0 elsewhere
                continue
            raise FormulaError(to_text(node), f"{node.name} has no derivative by its argument {index + 1}.")
        if outer != ZERO:
            total = total + substitute(outer, values) * inner
    if node.name == "where":
        # where(c, u', v') rather than where(c, 1, 0)*u' + ...: the branch not taken may be infinite
        branches = (_chain_rule(arg, by) for arg in node.args[1:])
        return simplify(call("where", node.args[0], *branches))
    return simplify(total)


@lru_cache(maxsize=256)
def partial(operator: Operator, index: int) -> Expr | None:
    """The partial derivative of an operator by its argument `index`, in the symbols a, b, c."""
    text = operator.partials[index]
    return None if text is None else parse(text)
