"""Moves good functions along the direction in which their output loses entropy, and back into the space.

    a good function f ─► f ± ε·ξ, with ξ the scale-free entropy correction ─► the nearest new function among many moves

The direction is that of EAFO (Sun et al. 2024, arXiv:2405.12954) in its scale-free form, docs/theory.md equation
(12). The method says that less entropy trains better; whether it does is asked of the outcomes: the signs and sizes
of steps that did well so far are taken more often.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from nonlin.expr import Expr
from nonlin.strategies.evaluate import evaluate
from nonlin.strategies.memory import Memory, merit
from nonlin.strategies.moves import crossover, draw, mutate
from nonlin.strategies.sketch import QUANTILES
from nonlin.strategies.spaces import Code, Space
from nonlin.strategies.threads import one_thread

FINER = 5  # quantiles for the direction, for each one of a sketch
FINE = torch.special.ndtri((torch.arange(FINER * QUANTILES, dtype=torch.float64) + 0.5) / (FINER * QUANTILES))
STEPS = (0.5, 0.2, -0.2, -0.5)  # of the correction's size, relative to f's deviation; positive is less entropy
RENEWED = 6  # steps of one parent after which others are looked at
KEPT = 32  # parents whose surroundings are held, 0.1 MB each
TURNS = 4  # times that a parent's surroundings are renewed, where nothing new is left there
LARGEST_STEP = 3.0  # of a correction at one input, in deviations: it may grow without bound in the tails


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
        self.memory = Memory(space)
        self.steps: dict[int, int] = {}  # number of a code -> which of STEPS led to it
        self.taken: dict[int, int] = {}  # number of a parent's code -> how many steps it took
        self.directions: dict[Code, np.ndarray | None] = {}
        self.surroundings: dict[Code, tuple[int, list[Code], np.ndarray]] = {}

    def ask(self) -> Expr | None:
        best = self.memory.best(self.parents)
        if len(self.memory.results) < self.first or not best:
            code = self.memory.anything(self.generator)
            return None if code is None else self.memory.ask(code)
        which = self._step()
        parent = best[int(self.generator.integers(len(best)))]
        code = self._nearest(parent, STEPS[which])
        if code is None:
            return None
        self.steps[len(self.memory.codes)] = which
        return self.memory.ask(code)

    def _step(self) -> int:
        """One of `STEPS`, the more often the better those that it led to (Thompson sampling of Beta counts)."""
        told = self.memory.told()
        ranks = dict(zip(told, merit([self.memory.results[number] for number in told]), strict=True))
        won, lost = np.ones(len(STEPS)), np.ones(len(STEPS))
        for number, which in self.steps.items():
            if number in ranks:
                good = ranks[number] > 0.75
                won[which] += good
                lost[which] += not good
        return int(np.argmax(self.generator.beta(won, lost)))

    def _nearest(self, number: int, step: float) -> Code | None:
        """The new function nearest to code `number` moved by `step`, among moves, crossings and random ones."""
        parent = self.memory.codes[number]
        target = self._moved(parent, step)
        self.taken[number] = self.taken.get(number, 0) + 1
        others = [self.memory.codes[k] for k in self.memory.best(self.parents)]
        crossed = [crossover(self.space, parent, other, self.generator) for other in others]
        for turn in range(TURNS):
            codes, forms = self._around(parent, self.taken[number] // RENEWED + turn)
            codes = [*codes, *crossed]
            forms = np.concatenate([forms, _form(self.memory.book.sketches(crossed).outputs())])
            # rounded, so that functions of equal outputs are equal in whatever order sums were taken
            closeness = np.round((forms @ _form(target)) ** 2, 9)
            for place in np.argsort(-closeness, kind="stable"):
                if self.memory.fresh([codes[place]]):
                    return codes[place]
        return self.memory.anything(self.generator)

    def _around(self, parent: Code, turn: int) -> tuple[list[Code], np.ndarray]:
        """Functions worth training, moves from the parent and random ones; and their forms, (functions, 48)."""
        kept = self.surroundings.get(parent)
        if kept is None or kept[0] != turn:
            generator = np.random.default_rng([self.seed, turn, *parent])
            codes = [mutate(self.space, parent, generator) for _ in range(self.moved)]
            codes = list(dict.fromkeys([*codes, *draw(self.space, self.random, generator)]))
            rows = self.memory.book.look(codes)
            good = self.memory.book.good[rows]
            codes = [code for code, worth in zip(codes, good, strict=True) if worth]
            forms = _form(self.memory.book.sketches(codes).outputs())
            if len(self.surroundings) >= KEPT:
                self.surroundings.clear()  # they are made again where they are needed
            self.surroundings[parent] = kept = (turn, codes, forms)
        return kept[1:]

    def _moved(self, parent: Code, step: float) -> np.ndarray:
        """Outputs (48,) of f + step·ξ at the quantiles, f of size 1; of f alone where there is no correction."""
        outputs = self.memory.book.sketches([parent]).outputs()[0]
        direction = self._direction(parent)
        return outputs if direction is None else outputs + step * outputs.std() * direction

    def _direction(self, parent: Code) -> np.ndarray | None:
        """The correction at a sketch's quantiles; None where it does not exist."""
        if parent not in self.directions:
            number, choices = self.space.shape_of(parent)
            with torch.no_grad(), one_thread():
                ones = torch.ones(1, len(FINE), dtype=torch.float64)
                outputs = evaluate(self.space.shapes[number], np.array([choices]), FINE, ones)[0].numpy()
            found = entropy_direction(outputs)
            self.directions[parent] = None if found is None else found[FINER // 2 :: FINER]
        return self.directions[parent]

    def tell(self, expr: Expr, score: float, loss: float) -> None:
        self.memory.tell(expr, score, loss)

    def state_dict(self) -> dict[str, Any]:
        return {
            "memory": self.memory.state(), "steps": [[number, which] for number, which in self.steps.items()],
            "taken": [[number, count] for number, count in self.taken.items()],
            "generator": self.generator.bit_generator.state,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.memory.load(state["memory"])
        self.steps, self.taken = dict(state["steps"]), dict(state["taken"])
        self.surroundings = {}
        self.generator.bit_generator.state = state["generator"]


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
    nodes, weights = np.polynomial.hermite_e.hermegauss(7)
    # Output i with noise ν is y_i + ν; there the density is the sum over j of φ(y_i - y_j + ν), of which all that
    # depends on j is near_ij·exp(ν·y_j), and the score the mean of y_j - y_i - ν with these weights. |y| < √n/smoothing
    # bounds the exponents.
    near = np.exp(-0.5 * (y[:, None] - y) ** 2)
    tilted = np.exp(np.outer(y, nodes))  # (n, nodes)
    scores = (near @ (tilted * y[:, None])) / (near @ tilted) - y[:, None] - nodes
    score = scores @ weights / weights.sum()
    score = score - score.mean()
    direction = score - (score @ y) / (y @ y) * y
    size = float(np.std(direction))
    return None if size < 1e-9 else np.clip(direction / size, -LARGEST_STEP, LARGEST_STEP)


def _form(outputs: np.ndarray) -> np.ndarray:
    """Outputs (..., 48) less their mean, of length 1: the product of two is their correlation; 0 for a constant."""
    away = outputs - outputs.mean(axis=-1, keepdims=True)
    length = np.sqrt((away**2).sum(axis=-1, keepdims=True))
    return np.where(length > 1e-9, away / np.where(length > 1e-9, length, 1.0), 0.0)
