"""A surrogate: guesses from a function's outputs how well it will train, and tries where that promises most.

    pool (random functions, and moves from the best) ─► features ─► Gaussian process ─► mean + deviation ─► the next one

The features are a function's outputs at quantiles of N(0, 1), and their slopes, over √E[f²]; and six numbers computed
from these. A network whose weights are drawn symmetrically trains f(x), -f(x) and f(-x) alike, so of these forms one
is taken. The process is the sum of two, one over outputs and one over the numbers: the first knows near functions, the
second what far ones have in common. It gives a mean and an uncertainty for every candidate; nothing but what this
search was told goes into it.

A function that is out, asked and not yet told, counts as if it had come to what was predicted of it: its surroundings
become certain, and the next proposal goes elsewhere.

References: [Bingham2023] G. Bingham & R. Miikkulainen, Efficient activation function optimization through surrogate
modeling, 2023, arXiv:2301.05785, for outputs as features; [Srinivas2010] N. Srinivas et al., Gaussian process
optimization in the bandit setting, 2010, arXiv:0912.3995, for the upper confidence bound; [Desautels2014] T. Desautels
et al., Parallelizing exploration-exploitation tradeoffs in Gaussian process bandit optimization, 2014, section 3.2, for
functions that are out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from nonlin.expr import Expr
from nonlin.strategies.descriptors import NUMBERS, SHAPE, WIDTH, descriptors
from nonlin.strategies.memory import Memory
from nonlin.strategies.moves import cross_each, draw, mutate_each
from nonlin.strategies.process import Process
from nonlin.strategies.ranks import Merits, rank
from nonlin.strategies.spaces import Code, Space
from nonlin.strategies.threads import one_thread

LEAST_TOLD = 4  # outcomes before the process is asked
MOST_TOLD = 400  # observations that a pool begins with: the best half of them, and the latest
AGE, ROOM = 16, 96  # proposals from one pool, and observations that it takes besides


@dataclass(frozen=True)
class Pool:
    """Candidates, and a process that predicts them.

    An observation is the number of a code that was asked or told, or -1-k for the k-th stranger of the memory.

    Attributes
    ----------
    plan : what the pool can be made again from, as JSON values. "start": the generator's state before the candidates
        were drawn; "parents": codes whose moves are among them; "codes", "strangers": how many the memory had;
        "observed": observations in the order in which the process took them, the first "known" at once; "asked":
        proposals made
    codes, keys : the candidates, all new when the pool was made
    views : their descriptors
    places : where each code is among them
    gone : bool, which are no longer new, as far as that has been seen
    """

    plan: dict[str, Any]
    codes: list[Code]
    keys: list[bytes]
    views: np.ndarray
    places: dict[Code, int]
    gone: np.ndarray
    process: Process

    @property
    def is_old(self) -> bool:
        return self.plan["asked"] >= AGE or self.process.is_full


class Surrogate:
    """The upper confidence bound of a Gaussian process over functions' outputs.

    Parameters
    ----------
    space, seed : where to search, and the seed of all choices
    random, moved : functions of a pool: drawn at random, and by moves from the `parents` best
    reach : the distances, in outputs and in numbers, at which two functions are held to say little about each other
    share : of the variance that outputs explain; the numbers explain the rest
    noise : variance of an outcome that neither explains, over all variance
    daring : how many deviations are added to the mean
    chance : share of proposals that are drawn at random all the same
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        random: int = 1000,
        moved: int = 200,
        parents: int = 5,
        reach: tuple[float, float] = (0.6, 3.0),
        share: float = 0.4,
        noise: float = 0.1,
        daring: float = 1.0,
        chance: float = 0.02,
    ):
        self.space, self.random, self.moved, self.parents = space, random, moved, parents
        self.blocks = ((SHAPE, reach[0], share), (NUMBERS, reach[1], 1 - share))
        self.noise, self.daring, self.chance = noise, daring, chance
        self.generator = np.random.default_rng(seed)
        self.memory = Memory(space, descriptors)
        self.merits, self.judged = Merits(), np.zeros(0, int)  # of all told, strangers too; and their names
        self.believed: dict[int, float] = {}  # number of a code that is out -> what was predicted of it
        self.pool: Pool | None = None
        self.rows: dict[int, np.ndarray] = {}  # descriptors of observations, kept from pool to pool

    def ask(self) -> Expr | None:
        told = len(self.memory.results) + len(self.memory.strangers)
        if told >= LEAST_TOLD and self.generator.random() >= self.chance:
            with one_thread():
                found = self._most_promising()
            if found is not None:
                return self.memory.ask(found)
        code = self.memory.anything(self.generator)
        return None if code is None else self.memory.ask(code)

    def _most_promising(self) -> Code | None:
        """The new function of largest mean + daring·deviation; None if a new pool has nothing new."""
        found = None if self.pool is None or self.pool.is_old else self._best_of(self.pool)
        if found is None:
            self.pool = self._new_pool()
            found = self._best_of(self.pool)
        return found

    def _best_of(self, pool: Pool) -> Code | None:
        """The best candidate that is still new; what is predicted of it is believed until it is told."""
        self._observe(pool)
        mean, deviation = pool.process.predict(self._values(pool.plan["observed"]))
        # rounded, so that functions of equal outputs are equal in whatever order sums were taken
        promise = np.round(mean + self.daring * deviation, 4)
        promise[pool.gone] = -np.inf
        while len(promise):
            place = int(promise.argmax())
            if promise[place] == -np.inf:
                break
            pool.gone[place], promise[place] = True, -np.inf
            if pool.keys[place] not in self.memory.seen:
                pool.plan["asked"] += 1
                number = len(self.memory.codes)
                self.believed[number], self.rows[number] = float(mean[place]), pool.views[place]
                return pool.codes[place]
        return None

    # The pool

    def _new_pool(self) -> Pool:
        memory, observed = self.memory, self._most_telling()
        plan = {
            "start": self.generator.bit_generator.state, "parents": memory.best(self.parents),
            "codes": len(memory.codes), "strangers": len(memory.strangers), "fresh": len(memory.codes),
            "observed": observed, "known": len(observed), "asked": 0,
        }  # fmt: skip
        return self._made_of(plan, self.generator)

    def _made_of(self, plan: dict[str, Any], generator: np.random.Generator) -> Pool:
        """The pool of a plan; every number in it comes out the same, bit by bit, however often it is made."""
        codes = self._candidates(plan["parents"], generator)
        codes = [codes[k] for k in self.memory.fresh(codes, before=plan["fresh"])]
        book = self.memory.book
        views = book.seen(codes) if codes else np.zeros((0, WIDTH), np.float32)
        pool = Pool(
            plan, codes, [book.keys[row] for row in book.look(codes)], views,
            {code: place for place, code in enumerate(codes)}, np.zeros(len(codes), bool),
            Process(views, self.blocks, self.noise, plan["known"] + ROOM),
        )  # fmt: skip
        observed, known = plan["observed"], plan["known"]
        pool.process.begin(self._described(observed[:known]))
        for name in observed[known:]:
            self._add(pool, name)
        return pool

    def _add(self, pool: Pool, name: int) -> None:
        place = None if name < 0 else pool.places.get(self.memory.codes[name])
        pool.process.add(self._described([name])[0] if place is None else pool.views[place], place)

    def _candidates(self, parents: Sequence[int], generator: np.random.Generator) -> list[Code]:
        codes = draw(self.space, self.random, generator)
        best = [self.memory.codes[number] for number in parents]
        if best:
            turns = np.arange(self.moved)
            first, second = turns % len(best), generator.integers(len(best), size=self.moved)
            crossed = cross_each(self.space, [best[k] for k in first[3::4]], [best[k] for k in second[3::4]], generator)
            moving = [best[k] for k in first]
            moving[3::4] = crossed
            codes += mutate_each(self.space, moving, generator)
        return codes

    # Observations

    def _observe(self, pool: Pool) -> None:
        """Bring the pool's process up to date: with what was told since, and with what is out."""
        plan, memory = pool.plan, self.memory
        later = [
            *range(plan["codes"], len(memory.codes)),
            *(-1 - k for k in range(plan["strangers"], len(memory.strangers))),
        ]
        for name in later:
            if not pool.process.is_full:
                self._add(pool, name)
                plan["observed"].append(name)
        plan["codes"], plan["strangers"] = len(memory.codes), len(memory.strangers)

    def _most_telling(self) -> list[int]:
        """All observations in order, or of too many the best and the latest; what is out is always among them."""
        names = [*(-1 - k for k in range(len(self.memory.strangers))), *range(len(self.memory.codes))]
        if len(names) <= MOST_TOLD:
            return names
        order = np.argsort(-self.merits.values(), kind="stable")
        kept = set(self.judged[order[: MOST_TOLD // 2]].tolist()) | set(names[-(MOST_TOLD // 2) :])
        return [name for name in names if name in kept]

    def _described(self, names: Sequence[int]) -> np.ndarray:
        """Descriptors of observations, (names, features)."""
        if missing := [name for name in names if name >= 0 and name not in self.rows]:
            made = self.memory.book.seen([self.memory.codes[name] for name in missing])
            self.rows.update(zip(missing, made, strict=True))
        if any(name < 0 and name not in self.rows for name in names):
            for k, row in enumerate(descriptors(self.memory.strangers_sketches())):
                self.rows[-1 - k] = row.astype(np.float32)
        return np.array([self.rows[name] for name in names], np.float32).reshape(len(names), WIDTH)

    def _values(self, names: Sequence[int]) -> np.ndarray:
        """Merits of observations as standard normal scores, (names,); of those that are out, what is believed."""
        merits = np.full(len(self.memory.codes) + len(self.memory.strangers), np.nan)
        merits[self.judged] = self.merits.values()  # strangers have negative names: they count from the end
        known = merits[np.array(names, int)]
        told = np.flatnonzero(~np.isnan(known))
        values = np.zeros(len(names))
        if len(told) < len(names):
            values = np.array([self.believed.get(name, 0.0) for name in names])
        values[told] = ndtri((rank(known[told]) * (len(told) - 1) + 0.5) / max(1, len(told)))
        return values

    def tell(self, expr: Expr, score: float, loss: float) -> None:
        memory, known = self.memory, len(self.memory.results)
        number = memory.tell(expr, score, loss)
        if number is not None:
            self.believed.pop(number, None)
            if len(memory.results) == known:  # told again
                self._judge_anew()
                return
        self.judged = np.append(self.judged, -len(memory.strangers) if number is None else number)
        self.merits.add(float(score), float(loss))

    def _judge_anew(self) -> None:
        strangers = [(score, loss) for _, score, loss in self.memory.strangers]
        self.merits = Merits([*strangers, *self.memory.results.values()])
        self.judged = np.array([*(-1 - k for k in range(len(strangers))), *self.memory.results], int)

    def state_dict(self) -> dict[str, Any]:
        return {
            "memory": self.memory.state_dict(),
            "believed": [[number, value] for number, value in self.believed.items()],
            "pool": None if self.pool is None else _copied(self.pool.plan),
            "generator": self.generator.bit_generator.state,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.memory.load_state_dict(state["memory"])
        self._judge_anew()
        self.rows, self.believed, self.pool = {}, dict(state["believed"]), None
        self.generator.bit_generator.state = state["generator"]
        if state["pool"] is not None:
            generator = np.random.default_rng(0)
            generator.bit_generator.state = state["pool"]["start"]
            with one_thread():
                self.pool = self._made_of(_copied(state["pool"]), generator)


def _copied(plan: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, list) else value for key, value in plan.items()}
