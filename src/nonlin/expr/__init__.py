"""The language: formulas as immutable trees, and everything that is computed from a tree.

    parse ──► Expr ──► simplify ──► derivative
                │          ├──────► lowering ──► codegen (functions of arrays, kernels of tensors)
                │          └──────► identity (same function?)
                └──► text, LaTeX

One table (`operators`) says what each operator is. Its values on NumPy arrays are in `values`, those on torch tensors
in `special`; torch is loaded when the first kernel of tensors is made, and nothing else here needs it. The modules
that need NumPy (values, lowering, codegen, identity) are imported where they are used, so that reading and printing
formulas stays instant.
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
