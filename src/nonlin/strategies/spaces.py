"""Search spaces: which expressions a search may propose.

The core unit of Ramachandran, Zoph & Le (2017, arXiv:1710.05941, section 2 and figure 1) is b(u1(x1), u2(x2)) with a
binary function b and unary functions u1 and u2; x1 and x2 are the pre-activation x or outputs of earlier units. Each β
is a trainable parameter of its own.

    core-1        one unit: 25·25·10 = 6,250 expressions
    core-N        N units in a chain, each reading the one before it and x: 6,250^N
    core-N-free   N units, each reading x or any earlier unit: 6,250^N·(N!)²
    surrogate-paper  the functions of Bingham & Miikkulainen (2023), in six templates

Nothing is listed in memory: an expression is a *code*, a tuple of numbers, and a code has an index.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from itertools import accumulate, product
from operator import lt
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nonlin.errors import SearchError, UnknownNameError
from nonlin.expr import Expr
from nonlin.strategies.component import Component
from nonlin.strategies.functions import (
    BINARY,
    EPSILON,
    SURROGATE_BINARY,
    SURROGATE_NARY,
    SURROGATE_TEMPLATES,
    SURROGATE_UNARY,
    UNARY,
)
from nonlin.strategies.shape import Shape, Slot, template, units

__all__ = ["BINARY", "EPSILON", "SPACES", "UNARY", "Code", "Space", "space"]

Code = tuple[int, ...]
KEPT = 20_000  # expressions of a space that are kept once they are made, some kilobytes each
MOST_UNITS = {"chain": 12, "free": 6}  # beyond, formulas outgrow what the language reads


@dataclass(frozen=True)
class Space:
    """A set of expressions: shapes, with functions for the holes in them.

    An expression is addressed by its index, 0 ≤ index < size, or by its code: the number of its shape (left out
    where there is only one), then one number for each hole. For one core unit the code is (b, u1, u2) and the index
    ((b·U) + u1)·U + u2. Two codes may stand for the same expression, and two expressions for the same function.

    Parameters
    ----------
    name, remark : for people
    unary, binary, nary : formulas of a (and b) for the holes; other names in them are trainable parameters
    units : how many core units, where no `templates` are given
    wiring : "chain" each later unit reads the one before it and x; "free" x or any earlier unit
    templates : shapes instead of core units, as in ("b(x, g(x))",); see `nonlin.strategies.shape`
    per : trainable parameters per "channel" or per "tensor", unless the search says otherwise

    Raises
    ------
    SearchError, FormulaError : when it is first used, for what cannot be read
    """

    name: str
    unary: tuple[str, ...]
    binary: tuple[str, ...] = ()
    remark: str = ""
    nary: tuple[str, ...] = ()
    units: int = 1
    wiring: Literal["chain", "free"] = "chain"
    templates: tuple[str, ...] = ()
    per: Literal["channel", "tensor"] | None = None

    # Its expressions

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        functions = {
            "unary": _components(self.unary, ("a",)),
            "binary": _components(self.binary, ("a", "b")),
            "nary": _components(self.nary, ("a", "b")),
        }
        if self.templates:
            return tuple(template(text, functions) for text in self.templates)
        if not (self.unary and self.binary):
            raise SearchError(f"space {self.name!r} needs unary and binary functions for its core units.")
        if not 1 <= self.units <= MOST_UNITS[self.wiring]:
            raise SearchError(
                f"space {self.name!r} asks for {self.units} units; a {self.wiring} space may have 1 to "
                f"{MOST_UNITS[self.wiring]}."
            )
        return (units(self.units, self.wiring, functions),)

    @cached_property
    def size(self) -> int:
        """How many expressions: the exact number of codes, of any size."""
        return sum(shape.size for shape in self.shapes)

    def __len__(self) -> int:
        """`size`; OverflowError beyond what Python's len can say."""
        return self.size

    def __iter__(self) -> Iterator[Expr]:
        """Every expression, one after another, in the order of the index."""
        return (self[index] for index in range(self.size))

    def __getitem__(self, index: int) -> Expr:
        """The expression at `index`."""
        return self.decode(self.code(index))

    def __contains__(self, expr: object) -> bool:
        """Whether `expr` is written as an expression of this space is, up to the names of its parameters."""
        return isinstance(expr, Expr) and self.encode(expr) is not None

    def distinct(self) -> Iterator[Expr]:
        """Every function once, lazily: of equal expressions the first. Holds a fingerprint for each."""
        from nonlin.expr.identity import IdentityIndex

        seen = IdentityIndex()
        return (expr for expr in self if seen.add(expr)[1])

    def sample(self, generator: np.random.Generator) -> Expr:
        """One expression, each code with the same probability."""
        return self.decode(self.sample_code(generator))

    # Codes

    def code(self, index: int) -> Code:
        """The code at `index`; IndexError outside the space."""
        if not 0 <= index < self.size:
            raise IndexError(f"index {index} is not in the space {self.name}, which has {self.size:,} expressions")
        number = 0
        while index >= self.shapes[number].size:
            index -= self.shapes[number].size
            number += 1
        digits = []
        for slot in reversed(self.shapes[number].slots):
            index, digit = divmod(index, slot.count)
            digits.append(digit)
        return (*self._head(number), *reversed(digits))

    def codes(self) -> Iterator[Code]:
        """Every code, in the order of the index."""
        for number, shape in enumerate(self.shapes):
            yield from product(*([head] for head in self._head(number)), *(range(slot.count) for slot in shape.slots))

    def index(self, code: Sequence[int]) -> int:
        """The index of a code; SearchError if it is none of this space."""
        number, choices = self._split(code)
        index = 0
        for slot, digit in zip(self.shapes[number].slots, choices, strict=True):
            index = index * slot.count + int(digit)
        return self._offsets[number] + index

    def decode(self, code: Sequence[int]) -> Expr:
        """The expression of a code. Parameters keep their names, numbered where one occurs twice.

        Raises
        ------
        SearchError : if the code is none of this space
        """
        code = tuple(code)
        found = self._decoded.get(code)
        if found is None:
            number, choices = self._split(code)
            found = self.shapes[number].decode(choices)
            if self.size <= KEPT:
                self._decoded[code] = found
        return found

    @cached_property
    def _decoded(self) -> dict[Code, Expr]:
        """The expressions made so far, in a small space: a search comes to most of them more than once."""
        return {}

    def encode(self, expr: Expr) -> Code | None:
        """The first code whose expression is `expr`, up to the names of its parameters; None if there is none."""
        for number, shape in enumerate(self.shapes):
            if (choices := shape.encode(expr)) is not None:
                return (*self._head(number), *choices)
        return None

    def sample_code(self, generator: np.random.Generator) -> Code:
        """One code, each with the same probability."""
        number = 0
        if len(self.shapes) > 1:
            number = self._shape_of(below(self.size, generator))
        return (*self._head(number), *(int(generator.integers(slot.count)) for slot in self.shapes[number].slots))

    def slots(self, head: Sequence[int] = ()) -> tuple[Slot, ...]:
        """The places of a code that begins with `head`: of the shape it names, or of the only one."""
        if len(self.shapes) == 1:
            return self.shapes[0].slots
        shapes = Slot("input", len(self.shapes))
        return (shapes, *self.shapes[head[0]].slots) if head else (shapes,)

    def shape_of(self, code: Sequence[int]) -> tuple[int, Code]:
        """The number of a code's shape, and the choices for its holes."""
        return (0, tuple(code)) if len(self.shapes) == 1 else (code[0], tuple(code[1:]))

    def compose(self, shape: int, choices: Sequence[int]) -> Code:
        """The code of a shape's number and choices for its holes."""
        return (*self._head(shape), *map(int, choices))

    def _head(self, number: int) -> Code:
        return () if len(self.shapes) == 1 else (number,)

    def _split(self, code: Sequence[int]) -> tuple[int, Code]:
        number, choices = self.shape_of(code) if len(code) else (-1, ())
        counts = self.shapes[number].counts if 0 <= number < len(self.shapes) else ()
        fits = len(choices) == len(counts) and all(map(lt, choices, counts)) and min(choices, default=0) >= 0
        if not counts or not fits:
            raise SearchError(
                f"{tuple(code)} is not a code of the space {self.name}; {self.code(self.size - 1)} is its last one."
            )
        return number, choices

    def _shape_of(self, index: int) -> int:
        return sum(index >= offset for offset in self._offsets[1:])

    @cached_property
    def _offsets(self) -> tuple[int, ...]:
        return tuple(accumulate((shape.size for shape in self.shapes[:-1]), initial=0))

    # As data

    def definition(self) -> dict[str, Any]:
        """All of it as JSON values; `Space.from_definition` reads it back."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_definition(cls, definition: Mapping[str, Any]) -> Space:
        known = {item.name for item in fields(cls)}
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in definition.items()
        }
        return cls(**{key: value for key, value in values.items() if key in known})

    def __getstate__(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def below(limit: int, generator: np.random.Generator) -> int:
    """A uniform integer in [0, limit), also where limit is larger than 64 bits hold."""
    bits = limit.bit_length()
    while True:  # rejection: each try succeeds with probability above one half
        words = generator.integers(0, 1 << 32, size=(bits + 31) // 32)
        value = sum(int(word) << (32 * k) for k, word in enumerate(words)) & ((1 << bits) - 1)
        if value < limit:
            return value


def _components(formulas: Sequence[str], inputs: tuple[str, ...]) -> tuple[Component, ...]:
    found = tuple(Component(formula, inputs) for formula in formulas)
    for component in found:
        if "x" in component.parameters:
            raise SearchError(f"{component.formula!r} in a space: write its input a, not x (of two inputs a and b).")
    return found


def core(count: int, wiring: Literal["chain", "free"] = "chain") -> Space:
    """`count` core units over the functions of Ramachandran et al. (2017)."""
    reads = "the one before it and x" if wiring == "chain" else "x or any earlier one"
    remark = {1: "one core unit b(u1(x), u2(x))"}.get(
        count, f"{count} core units b(u1(.), u2(.)), each reading {reads},"
    )
    return Space(
        f"core-{count}" + ("-free" if wiring == "free" else ""), UNARY, BINARY,
        f"{remark} over the 25 unary and 10 binary functions of Ramachandran et al. 2017",
        units=count, wiring=wiring,
    )  # fmt: skip


SPACES: dict[str, Space] = {
    made.name: made
    for made in (
        core(1), core(2), core(3), core(2, "free"), core(3, "free"),
        Space(
            "surrogate-paper", SURROGATE_UNARY, SURROGATE_BINARY,
            "29 unary, 7 binary and 4 n-ary functions of Bingham & Miikkulainen 2023, in six templates",
            nary=SURROGATE_NARY, templates=SURROGATE_TEMPLATES,
        ),
    )
}  # fmt: skip


def space(name: str | Path | Space) -> Space:
    """The space called `name`: a built-in one, core-N or core-N-free for any N, or a TOML file.

    Raises
    ------
    UnknownNameError : if there is none
    SearchError : for a file that cannot be read as a space, or too many units
    """
    if isinstance(name, Space):
        return name
    if not isinstance(name, str | Path):
        raise SearchError(f"a space is a name such as 'core-1', a .toml file's path or a nonlin Space; got {name!r}.")
    if isinstance(name, Path) or name.endswith(".toml"):
        from nonlin.strategies.load import load_space

        return load_space(name)
    if name in SPACES:
        return SPACES[name]
    if found := re.fullmatch(r"core-([1-9]\d{0,5})(-free)?", name):
        made = core(int(found[1]), "free" if found[2] else "chain")
        _ = made.shapes  # raises for too many units
        return made
    raise UnknownNameError(
        "space", name, SPACES, "Also core-N and core-N-free for other N, and the path of a .toml file with your own."
    )
