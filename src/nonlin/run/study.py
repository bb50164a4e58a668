"""The study: ask a strategy, train the children, tell it, and keep everything in the store.

    ask ─► (seen before? tell at once) ─► train ─► store ─► tell, in the order asked

At most `WINDOW` children are out at a time, and outcomes are told in the order asked, so the sequence of
asks and tells is the same for any number of workers, and after any interruption.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nonlin.errors import SearchError, StoreError, UnknownNameError
from nonlin.expr import Expr, parse
from nonlin.expr.identity import IdentityIndex, kind
from nonlin.expr.module import Per
from nonlin.run.halving import thresholds
from nonlin.run.job import Job
from nonlin.run.local import Executor, InProcess, Workers, start
from nonlin.run.provenance import data_digest, provenance
from nonlin.run.ranking import Ranking
from nonlin.run.store import Store, Trial
from nonlin.strategies import STRATEGIES, Census, Space, census
from nonlin.strategies import space as space_by_name
from nonlin.strategies import strategy as strategy_by_name
from nonlin.tasks import TASKS, Task
from nonlin.tasks import task as task_by_name
from nonlin.train import Outcome
from nonlin.zoo.catalogue import activation
from nonlin.zoo.recognise import recognise

WINDOW = 16
PATIENCE = 20_000  # proposals in a row that bring nothing new, before the space counts as exhausted
BASELINES = ("relu", "gelu", "silu", "swish", "elu", "tanh", "sigmoid")
NULLS = (("linear", "x"), ("constant", "1"))
RANDOM_NULLS = 3


class Watcher(Protocol):
    """Hears of a study's progress; see `nonlin.cli` for one that shows it."""

    def counted(self, found: Census) -> None:
        """The space has been enumerated."""

    def finished(self, trial: Trial, done: int, total: int | None) -> None:
        """A child is in the store. `total` counts all that will be trained; None until that is known."""


@dataclass(frozen=True)
class Config:
    """Everything that determines a study's result, beside the task's own code.

    `training` is the task's budget, `data` a checksum, `rows` the sizes of the three parts, and `metric`
    what the score is: accuracy or R², on the validation part.
    """

    task: str
    space: str
    strategy: str
    budget: int | None
    seed: int
    normalise: bool
    per: Per
    halving: bool
    training: Mapping[str, Any]
    data: str
    rows: Mapping[str, int]
    metric: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Study:
    """A search and its results. Get one from `nonlin.search`, or `Study.open` for a stored one."""

    def __init__(self, store: Store, id: int, task: Task | None = None):
        self.store, self.id = store, id
        row = store.study(id)
        self.config = Config(**row["config"])
        self.provenance: dict[str, Any] = row["provenance"]
        self.created: str = row["created"]
        self._task = task

    @classmethod
    def open(cls, path: str | Path, id: int | None = None) -> Study:
        """The study of a store (the latest, or the one with this id). StoreError if there is none."""
        store = Store(path, create=False)
        ids = store.study_ids()
        if not ids:
            raise StoreError(f"{path} holds no study yet. Start one with: nonlin search --store {path}")
        return cls(store, ids[-1] if id is None else id)

    # Results

    @property
    def finished(self) -> bool:
        return bool(self.store.study(self.id)["finished"])

    @property
    def census(self) -> dict[str, int]:
        """Counts of the space: expressions, distinct, constant, affine, undefined, worth_training."""
        return self.store.study(self.id)["census"]

    def trials(self) -> list[Trial]:
        """All children in the order asked, finished or not."""
        return self.store.trials(self.id)

    def top(self, n: int | None = 10) -> list[Trial]:
        """The best `n` children (all for None), best first.

        Ranked by validation score, then by validation loss. Children stopped early stand below all that
        were trained to the end; those that diverged or failed come last.
        """
        done = [trial for trial in self.trials() if trial.status != "running"]
        return sorted(done, key=Trial.rank_key)[:n]

    def report(self, path: str | Path) -> Path:
        """Write the HTML report; returns its path."""
        from nonlin.report import write_report

        return write_report(Ranking(self), path)

    # Running

    @property
    def task(self) -> Task:
        if self._task is None:
            if self.config.task not in TASKS:
                raise SearchError(
                    f"this study trains your own task {self.config.task!r}, which only your script can build. "
                    "Call nonlin.search(...) from it again, with the same arguments and this store: it continues."
                )
            self._task = task_by_name(self.config.task)
        return self._task

    def run(self, workers: int | Executor = 0, watcher: Watcher | None = None) -> Study:
        """Train what is missing. Interrupting is safe at any moment; calling again continues.

        Parameters
        ----------
        workers : processes on this machine, 0 for this process; or what `nonlin.run.start` returned
        watcher : hears of the progress

        Raises
        ------
        SearchError : the task's data or budget differ from those of the stored study.
        """
        if self.finished:
            return self
        task = self.task
        self._check_same_task(task)
        with _crew(workers) as crew:
            crew.begin(task)
            _Loop(self, task, crew, watcher).run()
        self.store.finish(self.id)
        return self

    def _check_same_task(self, task: Task) -> None:
        if asdict(task.budget) != dict(self.config.training) or data_digest(task.load()) != self.config.data:
            raise SearchError(
                f"the data or the training budget of task {task.name!r} are not those this study was begun with; "
                "its children could not be compared. Use another store for the new setting."
            )


class _Loop:
    """The state of one run of a study."""

    def __init__(self, study: Study, task: Task, crew: Executor, watcher: Watcher | None):
        self.study, self.task, self.crew, self.watcher = study, task, crew, watcher
        self.config, self.store = study.config, study.store
        self.space: Space = space_by_name(self.config.space)
        self.index = IdentityIndex()
        self.trials: list[Trial] = []  # asked, in order; trials[:told] have been told
        self.by_key: dict[str, int] = {}
        self.told = 0
        self.stored = {trial.number: trial for trial in study.trials()}
        self.exhausted = False
        self.total: int | None = None  # known once the space is counted

    def run(self) -> None:
        for role, name, formula in _controls(self.space, self.config.seed):
            self._take(parse(formula), role, name)
        if not any(trial.status != "running" for trial in self.trials):
            self._receive()  # something to see before the space is counted
        found = census(self.space)
        self.store.set_census(self.study.id, found.counts())
        if self.watcher:
            self.watcher.counted(found)
        controls = len(self.trials)
        available = sum(self.index.find(expr) is None for expr in found.worth_training)
        self.total = controls + min(self.config.budget or available, available)
        self.strategy = strategy_by_name(self.config.strategy, self.space, self.config.seed)
        self._restore()
        self._announce_finished()
        while True:
            self._fill()
            if self.told == len(self.trials):
                break
            while self.trials[self.told].status == "running":
                self._receive()
            self._tell()

    def _restore(self) -> None:
        """Bring strategy and trials to the last saved moment; later asks repeat themselves."""
        state = self.store.study(self.study.id)["state"]
        if not state:
            return
        for number in range(len(self.trials), state["asked"]):
            self.index.add(parse(self.stored[number].formula))
            self._append(self.stored[number])
        self.told = state["told"]
        self.strategy.load_state_dict(state["strategy"])

    def _announce_finished(self) -> None:
        if self.watcher:
            for trial in self.stored.values():
                if trial.status != "running":
                    self.watcher.finished(trial, self._done(), self.total)

    def _done(self) -> int:
        return sum(trial.status != "running" for trial in self.stored.values())

    def _fill(self) -> None:
        """Ask until the window is full, the budget is spent or the strategy has no more."""
        fruitless = 0
        assert self.total is not None
        while len(self.trials) < self.total and len(self.trials) - self.told < WINDOW and not self.exhausted:
            expr = self.strategy.ask()
            if expr is None or fruitless > PATIENCE:
                self.exhausted = True
            elif (key := self.index.find(expr)) is not None:
                fruitless += 1
                known = self.by_key[key]
                if known < self.told:
                    self.strategy.tell(expr, self.trials[known].score, self.trials[known].loss)
            elif kind(expr) != "ordinary":
                fruitless += 1
                self.strategy.tell(expr, math.nan, math.nan)
            else:
                fruitless = 0
                names = recognise(expr)
                self._take(expr, "candidate", str(names[0]) if names else str(expr))

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
            limits = thresholds(self.trials[: self.told], self.task.budget.epochs)
        act = activation(str(expr))
        trial = Trial(number, role, name, str(expr), key, act.parameters, limits, self.config.seed)
        self.store.add_trial(self.study.id, trial)
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
                    trial.number, trial.formula, trial.initial, trial.seed, config.normalise, config.per, trial.rungs
                )
            )  # fmt: skip

    def _receive(self) -> None:
        """Store the next finished child, whichever it is."""
        number, outcome = self.crew.next()
        trial = self.trials[number]
        _copy(outcome, trial)
        self.store.save_outcome(self.study.id, trial)
        if self.watcher:
            self.watcher.finished(trial, self._done(), self.total)

    def _tell(self) -> None:
        """Tell the strategy the oldest outcome it does not know, and save its state."""
        trial = self.trials[self.told]
        if trial.role == "candidate":
            self.strategy.tell(parse(trial.formula), trial.score, trial.loss)
        self.told += 1
        state = {"asked": len(self.trials), "told": self.told, "strategy": self.strategy.state_dict()}
        self.store.save_state(self.study.id, self.told, state)


def _copy(outcome: Outcome, trial: Trial) -> None:
    for name, value in outcome.as_dict().items():
        setattr(trial, name, value)


def _controls(space: Space, seed: int) -> list[tuple[str, str, str]]:
    """(role, name, formula) of what every study trains beside its candidates."""
    rows = [("baseline", name, activation(name).formula) for name in BASELINES]
    rows += [("null", name, formula) for name, formula in NULLS]
    generator = np.random.default_rng([seed, 1])
    seen = IdentityIndex()
    for _, _, formula in rows:
        seen.add(parse(formula))
    drawn = 0
    for _ in range(PATIENCE):
        if drawn == RANDOM_NULLS:
            break
        expr = space.sample(generator)
        if kind(expr) == "ordinary" and seen.add(expr)[1]:
            drawn += 1
            rows.append(("null", f"random function {drawn}", str(expr)))
    return rows


def search(
    task: str | Task,
    space: str = "core-1",
    strategy: str = "exhaustive",
    budget: int | None = None,
    seed: int = 0,
    store: str | Path | None = None,
    workers: int | Executor = 0,
    halving: bool = True,
    normalise: bool = True,
    per: Per = "channel",
    watcher: Watcher | None = None,
) -> Study:
    """Search `space` for the activation with the best validation score on `task`.

    Every study also trains well-known functions and nulls (linear, constant, random functions), marked as
    such. Functions that are equal are trained once.

    Parameters
    ----------
    task : name of a task (`nonlin tasks`) or a `nonlin.Task`
    space, strategy : names (`nonlin spaces`)
    budget : how many candidates to train; None for all that are worth it
    seed : of initial weights, batches and the strategy's choices
    store : file that keeps everything; None for memory only. If it holds a study with this very
        configuration, that study is continued, or returned if it is finished
    workers : processes on this machine; 0 trains in this process. Or what `nonlin.run.start` returned
    halving : stop children that are worse than half of their predecessors at 10% or 25% of the epochs
    normalise : scale each child's initial weights by its own function's gain
    per : trainable parameters per "channel" or per "tensor"

    Returns
    -------
    Study : `.top()`, `.trials()`, `.report(path)`
    """
    chosen = task_by_name(task)
    if strategy not in STRATEGIES:
        raise UnknownNameError("strategy", strategy, STRATEGIES)
    for name, value, least in (("budget", budget, 1), ("seed", seed, 0)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise SearchError(f"{name} must be a whole number, at least {least}; got {value!r}.")
    if per not in ("channel", "tensor"):
        raise SearchError(f"per must be 'channel' or 'tensor'; got {per!r}.")
    where = space_by_name(space).name
    opened = Store(store)
    with _crew(workers) as crew:  # before the data is read: the workers start meanwhile
        data = chosen.load()
        config = Config(
            task=chosen.name,
            space=where,
            strategy=strategy,
            budget=budget,
            seed=seed,
            normalise=normalise,
            per=per,
            halving=halving,
            training=asdict(chosen.budget),
            data=data_digest(data),
            rows={"train": len(data.train[0]), "validation": len(data.validation[0]), "test": len(data.test[0])},
            metric="R²" if data.classes is None else "accuracy",
        )
        found = opened.find_study(config.as_dict())
        id = opened.add_study(config.as_dict(), provenance()) if found is None else found
        return Study(opened, id, chosen).run(crew, watcher)


def _crew(workers: int | Executor) -> Executor:
    return workers if isinstance(workers, InProcess | Workers) else start(workers)
