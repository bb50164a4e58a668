"""A surrogate: guesses from a function's outputs how well it will train, and tries where that promises most.

    candidates (random, and moves from the best) ─► features ─► Gaussian process ─► expected improvement ─► the next one

The features are a function's outputs at quantiles of N(0, 1), and their slopes, over √E[f²]; and six numbers computed
from these. A network whose weights are drawn symmetrically trains f(x), -f(x) and f(-x) alike, so of these forms one
is taken. The process is the sum of two, one over outputs and one over the numbers: the first knows near functions, the
second what far ones have in common. It gives a mean and an uncertainty for every candidate; nothing but what this
search was told goes into it.

References: [Bingham2023] G. Bingham & R. Miikkulainen, Efficient activation function optimization through surrogate
modeling, 2023, arXiv:2301.05785, for outputs as features; [Jones1998] D. Jones et al., Efficient global optimization of
expensive black-box functions, 1998, equation 15 (expected improvement); [Rasmussen2006] C. Rasmussen & C. Williams,
Gaussian processes for machine learning, 2006, algorithm 2.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.special import ndtr, ndtri

from nonlin.expr import Expr
from nonlin.strategies.memory import Memory, merit
from nonlin.strategies.moves import crossover, mutate
from nonlin.strategies.sketch import LEVELS, QUANTILES, Sketches, sketch, spacing_entropy
from nonlin.strategies.spaces import Code, Space
from nonlin.strategies.threads import one_thread

SLOPE_WEIGHT = 0.5  # of slopes beside outputs in the distance of two functions
# Typical middle and spread of the six numbers among the functions of core-1; no outcome went into these.
MIDDLE = np.array([0.5, 0.45, -0.2, 0.15, -0.7, 0.5])
SPREAD = np.array([0.35, 0.35, 1.3, 0.2, 0.5, 1.1])
MOST_TOLD = 400  # outcomes that go into the process: the best half of them, and the latest


class Surrogate:
    """Expected improvement under a Gaussian process over functions' outputs.

    Parameters
    ----------
    space, seed : where to search, and the seed of all choices
    random, moved : candidates for one proposal: drawn at random, and by moves from the `parents` best
    reach : the distances, in outputs and in numbers, at which two functions are held to say little about each other
    noise : variance of an outcome that neither explains, over all variance
    first : functions drawn at random before the process is trusted
    chance : share of proposals that are drawn at random all the same
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        random: int = 200,
        moved: int = 100,
        parents: int = 5,
        reach: tuple[float, float] = (0.4, 1.0),
        noise: float = 0.1,
        first: int = 3,
        chance: float = 0.05,
    ):
        self.space, self.random, self.moved, self.parents = space, random, moved, parents
        self.reach, self.noise, self.first, self.chance = reach, noise, first, chance
        self.generator = np.random.default_rng(seed)
        self.memory = Memory(space)
        self.asked = 0
        self.rows: dict[int, np.ndarray] = {}  # descriptors of told codes, kept from ask to ask
        self.stranger_rows: list[np.ndarray] = []

    def ask(self) -> Expr | None:
        told = len(self.memory.results) + len(self.memory.strangers)
        if self.asked < self.first or told < 2 or self.generator.random() < self.chance:
            code = self.memory.anything(self.generator)
        else:
            code = self._most_promising()
        self.asked += code is not None
        return None if code is None else self.memory.ask(code)

    def _most_promising(self) -> Code | None:
        """The new candidate of largest expected improvement."""
        codes = self._candidates()
        fresh, sketches = self.memory.fresh(codes)
        if not fresh:
            return self.memory.anything(self.generator)
        with one_thread():
            promise = expected_improvement(*self._evidence(), descriptors(sketches)[fresh], self.reach, self.noise)
        return codes[fresh[int(np.argmax(promise))]]

    def _candidates(self) -> list[Code]:
        codes = [self.space.sample_code(self.generator) for _ in range(self.random)]
        best = [self.memory.codes[number] for number in self.memory.best(self.parents)]
        for k in range(self.moved if best else 0):
            parent = best[k % len(best)]
            if k % 4 == 3:
                parent = crossover(self.space, parent, best[int(self.generator.integers(len(best)))], self.generator)
            codes.append(mutate(self.space, parent, self.generator))
        return codes

    def _evidence(self) -> tuple[np.ndarray, np.ndarray]:
        """Features (n, features) of told functions, and their merits as standard normal scores (n,)."""
        numbers = self.memory.told()
        missing = [number for number in numbers if number not in self.rows]
        if missing:
            made = descriptors(sketch(self.space, [self.memory.codes[number] for number in missing]))
            self.rows.update(zip(missing, made, strict=True))
        strangers = self.memory.strangers
        if len(self.stranger_rows) < len(strangers):
            self.stranger_rows = [*descriptors(self.memory.strangers_sketches())]
        features = [self.rows[number] for number in numbers] + self.stranger_rows
        results = [self.memory.results[number] for number in numbers] + [(score, loss) for _, score, loss in strangers]
        values = merit(results)
        usable = np.flatnonzero(np.isfinite(np.sum(features, axis=1)))
        if len(usable) > MOST_TOLD:
            best = usable[np.argsort(-values[usable], kind="stable")[: MOST_TOLD // 2]]
            usable = np.union1d(best, usable[-(MOST_TOLD // 2) :])
        ranks = np.argsort(np.argsort(values[usable], kind="stable"), kind="stable")
        return np.array(features)[usable], ndtri((ranks + 0.5) / len(usable))

    def tell(self, expr: Expr, score: float, loss: float) -> None:
        self.memory.tell(expr, score, loss)

    def state_dict(self) -> dict[str, Any]:
        return {
            "memory": self.memory.state(), "asked": self.asked, "generator": self.generator.bit_generator.state,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.memory.load(state["memory"])
        self.rows, self.stranger_rows, self.asked = {}, [], state["asked"]
        self.generator.bit_generator.state = state["generator"]


def descriptors(sketches: Sketches) -> np.ndarray:
    """(n, 101): 48 outputs and 47 slopes, scaled so that squared distances are means over N(0, 1); then six numbers.

    Of f(x), -f(x), f(-x) and -f(-x) the form with a positive mean and a positive correlation with x is taken. The
    numbers: mean, correlation with x, log E[f'²], share that is flat, entropy, log of the largest slope.
    """
    y = sketches.outputs()
    y = np.where(y.mean(axis=1, keepdims=True) < 0, -y, y)
    falls = (y * LEVELS).mean(axis=1) < 0
    y[falls] = y[falls, ::-1]
    slopes = np.clip(np.diff(y, axis=1) / np.diff(LEVELS), -4.0, 4.0)
    numbers = np.stack(
        [
            y.mean(axis=1),
            (y * LEVELS).mean(axis=1),
            np.log((slopes**2).mean(axis=1) + 1e-3),
            (np.abs(slopes) < 0.05).mean(axis=1),
            spacing_entropy(y),
            np.log(np.abs(slopes).max(axis=1) + 1e-3),
        ],
        axis=1,
    )
    return np.hstack(
        [y / np.sqrt(QUANTILES), SLOPE_WEIGHT * slopes / np.sqrt(QUANTILES - 1), (numbers - MIDDLE) / SPREAD]
    )


def expected_improvement(
    told: np.ndarray, values: np.ndarray, candidates: np.ndarray, reach: tuple[float, float], noise: float
) -> np.ndarray:
    """Expected improvement over the best value under a Gaussian process; (candidates,).

    Parameters
    ----------
    told, values : descriptors (n, 101) and values (n,) of mean 0 and deviation near 1
    candidates : descriptors (candidates, 101)
    reach, noise : of the sum of two squared-exponential kernels, one half each
    """
    gram = _kernel(told, told, reach) + noise * np.eye(len(told))
    factor = cholesky(gram, lower=True)
    cross = _kernel(told, candidates, reach)
    solved = solve_triangular(factor, cross, lower=True)  # (n, candidates)
    mean = solved.T @ solve_triangular(factor, values, lower=True)
    deviation = np.sqrt(np.maximum(1.0 - (solved**2).sum(axis=0), 1e-9))
    above = (mean - values.max()) / deviation
    return deviation * (above * ndtr(above) + np.exp(-0.5 * above**2) / np.sqrt(2 * np.pi))  # [Jones1998] (15)


def _kernel(left: np.ndarray, right: np.ndarray, reach: tuple[float, float]) -> np.ndarray:
    """One half of the closeness in outputs and slopes, and one half of that in the numbers; (left, right)."""
    total = np.zeros((len(left), len(right)))
    for part, length in zip((slice(None, -len(MIDDLE)), slice(-len(MIDDLE), None)), reach, strict=True):
        a, b = left[:, part], right[:, part]
        squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T
        total += 0.5 * np.exp(-np.maximum(squares, 0.0) / (2 * length**2))
    return total
