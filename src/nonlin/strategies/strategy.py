"""Strategies: which function to try next. They hold only their own state and train nothing.

A strategy is asked for expressions one at a time and told their outcomes in the order in which it was
asked. The study trains each distinct function once, so a strategy may propose what was tried before:
it is told the known outcome at once.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from nonlin.errors import UnknownNameError
from nonlin.expr import Expr
from nonlin.strategies.census import census
from nonlin.strategies.spaces import Space


class Strategy(Protocol):
    """What a search strategy must offer.

    `state_dict` returns everything that changes, as JSON values, so that a search resumes exactly.
    """

    def ask(self) -> Expr | None:
        """The next expression to try, or None when the strategy has no more."""

    def tell(self, expr: Expr, score: float, loss: float) -> None:
        """The outcome of an expression: NaN for one that diverged, failed or was skipped."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Exhaustive:
    """Every distinct function of the space that is worth training, in an order shuffled by the seed.

    With a budget this is a random sample without replacement.
    """

    def __init__(self, space: Space, seed: int = 0):
        self.functions = census(space).worth_training
        self.order = np.random.default_rng(seed).permutation(len(self.functions))
        self.position = 0

    def ask(self) -> Expr | None:
        if self.position >= len(self.order):
            return None
        self.position += 1
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


STRATEGIES: dict[str, type[Exhaustive] | type[Random]] = {"exhaustive": Exhaustive, "random": Random}


def strategy(name: str, space: Space, seed: int) -> Strategy:
    """A new strategy by name; UnknownNameError if there is none."""
    if name not in STRATEGIES:
        raise UnknownNameError("strategy", name, STRATEGIES)
    return STRATEGIES[name](space, seed)
