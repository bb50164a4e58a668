"""A study: what was searched, where its results are, and how to go on with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nonlin.errors import NonlinError, SearchError, StoreError
from nonlin.native.module import Per
from nonlin.run.engines import ENGINES, Engine, engine_for, say_why, why_torch
from nonlin.run.executor import Executor, crew_of
from nonlin.run.halving import Rule, checked, rungs_of
from nonlin.run.loop import SEPARATOR, WINDOW, Loop, Watcher
from nonlin.run.provenance import provenance
from nonlin.run.ranking import Ranking
from nonlin.run.store import Store, Trial
from nonlin.strategies import STRATEGIES, Space, StrategyFactory, listable
from nonlin.strategies import space as space_by_name
from nonlin.strategies import strategy as new_strategy
from nonlin.strategies.strategy import label
from nonlin.tasks import Task, known
from nonlin.tasks import task as task_by_name
from nonlin.tasks.digest import data_digest, model_digest
from nonlin.tasks.rehearsal import reference_model, rehearse
from nonlin.train import obstacle
from nonlin.zoo import activation

LARGEST = 2**31 - 1  # of a seed or a budget


@dataclass(frozen=True)
class Config:
    """Everything that determines a study's result, beside the task's own code.

    `engine` is "torch", "core" or "cohort", `training` the task's budget, `data` a checksum, `rows` the numbers of
    targets in the three parts, and `metric` what the score is: accuracy or R², on the validation part. `definition`
    holds a space of the user's own. `model` is a checksum of how the model is built, empty in a study that was begun
    before there was one.
    """

    task: str
    space: str
    strategy: str
    budget: int | None
    seed: int
    normalise: bool
    per: Per
    halving: Rule
    engine: str
    also: Sequence[str]
    training: Mapping[str, Any]
    data: str
    rows: Mapping[str, int]
    metric: str
    definition: Mapping[str, Any] | None = None
    window: int = WINDOW
    model: str = ""

    @property
    def rungs(self) -> dict[int, float]:
        """{epoch after which candidates may be stopped: share of them that goes on}."""
        return rungs_of(self.training["epochs"]) if self.halving else {}

    def as_dict(self) -> dict[str, Any]:
        values = asdict(self)
        if self.definition is None:
            del values["definition"]
        if self.window == WINDOW:  # what every study had before it could be chosen
            del values["window"]
        if not self.model:
            del values["model"]
        return values


class Study:
    """A search and its results. Get one from `nonlin.search`, or `Study.open` for a stored one."""

    def __init__(self, store: Store, id: int, task: Task | None = None, strategy: StrategyFactory | None = None):
        self.store, self.id = store, id
        row = store.study(id)
        self.config = Config(**row["config"])
        self.provenance: dict[str, Any] = row["provenance"]
        self.created: str = row["created"]
        self._task, self._strategy = task, strategy

    def __repr__(self) -> str:
        return f"<Study {self.id} of {self.store.label}: {self.config.space} on {self.config.task}>"

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
            if not known(self.config.task):
                raise SearchError(
                    f"this study trains your own task {self.config.task!r}, which only your script can build. "
                    "Call nonlin.search(...) from it again, with the same arguments and this store: it continues."
                )
            self._task = task_by_name(self.config.task)
        return self._task

    @property
    def space(self) -> Space:
        """Where it searches: the built-in space of that name, or the user's own, which the store holds."""
        if self.config.definition is not None:
            return Space.from_definition(self.config.definition)
        return space_by_name(self.config.space)

    @property
    def strategy(self) -> str | StrategyFactory:
        """What chooses: a name, or the user's own class."""
        if self._strategy is not None:
            return self._strategy
        if self.config.strategy not in STRATEGIES:
            raise SearchError(
                f"this study is searched by your own strategy {self.config.strategy!r}, which only your script can "
                "build. Call nonlin.search(...) from it again, with the same arguments and this store: it continues."
            )
        return self.config.strategy

    def run(self, workers: int | Executor = 0, watcher: Watcher | None = None, address: str | None = None) -> Study:
        """Train what is missing. Interrupting is safe at any moment; calling again continues.

        Parameters
        ----------
        workers : processes on this machine, 0 for this process; or what `nonlin.run.start` returned
        watcher : hears of the progress
        address : of a Ray cluster to train on, see `nonlin.run.start`

        Raises
        ------
        SearchError : the task's data, model or budget differ from those of the stored study.
        """
        if self.finished:
            return self
        task, _ = self.task, self.strategy
        self._check_same_task(task)
        with self.store.lock(), crew_of(workers, address) as crew:
            crew.begin(task)
            say_why(watcher, self.provenance)
            Loop(self, task, crew, watcher).run()
            self.store.finish(self.id)
        return self

    def _check_same_task(self, task: Task) -> None:
        if self.config.engine == "core" and (problem := obstacle(task)):
            raise SearchError(
                f"this study was begun with the compiled core, which cannot be used here: {problem}. Its children "
                "would not be comparable. Install nonlin with a C++ compiler, or use another store."
            )
        if changed := changes(task, self.config.training, self.config.data, self.config.model):
            raise SearchError(
                f"{changed} of task {task.name!r} is not what this study was begun with; its children could not be "
                "compared. Use another store for the new setting, or begin a new study in this one."
            )


def search(
    task: str | Task,
    space: str | Path | Space = "core-1",
    strategy: str | StrategyFactory = "exhaustive",
    budget: int | None = None,
    seed: int = 0,
    store: str | Path | None = None,
    workers: int | Executor = 0,
    halving: Rule = True,
    normalise: bool = True,
    per: Per | None = None,
    engine: Engine = "auto",
    also: Sequence[str] = (),
    watcher: Watcher | None = None,
    address: str | None = None,
    window: int = WINDOW,
) -> Study:
    """Search `space` for the activation with the best validation score on `task`.

    Every study also trains well-known functions and nulls (linear, constant, random functions), marked as
    such. Functions that are equal are trained once.

    Parameters
    ----------
    task : name of a task (`nonlin tasks`) or a `nonlin.Task`
    space : a name (`nonlin spaces`), the path of a .toml file with your own, or a `nonlin.strategies.Space`
    strategy : a name (`nonlin spaces`), or a class of your own, called with (space, seed); see
        `nonlin.strategies.Strategy` and `nonlin.testing.check_strategy`
    budget : how many candidates to train; None for all that are worth it, in a space small enough to list
    seed : of initial weights, batches and the strategy's choices
    store : file that keeps everything; None for memory only. If it holds a study with this very
        configuration, that study is continued, or returned if it is finished
    workers : processes on this machine; 0 trains in this process. Or what `nonlin.run.start` returned
    halving : stop children that are in the worst third of their predecessors after 10% of the epochs, in the worst
        sixth at one of the next rungs, or in the worst third at one of the last (docs/searching.md). With "async"
        outcomes count in the order in which they come, and no worker waits for a slow child; then the result depends
        on that order, and is repeated by the same store only
    normalise : scale each child's initial weights by its own function's gain
    per : trainable parameters per "channel" or per "tensor"; None for what the space says, else per channel
    engine : "torch" for the plain reference, "core" for the compiled core (multilayer perceptrons), "cohort" for
        many children as one (any model, see `nonlin.train.cohort`), "auto" for the first that can train the task,
        of the core, cohorts and torch. A store remembers which it was
    also : names or formulas of your own to train as baselines beside the usual ones
    watcher : an object with the methods of `nonlin.run.loop.Watcher`, which hears of the progress
    address : of a Ray cluster to train on ("auto", "host:port", "ray://host:port"), or "local" to start Ray here;
        docs/cluster.md. The result is that of a search on one machine
    window : how far the search may run ahead of the oldest child whose outcome it does not know. At most so many
        are in training at once: give more than there are workers. It is part of what the search is: another window
        is another search, another number of workers is not

    Returns
    -------
    Study : `.top()`, `.trials()`, `.report(path)`
    """
    chosen = task_by_name(task)
    where = checked_choices(space, strategy, budget, seed, window)
    per = where.per or "channel" if per is None else per
    if per not in ("channel", "tensor"):
        raise SearchError(f"per must be 'channel' or 'tensor'; got {per!r}.")
    if engine not in ENGINES:
        raise SearchError(f"engine must be 'auto', 'torch', 'core' or 'cohort'; got {engine!r}.")
    added = [f"{act.name}{SEPARATOR}{act.formula}" for act in map(activation, also)]
    opened = Store(store)
    with (
        opened.unless_unused(),
        crew_of(workers, address) as crew,
    ):  # before the data is read: the workers start meanwhile
        data, model = chosen.load(), reference_model(chosen)
        rehearse(chosen, model, widths=per == "channel")
        config = Config(
            task=chosen.name,
            space=where.name,
            strategy=label(strategy),
            budget=budget,
            seed=seed,
            normalise=normalise,
            per=per,
            halving=checked(halving),
            engine=engine_for(engine, chosen, per),
            also=added,
            training=chosen.budget.as_dict(),
            data=data_digest(data),
            rows={name: getattr(data, name)[1].numel() for name in ("train", "validation", "test")},
            metric="R²" if data.classes is None else "accuracy",
            definition=None if _is_built_in(where) else where.definition(),
            window=window,
            model=model_digest(model, chosen.designed_for),
        )
        found = opened.find_study(config.as_dict())
        if found is None:  # one that was begun before the model was noted
            found = opened.find_study(replace(config, model="").as_dict())
        if found is None:
            reason = why_torch(chosen, per) if engine == "auto" and config.engine == "torch" else ""
            found = opened.add_study(config.as_dict(), provenance(reason))
        own = None if isinstance(strategy, str) else strategy
        return Study(opened, found, chosen, own).run(crew, watcher)


def checked_choices(
    space: str | Path | Space, strategy: str | StrategyFactory, budget: int | None, seed: int, window: int = WINDOW
) -> Space:
    """The space of a search, whose arguments are as `search` takes them.

    Raises
    ------
    NonlinError : for one of them that cannot be used
    """
    where = space_by_name(space)
    if not isinstance(strategy, str) or strategy not in STRATEGIES:
        new_strategy(strategy, where, 0)  # raises if it is none
        if label(strategy) in STRATEGIES:
            raise SearchError(f"{label(strategy)!r} is the name of a built-in strategy; give your class another.")
    for name, value, least in (("budget", budget, 1), ("seed", seed, 0), ("window", window, 1)):
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (whole and least <= value <= LARGEST):
            raise SearchError(f"{name} must be a whole number from {least} to {LARGEST}; got {value!r}.")
    if budget is None and not listable(where):
        raise SearchError(
            f"space {where.name!r} has {where.size:,} expressions, too many to train them all. Give a budget, as in "
            "budget=1000 (--budget 1000)."
        )
    return where


def changes(task: Task, training: Mapping[str, Any], data: str, model: str) -> str:
    """What of a task is not as it was when these were noted, in words; empty if all is. `model` "" was not noted."""
    words = []
    if data_digest(task.load()) != data:
        words.append("the data")
    if model and model_digest(reference_model(task), task.designed_for) != model:
        words.append("the model")
    if task.budget.as_dict() != dict(training):
        words.append("the training budget")
    return " and ".join(words)


def _is_built_in(where: Space) -> bool:
    """Whether a space can be had again by its name alone."""
    try:
        return not where.name.endswith(".toml") and space_by_name(where.name) == where
    except NonlinError:
        return False
