"""The checks themselves: each must find the fault that it is there to find."""

import itertools

import numpy as np
import pytest

import nonlin as nl
from nonlin.strategies import Space
from nonlin.strategies.listing import Random
from nonlin.testing import CheckError, check_space, check_strategy
from nonlin.testing.strategies import TINY


class Own(Random):
    """A faultless strategy of the user's own."""


def test_a_faultless_strategy_passes():
    check_strategy(Own)
    check_strategy(lambda space, seed: Own(space, seed))


class NoState(Own):
    state_dict = None


class AsksText(Own):
    def ask(self):
        return "x*sigmoid(x)"


class TellsBack(Own):
    def tell(self, expr, score, loss):
        return score


class OwnSeed(Own):
    def __init__(self, space, seed=0):
        super().__init__(space, 0)


class GlobalRandom(Own):
    def ask(self):
        return self.space[int(np.random.randint(self.space.size))]  # noqa: NPY002


class Forgets(Own):
    def load_state_dict(self, state):
        pass


class ForgetsOutcomes(Own):
    """Goes on from the best so far, which its state leaves out."""

    best = -np.inf

    def ask(self):
        expr = self.space.sample(self.generator)
        return self.space[0] if self.best > 0.5 and self.generator.random() < 0.5 else expr

    def tell(self, expr, score, loss):
        self.best = max(self.best, score) if score == score else self.best


class NotJSON(Own):
    def state_dict(self):
        return {"generator": self.generator}


class Shares(Own):
    """Gives its own list away as its state."""

    def __init__(self, space, seed=0):
        super().__init__(space, seed)
        self.asked = []

    def ask(self):
        expr = super().ask()
        self.asked.append(str(expr))
        return expr

    def state_dict(self):
        return {**super().state_dict(), "asked": self.asked}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.asked = list(state["asked"])


class FearsNaN(Own):
    def tell(self, expr, score, loss):
        int(score * 100)


class WantsOrder(Own):
    def __init__(self, space, seed=0):
        super().__init__(space, seed)
        self.last = None

    def ask(self):
        self.last = super().ask()
        return self.last

    def tell(self, expr, score, loss):
        if str(expr) != str(self.last):
            raise KeyError(str(expr))


class Narrow(Own):
    def ask(self):
        return self.space[int(self.generator.integers(20))]


class GivesUp(Own):
    def __init__(self, space, seed=0):
        super().__init__(space, seed)
        self.left = itertools.count()

    def ask(self):
        return super().ask() if next(self.left) < 90 else None


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        (NoState, "has no state_dict"),
        (AsksText, "must return an expression"),
        (TellsBack, "must return nothing"),
        (OwnSeed, "the seed is not used"),
        (GlobalRandom, "differ at ask 1: a search could not be repeated"),
        (Forgets, "another one .after 9 asks."),
        (ForgetsOutcomes, "the state is not complete"),
        (NotJSON, "must hold JSON values only"),
        (Shares, "changes as the strategy runs"),
        (FearsNaN, "fails with ValueError: cannot convert float NaN.*all outcomes are NaN"),
        (WantsOrder, "fails with KeyError.*, where outcomes come 16 asks late|where no outcome"),
        (Narrow, "of the .* functions of a space"),
        (lambda space, seed: 1 / 0, "division by zero"),
    ],
)
def test_faults_are_found(faulty, message):
    with pytest.raises((CheckError, ZeroDivisionError), match=message):
        check_strategy(faulty)


def test_a_strategy_that_need_not_exhaust():
    check_strategy(Narrow, exhausts=False)
    with pytest.raises(CheckError, match="returned None"):
        check_strategy(GivesUp)


def test_spaces():
    check_space("core-1", draws=10)
    with pytest.raises(CheckError, match="worth training"):
        check_space(Space("flat", ("a", "-a"), ("a + b", "a - b")))


def test_a_fault_is_an_assertion_and_ours():
    assert issubclass(CheckError, AssertionError)
    assert issubclass(CheckError, nl.errors.NonlinError)


@pytest.fixture(scope="module")
def task():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(120, 2))
    data = nl.Data.from_arrays(x, (x[:, 0] * x[:, 1] > 0).astype(int))
    from torch import nn

    build = lambda act: nn.Sequential(nn.Linear(2, 8), act(8), nn.Linear(8, 2))  # noqa: E731
    return nl.Task("own", build, lambda: data, nl.Budget(epochs=2, batch_size=64, learning_rate=0.02))


def test_what_passes_can_be_searched_with(task):
    study = nl.search(task, space=TINY, strategy=Own, budget=5)
    assert study.config.strategy == "Own"
    assert sum(trial.role == "candidate" for trial in study.trials()) == 5
