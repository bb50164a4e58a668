"""What a learning strategy remembers: what it asked, what came of it, and how good that was.

Answers may come in any order, for functions that were asked or for others (the well-known functions that a study trains
first): whatever is written as an expression of the space counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from nonlin.expr import Expr
from nonlin.expr.tree import X, substitute
from nonlin.strategies.moves import draw
from nonlin.strategies.sketch import INPUTS, Sketchbook, Sketches, from_values
from nonlin.strategies.spaces import Code, Space

DRAWN_AT_ONCE = (6, 44, 350)  # uniform draws before a small space is gone through in order
LOSS_SHARE = 0.75  # of an outcome's merit; the score has the rest
LISTED = 200_000  # expressions of a space that may be gone through


class Memory:
    """Asked and told functions of one space.

    Attributes
    ----------
    codes : every code asked, in order, and those told besides
    results : number of a code -> (score, loss); NaN for a child that diverged
    strangers : told functions that are not of the space: [formula, score, loss]
    """

    def __init__(self, space: Space):
        self.space = space
        self.codes: list[Code] = []
        self.results: dict[int, tuple[float, float]] = {}
        self.strangers: list[tuple[str, float, float]] = []
        self.numbers: dict[str, int] = {}  # text of an asked expression -> its number
        self.keys: list[bytes] = []  # of asked and told functions, one for each code
        self.seen: set[bytes] = set()  # the same
        self.indices: list[str] = []  # of `codes` in the space
        self.book = Sketchbook(space)
        self.cursor = 0  # where going through a small space in order has come to

    def fresh(self, codes: Sequence[Code], before: int | None = None) -> list[int]:
        """The places in `codes` of functions that are new and worth training, each once.

        With `before`, those that were new when only so many codes had been asked.
        """
        seen = self.seen if before is None else set(self.keys[:before])
        found, taken = [], set()
        for place, row in enumerate(self.book.look(codes)):
            key = self.book.keys[row]
            if self.book.good[row] and key not in seen and key not in taken:
                taken.add(key)
                found.append(place)
        return found

    def key(self, code: Code) -> bytes:
        """Equal for codes of equal functions."""
        return self.book.keys[self.book.look([code])[0]]

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
        text = str(expr)
        number = self.numbers.get(text)
        if number is None:
            code = self.space.encode(expr)
            if code is None:
                self.strangers.append((text, float(score), float(loss)))
                return None
            number = self._remember(code, expr)
        self.results[number] = (float(score), float(loss))
        return number

    def _remember(self, code: Code, expr: Expr) -> int:
        self.numbers.setdefault(str(expr), len(self.codes))
        key = self.key(code)
        self.keys.append(key)
        self.seen.add(key)
        self.codes.append(code)
        self.indices.append(str(self.space.index(code)))
        return len(self.codes) - 1

    def told(self) -> list[int]:
        """Numbers of the codes with a result, in the order of the codes."""
        return sorted(self.results)

    def best(self, count: int) -> list[int]:
        """Numbers of the best codes told, best first; those that diverged are not among them."""
        told = self.told()
        merits = merit([self.results[number] for number in told])
        order = np.argsort(-merits, kind="stable")
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

    def state(self) -> dict[str, Any]:
        """Everything, as JSON values: codes as indices, outcomes as they came."""
        texts = {number: text for text, number in self.numbers.items()}
        return {
            "asked": list(self.indices),
            "names": [texts.get(number) for number in range(len(self.codes))],
            "results": [[number, *map(_to_json, pair)] for number, pair in self.results.items()],
            "strangers": [[text, *map(_to_json, pair)] for text, *pair in self.strangers],
            "cursor": self.cursor,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.indices = list(state["asked"])
        self.codes = [self.space.code(int(index)) for index in self.indices]
        self.numbers = {text: number for number, text in enumerate(state["names"]) if text is not None}
        self.keys = [self.book.keys[row] for row in self.book.look(self.codes)]
        self.seen = set(self.keys)
        self.results = {number: (_from_json(score), _from_json(loss)) for number, score, loss in state["results"]}
        self.strangers = [(text, _from_json(score), _from_json(loss)) for text, score, loss in state["strangers"]]
        self.cursor = state["cursor"]


def merit(results: Iterable[tuple[float, float]]) -> np.ndarray:
    """How good each outcome is among these, from 0 for the worst to 1 for the best; (n,).

    A mean of two ranks, by loss and by score: scores of small tasks are coarse and noisy, so the loss has the larger
    part; a loss alone would punish a confident network. Children that diverged are 0.
    """
    pairs = np.array([*results], dtype=float).reshape(-1, 2)
    by_score, by_loss = np.nan_to_num(pairs[:, 0], nan=-np.inf), -np.nan_to_num(pairs[:, 1], nan=np.inf)
    merits = LOSS_SHARE * rank(by_loss) + (1 - LOSS_SHARE) * rank(by_score)
    merits[~np.isfinite(pairs[:, 1])] = 0.0
    return merits


def rank(values: np.ndarray) -> np.ndarray:
    """Shares of the others that are smaller, ties counted half; (n,) in 0..1."""
    if len(values) < 2:
        return np.ones(len(values))
    ordered = np.sort(values)
    low, high = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return (low + high - 1) / 2 / (len(values) - 1)


def _to_json(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _from_json(value: float | str) -> float:
    return float(value)


Propose = Callable[[], list[Code]]


def first_fresh(memory: Memory, propose: Propose, generator: np.random.Generator, tries: int = 8) -> Code | None:
    """The first new function worth training among what `propose` returns, in up to `tries` calls; else anything new."""
    for _ in range(tries):
        codes = propose()
        if found := memory.fresh(codes):
            return codes[found[0]]
    return memory.anything(generator)
