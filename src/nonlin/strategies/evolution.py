"""Regularised evolution: the best of a small random group has a child, and the oldest leaves.

References: [Real2019] E. Real et al., Regularized evolution for image classifier architecture search, 2019,
arXiv:1802.01548, algorithm 1. [Bingham2020] G. Bingham & R. Miikkulainen, Discovering parametric activation functions
(PANGAEA), 2020, arXiv:2006.03179, section 3, for the moves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nonlin.expr import Expr
from nonlin.strategies.memory import Memory, first_fresh, merit
from nonlin.strategies.moves import crossover, mutate
from nonlin.strategies.spaces import Code, Space

LITTER = 4  # children looked at for one that is new


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

    def ask(self) -> Expr | None:
        if len(self.living) >= self.population:
            code = first_fresh(self.memory, self._children, self.generator)
        else:
            code = self.memory.anything(self.generator)
        return None if code is None else self.memory.ask(code)

    def _children(self) -> list[Code]:
        merits = merit([self.memory.results[number] for number in self.living])
        return [self._child(merits) for _ in range(LITTER)]

    def _child(self, merits: np.ndarray) -> Code:
        parent = self._parent(merits)
        if self.generator.random() < self.crossing:
            parent = crossover(self.space, parent, self._parent(merits), self.generator)
        return mutate(self.space, parent, self.generator)

    def _parent(self, merits: np.ndarray) -> Code:
        size = min(self.tournament, len(self.living))
        rivals = np.sort(self.generator.choice(len(self.living), size=size, replace=False))
        return self.memory.codes[self.living[int(rivals[np.argmax(merits[rivals])])]]

    def tell(self, expr: Expr, score: float, loss: float) -> None:
        number = self.memory.tell(expr, score, loss)
        if number is not None and number not in self.living:
            self.living.append(number)
            del self.living[: -self.population]  # the oldest dies

    def state_dict(self) -> dict[str, Any]:
        return {
            "memory": self.memory.state(), "living": list(self.living),
            "generator": self.generator.bit_generator.state,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.memory.load(state["memory"])
        self.living = list(state["living"])
        self.generator.bit_generator.state = state["generator"]
