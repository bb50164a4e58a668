"""Ranks and merits kept up to date are those computed anew from their definitions."""

import math

import numpy as np
import pytest
from scipy.stats import rankdata

from nonlin.strategies import space
from nonlin.strategies.memory import Memory
from nonlin.strategies.ranks import LOSS_SHARE, Ranks, merit, rank

VALUES = np.round(np.random.default_rng(0).normal(size=150), 1)  # many ties


def test_ranks_are_those_of_scipy():
    ranks = Ranks()
    for count, value in enumerate(VALUES, start=1):
        ranks.add(value)
        if count > 1:
            expected = (rankdata(VALUES[:count]) - 1) / (count - 1)
            np.testing.assert_allclose(ranks.ranks(), expected)
            np.testing.assert_allclose(rank(VALUES[:count]), expected)


def test_merits():
    pairs = [(0.9, 0.1), (math.nan, math.nan), (0.9, 0.3), (0.5, 0.2), (0.1, math.inf)]
    by_loss, by_score = np.array([4, 0.5, 2, 3, 0.5]) / 4, np.array([3.5, 0, 3.5, 2, 1]) / 4
    expected = LOSS_SHARE * by_loss + (1 - LOSS_SHARE) * by_score
    expected[[1, 4]] = 0  # what diverged
    np.testing.assert_allclose(merit(pairs), expected)


def test_a_memory_judges_what_it_was_told_last():
    memory, generator = Memory(space("core-1")), np.random.default_rng(0)
    asked = [memory.ask(memory.anything(generator)) for _ in range(6)]
    for number, expr in enumerate(asked):
        memory.tell(expr, 0.0, float(number))
    assert memory.best(2) == [0, 1]
    memory.tell(asked[0], 0.0, 9.0)  # told again: it was not so good after all
    assert memory.best(2) == [1, 2]
    assert memory.merits_of([0]) == pytest.approx([1 / 8])  # worst by loss, tied by score
    again = Memory(space("core-1"))
    again.load_state_dict(memory.state_dict())
    np.testing.assert_array_equal(again.merits(), memory.merits())
    assert again.best(6) == memory.best(6)


def test_ranks_of_several_at_once_are_those_one_by_one():
    at_once, one_by_one = Ranks(), Ranks()
    for start in range(0, len(VALUES), 7):
        for value in VALUES[start : start + 7]:
            at_once.add(value)
            one_by_one.add(value)
            one_by_one.ranks()
        np.testing.assert_array_equal(at_once.ranks(), one_by_one.ranks())
