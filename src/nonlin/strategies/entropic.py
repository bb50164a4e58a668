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
from nonlin.strategies.memory import Memory, merit
from nonlin.strategies.moves import crossover, mutate
from nonlin.strategies.sketch import QUANTILES, sketch
from nonlin.strategies.spaces import Code, Space
from nonlin.strategies.threads import one_thread

FINER = 5  # quantiles for the direction, for each one of a sketch
FINE = torch.special.ndtri((torch.arange(FINER * QUANTILES, dtype=torch.float64) + 0.5) / (FINER * QUANTILES))
STEPS = (0.5, 0.2, -0.2, -0.5)  # of the correction's size, relative to f's deviation; positive is less entropy
LARGEST_STEP = 3.0  # of a correction at one input, in deviations: it may grow without bound in the tails


class Entropic:
    """Steps along the entropy correction, projected back into the space by nearest outputs.

    Parameters
    ----------
    space, seed : where to search, and the seed of all choices
    first : functions drawn at random before the first step
    parents : the best functions so far, one of which takes the step
    moved, random : where to look for the nearest function: moves from the parent, and random ones
    """

    def __init__(
        self, space: Space, seed: int = 0, first: int = 8, parents: int = 5, moved: int = 120, random: int = 80
    ):
        self.space, self.first, self.parents, self.moved, self.random = space, first, parents, moved, random
        self.generator = np.random.default_rng(seed)
        self.memory = Memory(space)
        self.steps: dict[int, int] = {}  # number of a code -> which of STEPS led to it
        self.directions: dict[Code, np.ndarray | None] = {}

    def ask(self) -> Expr | None:
        best = self.memory.best(self.parents)
        if len(self.memory.results) < self.first or not best:
            code = self.memory.anything(self.generator)
            return None if code is None else self.memory.ask(code)
        which = self._step()
        parent = self.memory.codes[best[int(self.generator.integers(len(best)))]]
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

    def _nearest(self, parent: Code, step: float) -> Code | None:
        """The new function nearest to the parent moved by `step`, among moves from it and random functions."""
        codes = [mutate(self.space, parent, self.generator) for _ in range(self.moved)]
        codes += [self.space.sample_code(self.generator) for _ in range(self.random)]
        others = [self.memory.codes[number] for number in self.memory.best(self.parents)]
        codes += [crossover(self.space, parent, other, self.generator) for other in others]
        fresh, sketches = self.memory.fresh(codes)
        if not fresh:
            return self.memory.anything(self.generator)
        target = self._moved(parent, step)
        distance = [_distance(target, row) for row in sketches.outputs()[fresh]]
        return codes[fresh[int(np.argmin(distance))]]

    def _moved(self, parent: Code, step: float) -> np.ndarray:
        """Outputs (48,) of f + step·ξ at the quantiles, f of size 1; of f alone where there is no correction."""
        outputs = sketch(self.space, [parent]).outputs()[0]
        direction = self._direction(parent)
        return outputs if direction is None else outputs + step * outputs.std() * direction

    def _direction(self, parent: Code) -> np.ndarray | None:
        """The correction at a sketch's quantiles; None where it does not exist."""
        if parent not in self.directions:
            number, choices = self.space.shape_of(parent)
            with torch.no_grad(), one_thread():
                ones = torch.ones(1, len(FINE), dtype=torch.float64)
                outputs = self.space.shapes[number].values(np.array([choices]), FINE, ones)[0].numpy()
            found = entropy_direction(outputs)
            self.directions[parent] = None if found is None else found[FINER // 2 :: FINER]
        return self.directions[parent]

    def tell(self, expr: Expr, score: float, loss: float) -> None:
        self.memory.tell(expr, score, loss)

    def state_dict(self) -> dict[str, Any]:
        return {
            "memory": self.memory.state(), "steps": [[number, which] for number, which in self.steps.items()],
            "generator": self.generator.bit_generator.state,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.memory.load(state["memory"])
        self.steps = dict(state["steps"])
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
    y = (outputs - outputs.mean()) / spread
    nodes, weights = np.polynomial.hermite_e.hermegauss(7)
    noisy = y[:, None] + smoothing * nodes  # (n, nodes)
    away = (y - noisy[:, :, None]) / smoothing  # (n, nodes, n)
    near = np.exp(-0.5 * away**2 + 0.5 * np.min(away**2, axis=2, keepdims=True))
    scores = (near * away).sum(axis=2) / (near.sum(axis=2) * smoothing)
    score = scores @ weights / weights.sum()
    score = score - score.mean()
    direction = score - (score @ y) / (y @ y) * y
    size = float(np.std(direction))
    return None if size < 1e-9 else np.clip(direction / size, -LARGEST_STEP, LARGEST_STEP)


def _distance(left: np.ndarray, right: np.ndarray) -> float:
    """1 - r², how far two functions are apart after the best affine map of one onto the other."""
    a, b = left - left.mean(), right - right.mean()
    norms = float(a @ a) * float(b @ b)
    return 1.0 if norms <= 1e-18 else 1.0 - float(a @ b) ** 2 / norms
