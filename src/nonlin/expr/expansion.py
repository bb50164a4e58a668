"""An operator in simpler ones, for whatever has no function of its own for it."""

from __future__ import annotations

from functools import lru_cache

from nonlin.expr.parse import parse
from nonlin.expr.tree import Call, Expr, substitute


def expansion(node: Call) -> Expr | None:
    """The call as its operator's row writes it in simpler operators; None if the row has no formula.

    sech(x) gives 2*exp(-abs(x))/(1 + exp(-2*abs(x))).
    """
    text = node.operator.formula
    return None if text is None else in_terms_of(text, node.args)


def in_terms_of(text: str, arguments: tuple[Expr, ...]) -> Expr:
    """The formula `text` in a, b, c with the arguments in their places."""
    return substitute(_parsed(text), dict(zip("abc", arguments, strict=False)))


@lru_cache(maxsize=256)
def _parsed(text: str) -> Expr:
    return parse(text)
