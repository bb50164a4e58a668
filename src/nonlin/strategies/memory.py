"""What a learning strategy remembers: what it asked, what came of it, and how good that was.

Answers may come in any order, for functions that were asked or for others (the well-known functions that a study trains
first): whatever is written as an expression of the space counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nonlin.expr import Expr
from nonlin.expr.tree import X, substitute
from nonlin.strategies.moves import draw
from nonlin.strategies.ranks import Merits
from nonlin.strategies.sketch import INPUTS, Sketchbook, Sketches, View, from_values
from nonlin.strategies.spaces import Code, Space

DRAWN_AT_ONCE = (6, 44, 350)  # uniform draws before a small space is gone through in order
LISTED = 200_000  # expressions of a space that may be gone through


class Memory:
    """Asked and told functions of one space.

    Parameters
    ----------
    view : what the strategy sees of sketches, see `Sketchbook`

    Attributes
    ----------
    codes : every code asked, in order, and those told besides
    results : number of a code -> (score, loss), in the order told; NaN for a child that diverged
    strangers : told functions that are not of the space: [formula, score, loss]
    """

    def __init__(self, space: Space, view: View | None = None):
        self.space = space
        self.codes: list[Code] = []
        self.results: dict[int, tuple[float, float]] = {}
        self.strangers: list[tuple[str, float, float]] = []
        self.numbers: dict[Expr, int] = {}  # an asked expression -> its number
        self.restored: dict[str, int] = {}  # the same for those of a loaded state, by their texts
        self.seen: set[bytes] = set()  # keys of asked and told functions
        self.indices: list[str] = []  # of the first of `codes` in the space; as many as were wanted so far
        self.book = Sketchbook(space, view)
        self._merits = Merits()  # of the results, in their order
        self.places: dict[int, int] = {}  # number of a told code -> its place in this order
        self.cursor = 0  # where going through a small space in order has come to

    def fresh(self, codes: Sequence[Code]) -> list[int]:
        """The places in `codes` of functions that are new and worth training, each once."""
        rows = self.book.look(codes)  # before the rest is read: it may replace it
        seen, keys, good = self.seen, self.book.keys, self.book.good
        found, taken = [], set()
        for place, row in enumerate(rows):
            if good[row] and (key := keys[row]) not in seen and key not in taken:
                taken.add(key)
                found.append(place)
        return found

    def fresh_rows(self, rows: np.ndarray) -> np.ndarray:
        """Of these rows of the book, those of functions that are new and worth training; of equal ones the first."""
        if not self.book.is_whole:
            keys, seen = self.book.keys, self.seen
            return np.array([row for row in self.book.distinct(rows.tolist()) if keys[row] not in seen], int)
        wanted = np.zeros(len(self.book.keys) + 1, bool)  # the last one is for what is not worth training
        wanted[self.book.alike[rows]] = True
        firsts = self.book.firsts
        wanted[[firsts[key] for key in self.seen if key in firsts]] = False
        return np.flatnonzero(wanted[:-1])

    def is_fresh(self, code: Code) -> bool:
        """Whether a code's function is worth training and was neither asked nor told, nor one equal to it."""
        row = self.book.look([code])[0]
        return bool(self.book.good[row]) and self.book.keys[row] not in self.seen

    def key(self, code: Code) -> bytes:
        """Equal for codes of equal functions."""
        row = self.book.look([code])[0]
        return self.book.keys[row]

    def ask(self, code: Code) -> Expr:
        """Remember that `code` is being tried; returns its expression."""
        expr = self.space.decode(code)
        self._remember(code, expr)
        return expr

    def anything(self, generator: np.random.Generator) -> Code | None:
        """A new function from anywhere in the space, drawn at random; None if nothing seems to be left."""
        for count in DRAWN_AT_ONCE:
            codes = draw(self.space, count, generator)
            if found := self.fresh(codes):
                return codes[found[0]]
        while self.space.size <= LISTED and self.cursor < self.space.size:
            block = [self.space.code(k) for k in range(self.cursor, min(self.cursor + 500, self.space.size))]
            if found := self.fresh(block):
                self.cursor += found[0] + 1
                return block[found[0]]
            self.cursor += len(block)
        return None

    def tell(self, expr: Expr, score: float, loss: float) -> int | None:
        """Remember an outcome; returns the number of its code, None for a function that is not of the space."""
        number = self.numbers.get(expr)
        if number is None and self.restored:
            number = self.restored.get(str(expr))
        if number is None:
            code = self.space.encode(expr)
            if code is None:
                self.strangers.append((str(expr), float(score), float(loss)))
                return None
            number = self._remember(code, expr)
        again = number in self.results
        self.results[number] = (float(score), float(loss))
        if again:
            self._judge_anew()
        else:
            self.places[number] = len(self.places)
            self._merits.add(float(score), float(loss))
        return number

    def _judge_anew(self) -> None:
        self.places = {number: place for place, number in enumerate(self.results)}
        self._merits = Merits(self.results.values())

    def _remember(self, code: Code, expr: Expr) -> int:
        number = len(self.codes)
        if not self.restored or str(expr) not in self.restored:
            self.numbers.setdefault(expr, number)
        self.seen.add(self.key(code))
        self.codes.append(code)
        return number

    @property
    def out(self) -> int:
        """How many codes were asked and not told yet."""
        return len(self.codes) - len(self.results)

    def told(self) -> list[int]:
        """Numbers of the codes with a result, in the order told."""
        return list(self.results)

    def merits(self) -> np.ndarray:
        """How good each of `told` is among them, from 0 for the worst or diverged to 1; not to be written to."""
        return self._merits.values()

    def merits_of(self, numbers: Sequence[int]) -> np.ndarray:
        """Merits of these told codes, (numbers,)."""
        return self.merits()[np.array([self.places[number] for number in numbers], int)]

    def best(self, count: int) -> list[int]:
        """Numbers of the best codes told, best first; those that diverged are not among them."""
        told, order = self.told(), np.argsort(-self.merits(), kind="stable")
        return [told[k] for k in order[:count] if math.isfinite(self.results[told[k]][1])]

    def strangers_sketches(self) -> Sketches:
        """Sketches of the told functions that are not of the space, parameters at 1."""
        from nonlin.expr import parse
        from nonlin.expr.codegen import compile_kernel

        rows = []
        for text, *_ in self.strangers:
            expr = parse(text)
            fixed = substitute(expr, dict.fromkeys(expr.parameters, 1.0))
            rows.append(
                compile_kernel((fixed,), ())(INPUTS)[0].numpy() if X.name in fixed.symbols else np.zeros(len(INPUTS))
            )
        return from_values(np.array(rows).reshape(-1, len(INPUTS)))

    def state_dict(self) -> dict[str, Any]:
        """Everything, as JSON values: codes as indices, outcomes as they came."""
        texts = {number: text for text, number in self.restored.items()}
        texts |= {number: str(expr) for expr, number in self.numbers.items()}
        self.indices += [str(self.space.index(code)) for code in self.codes[len(self.indices) :]]
        return {
            "asked": list(self.indices),
            "names": [texts.get(number) for number in range(len(self.codes))],
            "results": [[number, *map(_to_json, pair)] for number, pair in self.results.items()],
            "strangers": [[text, *map(_to_json, pair)] for text, *pair in self.strangers],
            "cursor": self.cursor,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.indices = list(state["asked"])
        self.codes = [self.space.code(int(index)) for index in self.indices]
        self.numbers = {}
        self.restored = {text: number for number, text in enumerate(state["names"]) if text is not None}
        rows = self.book.look(self.codes)
        self.seen = {self.book.keys[row] for row in rows}
        self.results = {number: (_from_json(score), _from_json(loss)) for number, score, loss in state["results"]}
        self._judge_anew()
        self.strangers = [(text, _from_json(score), _from_json(loss)) for text, score, loss in state["strangers"]]
        self.cursor = state["cursor"]


def _to_json(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _from_json(value: float | str) -> float:
    return float(value)
