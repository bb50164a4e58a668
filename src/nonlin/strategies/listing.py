"""Strategies that learn nothing: every function once, or functions at random."""

from __future__ import annotations

from typing import Any

import numpy as np

from nonlin.expr import Expr
from nonlin.strategies.census import census, listable
from nonlin.strategies.spaces import Space


class Exhaustive:
    """Every distinct function of the space that is worth training, in an order shuffled by the seed.

    With a budget this is a random sample without replacement. Of a space that is too large to list it goes through the
    expressions themselves, in an order that is shuffled without being stored; the search then skips those that equal an
    earlier one.
    """

    def __init__(self, space: Space, seed: int = 0):
        self.space, self.seed, self.position = space, seed, 0
        self.functions = census(space).worth_training if listable(space) else None
        if self.functions is not None:
            self.order = np.random.default_rng(seed).permutation(len(self.functions))

    def ask(self) -> Expr | None:
        count = self.space.size if self.functions is None else len(self.functions)
        if self.position >= count:
            return None
        self.position += 1
        if self.functions is None:
            return self.space[shuffled(self.position - 1, self.space.size, self.seed)]
        return self.functions[self.order[self.position - 1]]

    def tell(self, expr: Expr, score: float, loss: float) -> None:
        """Nothing is learned from outcomes."""

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = state["position"]


class Random:
    """Expressions drawn from the space with equal probability, without end."""

    def __init__(self, space: Space, seed: int = 0):
        self.space = space
        self.generator = np.random.default_rng(seed)

    def ask(self) -> Expr | None:
        return self.space.sample(self.generator)

    def tell(self, expr: Expr, score: float, loss: float) -> None:
        """Nothing is learned from outcomes."""

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.bit_generator.state = state["generator"]


def shuffled(position: int, count: int, seed: int) -> int:
    """Where `position` goes in a permutation of range(count) that is never stored.

    A Feistel network over the next even number of bits, walked until it lands inside (Black & Rogaway 2002, "Ciphers
    with arbitrary finite domains", section 3: cycle walking). At most four steps are expected.
    """
    half = (max(count - 1, 1).bit_length() + 1) // 2
    mask = (1 << half) - 1
    while True:
        left, right = position >> half, position & mask
        for turn in range(6):
            left, right = right, left ^ (_mixed(right, turn, seed) & mask)
        position = (left << half) | right
        if position < count:
            return position


def _mixed(value: int, turn: int, seed: int) -> int:
    from hashlib import blake2b

    return int.from_bytes(blake2b(f"{seed},{turn},{value}".encode(), digest_size=16).digest(), "big")
