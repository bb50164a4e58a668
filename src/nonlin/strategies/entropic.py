"""Moves good functions along the direction in which their output loses entropy, and back into the space.

    a good function f ─► f ± ε·ξ, with ξ the scale-free entropy correction ─► the nearest new function among many moves

The direction is that of EAFO (Sun et al. 2024, arXiv:2405.12954) in its scale-free form, docs/theory.md equation
(12). The method says that less entropy trains better; whether it does is asked of the outcomes: the signs and sizes
of steps that did well so far are taken more often.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import ndtri

from nonlin.expr import Expr
from nonlin.strategies.memory import Memory
from nonlin.strategies.moves import cross_each, draw, mutate_each
from nonlin.strategies.sketch import LEVELS, QUANTILES, Sketches
from nonlin.strategies.spaces import Code, Space

FINER = 3  # quantiles for the direction, for each one of a sketch
FINE = ndtri((np.arange(FINER * QUANTILES) + 0.5) / (FINER * QUANTILES))
STEPS = (0.5, 0.2, -0.2, -0.5)  # of the correction's size, relative to f's deviation; positive is less entropy
RENEWED = 24  # steps of one parent after which others are looked at
PLANNED = 4  # steps drawn at once
CROSSED = 4  # crossings with each of the other best, at every so many steps of one parent
KEPT = 32  # parents whose surroundings are held, 0.1 MB each
TURNS = 4  # times that a parent's surroundings are renewed, where nothing new is left there
LARGEST_STEP = 3.0  # of a correction at one input, in deviations: it may grow without bound in the tails


NODES = np.polynomial.hermite_e.hermegauss(7)  # and weights, for a mean over Gaussian noise


class Surroundings:
    """Functions around a parent, and how near each is to where each step leads.

    Parameters
    ----------
    turn : how often those of this parent were renewed before
    codes, keys : the functions
    near : (functions, steps), see `_closeness`
    """

    def __init__(self, turn: int, codes: list[Code], keys: list[bytes], near: np.ndarray):
        self.turn, self.codes, self.keys, self.near = turn, codes, keys, near
        self.orders: dict[int, list[int]] = {}  # step -> places, from the farthest to the nearest, of those left

    def nearest(self, which: int, seen: set[bytes]) -> tuple[Code | None, float]:
        """The nearest function for a step that is not among those seen, and how near; None if none is left."""
        if which not in self.orders:
            self.orders[which] = np.argsort(-self.near[:, which], kind="stable").tolist()[::-1]
        order = self.orders[which]
        while order and self.keys[order[-1]] in seen:
            order.pop()
        return (self.codes[order[-1]], float(self.near[order[-1], which])) if order else (None, -1.0)


class Entropic:
    """Steps along the entropy correction, projected back into the space by nearest outputs.

    Parameters
    ----------
    space, seed : where to search, and the seed of all choices
    first : functions drawn at random before the first step
    parents : the best functions so far, one of which takes the step
    moved, random : where to look for the nearest function: moves from the parent, and random ones, which follow from
        the seed and the parent alone and serve for several steps; besides, crossings with the other best
    """

    def __init__(
        self, space: Space, seed: int = 0, first: int = 8, parents: int = 5, moved: int = 120, random: int = 80
    ):
        self.space, self.first, self.parents, self.moved, self.random = space, first, parents, moved, random
        self.seed = seed
        self.generator = np.random.default_rng(seed)
        self.memory = Memory(space, forms)
        self.steps: dict[int, int] = {}  # number of a code -> which of STEPS led to it
        self.taken: dict[int, int] = {}  # number of a parent's code -> how many steps it took
        self.led: list[int] = []  # places of told codes that a step led to
        self.which: list[int] = []  # and which of STEPS that was
        self.planned: list[int] = []  # which of STEPS come next, from the last to the first
        self.best: list[int] = []  # numbers of the best codes when these were planned
        self.aims: dict[Code, np.ndarray] = {}  # the form that each step from a parent leads to, (steps, 48)
        self.surroundings: dict[Code, Surroundings] = {}

    def ask(self) -> Expr | None:
        if not self.planned:
            self.best = self.memory.best(self.parents)
        if len(self.memory.results) < self.first or not self.best:
            code = self.memory.anything(self.generator)
            return None if code is None else self.memory.ask(code)
        which = self._step()
        parent = self.best[int(self.generator.integers(len(self.best)))]
        code = self._nearest(parent, which, self.best)
        if code is None:
            return None
        self.steps[len(self.memory.codes)] = which
        return self.memory.ask(code)

    def _step(self) -> int:
        """One of `STEPS`, the more often the better those that it led to (Thompson sampling of Beta counts)."""
        if not self.planned:
            good, which = self.memory.merits()[np.array(self.led, int)] > 0.75, np.array(self.which, int)
            won = np.bincount(which, weights=good, minlength=len(STEPS))
            lost = np.bincount(which, minlength=len(STEPS)) - won
            chances = self.generator.beta(1 + won, 1 + lost, size=(PLANNED, len(STEPS)))
            self.planned = chances.argmax(axis=1).tolist()
        return self.planned.pop()

    def _nearest(self, number: int, which: int, best: Sequence[int]) -> Code | None:
        """The new function nearest to code `number` moved by a step, among moves, crossings and random ones."""
        memory, parent = self.memory, self.memory.codes[number]
        if parent not in self.aims:
            self.aims[parent] = self._aims(parent)
        self.taken[number] = self.taken.get(number, 0) + 1
        crossed, closest = None, 0.0
        if self.taken[number] % CROSSED == 1:
            crossed, closest = self._nearest_crossing(parent, self.aims[parent][which], best)
        for turn in range(TURNS):
            code, closeness = self._around(parent, self.taken[number] // RENEWED + turn).nearest(which, memory.seen)
            if crossed is not None and closest > closeness:
                return crossed
            if code is not None:
                return code
        return memory.anything(self.generator)

    def _nearest_crossing(self, parent: Code, aim: np.ndarray, best: Sequence[int]) -> tuple[Code | None, float]:
        """Of new crossings with the best the one nearest to `aim`, and how near."""
        memory, others = self.memory, [self.memory.codes[k] for k in best] * CROSSED
        crossed = cross_each(self.space, [parent] * len(others), others, self.generator)
        crossed = [crossed[k] for k in memory.fresh(crossed)]
        if not crossed:
            return None, 0.0
        near = _closeness(memory.book.seen(crossed), aim)
        place = int(near.argmax())
        return crossed[place], float(near[place])

    def _around(self, parent: Code, turn: int) -> Surroundings:
        """Functions worth training, moves from the parent and random ones."""
        kept = self.surroundings.get(parent)
        if kept is None or kept.turn != turn:
            generator = np.random.default_rng([self.seed, turn, *parent])
            book = self.memory.book
            codes = mutate_each(self.space, [parent] * self.moved, generator)
            rows = book.look([*codes, *draw(self.space, self.random, generator)])
            rows = book.distinct(rows)
            assert book.views is not None, "a book without a view"
            if len(self.surroundings) >= KEPT:
                self.surroundings.clear()  # they are made again where they are needed
            near = _closeness(book.views[rows], self.aims[parent].T)
            kept = Surroundings(turn, [book.codes[row] for row in rows], [book.keys[row] for row in rows], near)
            self.surroundings[parent] = kept
        return kept

    def _aims(self, parent: Code) -> np.ndarray:
        """The forms of f + step·ξ for each step, f of size 1; of f alone where there is no correction."""
        form = self.memory.book.seen([parent])[0].astype(float)
        found = entropy_direction(finer(form))  # the same for all a·f + b
        direction = np.zeros(QUANTILES) if found is None else found[FINER // 2 :: FINER]
        return _form(form + np.array(STEPS)[:, None] * form.std() * direction).astype(np.float32)

    def tell(self, expr: Expr, score: float, loss: float) -> None:
        known = len(self.memory.results)
        number = self.memory.tell(expr, score, loss)
        if number in self.steps and len(self.memory.results) > known:
            self.led.append(known)
            self.which.append(self.steps[number])

    def state_dict(self) -> dict[str, Any]:
        return {
            "memory": self.memory.state_dict(), "steps": [[number, which] for number, which in self.steps.items()],
            "taken": [[number, count] for number, count in self.taken.items()], "planned": list(self.planned),
            "best": list(self.best), "generator": self.generator.bit_generator.state,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.memory.load_state_dict(state["memory"])
        self.steps, self.taken = dict(state["steps"]), dict(state["taken"])
        self.planned, self.best, self.surroundings = list(state["planned"]), list(state["best"]), {}
        told = self.memory.told()
        self.led = [place for place, number in enumerate(told) if number in self.steps]
        self.which = [self.steps[told[place]] for place in self.led]
        self.generator.bit_generator.state = state["generator"]


def finer(outputs: np.ndarray) -> np.ndarray:
    """Outputs at `FINE` from those at a sketch's quantiles, (48,): straight between these, and on beyond them."""
    return outputs @ _straight()


@lru_cache(maxsize=1)
def _straight() -> np.ndarray:
    """(48, 144), of interpolation."""
    left = np.clip(np.searchsorted(LEVELS, FINE) - 1, 0, QUANTILES - 2)
    share = (FINE - LEVELS[left]) / (LEVELS[left + 1] - LEVELS[left])
    found, column = np.zeros((QUANTILES, len(FINE))), np.arange(len(FINE))
    found[left, column], found[left + 1, column] = 1 - share, share
    return found


def entropy_direction(outputs: np.ndarray, smoothing: float = 0.1) -> np.ndarray | None:
    """The direction (12) of docs/theory.md for a function known by its outputs at even quantiles of N(0, 1).

    The density of the outputs is that of these, each with Gaussian noise of `smoothing` standard deviations; the score
    is averaged over the same noise, and its part along 1 and f taken out. What `nonlin.entropy.correction` computes
    to many digits in a second, this does to two or three in milliseconds.

    Parameters
    ----------
    outputs : (n,), n at least 100

    Returns
    -------
    (n,), of deviation 1; None where outputs are not finite or take one value only
    """
    spread = float(np.std(outputs))
    if not np.isfinite(outputs).all() or not 1e-12 < spread < 1e12:
        return None
    y = (outputs - outputs.mean()) / (spread * smoothing)  # in units of the noise
    nodes, weights = NODES
    # Output i with noise ν is y_i + ν; there the density is the sum over j of φ(y_i - y_j + ν), of which all that
    # depends on j is near_ij·exp(ν·y_j), and the score the mean of y_j - y_i - ν with these weights. |y| < √n/smoothing
    # bounds the exponents.
    single = y.astype(np.float32)
    near = single[:, None] - single
    near *= near
    near *= -0.5
    near = np.exp(near, out=near).astype(float)  # far ones are 0 in either precision
    tilted = np.exp(np.outer(y, nodes))  # (n, nodes)
    scores = (near @ (tilted * y[:, None])) / (near @ tilted) - y[:, None] - nodes
    score = scores @ weights / weights.sum()
    score = score - score.mean()
    direction = score - (score @ y) / (y @ y) * y
    size = float(np.std(direction))
    return None if size < 1e-9 else np.clip(direction / size, -LARGEST_STEP, LARGEST_STEP)


def forms(sketches: Sketches) -> np.ndarray:
    """What this strategy sees of functions: their forms, (n, 48)."""
    return _form(sketches.outputs())


def _closeness(views: np.ndarray, aim: np.ndarray) -> np.ndarray:
    """Squared correlations, rounded, so that those of equal outputs are equal in whatever order sums were taken."""
    return np.round((views @ aim) ** 2, 5)


def _form(outputs: np.ndarray) -> np.ndarray:
    """Outputs (..., 48) less their mean, of length 1: the product of two is their correlation; 0 for a constant."""
    away = outputs - outputs.mean(axis=-1, keepdims=True)
    length = np.sqrt((away**2).sum(axis=-1, keepdims=True))
    return np.where(length > 1e-9, away / np.where(length > 1e-9, length, 1.0), 0.0)
