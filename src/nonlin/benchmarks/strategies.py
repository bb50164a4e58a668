"""All strategies on a table of `core-1`: how many functions until one of the best 1%, and what is best at equal budget?

A strategy is told the outcomes of one seed of the table. What is "best" is judged by the mean over all its seeds, so
that nobody is rewarded for one seed's luck. Intervals are 95% bootstrap intervals over repetitions, which take turns
with the table's seeds and have a seed each.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from nonlin.benchmarks.replay import Replay, first_hit, regret, replay
from nonlin.benchmarks.table import Table, find_table, read_table
from nonlin.errors import NonlinError, UnknownNameError
from nonlin.strategies import STRATEGIES, space, strategy

SHARE = 0.01  # of all functions, which count as the best
DRAWS = 1000  # of a bootstrap
FIRST_SEED = 1000  # of the first repetition
TIMED = {"core": 12, "torch": 5}  # functions trained to know what a training costs, one more to load and compile


@dataclass
class Standing:
    """One strategy on a table.

    Attributes
    ----------
    hits : (repetitions,), functions tried until the first of the best 1%; budget + 1 where there is none
    curves : (repetitions, budget), the share of all functions that are at least as good as the best one tried so far
    milliseconds : CPU time of one proposal, with the telling of its outcome
    """

    name: str
    hits: np.ndarray
    curves: np.ndarray
    milliseconds: float

    def first_hit(self) -> tuple[float, float, float]:
        """Median of `hits` with its interval."""
        return middle(self.hits)

    def at_the_end(self) -> tuple[float, float, float]:
        """Mean over repetitions of the last of `curves`, with its interval."""
        return middle(self.curves[:, -1], np.mean)

    def along(self) -> tuple[float, float, float]:
        """Mean over repetitions of the mean logarithm of `curves`, as a share: the regret over the whole budget."""
        low, mid, high = middle(np.log(self.curves).mean(axis=1), np.mean)
        return float(np.exp(low)), float(np.exp(mid)), float(np.exp(high))


@dataclass
class Measured:
    """What `bench_strategies` found."""

    table: Table
    standings: list[Standing]
    repeats: int
    budget: int
    window: int
    training: dict[str, float]  # engine -> CPU ms of a training; infinite if it cannot run here
    machine: str

    @property
    def training_milliseconds(self) -> float:
        """CPU time of a training by the table's own engine."""
        return self.training.get(self.table.header["study"].get("engine", "core"), float("inf"))

    def title(self) -> str:
        provenance = self.table.header["provenance"]
        seeds = ", ".join(map(str, self.table.seeds))
        return (
            f"{self.table.task}: {len(self.table.formulas):,} functions, seeds {seeds}; "
            f"{self.repeats} repetitions, budget {self.budget}, {self.window} out at a time; table by nonlin "
            f"{provenance['nonlin']} ({provenance['commit']}); {self.machine}"
        )

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary for each strategy; intervals are (low, high), shares between 0 and 1."""
        found = []
        for standing in self.standings:
            low, hit, high = standing.first_hit()
            end, along = standing.at_the_end(), standing.along()
            found.append(
                {
                    "strategy": standing.name, "first_of_best": hit, "first_of_best_interval": (low, high),
                    "not_found": float((standing.hits > self.budget).mean()),
                    "better_at_the_end": end[1], "better_at_the_end_interval": (end[0], end[2]),
                    "regret": along[1], "regret_interval": (along[0], along[2]),
                    "milliseconds": standing.milliseconds,
                    "share_of_training": standing.milliseconds / self.training_milliseconds,
                    "share_of_plain_training": standing.milliseconds / self.training["torch"],
                }
            )  # fmt: skip
        return found

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON values, with the median curve of each strategy."""
        return {
            "task": self.table.task, "functions": len(self.table.formulas), "complete": self.table.is_complete,
            "seeds": self.table.seeds, "repeats": self.repeats, "budget": self.budget, "window": self.window,
            "training_milliseconds": _or_none(self.training_milliseconds),
            "plain_training_milliseconds": _or_none(self.training["torch"]),
            "machine": self.machine,
            "table": self.table.header, "strategies": self.rows(),
            "curves": {s.name: np.median(s.curves, axis=0).tolist() for s in self.standings},
        }  # fmt: skip

    def picture(self, path: str | Path) -> Path:
        """Draw the curves of all strategies into a .png, .svg or .pdf file."""
        from nonlin.benchmarks.picture import draw

        return draw(self, Path(path))


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def middle(values: np.ndarray, statistic: Callable[..., Any] = np.median) -> tuple[float, float, float]:
    """(low, statistic, high): with the 95% percentile bootstrap interval over the first axis."""
    generator = np.random.default_rng(0)
    draws = statistic(values[generator.integers(len(values), size=(DRAWS, len(values)))], axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(statistic(values)), float(high)


def bench_strategies(
    task: str = "digits-mlp",
    table: str | Path | None = None,
    strategies: Sequence[str] = tuple(STRATEGIES),
    repeats: int = 50,
    budget: int = 200,
    window: int = 1,
    workers: int = 1,
    watcher: Callable[[Standing], None] | None = None,
) -> Measured:
    """Measure strategies on a table.

    Parameters
    ----------
    task, table : the project's table of a task, or the path of another one
    strategies : names, at least one
    repeats, budget : runs of each strategy, and functions that each may try
    window : functions out at a time; a search has 16
    workers : processes, one strategy each
    watcher : hears of each strategy when it is done

    Raises
    ------
    NonlinError : unknown names, numbers below 1, or a table that cannot be read.
    """
    for name, value in (("repeats", repeats), ("budget", budget), ("window", window), ("workers", workers)):
        if value < 1:
            raise NonlinError(f"{name} must be at least 1; got {value}.")
    if not strategies:
        raise NonlinError("name at least one strategy.")
    for name in strategies:
        if name not in STRATEGIES:
            raise UnknownNameError("strategy", name, STRATEGIES)
    path = find_table(task) if table is None else Path(table)
    read, standings = read_table(path), []
    core: list[float] = []  # ms of a training, after each strategy: a machine's clock changes within seconds
    budget = min(budget, len(read.formulas))
    best, quality = read.best(SHARE), read.quality()
    for name, runs in zip(strategies, _all_runs(path, strategies, repeats, budget, window, workers), strict=True):
        standing = Standing(
            name,
            np.array([first_hit(run.rows, best, budget) for run in runs]),
            np.stack([regret(run.rows, quality, budget) for run in runs]),
            1000 * sum(run.seconds for run in runs) / max(1, sum(run.asks for run in runs)),
        )
        standings.append(standing)
        core.append(_training_milliseconds(read, "core"))
        if watcher:
            watcher(standing)
    training = {"core": float(np.mean(core)), "torch": _training_milliseconds(read, "torch")}
    return Measured(read, standings, repeats, budget, window, training, _machine())


def _all_runs(path: Path, names: Sequence[str], repeats: int, budget: int, window: int, workers: int):
    """The repetitions of each strategy, in the order of `names`."""
    jobs = [(path, name, repeats, budget, window) for name in names]
    if workers == 1:
        yield from map(_runs, jobs)
        return
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(max_workers=workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_runs, jobs)


def _runs(job: tuple[Path, str, int, int, int]) -> list[Replay]:
    """All repetitions of one strategy, on one thread."""
    from nonlin.strategies.threads import one_thread

    path, name, repeats, budget, window = job
    table, where = read_table(path), space("core-1")
    with one_thread():
        return [
            replay(table, strategy(name, where, FIRST_SEED + k), budget, k % len(table.seeds), window)
            for k in range(repeats)
        ]


def _training_milliseconds(table: Table, engine: str) -> float:
    """Mean CPU time of training random functions of the table here; infinite if none can run."""
    from nonlin.benchmarks.table import check_table
    from nonlin.strategies.threads import one_thread

    try:
        with one_thread():
            found = check_table(table, TIMED[engine] + 1, engine=engine)[1:]  # the first one loads and compiles
    except NonlinError:  # a task of the user's own, or a machine without the compiled core
        return float("inf")
    return 1000 * float(np.mean([row["cpu_seconds"] for row in found]))


def _machine() -> str:
    from nonlin.run.provenance import provenance

    known = provenance()
    return f"{known['processor'] or platform.machine()}, {known['cores']} cores"
