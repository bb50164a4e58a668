"""Draws without repetition: their shares are those that the policy's own judgement gives."""

import numpy as np
import pytest

from nonlin.strategies import Space, space
from nonlin.strategies.beams import bounded, distinct
from nonlin.strategies.controller import Controller
from nonlin.testing.strategies import TINY

TEMPLATES = Space("t", TINY.unary, TINY.binary, templates=("u(x)", "b(x, u(x))"))


def made(where):
    controller = Controller(where, 8, np.random.default_rng(0))
    controller.weights *= 6  # away from uniform
    judged = controller.judge(controller.layout([where.code(k) for k in range(where.size)]))
    chance = np.exp(judged.logs.sum(axis=1).astype(float))
    assert chance.sum() == pytest.approx(1, abs=1e-4)
    return controller, chance / chance.sum()


@pytest.mark.parametrize("where", [TINY, TEMPLATES], ids=["one shape", "two shapes"])
def test_first_and_second_draws_have_the_right_shares(where):
    """The second has what the first leaves, as in an urn: p_j·sum over i ≠ j of p_i/(1 - p_i)."""
    controller, chance = made(where)
    generator, draws = np.random.default_rng(1), 1500
    pairs = [distinct(controller, 2, generator) for _ in range(draws)]
    left = chance / (1 - chance)
    for place, expected in enumerate((chance, chance * (left.sum() - left))):
        counts = np.bincount([where.index(pair[place]) for pair in pairs], minlength=where.size)
        statistic = float(((counts - draws * expected) ** 2 / (draws * expected)).sum())
        assert expected.sum() == pytest.approx(1)
        assert statistic < where.size - 1 + 4 * np.sqrt(2 * where.size)
    assert chance.max() > 2 * chance.min()


@pytest.mark.parametrize("where", [TINY, TEMPLATES], ids=["one shape", "two shapes"])
def test_none_comes_twice_and_in_the_end_all_come(where):
    controller, _ = made(where)
    some = distinct(controller, 20, np.random.default_rng(0))
    assert len(set(some)) == 20
    everything = distinct(controller, 10_000, np.random.default_rng(0))
    assert sorted(everything) == sorted(where.code(k) for k in range(where.size))


def test_a_large_space():
    where = space("core-2-free")
    codes = distinct(Controller(where, 8, np.random.default_rng(0)), 50, np.random.default_rng(0))
    assert len({where.index(code) for code in codes}) == 50


def test_numbers_are_bounded_by_the_given_largest():
    noisy = np.random.default_rng(0).gumbel(size=(4, 7))
    largest = np.array([-3.0, 0.0, 1.5, 40.0])
    found = bounded(noisy, largest)
    np.testing.assert_allclose(found.max(axis=1), largest)
    np.testing.assert_array_equal(found.argsort(axis=1), noisy.argsort(axis=1))
    by_definition = -np.log(np.exp(-largest[:3, None]) - np.exp(-noisy.max(axis=1)[:3, None]) + np.exp(-noisy[:3]))
    np.testing.assert_allclose(found[:3], by_definition)
