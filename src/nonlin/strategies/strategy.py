"""Strategies: which function to try next. They hold only their own state and train nothing.

A strategy is asked for expressions one at a time and told outcomes, in any order. The study trains each distinct
function once, so a strategy may propose what was tried before: it is told the known outcome at once. It is also told
the outcomes of the well-known functions that every study trains first.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

from nonlin.errors import SearchError, UnknownNameError
from nonlin.expr import Expr
from nonlin.strategies.spaces import Space


class Strategy(Protocol):
    """What a search strategy must offer; `nonlin.testing.check_strategy` checks it.

    `state_dict` returns everything that changes, as JSON values, so that a search resumes exactly.
    """

    def ask(self) -> Expr | None:
        """The next expression to try, or None when the strategy has no more."""

    def tell(self, expr: Expr, score: float, loss: float) -> None:
        """The outcome of an expression: NaN for one that diverged, failed or was skipped."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


StrategyFactory = Callable[[Space, int], Strategy]

# name: where its class is, and what it does
STRATEGIES: dict[str, tuple[str, str]] = {
    "exhaustive": ("nonlin.strategies.listing:Exhaustive", "every function once, in an order shuffled by the seed"),
    "random": ("nonlin.strategies.listing:Random", "expressions drawn with equal probability"),
    "evolution": ("nonlin.strategies.evolution:Evolution", "regularised evolution: tournaments, small moves, ageing"),
    "ppo": ("nonlin.strategies.ppo:PPO", "a recurrent controller trained by proximal policy optimisation"),
    "surrogate": ("nonlin.strategies.surrogate:Surrogate", "predicts from a function's outputs what is worth a try"),
    "entropy": ("nonlin.strategies.entropic:Entropic", "moves good functions along the direction of lower entropy"),
}
_METHODS = ("ask", "tell", "state_dict", "load_state_dict")


def strategy(which: str | StrategyFactory, space: Space, seed: int) -> Strategy:
    """A new strategy by name, or what a class or factory makes of (space, seed).

    Raises
    ------
    UnknownNameError : if there is none of this name
    SearchError : if `which` is neither a name nor makes a strategy
    """
    if isinstance(which, str):
        if which not in STRATEGIES:
            raise UnknownNameError("strategy", which, STRATEGIES)
        module, name = STRATEGIES[which][0].split(":")
        return getattr(import_module(module), name)(space, seed)
    if not callable(which):
        hint = ": pass its class, not an instance" if hasattr(which, "ask") else ""
        raise SearchError(
            f"a strategy is a name or a callable of (space, seed) that returns one; got {type(which).__name__} "
            f"{which!r:.60}{hint}."
        )
    try:
        made = which(space, seed)
    except TypeError as error:
        raise SearchError(
            f"{label(which)}(space, seed) failed with {error}. A strategy takes (space, seed)."
        ) from error
    missing = [name for name in _METHODS if not callable(getattr(made, name, None))]
    if missing:
        raise SearchError(
            f"what {label(which)} makes, of type {type(made).__name__}, has no {', '.join(missing)}. A strategy has "
            f"{', '.join(_METHODS)}; nonlin.testing.check_strategy checks one."
        )
    return made


def label(which: str | StrategyFactory) -> str:
    """The name under which a strategy is stored: its own, or that of the class or factory."""
    if isinstance(which, str):
        return which
    return getattr(which, "__qualname__", None) or type(which).__name__
