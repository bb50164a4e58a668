"""What a space holds, before anything is trained: every distinct function once, by kind."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from nonlin.expr import Expr
from nonlin.expr.identity import IdentityIndex, kind
from nonlin.strategies.spaces import Space


@dataclass(frozen=True)
class Census:
    """Counts of a space, and its functions worth training.

    Attributes
    ----------
    expressions : expressions in the space
    distinct : different functions among them (families, where a trainable parameter is free)
    constant, affine, undefined : distinct functions that cannot help a network: constant, a straight line,
        or not finite everywhere for |x| ≤ 3
    worth_training : the remaining distinct functions, in the order of the space; of equal ones the first
    """

    expressions: int
    distinct: int
    constant: int
    affine: int
    undefined: int
    worth_training: tuple[Expr, ...]

    def counts(self) -> dict[str, int]:
        return {
            "expressions": self.expressions, "distinct": self.distinct, "constant": self.constant,
            "affine": self.affine, "undefined": self.undefined, "worth_training": len(self.worth_training),
        }  # fmt: skip

    def __str__(self) -> str:
        return (
            f"{self.expressions:,} expressions, {self.distinct:,} distinct functions: {self.constant} constant, "
            f"{self.affine} affine, {self.undefined} not finite on part of |x| ≤ 3, "
            f"{len(self.worth_training):,} worth training"
        )


@lru_cache(maxsize=8)
def census(space: Space) -> Census:
    """Enumerate `space` and tell its functions apart. About 0.4 ms an expression."""
    index = IdentityIndex()
    worth: list[Expr] = []
    kinds: Counter[str] = Counter()
    for expr in space:
        if index.add(expr)[1]:
            sort = kind(expr)
            kinds[sort] += 1
            if sort == "ordinary":
                worth.append(expr)
    return Census(len(space), sum(kinds.values()), kinds["constant"], kinds["affine"], kinds["undefined"], tuple(worth))
