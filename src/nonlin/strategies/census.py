"""What a space holds, before anything is trained: every distinct function once, by kind.

Spaces of more than `MOST` expressions are not listed: their shares are estimated from a random sample.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nonlin.expr import Expr
from nonlin.expr.identity import IdentityIndex, kind
from nonlin.strategies.spaces import Space

MOST = 20_000  # expressions; about 10 seconds
SAMPLE = 200


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


@dataclass(frozen=True)
class Estimate:
    """Shares of a space that is too large to list, from a uniform sample of its expressions.

    Attributes
    ----------
    expressions : expressions in the space, exactly
    sample : expressions looked at
    repeated : of these, the same function as an earlier one of the sample
    constant, affine, undefined : of these, expressions that cannot help a network
    """

    expressions: int
    sample: int
    repeated: int
    constant: int
    affine: int
    undefined: int

    @property
    def ordinary(self) -> int:
        return self.sample - self.constant - self.affine - self.undefined

    def interval(self, count: int) -> tuple[float, float]:
        """The 95% interval (Wilson 1927) of the share of which `count` were seen."""
        z, n, share = 1.959964, self.sample, count / self.sample
        centre = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return (0.0 if count == 0 else centre - half), (1.0 if count == n else centre + half)

    def counts(self) -> dict[str, int]:
        """The exact size, then counts within the sample (not of the space)."""
        return {
            "expressions": self.expressions, "sampled": self.sample, "sampled_constant": self.constant,
            "sampled_affine": self.affine, "sampled_undefined": self.undefined, "sampled_ordinary": self.ordinary,
            "sampled_repeated": self.repeated,
        }  # fmt: skip

    def __str__(self) -> str:
        parts = []
        for name in ("constant", "affine", "undefined", "ordinary"):
            low, high = self.interval(getattr(self, name))
            label = "not finite on part of |x| ≤ 3" if name == "undefined" else name
            parts.append(
                f"{label} {100 * getattr(self, name) / self.sample:.0f}% ({100 * low:.0f} to {100 * high:.0f})"
            )
        return (
            f"{self.expressions:,} expressions, too many to list; of {self.sample} drawn at random: "
            f"{', '.join(parts)}; {self.repeated} equal to an earlier one"
        )


def listable(space: Space) -> bool:
    """Whether a space is small enough for `census` to list it."""
    return space.size <= MOST


def census(space: Space, meanwhile: Callable[[], None] | None = None) -> Census:
    """Enumerate `space` and tell its functions apart. About 0.2 ms an expression; for spaces that are `listable`.

    `meanwhile` is called now and then, a hundred times a second or so.
    """
    if space not in _counted:
        while len(_counted) >= KEPT:
            del _counted[next(iter(_counted))]
        _counted[space] = _enumerate(space, meanwhile)
    return _counted[space]


_counted: dict[Space, Census] = {}
KEPT = 8  # spaces whose census is remembered


def _enumerate(space: Space, meanwhile: Callable[[], None] | None) -> Census:
    index = IdentityIndex()
    worth: list[Expr] = []
    kinds: Counter[str] = Counter()
    for number, expr in enumerate(space):
        if meanwhile and number % 64 == 0:
            meanwhile()
        if index.add(expr)[1]:
            sort = kind(expr)
            kinds[sort] += 1
            if sort == "ordinary":
                worth.append(expr)
    return Census(space.size, sum(kinds.values()), kinds["constant"], kinds["affine"], kinds["undefined"], tuple(worth))


@lru_cache(maxsize=8)
def estimate(space: Space, sample: int = SAMPLE, seed: int = 0) -> Estimate:
    """Look at `sample` random expressions of a space of any size; 1 to 20 ms each, by their length."""
    generator = np.random.default_rng(seed)
    index = IdentityIndex()
    kinds: Counter[str] = Counter()
    repeated = 0
    for _ in range(sample):
        expr = space.sample(generator)
        repeated += not index.add(expr)[1]
        kinds[kind(expr)] += 1
    return Estimate(space.size, sample, repeated, kinds["constant"], kinds["affine"], kinds["undefined"])


def count(space: Space, meanwhile: Callable[[], None] | None = None) -> Census | Estimate:
    """The census of a space, or an estimate where it is too large to list; `meanwhile` as for `census`."""
    return census(space, meanwhile) if listable(space) else estimate(space)
