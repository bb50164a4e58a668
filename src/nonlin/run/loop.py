"""The study loop: ask the strategy, train the children, tell it, and keep everything in the store.

    ask ─► (seen before? tell at once) ─► train ─► store ─► tell, in the order asked

At most `window` children are out at a time, and outcomes are told in the order asked, so the sequence of
asks and tells is the same for any number of workers, and after any interruption. With asynchronous halving they are
told in the order in which they come, which the store keeps, so that an interrupted search still goes on exactly.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import numpy as np

from nonlin.errors import SearchError, StoreError
from nonlin.expr import Expr, parse
from nonlin.expr.identity import IdentityIndex, kind
from nonlin.run.executor import Executor
from nonlin.run.halving import rule_for
from nonlin.run.job import Job
from nonlin.run.local import RARELY
from nonlin.run.store import OUTCOMES, Trial
from nonlin.strategies import Census, Estimate, Space, count, strategy
from nonlin.tasks import Task
from nonlin.train import Outcome
from nonlin.zoo.catalogue import activation
from nonlin.zoo.recognise import recognise

if TYPE_CHECKING:
    from nonlin.run.study import Study

WINDOW = 16
MOMENT = 0.1  # seconds: who looks at the store misses nothing in such a time
STATE_SHARE = 0.02  # of the time, for saving the strategy's state
PATIENCE = 20_000  # proposals in a row that bring nothing new, before the space counts as exhausted
BASELINES = ("relu", "gelu", "silu", "swish", "elu", "tanh", "sigmoid")
NULLS = (("linear", "x"), ("constant", "1"))
RANDOM_NULLS = 3
SEPARATOR = ": "  # between name and formula of the activations that a user adds


class Watcher(Protocol):
    """Hears of a study's progress; see `nonlin.cli` for one that shows it.

    One that also has ``explained(reason: str)`` hears why children are trained one by one, where they are.
    """

    def counting(self, space: str) -> None:
        """The space is being enumerated, which takes a while; may be missing."""

    def counted(self, found: Census | Estimate) -> None:
        """The space has been enumerated, or looked at by a sample where it is too large."""

    def restored(self, best: Trial, done: int, total: int) -> None:
        """`done` children were in the store already, `best` among them."""

    def finished(self, trial: Trial, done: int, total: int | None) -> None:
        """A child is in the store. `total` counts all that will be trained; None until that is known."""


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Collect garbage less often: expressions make many objects and no cycles, and a fifth of the loop's time goes."""
    before = gc.get_threshold()
    if before[0]:  # 0: the user has turned it off
        gc.set_threshold(max(before[0], RARELY), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


class Loop:
    """The state of one run of a study."""

    def __init__(self, study: Study, task: Task, crew: Executor, watcher: Watcher | None):
        self.study, self.task, self.crew, self.watcher = study, task, crew, watcher
        self.config, self.store = study.config, study.store
        self.space: Space = study.space
        self.index = IdentityIndex()
        self.trials: list[Trial] = []  # asked, in order; trials[:told] have been told
        self.by_key: dict[str, int] = {}
        self.exprs: dict[int, Expr] = {}  # of trials that are out
        self.unsaved: list[Trial] = []  # asked since the store was last written to
        self.told = 0
        self.waited = math.inf  # seconds, for what came last
        self.state_saved, self.state_seconds = time.monotonic(), 0.0
        self.asynchronous = self.config.halving == "async"
        # in the order told and to be told: as asked, or as they came
        self.order: list[int] = self.store.completion(study.id) if self.asynchronous else []
        self.rule = rule_for(self.config.halving, task.budget.epochs)  # has heard of what was told
        self.stored = {trial.number: trial for trial in study.trials()}
        self.restored = [trial for trial in self.stored.values() if trial.status != "running"]
        self.done = len(self.restored)
        self.exhausted = False
        self.total: int | None = None  # known once the space is counted

    @_rare_collections()
    def run(self) -> None:
        for role, name, formula in controls(self.space, self.config.seed, self.config.also):
            self._take(parse(formula), role, name)
        if not self.crew.beside and not any(trial.status != "running" for trial in self.trials):
            self._receive()  # something to see before the space is counted
        if announce := getattr(self.watcher, "counting", None):
            announce(self.space.name)
        found = count(self.space, self._receive_what_is_there if self.crew.beside else None)
        self.store.set_census(self.study.id, found.counts())
        if self.watcher:
            self.watcher.counted(found)
        fixed = len(self.trials)
        if isinstance(found, Census):
            available = sum(self.index.find(expr) is None for expr in found.worth_training)
            self.total = fixed + min(self.config.budget or available, available)
        else:
            assert self.config.budget is not None, "a space that cannot be listed is searched with a budget"
            self.total = fixed + self.config.budget
        self.strategy = strategy(self.study.strategy, self.space, self.config.seed)
        self._restore()
        self._announce_restored()
        while True:
            self._fill()
            if self.told == len(self.trials):
                break
            while not self._has_next():
                self._receive()
            self._tell()

    def _has_next(self) -> bool:
        """Whether the next outcome to be told is there."""
        if self.asynchronous:
            return self.told < len(self.order)
        return self.trials[self.told].status != "running"

    def _next(self) -> Trial:
        """The trial that is told next: the oldest asked, or of an asynchronous search the first that came."""
        return self.trials[self.order[self.told] if self.asynchronous else self.told]

    def _restore(self) -> None:
        """Bring strategy and trials to the last saved moment; later asks repeat themselves."""
        state = self.store.study(self.study.id)["state"]
        if not state:
            return
        for number in range(len(self.trials), state["asked"]):
            self.index.add(parse(self.stored[number].formula))
            self._append(self.stored[number])
        self.told = state["told"]
        for number in self.order[: self.told] if self.asynchronous else range(self.told):
            self.rule.tell(self.trials[number])
        self.strategy.load_state_dict(state["strategy"])

    def _announce_restored(self) -> None:
        if self.watcher and self.restored:
            assert self.total is not None
            self.watcher.restored(min(self.restored, key=Trial.rank_key), len(self.restored), self.total)

    def _fill(self) -> None:
        """Ask until the window is full, the budget is spent or the strategy has no more."""
        fruitless = 0
        assert self.total is not None
        while (
            len(self.trials) < self.total and len(self.trials) - self.told < self.config.window and not self.exhausted
        ):
            expr = self._asked()
            if expr is None or fruitless > PATIENCE:
                self.exhausted = True
            elif (key := self.index.find(expr)) is not None:
                fruitless += 1
                known = self.by_key[key]
                if known in self.order[: self.told] if self.asynchronous else known < self.told:
                    self.strategy.tell(expr, self.trials[known].score, self.trials[known].loss)
            elif kind(expr) != "ordinary":
                fruitless += 1
                self.strategy.tell(expr, math.nan, math.nan)
            else:
                fruitless = 0
                names = recognise(expr)
                self._take(expr, "candidate", str(names[0]) if names else str(expr))

    def _asked(self) -> Expr | None:
        """What the strategy proposes; SearchError where a user's own one returns anything else."""
        expr = self.strategy.ask()
        if expr is not None and not isinstance(expr, Expr):
            raise SearchError(
                f"the strategy {self.config.strategy!r} proposed {type(expr).__name__} {expr!r:.60}; ask() must return "
                "an expression (nonlin.expr.Expr) or None. nonlin.expr.parse(text) makes one; "
                "nonlin.testing.check_strategy finds more of the kind."
            )
        return expr

    def _take(self, expr: Expr, role: str, name: str) -> None:
        """Add a child that is not known yet, and train it unless the store has its outcome."""
        key, new = self.index.add(expr)
        if not new:
            return
        number = len(self.trials)
        if number in self.stored:
            self._append(self._same(self.stored[number], expr))
            return
        limits = {}
        if self.config.halving and role == "candidate":
            limits = self.rule.limits()
        formula = str(expr)
        # what a strategy proposes is a formula, whose parameters begin at 1; a control may be a known name's
        initial = dict.fromkeys(expr.parameters, 1.0) if role == "candidate" else activation(formula).parameters
        trial = Trial(number, role, name, formula, key, initial, limits, self.config.seed)
        self.exprs[number] = expr
        self.unsaved.append(trial)
        self.stored[number] = trial
        self._append(trial)

    def _same(self, trial: Trial, expr: Expr) -> Trial:
        if trial.formula != str(expr):
            raise StoreError(
                f"trial {trial.number} of {self.store.label} is {trial.formula}, but the search now arrives at "
                f"{expr}: it was begun by another version of nonlin. Finish it with that version, or use another store."
            )
        return trial

    def _append(self, trial: Trial) -> None:
        self.trials.append(trial)
        self.by_key[trial.key] = trial.number
        if trial.status == "running":
            config = self.config
            self.crew.submit(
                Job(
                    number=trial.number,
                    formula=trial.formula,
                    initial=trial.initial,
                    seed=trial.seed,
                    normalise=config.normalise,
                    per=config.per,
                    rungs=trial.rungs,
                    engine=config.engine,
                    tree=self.exprs.get(trial.number),
                )
            )

    def _receive(self) -> None:
        """Wait for the next finished child, whichever it is, and store it with all that are there by then.

        What was asked is stored before, for others to see what is in training; where the wait will be short, with it.
        """
        if self.waited > MOMENT:
            self._store_asked()
        begin = time.monotonic()
        outcomes = (self.crew.next(), *self.crew.more())
        self.waited = time.monotonic() - begin
        self._take_in(outcomes)

    def _receive_what_is_there(self) -> None:
        """Store the children that have finished by now."""
        if found := self.crew.more():
            self._take_in(found)

    def _store_asked(self) -> None:
        if self.unsaved:
            self.store.record(self.study.id, self.unsaved)
            self.unsaved = []

    def _take_in(self, outcomes: Sequence[tuple[int, Outcome]]) -> None:
        finished = []
        for number, outcome in outcomes:
            trial = self.trials[number]
            if outcome.status == "failed" and trial.role == "baseline":
                fault = outcome.error.rstrip(".")
                raise SearchError(
                    f"task {self.task.name!r} cannot be trained: with {trial.name} it fails with {fault}. "
                    "Mend the task's model, data or loss first."
                )
            _copy(outcome, trial)
            finished.append(trial)
        self.store.record(self.study.id, self.unsaved, finished, len(self.order) if self.asynchronous else None)
        self.unsaved = []
        self.order += [trial.number for trial in finished]
        for trial in finished:
            self.done += 1
            if self.watcher:
                self.watcher.finished(trial, self.done, self.total)

    def _tell(self) -> None:
        """Tell the strategy the next outcome."""
        trial = self._next()
        expr = self.exprs.pop(trial.number, None) or parse(trial.formula)
        self.strategy.tell(expr, trial.score, trial.loss)
        self.rule.tell(trial)
        self.told += 1
        if time.monotonic() - self.state_saved > self.state_seconds / STATE_SHARE:
            self._save_state()

    def _save_state(self) -> None:
        """Save the strategy's state: a large one less often, since what follows it repeats itself on resuming."""
        begin = time.monotonic()
        self._store_asked()  # the state counts on them
        state = {"asked": len(self.trials), "told": self.told, "strategy": self.strategy.state_dict()}
        try:
            self.store.save_state(self.study.id, 0 if self.asynchronous else self.told, state)
        except (TypeError, ValueError) as error:
            raise SearchError(
                f"the state of the strategy {self.config.strategy!r} cannot be kept ({error}); state_dict() must "
                "return JSON values: dicts, lists, text, numbers. nonlin.testing.check_strategy finds more of the kind."
            ) from None
        self.state_saved = time.monotonic()
        self.state_seconds = self.state_saved - begin


def _copy(outcome: Outcome, trial: Trial) -> None:
    """What a trial keeps of an outcome; the test part's score and the like are none of a search's business."""
    for name in OUTCOMES:
        setattr(trial, name, getattr(outcome, name))


def controls(where: Space, seed: int, also: Sequence[str] = ()) -> list[tuple[str, str, str]]:
    """(role, name, formula) of what every study trains beside its candidates."""
    rows = [("baseline", name, activation(name).formula) for name in BASELINES]
    rows += [("baseline", name, formula) for name, formula in (pair.split(SEPARATOR, 1) for pair in also)]
    rows += [("null", name, formula) for name, formula in NULLS]
    drawn = random_functions(where, seed, RANDOM_NULLS, [formula for _, _, formula in rows])
    rows += [("null", f"random function {number}", formula) for number, formula in enumerate(drawn, start=1)]
    return rows


def random_functions(where: Space, seed: int, count: int, taken: Sequence[str]) -> list[str]:
    """Formulas of `count` functions of a space, drawn at random: all different, none known, none of those `taken`."""
    generator = np.random.default_rng([seed, 1])
    seen = IdentityIndex()
    for formula in taken:
        seen.add(parse(formula))
    found: list[str] = []
    for _ in range(PATIENCE):
        if len(found) == count:
            break
        expr = where.sample(generator)
        if kind(expr) == "ordinary" and not recognise(expr) and not _idle(expr) and seen.add(expr)[1]:
            found.append(str(expr))
    return found


def _idle(expr: Expr) -> bool:
    """Whether a parameter changes nothing, as in beta*tanh(x) + (1 - beta)*tanh(x): a known function in disguise."""
    act, x = activation(str(expr)), np.linspace(-3, 3, 25)
    first, second = (act(x, **dict.fromkeys(act.parameters, value)) for value in (0.3, 1.7))
    return bool(act.parameters) and np.allclose(first, second, equal_nan=True)
