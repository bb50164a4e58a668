"""Moves stay inside the space and do what they are called."""

from collections import Counter

import numpy as np
import pytest

from nonlin.strategies import space
from nonlin.strategies.functions import BINARY, UNARY
from nonlin.strategies.moves import MOVES, crossover, mutate
from nonlin.strategies.spaces import Space

IDENTITY = UNARY.index("a")


def changed(left, right):
    return sum(a != b for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("name", ["core-1", "core-3", "core-3-free"])
def test_each_move(name):
    where, generator = space(name), np.random.default_rng(0)
    unary = [k for k, slot in enumerate(where.slots()) if slot.kind == "unary"]
    for _ in range(100):
        code = where.sample_code(generator)
        identities = sum(code[k] == IDENTITY for k in unary)
        assert changed(code, mutate(where, code, generator, "change")) == 1
        grown = mutate(where, code, generator, "insert")
        assert changed(code, grown) == 1
        if identities:
            assert sum(grown[k] == IDENTITY for k in unary) == identities - 1
        shrunk = mutate(where, code, generator, "remove")
        if identities < len(unary):
            assert sum(shrunk[k] == IDENTITY for k in unary) == identities + 1
        where.index(mutate(where, code, generator, "change-all"))


def test_shapes_grow_and_shrink():
    where = Space("w", ("sin(a)", "tanh(a)"), ("a + b", "a*b"), templates=("u(x)", "b(u(x), u(x))"))
    generator = np.random.default_rng(0)
    assert all(mutate(where, (0, 1), generator, "insert")[0] == 1 for _ in range(20))
    grown = {mutate(where, (0, 1), generator, "insert") for _ in range(60)}
    assert {code[2] for code in grown} == {1}  # the function that was there is kept
    assert {mutate(where, (1, 0, 1, 0), generator, "remove") for _ in range(20)} == {(0, 1)}


def test_crossing_takes_each_place_from_either():
    where, generator = space("core-2"), np.random.default_rng(0)
    left, right = (1,) * 6, (2,) * 6
    children = {crossover(where, left, right, generator) for _ in range(300)}
    assert len(children) > 40
    assert all(set(child) <= {1, 2} for child in children)


def test_moves_are_drawn_by_their_probabilities():
    where, generator = space("core-3"), np.random.default_rng(0)
    b = BINARY.index("a*b")
    code = (b, 3, 4) * 3  # no identity, so that the moves can be told apart
    draws = 2000
    seen = Counter()
    for _ in range(draws):
        after = mutate(where, code, generator)
        new = sum(after[k] == IDENTITY for k in (1, 2, 4, 5, 7, 8))
        seen["all" if changed(code, after) > 1 else "to identity" if new else "other"] += 1
    assert seen["all"] / draws == pytest.approx(MOVES["change-all"], abs=0.03)
    # "remove", and those changes that happen to choose the identity
    assert seen["to identity"] / draws == pytest.approx(MOVES["remove"], abs=0.06)
