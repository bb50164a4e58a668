"""Regularised evolution: the best of a small random group has a child, and the oldest leaves.

References: [Real2019] E. Real et al., Regularized evolution for image classifier architecture search, 2019,
arXiv:1802.01548, algorithm 1. [Bingham2020] G. Bingham & R. Miikkulainen, Discovering parametric activation functions
(PANGAEA), 2020, arXiv:2006.03179, section 3, for the moves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nonlin.expr import Expr
from nonlin.strategies.memory import Memory
from nonlin.strategies.moves import cross_each, mutate_each
from nonlin.strategies.spaces import Code, Space

LITTER = 8  # children made at once, and proposed one after another; or, where many functions are out, ...
OUT = 16  # ... one for so many of them: then outcomes come later than the next proposals anyhow
LITTERS = 8  # in a row without a new function before something is taken at random


class Evolution:
    """Regularised evolution.

    Parameters
    ----------
    space, seed : where to search, and the seed of all choices
    population : how many functions live; until so many are told, functions are drawn at random
    tournament : how many of the living compete to be a parent
    crossing : probability that a child has two parents
    """

    def __init__(self, space: Space, seed: int = 0, population: int = 24, tournament: int = 8, crossing: float = 0.15):
        self.space, self.population, self.tournament, self.crossing = space, population, tournament, crossing
        self.generator = np.random.default_rng(seed)
        self.memory = Memory(space)
        self.living: list[int] = []  # numbers of told codes, the oldest first
        self.litter: list[Code] = []  # to be proposed, from the last to the first

    def ask(self) -> Expr | None:
        if len(self.living) >= self.population:
            code = self._next_child()
        else:
            code = self.memory.anything(self.generator)
        return None if code is None else self.memory.ask(code)

    def _next_child(self) -> Code | None:
        """A child that is new and worth training; anything that is, if many litters bring none."""
        for _ in range(LITTERS):
            if not self.litter:
                children = self._children()
                self.litter = [children[k] for k in reversed(self.memory.fresh(children))]
            while self.litter:
                code = self.litter.pop()
                if self.memory.is_fresh(code):
                    return code
        return self.memory.anything(self.generator)

    def _children(self) -> list[Code]:
        merits, count = self.memory.merits_of(self.living), max(LITTER, self.memory.out // OUT)
        parents, others = self._parents(merits, count), self._parents(merits, count)
        crossing = np.flatnonzero(self.generator.random(count) < self.crossing).tolist()
        pairs = [parents[k] for k in crossing], [others[k] for k in crossing]
        for k, code in zip(crossing, cross_each(self.space, *pairs, self.generator), strict=True):
            parents[k] = code
        return mutate_each(self.space, parents, self.generator)

    def _parents(self, merits: np.ndarray, count: int) -> list[Code]:
        """The winners of `count` tournaments, whose rivals are drawn without repetition."""
        luck = self.generator.random((count, len(merits)))
        last = min(self.tournament, len(merits)) - 1
        rivals = luck <= np.partition(luck, last, axis=1)[:, last, None]
        return [self.memory.codes[self.living[k]] for k in np.where(rivals, merits, -1.0).argmax(axis=1).tolist()]

    def tell(self, expr: Expr, score: float, loss: float) -> None:
        number = self.memory.tell(expr, score, loss)
        if number is not None and number not in self.living:
            self.living.append(number)
            del self.living[: -self.population]  # the oldest dies

    def state_dict(self) -> dict[str, Any]:
        return {
            "memory": self.memory.state_dict(), "living": list(self.living),
            "litter": [list(code) for code in self.litter], "generator": self.generator.bit_generator.state,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.memory.load_state_dict(state["memory"])
        self.living = list(state["living"])
        self.litter = [tuple(code) for code in state["litter"]]
        self.generator.bit_generator.state = state["generator"]
