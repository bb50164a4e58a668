"""The language: formulas as immutable trees, and everything that is computed from a tree.

    parse ──► Expr ──► simplify ──► derivative
                │          ├──────► codegen (torch kernels)
                │          └──────► identity (same function?)
                └──► text, LaTeX

The modules that need torch (codegen, identity) are imported where they are used, so that
reading and printing formulas stays instant.
"""

from nonlin.expr.derivative import derivative
from nonlin.expr.parse import parse
from nonlin.expr.simplify import simplify
from nonlin.expr.text import to_latex, to_text
from nonlin.expr.tree import Call, Const, Expr, Symbol, depth, size, substitute, walk

__all__ = [
    "Call",
    "Const",
    "Expr",
    "Symbol",
    "depth",
    "derivative",
    "parse",
    "simplify",
    "size",
    "substitute",
    "to_latex",
    "to_text",
    "walk",
]
