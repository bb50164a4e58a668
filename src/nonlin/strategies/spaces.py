"""Search spaces: which expressions a search may propose.

The core unit of Ramachandran, Zoph & Le (2017, arXiv:1710.05941, section 2 and figure 1) is
b(u1(x1), u2(x2)) with a binary function b and unary functions u1 and u2. `core-1` is one unit over
their 25 unary and 10 binary functions: 25·25·10 = 6,250 expressions. Each β is a trainable parameter of
its own. The paper does not give the ε of log(|x|+ε) and x1/(x2+ε); `EPSILON` is our choice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nonlin.errors import UnknownNameError
from nonlin.expr import Expr, Symbol, parse, substitute

EPSILON = "1e-05"

# The paper's functions, in its order. In a unary function a is the input, in a binary one a and b are.
UNARY = (
    "a", "-a", "abs(a)", "a**2", "a**3", "sqrt(a)", "beta*a", "a + beta", f"log(abs(a) + {EPSILON})",
    "exp(a)", "sin(a)", "cos(a)", "sinh(a)", "cosh(a)", "tanh(a)", "asinh(a)", "atan(a)", "sinc(a)",
    "max(a, 0)", "min(a, 0)", "sigmoid(a)", "log(1 + exp(a))", "exp(-a**2)", "erf(a)", "beta",
)  # fmt: skip
BINARY = (
    "a + b", "a*b", "a - b", f"a/(b + {EPSILON})", "max(a, b)", "min(a, b)", "sigmoid(a)*b",
    "exp(-beta*(a - b)**2)", "exp(-beta*abs(a - b))", "beta*a + (1 - beta)*b",
)  # fmt: skip


@dataclass(frozen=True)
class Space:
    """All expressions b(u1(x), u2(x)).

    An expression is addressed by its index, 0 ≤ index < len(space): ((b·U) + u1)·U + u2.
    """

    name: str
    unary: tuple[str, ...]
    binary: tuple[str, ...]
    remark: str = ""

    def __len__(self) -> int:
        return len(self.binary) * len(self.unary) ** 2

    def __iter__(self) -> Iterator[Expr]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Expr:
        """The expression at `index`; parameters are called beta, or beta1, beta2, ... if several."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        rest, second = divmod(index, len(self.unary))
        outer, first = divmod(rest, len(self.unary))
        parts = (self._unary[first], self._unary[second], self._binary[outer])
        several = sum(bool(part.parameters and "beta" in part.symbols) for part in parts) > 1
        named = []
        for number, part in enumerate(parts, start=1):
            named.append(substitute(part, {"beta": Symbol(f"beta{number}")}) if several else part)
        left, right = (substitute(part, {"a": Symbol("x")}) for part in named[:2])
        return substitute(named[2], {"a": left, "b": right})

    def sample(self, generator: np.random.Generator) -> Expr:
        """One expression, each with the same probability."""
        return self[int(generator.integers(len(self)))]

    @cached_property
    def _unary(self) -> tuple[Expr, ...]:
        return tuple(map(parse, self.unary))

    @cached_property
    def _binary(self) -> tuple[Expr, ...]:
        return tuple(map(parse, self.binary))


SPACES: dict[str, Space] = {
    space.name: space
    for space in (
        Space(
            "core-1", UNARY, BINARY,
            "one core unit b(u1(x), u2(x)) over the 25 unary and 10 binary functions of Ramachandran et al. 2017",
        ),
    )
}  # fmt: skip


def space(name: str | Space) -> Space:
    """The space called `name`; UnknownNameError if there is none."""
    if isinstance(name, Space):
        return name
    if name not in SPACES:
        raise UnknownNameError("space", name, SPACES)
    return SPACES[name]
