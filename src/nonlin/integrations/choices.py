"""Which functions a hyper-parameter search may propose: each once, however it is spelled."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from nonlin.errors import SearchError
from nonlin.expr import Expr, parse
from nonlin.expr.identity import IdentityIndex, kind
from nonlin.strategies import Space, listable
from nonlin.strategies import space as space_by_name
from nonlin.strategies.census import census
from nonlin.zoo import Activation, activation
from nonlin.zoo.recognise import recognise

Spec = Activation | str
TRIES = 20_000  # draws in a row from a large space that bring nothing new, before it counts as exhausted

_lock = threading.Lock()
_index = IdentityIndex()


def key(function: Expr | str) -> str:
    """Equal for equal functions, within this process."""
    with _lock:  # searches ask from several threads
        return _key(function)


@lru_cache(maxsize=65536)
def _key(function: Expr | str) -> str:
    return _index.add(parse(function) if isinstance(function, str) else function)[0]


def distinct(choices: Iterable[Spec]) -> dict[str, Activation]:
    """The functions of a list by name; of equal ones the first.

    Raises
    ------
    SearchError : for an empty list, or text in its place
    NonlinError : for what is no activation
    """
    if isinstance(choices, str | Activation) or not isinstance(choices, Iterable):
        raise SearchError(f"choices must be a list of activations, such as ['relu', 'gelu']; got {choices!r}.")
    found: dict[str, Activation] = {}
    seen: set[str] = set()
    for act in map(activation, choices):
        if (mark := key(act.expr)) not in seen:
            seen.add(mark)
            found[act.name if act.name not in found else str(act)] = act
    if not found:
        raise SearchError("choices is empty; name the activations to choose among, such as ['relu', 'gelu'].")
    return found


def one_source(choices: Sequence[Spec] | None, space: str | Path | Space | None) -> None:
    """SearchError unless there is either a list or a space."""
    if (choices is None) == (space is None):
        given = "both" if choices is not None else "neither"
        raise SearchError(
            f"give either choices=['relu', 'gelu', ...] or space='core-1' (see 'nonlin spaces'); got {given}."
        )


def named(expr: Expr) -> Activation:
    """An expression as an activation, under the name it is known by if it has one."""
    act = activation(str(expr))
    names = [known for known in recognise(expr) if not known.values]
    return Activation(names[0].name, act.expr, act.initial) if names else act


def drawn(space: str | Path | Space, number: int | None, seed: int) -> list[Activation]:
    """`number` functions of a space worth training, drawn at random, all different; None for all of them.

    Raises
    ------
    SearchError : more than there are, all of a space too large to list, or a number below 1
    """
    where = space_by_name(space)
    if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 1):
        raise SearchError(f"number must be a whole number above 0, or None for all; got {number!r}.")
    generator = np.random.default_rng(seed)
    if listable(where):
        functions = census(where).worth_training
        if number is not None and number > len(functions):
            raise SearchError(f"space {where.name!r} has {len(functions):,} functions worth training, not {number:,}.")
        order = generator.permutation(len(functions))[:number]
        return [named(functions[k]) for k in order]
    if number is None:
        raise SearchError(f"space {where.name!r} has {where.size:,} expressions; say how many to draw: number=100.")
    return _sampled(where, number, generator)


def _sampled(where: Space, number: int, generator: np.random.Generator) -> list[Activation]:
    seen: set[str] = set()
    found: list[Activation] = []
    fruitless = 0
    while len(found) < number:
        expr = where.sample(generator)
        if kind(expr) == "ordinary" and (mark := key(expr)) not in seen:
            seen.add(mark)
            found.append(named(expr))
            fruitless = 0
        elif (fruitless := fruitless + 1) > TRIES:
            raise SearchError(f"space {where.name!r} seems to have only {len(found):,} functions, not {number:,}.")
    return found
