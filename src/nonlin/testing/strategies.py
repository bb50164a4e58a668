"""Does a strategy keep the contract of `nonlin.strategies.Strategy`?

Strategies are run on a small space with outcomes that follow from the function itself, so that nothing is trained and
every run can be repeated.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from nonlin.errors import SearchError
from nonlin.expr import Expr
from nonlin.expr.identity import IdentityIndex, canonical, kind
from nonlin.strategies import Space, Strategy, StrategyFactory, census, strategy
from nonlin.testing.errors import CheckError, expect

# 6·6·3 = 108 expressions, of which 28 are functions worth training.
TINY = Space("tiny", ("a", "-a", "beta*a", "sin(a)", "max(a, 0)", "beta"), ("a + b", "a*b", "exp(-beta*(a - b)**2)"))
PATIENCE = 1_000  # asks in a row that bring nothing new
Answer = Callable[[Expr], tuple[float, float]]


def check_strategy(which: str | StrategyFactory, *, exhausts: bool = True, space: Space = TINY) -> None:
    """Check a strategy; CheckError with the first fault.

    Checked are: the methods; that `ask` gives expressions or None; that one seed gives one sequence and another seed
    another; that answers may come late, in any order, as NaN, for functions never asked, or never; that
    `state_dict` is JSON and that a strategy made anew from it continues exactly, also with answers still out; that
    neither method changes the state it was given or gave.

    Parameters
    ----------
    which : your class, or any callable of (space, seed) that returns a new strategy; or a built-in name
    exhausts : whether it must find every function of a tiny space in the end. A strategy that only repeats
        itself there would end a search early
    space : a small space to run it on
    """
    make = _maker(which, space)
    _check_asks(make, space)
    _check_answers(make)
    _check_seeds(make)
    _check_state(make)
    if exhausts:
        _check_exhausts(make, space)


def outcome(expr: Expr) -> tuple[float, float]:
    """A score and a loss that follow from the function alone; NaN for about one in eight."""
    number = zlib.crc32(str(canonical(expr)).encode())
    if number % 8 == 0:
        return math.nan, math.nan
    score = (number % 1000) / 1000
    return round(score, 2), 2.0 - score


def _maker(which: str | StrategyFactory, space: Space) -> Callable[[int], Strategy]:
    try:
        strategy(which, space, 0)
    except SearchError as error:
        raise CheckError(str(error)) from error
    return lambda seed: strategy(which, space, seed)


def _run(made: Strategy, steps: int, answer: Answer = outcome, delay: int = 0) -> list[str]:
    """Texts of what it asks; each answer comes `delay` asks late."""
    asked: list[Expr] = []
    for _ in range(steps):
        expr = made.ask()
        if expr is None:
            break
        asked.append(expr)
        if len(asked) > delay:
            late = asked[len(asked) - 1 - delay]
            made.tell(late, *answer(late))
    return [str(expr) for expr in asked]


def _check_asks(make: Callable[[int], Strategy], space: Space) -> None:
    made = make(0)
    for _ in range(5):
        expr = made.ask()
        expect(
            expr is None or isinstance(expr, Expr),
            f"ask() must return an expression (nonlin.expr.Expr) or None; it returned {type(expr).__name__} "
            f"{expr!r:.60}. nonlin.expr.parse(text) makes one, and space.sample(generator) draws one.",
        )
        if expr is None:
            break
        tell: Callable[..., Any] = made.tell
        told = tell(expr, 0.5, 1.0)
        expect(told is None, f"tell() must return nothing; it returned {told!r:.60}.")


def _check_seeds(make: Callable[[int], Strategy]) -> None:
    np.random.seed(1)  # noqa: NPY002 - a strategy must not draw from this one
    first = _run(make(3), 25)
    np.random.seed(2)  # noqa: NPY002
    second = _run(make(3), 25)
    place = _difference(first, second)
    expect(
        place is None,
        f"two strategies with seed 3 differ at ask {place}: a search could not be repeated. Draw from a generator made "
        "of the seed, np.random.default_rng(seed), and from nothing else.",
    )
    others = [_run(make(seed), 25) for seed in (4, 5, 6)]
    expect(
        any(other != first for other in others),
        "seeds 3, 4, 5 and 6 give the same sequence: the seed is not used.",
    )


def _check_answers(make: Callable[[int], Strategy]) -> None:
    _survives("all outcomes are NaN", lambda: _run(make(0), 24, lambda expr: (math.nan, math.nan)))
    _survives("all outcomes are equal", lambda: _run(make(0), 24, lambda expr: (0.5, 1.0)))
    _survives("losses are huge", lambda: _run(make(0), 24, lambda expr: (-1e300, 1e300)))
    _survives("no outcome ever comes", lambda: _run(make(0), 24, delay=1000))
    _survives("outcomes come 16 asks late", lambda: _run(make(0), 24, delay=16))

    def backwards() -> None:
        made = make(0)
        asked = [expr for _ in range(12) if (expr := made.ask()) is not None]
        for expr in reversed(asked):
            made.tell(expr, *outcome(expr))
        made.ask()

    def unasked() -> None:
        from nonlin.expr import parse

        made = make(0)
        for text in ("x*sigmoid(x)", "max(x, 0)", "1", "x", "sqrt(x)", "1/x"):
            made.tell(parse(text), 0.9, 0.3)
        _run(made, 10)

    def twice() -> None:
        made = make(0)
        expr = made.ask()
        for score in (0.1, 0.9):
            if expr is not None:
                made.tell(expr, score, 1 - score)
        _run(made, 5)

    _survives("answers come in reverse", backwards)
    _survives("functions it never asked for are told (a search trains well-known ones first)", unasked)
    _survives("one function is told twice", twice)


def _survives(what: str, run: Callable[[], object]) -> None:
    try:
        run()
    except Exception as error:
        raise CheckError(f"it fails with {type(error).__name__}: {error}, where {what}.") from error


def _check_state(make: Callable[[int], Strategy]) -> None:
    for told, delay in ((0, 0), (9, 0), (30, 5)):
        made = make(7)
        asked: list[Expr] = []
        for _ in range(told):
            expr = made.ask()
            if expr is None:
                break
            asked.append(expr)
            if len(asked) > delay:
                made.tell(asked[len(asked) - 1 - delay], *outcome(asked[len(asked) - 1 - delay]))
        state = made.state_dict()
        try:
            text = json.dumps(state)
        except (TypeError, ValueError) as error:
            raise CheckError(f"state_dict() must hold JSON values only: {error}. Use lists, numbers, texts.") from error
        again = make(7)
        loaded = json.loads(text)
        again.load_state_dict(loaded)
        expect(json.dumps(loaded) == text, "load_state_dict() changes the state that it is given; copy its lists.")
        expect(
            json.dumps(again.state_dict()) == text,
            f"after load_state_dict() the state_dict() is another one (after {told} asks): something is not restored.",
        )
        for late in asked[len(asked) - delay :] if delay else []:
            made.tell(late, *outcome(late))
            again.tell(late, *outcome(late))
        place = _difference(_run(made, 20), _run(again, 20))
        expect(
            place is None,
            f"restored from its state after {told} asks ({min(delay, told)} unanswered), it differs at ask {place} "
            "from one that went on: the state is not complete. Generators belong to it too (bit_generator.state).",
        )
        expect(
            json.dumps(state) == text,
            "the dictionary that state_dict() gave changes as the strategy runs; copy its lists.",
        )


def _check_exhausts(make: Callable[[int], Strategy], space: Space) -> None:
    made, index = make(1), IdentityIndex()
    wanted = len(census(space).worth_training)
    found = fruitless = 0
    while found < wanted and fruitless < PATIENCE:
        expr = made.ask()
        if expr is None:
            break
        new = index.add(expr)[1] and kind(expr) == "ordinary"
        found, fruitless = (found + 1, 0) if new else (found, fruitless + 1)
        made.tell(expr, *(outcome(expr) if kind(expr) == "ordinary" else (math.nan, math.nan)))
    expect(
        found == wanted,
        f"it found {found} of the {wanted} functions of a space with {space.size} expressions, and then "
        f"{'returned None' if fruitless < PATIENCE else f'nothing new in {PATIENCE} asks'}. Return None only when "
        "nothing is left, and draw at random where you would repeat yourself; or check with exhausts=False.",
    )


def _difference(left: list[str], right: list[str]) -> int | None:
    """The first place, from 1, at which two sequences differ."""
    for place, (a, b) in enumerate(zip(left, right, strict=False), start=1):
        if a != b:
            return place
    return None if len(left) == len(right) else min(len(left), len(right)) + 1
