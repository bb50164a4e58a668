"""The whole of a space on one task: the search's wall clock against the naive loop, and what halving loses.

The naive loop trains every expression of the space to its end in plain PyTorch, one after another on one thread. It
would take minutes, so a random sample of expressions is timed before and after the search (a machine's speed changes),
and its mean is multiplied by the number of expressions; the interval is that of a bootstrap over the sample. A naive
loop has no reason to stop at NaN, and most do not.

With `recall` the search is run once more without halving, and recall is the share of the best 1% functions of that run
that the halved one trained to its end.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from nonlin.benchmarks.children import machine_name
from nonlin.benchmarks.plain import train_plain
from nonlin.benchmarks.strategies import middle
from nonlin.errors import NonlinError
from nonlin.run import search, start
from nonlin.run.local import default_workers
from nonlin.run.store import Trial
from nonlin.strategies import space as space_by_name
from nonlin.strategies.threads import one_thread
from nonlin.tasks import Task
from nonlin.tasks import task as task_by_name

SAMPLE = 24  # expressions timed for the naive loop: half before the search, half after it
TARGET_RATIO, TARGET_SECONDS, TARGET_RECALL = 40.0, 20.0, 0.95
SHARES = (0.01, 0.05, 0.10)


@dataclass(frozen=True)
class Recall:
    """Of the best `share` of functions by validation loss after full training: how many halving kept.

    Attributes
    ----------
    count, kept : of them
    low, high : the 95% interval (Wilson 1927) of kept / count
    """

    share: float
    count: int
    kept: int
    low: float
    high: float


@dataclass(frozen=True)
class WholeSpace:
    """What `bench_space` found. Times are wall-clock seconds.

    Attributes
    ----------
    expressions, trained : of the space, and functions trained (after identity), controls included
    seconds, startup : of the search from call to end, and until its first child was in the store
    cpu_seconds : of the search in all its processes, the import of nonlin in this one not counted
    training_seconds : of all children together, as the workers measured them
    cost : epochs trained as a share of full training of every function
    naive, naive_cpu : seconds of one child in plain PyTorch, and of CPU time: (low, mean, high)
    full_seconds : of the search without halving; None unless asked for
    """

    task: str
    space: str
    expressions: int
    trained: int
    workers: int
    seconds: float
    startup: float
    cpu_seconds: float
    training_seconds: float
    cost: float
    sample: int
    naive: tuple[float, float, float]
    naive_cpu: tuple[float, float, float]
    full_seconds: float | None
    recalls: tuple[Recall, ...]
    machine: str
    load: tuple[float, float]

    @property
    def naive_seconds(self) -> tuple[float, float, float]:
        """Of the naive loop over all expressions: (low, estimate, high)."""
        low, mean, high = (self.expressions * value for value in self.naive)
        return low, mean, high

    @property
    def ratio(self) -> tuple[float, float, float]:
        """The naive loop's time over the search's: (low, estimate, high)."""
        low, mean, high = (value / self.seconds for value in self.naive_seconds)
        return low, mean, high

    @property
    def cpu_ratio(self) -> tuple[float, float, float]:
        """The same of CPU times, which other work on the machine disturbs less: what one core gains."""
        low, mean, high = (self.expressions * value / self.cpu_seconds for value in self.naive_cpu)
        return low, mean, high

    @property
    def busy(self) -> float:
        """Share of the workers' time that went into training."""
        return self.training_seconds / (max(1, self.workers) * self.seconds)

    def title(self) -> str:
        return f"{self.machine}; load of the machine {self.load[0]:.1f} to {self.load[1]:.1f}"

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "naive_seconds": self.naive_seconds, "ratio": self.ratio,
                "cpu_ratio": self.cpu_ratio, "busy": self.busy}  # fmt: skip

    def picture(self, path: str | Path) -> Path:
        """Draw the times into a .png, .svg or .pdf file."""
        from nonlin.benchmarks.speed_pictures import draw_space

        return draw_space(self, Path(path))


class _FirstChild:
    """Notes when the first child was finished."""

    def __init__(self) -> None:
        self.begun, self.first = time.perf_counter(), math.nan

    def counting(self, *_: Any) -> None:
        """Of no interest here."""

    def counted(self, found: Any) -> None:
        """Of no interest here."""

    def restored(self, best: Trial, done: int, total: int) -> None:
        """A new store has nothing to restore."""

    def finished(self, trial: Trial, done: int, total: int | None) -> None:
        if done == 1:
            self.first = time.perf_counter() - self.begun


def bench_space(
    task: str | Task = "digits-mlp",
    space: str = "core-1",
    workers: int | None = None,
    sample: int = SAMPLE,
    recall: bool = False,
    budget: int | None = None,
    seed: int = 0,
    watcher: Callable[[str], None] | None = None,
) -> WholeSpace:
    """Search a whole space, time it, and estimate what the naive loop would take in the same minutes.

    Parameters
    ----------
    workers : processes; None for one on each core
    sample : children of the naive loop that are timed
    recall : search again without halving, for `recalls`
    budget : only so many functions, for a quick look; the naive loop is then over as many expressions
    watcher : hears what is being done

    Raises
    ------
    NonlinError : a sample below 2, or what `nonlin.search` raises
    """
    if sample < 2:
        raise NonlinError(f"the naive loop is estimated from a sample of at least 2 children; got {sample}.")
    say = watcher or (lambda what: None)
    chosen, where = task_by_name(task), space_by_name(space)
    count = where.size if budget is None else budget
    workers = default_workers() if workers is None else workers
    generator = np.random.default_rng([seed, 2])
    formulas = [str(where.sample(generator)) for _ in range(sample)]
    before = os.getloadavg()[0]
    say(f"{sample // 2} children in plain PyTorch")
    naive = naive_seconds(chosen, formulas[: sample // 2], warm=True)
    say("the whole search")
    seconds, startup, spent, trials = timed_search(chosen, space, workers, budget, seed, True)
    say(f"{sample - sample // 2} children in plain PyTorch")
    naive += naive_seconds(chosen, formulas[sample // 2 :])
    full_seconds: float | None = None
    recalls: tuple[Recall, ...] = ()
    if recall:
        say("the search without halving")
        full_seconds, *_, full = timed_search(chosen, space, workers, budget, seed, False)
        recalls = tuple(recall_of(full, trials, share) for share in SHARES)
    share = sum(trial.epochs for trial in trials) / (chosen.budget.epochs * len(trials))
    wall, cpu = (middle(times, np.mean) for times in np.array(naive).T)
    return WholeSpace(
        chosen.name, space, count, len(trials), workers, seconds, startup, spent,
        sum(trial.seconds for trial in trials), share, sample, wall, cpu, full_seconds, recalls, machine_name(),
        (before, os.getloadavg()[0]),
    )  # fmt: skip


def naive_seconds(task: Task, formulas: Sequence[str], warm: bool = False) -> list[tuple[float, float]]:
    """Wall-clock and CPU seconds of each child in plain PyTorch on one thread."""
    found = []
    with one_thread():
        if warm:  # imports, and data
            train_plain(task, formulas[0])
        for formula in formulas:
            begin, spent = time.perf_counter(), time.process_time()
            train_plain(task, formula)
            found.append((time.perf_counter() - begin, time.process_time() - spent))
    return found


def timed_search(
    task: Task, space: str, workers: int, budget: int | None, seed: int, halving: bool
) -> tuple[float, float, float, list[Trial]]:
    """(seconds, seconds to the first child, CPU seconds, trials) of a search with a store, the start of its workers
    included."""
    with TemporaryDirectory() as folder:
        eyes, spent = _FirstChild(), _cpu_seconds()
        with start(workers) as crew:
            study = search(
                task, space, "exhaustive", budget, seed, Path(folder) / "space.db", crew, halving, watcher=eyes
            )
        seconds, spent = time.perf_counter() - eyes.begun, _cpu_seconds() - spent
        trials = study.trials()
        study.store.close()
    return seconds, eyes.first, spent, trials


def _cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    return sum(os.times()[:4])


def recall_of(full: Sequence[Trial], halved: Sequence[Trial], share: float) -> Recall:
    """How many of the best candidates of `full` were trained to the end in `halved`."""
    candidates = [trial for trial in full if trial.role == "candidate"]
    ranked = sorted((trial for trial in candidates if trial.status == "ok"), key=lambda trial: trial.loss)
    best = {trial.key for trial in ranked[: max(1, math.ceil(share * len(candidates)))]}
    kept = sum(trial.key in best and trial.status == "ok" for trial in halved)
    z, count = 1.959964, max(1, len(best))
    rate = kept / count
    centre = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return Recall(share, len(best), kept, max(0.0, centre - half), min(1.0, centre + half))
