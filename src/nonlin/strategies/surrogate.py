"""A surrogate: guesses from a function's outputs how well it will train, and tries where that promises most.

    random functions, and moves from the best ─► features ─► a bound on mean + deviation ─► the finalists, a pool
    a pool ─► a Gaussian process, kept up to date ─► mean + deviation ─► the next function, and the next ...

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

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import ndtri

from nonlin.expr import Expr
from nonlin.strategies.descriptors import NUMBERS, SHAPE, WIDTH, descriptors
from nonlin.strategies.memory import Memory
from nonlin.strategies.moves import cross_each, mutate_each
from nonlin.strategies.process import Block, Forms, Kernel, Observed, Process
from nonlin.strategies.ranks import Merits, rank
from nonlin.strategies.sketch import Sketchbook
from nonlin.strategies.spaces import Code, Space
from nonlin.strategies.threads import one_thread

LEAST_TOLD = 4  # outcomes before the process is asked
MOST_TOLD = 400  # observations, before only the best half of so many and the latest are kept
ROOM = 256  # observations that are taken besides before that is done
AGE, AGING = 16, 1 / 2  # proposals from one pool, and more for each observation: each then tells less that is new
DRAWS = 4  # pools that a random function is a candidate for, in a space too large to be looked at whole
FINALISTS = 64  # candidates that a pool keeps; or, where many functions are out, one for so many of them:
OUT = 4  # then they are proposed faster than anything is learned
FEW = 48  # observations from which on a pool keeps its finalists only
HEEDED = 16  # outcomes that are fewer than one in so many may wait before predictions heed them


@dataclass(frozen=True)
class Pool:
    """Candidates that promise most, and a process that predicts them.

    Attributes
    ----------
    known : observations when it was made
    codes, views : the candidates, all new then, and their descriptors
    places : where each code is among them
    gone : bool, which are no longer new, as far as that has been seen
    """

    known: int
    codes: list[Code]
    views: np.ndarray
    places: dict[Code, int]
    gone: np.ndarray
    process: Process


def _blocks(reach: tuple[float, float], share: float) -> tuple[Block, Block]:
    return (SHAPE, reach[0], share), (NUMBERS, reach[1], 1 - share)


@lru_cache(maxsize=4)
def _whole(space: Space, reach: tuple[float, float]) -> Forms:
    """All codes of a small space, in their order, as the kernel takes them: made once in a process."""
    return Kernel(_blocks(reach, 0.5)).right(Sketchbook(space, descriptors).seen(list(space.codes())))


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
        moved: int = 160,
        parents: int = 5,
        reach: tuple[float, float] = (0.6, 3.0),
        share: float = 0.4,
        noise: float = 0.1,
        daring: float = 1.0,
        chance: float = 0.02,
    ):
        self.space, self.seed, self.random, self.moved, self.parents = space, seed, random, moved, parents
        self.reach, self.blocks = reach, _blocks(reach, share)
        self.noise, self.daring, self.chance = noise, daring, chance
        self.generator = np.random.default_rng(seed)
        self.memory = Memory(space, descriptors)
        # An observation's name: the number of a code that was asked or told, or -1-k for the memory's k-th stranger.
        self.merits, self.judged = Merits(), [0] * 0  # of all told; and their names
        self.believed: dict[int, float] = {}  # number of a code that is out -> what was predicted of it
        self.observed: Observed | None = None
        self.names: list[int] = []  # of what is observed, in order, of which ...
        self.at_once = 0  # ... so many were taken together
        self.settled: list[int] = []  # how many there were when others had been taken in: exact resuming needs it
        self.counted = [0, 0]  # codes and strangers of the memory that were looked at for it
        # what follows for predictions from outcomes, when they were last heeded; 0 for what came since
        self.whitened = np.zeros(MOST_TOLD + ROOM)
        self.news = 0  # outcomes since
        self.pool: Pool | None = None
        self.asked = self.pools = 0  # proposals from this pool, and pools made
        self.rows: dict[int, np.ndarray] = {}  # descriptors of observations
        self.drawn: dict[int, Any] = {}  # random functions that come in with the pool of this number

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
        found = None
        if self.pool is not None:
            self._catch_up(self.pool)
            if self.asked < AGE + AGING * self.pool.known and not self.pool.process.is_full:
                found = self._best_of(self.pool)
        if found is None:
            self.pool = self._new_pool()
            found = self._best_of(self.pool)
        return found

    def _best_of(self, pool: Pool) -> Code | None:
        """The best candidate that is still new; what is predicted of it is believed until it is told."""
        process = pool.process
        if self.news * HEEDED >= process.count:
            self._heed()
        mean, deviation = process.predict_whitened(self.whitened[: process.count])
        # rounded, so that functions of equal outputs are equal in whatever order sums were taken
        promise = np.round(mean + self.daring * deviation, 4)
        promise[pool.gone] = -np.inf
        while len(promise):
            place = int(promise.argmax())
            if promise[place] == -np.inf:
                break
            pool.gone[place], promise[place] = True, -np.inf
            if self.memory.is_fresh(pool.codes[place]):
                self.asked += 1
                number = len(self.memory.codes)
                self.believed[number], self.rows[number] = float(mean[place]), pool.views[place]
                return pool.codes[place]
        return None

    # The pool

    def _new_pool(self) -> Pool:
        """Of many candidates those that may be the most promising."""
        self._settle()
        if self.observed is None or self.observed.count > MOST_TOLD:
            self.names = self._most_telling()
            self.at_once, self.counted = len(self.names), [len(self.memory.codes), len(self.memory.strangers)]
            self.observed, self.settled = self._observed_at_once(), []
            self.news = 1
        if self.news:
            self._heed()
        book = self.memory.book
        rows = self.memory.fresh_rows(self._candidates())
        bounds = self.observed.bounds(self._forms(rows), self.whitened[: len(self.names)], self.daring)
        kept = np.argsort(-np.round(bounds, 4), kind="stable")
        if len(self.names) >= FEW:  # of few outcomes each one changes what promises most
            kept = kept[: max(FINALISTS, self.memory.out // OUT)]
        self.asked, self.pools = 0, self.pools + 1
        return self._pool_of([book.codes[row] for row in rows[kept].tolist()], self._views(rows[kept]))

    def _views(self, rows: np.ndarray) -> np.ndarray:
        """Descriptors of rows of the book."""
        views = self.memory.book.views
        return np.zeros((0, WIDTH), np.float32) if views is None else views[rows]

    def _forms(self, rows: np.ndarray) -> Forms:
        """The same as the kernel takes them."""
        assert self.observed is not None, "candidates before observations"
        if not self.memory.book.is_whole:
            return self.observed.kernel.right(self._views(rows))
        return [form[rows] for form in _whole(self.space, self.reach)]

    def _pool_of(self, codes: list[Code], views: np.ndarray) -> Pool:
        assert self.observed is not None, "candidates before observations"
        process = Process(views, self.blocks, self.noise, self.observed.room, self.observed)
        places = {code: place for place, code in enumerate(codes)}
        return Pool(process.count, codes, views, places, np.zeros(len(codes), bool), process)

    def _candidates(self) -> np.ndarray:
        """Rows in the book of random functions, and of moves from the best."""
        book = self.memory.book
        draws = 1 if book.is_whole else DRAWS
        turns = range(self.pools, self.pools + draws)
        for turn in turns:
            if turn not in self.drawn:
                self.drawn[turn] = book.draw(self.random // draws, np.random.default_rng([self.seed, turn]))
        self.drawn = {turn: self.drawn[turn] for turn in turns}
        codes: list[Code] = []
        best = [self.memory.codes[number] for number in self.memory.best(self.parents)]
        if best:
            places = np.arange(self.moved)
            first, second = places % len(best), self.generator.integers(len(best), size=self.moved)
            pairs = [best[k] for k in first[3::4]], [best[k] for k in second[3::4]]
            moving = [best[k] for k in first]
            moving[3::4] = cross_each(self.space, *pairs, self.generator)
            codes = mutate_each(self.space, moving, self.generator)
        if book.is_whole:
            return np.concatenate([np.array(book.look(codes), int), *self.drawn.values()])
        return np.array(book.look([*codes, *(code for drawn in self.drawn.values() for code in drawn)]), int)

    # Observations

    def _catch_up(self, pool: Pool) -> None:
        """Observe what was asked or told since, as far as there is room."""
        codes, strangers = range(len(self.memory.codes)), range(len(self.memory.strangers))
        for name in (*codes[self.counted[0] :], *(-1 - k for k in strangers[self.counted[1] :])):
            if not pool.process.is_full:
                self.names.append(name)
                self.whitened[len(self.names) - 1] = 0  # as if it had come to what was predicted
                self.counted[name < 0] += 1
                self._add(pool, name)

    def _add(self, pool: Pool, name: int) -> None:
        place = None if name < 0 else pool.places.get(self.memory.codes[name])
        if place is None:
            self._settle()
        pool.process.add(self._described([name])[0] if place is None else pool.views[place], place)

    def _settle(self) -> None:
        """Let the observations be complete."""
        if self.pool is not None and self.pool.process.waiting:
            self.pool.process.settle()
            self.settled.append(self.pool.process.count)

    def _observed_at_once(self) -> Observed:
        found = Observed(self.blocks, self.noise, WIDTH, MOST_TOLD + ROOM)
        found.begin(self._described(self.names[: self.at_once]))
        return found

    def _most_telling(self) -> list[int]:
        """All names in order, or of too many those of the best and the latest; what is out is among them."""
        names = [*(-1 - k for k in range(len(self.memory.strangers))), *range(len(self.memory.codes))]
        if len(names) <= MOST_TOLD:
            return names
        order = np.argsort(-self.merits.values(), kind="stable")[: MOST_TOLD // 2]
        kept = {self.judged[k] for k in order.tolist()} | set(names[-(MOST_TOLD // 2) :])
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

    def _heed(self) -> None:
        """Let predictions follow from all outcomes: merits as standard normal scores, what is out as believed."""
        merits = np.full(len(self.memory.codes) + len(self.memory.strangers), np.nan)
        merits[self.judged] = self.merits.values()  # strangers have negative names: they count from the end
        values = merits[self.names]
        told = ~np.isnan(values)
        count = int(np.count_nonzero(told))
        values[told] = ndtri((rank(values[told]) * (count - 1) + 0.5) / max(1, count))
        for k in np.flatnonzero(~told).tolist():
            values[k] = self.believed.get(self.names[k], 0.0)
        assert self.observed is not None, "outcomes of no observations"
        process = self.pool.process if self.pool is not None and self.pool.process.waiting else self.observed
        self.whitened[:] = 0
        self.whitened[: len(values)] = process.whitened(values)
        self.news = 0

    def tell(self, expr: Expr, score: float, loss: float) -> None:
        memory, known = self.memory, len(self.memory.results)
        number = memory.tell(expr, score, loss)
        self.news += 1
        if number is not None:
            self.believed.pop(number, None)
            if len(memory.results) == known:  # told again
                self._judge_anew()
                return
        self.judged.append(-len(memory.strangers) if number is None else number)
        self.merits.add(float(score), float(loss))

    def _judge_anew(self) -> None:
        strangers = [(score, loss) for _, score, loss in self.memory.strangers]
        self.merits = Merits([*strangers, *self.memory.results.values()])
        self.judged = [*(-1 - k for k in range(len(strangers))), *self.memory.results]

    def state_dict(self) -> dict[str, Any]:
        return {
            "memory": self.memory.state_dict(),
            "believed": [[number, value] for number, value in self.believed.items()],
            "names": list(self.names), "at_once": self.at_once, "settled": list(self.settled),
            "counted": list(self.counted),
            "whitened": self.whitened[: len(self.names)].tolist(), "news": self.news, "asked": self.asked,
            "pools": self.pools,
            "pool": None if self.pool is None else [str(self.space.index(code)) for code in self.pool.codes],
            "known": None if self.pool is None else self.pool.known,
            "generator": self.generator.bit_generator.state,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.memory.load_state_dict(state["memory"])
        self._judge_anew()
        self.rows, self.believed, self.drawn = {}, dict(state["believed"]), {}
        self.names, self.at_once, self.counted = list(state["names"]), state["at_once"], list(state["counted"])
        self.settled = list(state["settled"])
        self.news, self.asked, self.pools = state["news"], state["asked"], state["pools"]
        self.generator.bit_generator.state = state["generator"]
        self.observed = self.pool = None
        if state["pool"] is not None:
            with one_thread():
                self._restore([self.space.code(int(index)) for index in state["pool"]], state["known"])
        self.whitened[:] = 0
        self.whitened[: len(self.names)] = state["whitened"]

    def _restore(self, codes: list[Code], known: int) -> None:
        """Observations and pool by the same steps as before, so that every number comes out the same, bit by bit."""
        self.observed, settled = self._observed_at_once(), list(self.settled)
        for first, last in pairwise([self.at_once, *(count for count in settled if count <= known)]):
            self.observed.extend(self._described(self.names[first:last]))
        views = self.memory.book.seen(codes) if codes else np.zeros((0, WIDTH), np.float32)
        self.pool = self._pool_of(codes, views)
        for count, name in enumerate(self.names[known:], start=known + 1):
            self._add(self.pool, name)
            if count in settled:
                self.pool.process.settle()
        self.settled = settled
