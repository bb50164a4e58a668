"""From 1 to 1,000 workers on a simulated clock, with the real coordinator: throughput, idle workers, coordinator load.

    python benchmarks/cluster_simulation.py --json simulation.json --picture docs/cluster_simulation.png

What is real: the loop, the strategy (ask, tell, state), the identity of functions, and every commit to an SQLite
file. What is simulated: the workers. Their children take the times, and have the outcomes, of children trained
first, in the same run, by a search with halving on each task; every child of the simulation is one of those, drawn by
its formula. The coordinator's own time is measured (of its thread: other programs count less) and goes by on the
same clock, so that it can become the bottleneck. Each hand-out costs a worker `--latency` more.

Throughput and idle share are of the time between the moment when the window is full for the first time and the last
hand-out: before it the space is counted, once, and after it workers run empty, however many there are. A search's
`window` is twice its workers. Groups of children are not simulated: every child is handed out on its own.
"""

from __future__ import annotations

import argparse
import gc
import heapq
import json
import platform
import random
import tempfile
import time
import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import nonlin as nl
from nonlin.run.executor import Executor
from nonlin.run.job import Job
from nonlin.run.loop import WINDOW
from nonlin.run.store import Trial
from nonlin.strategies import Census, Estimate
from nonlin.tasks import Task
from nonlin.train import Outcome

WORKERS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
TASKS = ("digits-mlp", "digits-cnn")
STRATEGIES = ("random", "evolution")


@dataclass
class Row:
    """One simulated search. `load` is the share of the time in which the coordinator works."""

    task: str
    strategy: str
    space: str
    workers: int
    children: int
    per_second: float
    idle: float
    load: float
    milliseconds: float  # of the coordinator for each child


def measured(task: str, children: int) -> list[Trial]:
    """Children of a real search with halving, with their times."""
    study = nl.search(task, space="core-1", strategy="random", budget=children, seed=0)
    return [trial for trial in study.trials() if trial.role == "candidate" and trial.status in ("ok", "stopped")]


class Simulated(Executor):
    """`workers` workers on a clock of their own. Also the study's watcher, which hears when the space is counted."""

    def __init__(self, workers: int, trials: Sequence[Trial], latency: float):
        self.workers, self.trials, self.latency = workers, trials, latency
        self.now = 0.0  # on the simulated clock
        self.free = [0.0] * workers  # a heap: since when each worker without a job has been free
        self.busy: list[tuple[float, int, Outcome]] = []  # a heap: (end, number, outcome)
        self.queue: deque[tuple[float, Job]] = deque()  # with the time of submission
        self.done: deque[tuple[int, Outcome]] = deque()  # ended by now
        self.spans: list[tuple[float, float]] = []  # begin and end of every training
        self.counted_yet = False
        self.submitted: list[tuple[float, float]] = []  # time, and the coordinator's seconds until then
        self.begin_at: tuple[float, float] | None = None
        self.spent = 0.0  # by the coordinator
        self.mark = time.thread_time()

    def begin(self, task: Task) -> None: ...

    def slots(self) -> int:
        return self.workers

    def close(self) -> None:
        self.queue.clear()

    def submit(self, job: Job) -> None:
        self._look_at_the_clock()
        self.queue.append((self.now, job))
        if self.begin_at:
            self.submitted.append((self.now, self.spent))
        self._run_workers()
        self.mark = time.thread_time()

    def next(self) -> tuple[int, Outcome]:
        self._look_at_the_clock()
        if self.counted_yet and self.begin_at is None:  # the window is full for the first time
            self.begin_at = (self.now, self.spent)
        self._run_workers()
        if not self.done:
            self.now = self.busy[0][0]  # the coordinator waits
            self._run_workers()
        self.mark = time.thread_time()
        return self.done.popleft()

    def more(self) -> list[tuple[int, Outcome]]:
        found, self.done = list(self.done), deque()
        return found

    def _look_at_the_clock(self) -> None:
        """What the coordinator has worked since it was here last goes by on the simulated clock too."""
        spent = time.thread_time() - self.mark
        self.now += spent
        self.spent += spent

    def _run_workers(self) -> None:
        """Let everything happen that happens until now."""
        while True:
            while self.queue and self.free:
                since, job = self.queue.popleft()
                begin = max(heapq.heappop(self.free), since) + self.latency
                trial = self.trials[random.Random(job.formula).randrange(len(self.trials))]
                outcome = Outcome(trial.status, trial.score, trial.loss, trial.epochs, trial.seconds, trial.curves)  # type: ignore[arg-type]
                heapq.heappush(self.busy, (begin + trial.seconds, job.number, outcome))
                self.spans.append((begin, begin + trial.seconds))
            if not self.busy or self.busy[0][0] > self.now:
                return
            end, number, outcome = heapq.heappop(self.busy)
            heapq.heappush(self.free, end)
            self.done.append((number, outcome))

    # As the study's watcher

    def counted(self, found: Census | Estimate) -> None:
        self.counted_yet = True

    def restored(self, best: Trial, done: int, total: int) -> None: ...

    def finished(self, trial: Trial, done: int, total: int | None) -> None: ...

    # What came of it

    def row(self, task: str, strategy: str, space: str) -> Row:
        assert self.begin_at is not None
        (begin, spent_before), (end, spent) = self.begin_at, self.submitted[-1]
        seconds, children, spent = end - begin, len(self.submitted), spent - spent_before
        spans = np.clip(np.array(self.spans), begin, end)
        idle = 1 - float((spans[:, 1] - spans[:, 0]).sum()) / (self.workers * seconds)
        return Row(
            task, strategy, space, self.workers, children, children / seconds, idle, spent / seconds,
            1000 * spent / children,
        )  # fmt: skip


def simulate(
    task: str, strategy: str, space: str, workers: int, trials: Sequence[Trial], least: int, latency: float
) -> Row:
    """One search with as many children as fill the window twice, and at least `least`.

    Its seed is its own: functions that were looked at before in this process would cost the coordinator less.
    """
    window = max(WINDOW, 2 * workers)
    seed = zlib.crc32(f"{task} {strategy} {workers}".encode()) % 10_000
    crew = Simulated(workers, trials, latency)
    gc.collect()  # what earlier searches left is not this one's to collect
    with tempfile.TemporaryDirectory() as folder:
        nl.search(
            task, space, strategy, budget=max(least, 2 * window), seed=seed, store=Path(folder) / "a.db", workers=crew,
            window=window, watcher=crew,
        )  # fmt: skip
    return crew.row(task, strategy, space)


# What is shown


def print_table(rows: Sequence[Row], times: dict[str, list[float]]) -> None:
    for task, seconds in times.items():
        low, middle, high = np.percentile(seconds, [10, 50, 90])
        print(f"{task}: {len(seconds)} children measured, {middle:.3f} s (10% {low:.3f}, 90% {high:.3f})")
    print("\n| task | strategy | space | workers | children/s | idle | coordinator's load | its ms a child |")
    print("|---|---|---|--:|--:|--:|--:|--:|")
    for row in rows:
        print(
            f"| {row.task} | {row.strategy} | {row.space} | {row.workers:,} | {row.per_second:,.1f} | {row.idle:.0%} | "
            f"{row.load:.1%} | {row.milliseconds:.2f} |"
        )


def draw(rows: Sequence[Row], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import PercentFormatter, ScalarFormatter

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    groups = list(dict.fromkeys((row.task, row.strategy) for row in rows))
    palette = ("#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#009e73", "#cc79a7", "#000000", "#999999")
    colours = {group: palette[k % len(palette)] for k, group in enumerate(groups)}
    for group in groups:
        mine = [row for row in rows if (row.task, row.strategy) == group]
        x, colour, label = [row.workers for row in mine], colours[group], ", ".join(group)
        left.plot(x, [row.per_second for row in mine], "o-", color=colour, ms=4, label=label)
        ideal = mine[0].per_second / (mine[0].workers * (1 - mine[0].idle))
        left.plot(x, [ideal * n for n in x], ":", color=colour, lw=1)
        right.plot(x, [row.idle for row in mine], "o-", color=colour, ms=4)
        right.plot(x, [row.load for row in mine], "s--", color=colour, ms=4)
    left.set(xscale="log", yscale="log", xlabel="workers", ylabel="children a second")
    left.set_title("Throughput (dotted: no worker ever idle)", fontsize=10)
    left.legend(frameon=False, fontsize=9)
    right.set(xscale="log", xlabel="workers", ylim=(-0.02, 1.02))
    right.set_title("Idle workers (circles), coordinator's load (squares, dashed)", fontsize=10)
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes in (left, right):
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    left.yaxis.set_major_formatter(ScalarFormatter())
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES)
    parser.add_argument("--space", default="core-2")
    parser.add_argument("--measure", type=int, default=40, help="children to train for each task")
    parser.add_argument("--least", type=int, default=300, help="children of the smallest simulated search")
    parser.add_argument("--latency", type=float, default=0.005, help="seconds that a worker waits for each hand-out")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    trained = {task: measured(task, options.measure) for task in options.tasks}
    rows = [
        simulate(task, strategy, options.space, workers, trained[task], options.least, options.latency)
        for task in options.tasks
        for strategy in options.strategies
        for workers in options.workers
    ]
    times = {task: [trial.seconds for trial in trials] for task, trials in trained.items()}
    print_table(rows, times)
    if options.json:
        settings = {"latency": options.latency, "machine": platform.processor() or platform.machine()}
        found = {**settings, "seconds": times, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(found, indent=1))
    if options.picture:
        draw(rows, options.picture)


if __name__ == "__main__":
    main()
