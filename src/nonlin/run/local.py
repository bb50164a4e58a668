"""Training children on this machine: in this process, or in worker processes.

Workers are started by spawn (fork and torch's threads do not mix), train on one thread, one child after another or
as a cohort, and end by themselves when the parent is gone, however it went: each waits on a pipe of its own.
This module imports nothing heavy, so that workers can be started before anything else. A worker loads torch with the
first child that needs it; what the compiled core trains does not (`nonlin.native.training`).
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from nonlin.errors import NonlinError, SearchError
from nonlin.run.executor import Executor

if TYPE_CHECKING:
    from nonlin.native.training import Trained, Training
    from nonlin.run.job import Job
    from nonlin.tasks import Task
    from nonlin.train import Outcome


_READY = "ready"  # a worker's first message


GROUP = 16  # children that a process takes at once, where the engine trains them as one
AHEAD = 4  # where it trains them one by one, but so fast that sending each by itself would cost
RARELY = 50_000  # new objects between two collections of garbage: expressions make many, and no cycles
QUICK = 0.1  # seconds that the training of such a group should take at most


class InProcess(Executor):
    """Trains in the calling process: one child at a time, or as many as the engine trains together."""

    def __init__(self) -> None:
        self.queue: deque[Job] = deque()
        self.finished: list[tuple[int, Outcome]] = []  # trained together with one that was asked for

    def begin(self, task: Task) -> None:
        self.task = task

    def submit(self, job: Job) -> None:
        self.queue.append(job)

    def next(self) -> tuple[int, Outcome]:
        """Train the oldest job, and those that are trained with it; its number and outcome."""
        from nonlin.run.job import run_together

        if not self.finished:
            group = [job for k, job in enumerate(self.queue) if k < GROUP and (k == 0 or job.engine == "cohort")]
            if group[0].engine != "cohort":
                del group[1:]
            with one_thread():
                outcomes = run_together(group, self.task)
            for job, outcome in zip(group, outcomes, strict=True):
                self.queue.remove(job)
                self.finished.append((job.number, outcome))
        return self.finished.pop(0)

    def more(self) -> list[tuple[int, Outcome]]:
        found, self.finished = self.finished, []
        return found

    def slots(self) -> int:
        return 1

    def close(self) -> None:
        self.queue.clear()
        self.finished.clear()


class Workers(Executor):
    """Trains in `count` processes; a worker that dies is replaced and its job tried once more."""

    beside = True

    def __init__(self, count: int):
        self.queue: deque[tuple[Job, int]] = deque()  # with the number of the attempt
        self.running: dict[Connection, list[tuple[Job, int]] | None] = {}
        self.processes: dict[Connection, multiprocessing.process.BaseProcess] = {}
        self.ready: set[Connection] = set()
        self.finished: list[tuple[int, Outcome]] = []  # taken in, and not asked for yet
        self.pace = QUICK  # seconds of a child, of those that took long; falls slowly
        self.task: Task | None = None
        self.packed = b""  # the same for the workers
        self.held: dict[Connection, Training] = {}  # what a worker was given last
        for _ in range(count):
            self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs,), daemon=True)
        with _quiet_main():
            process.start()
        theirs.close()
        self.processes[ours] = process
        self.running[ours] = None

    def begin(self, task: Task) -> None:
        """Send the task, with its data loaded, to every worker, before its first job and when no job is left; to one
        that has not started yet once it has."""
        from dataclasses import replace

        self.task = task
        try:
            self.packed = pickle.dumps(replace(task, data=task.load()))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise SearchError(
                f"task {task.name!r} cannot be sent to worker processes ({error}). Define its build and data "
                "functions at the top level of a module, or search with workers=0."
            ) from None
        for connection in self.ready:
            self._send_task(connection)

    def _send_task(self, connection: Connection) -> None:
        """To a worker that is there; one that is not would keep us waiting."""
        try:
            connection.send(self.packed)
        except OSError:
            pass  # the worker is gone: `next` sees the closed pipe and starts another

    def submit(self, job: Job) -> None:
        self.queue.append((job, 1))
        if job.engine != "cohort":
            self._hand_out()  # cohorts are made up when all that can be is in the queue

    def _hand_out(self) -> None:
        for connection, current in self.running.items():
            if current is None and self.queue and connection in self.ready:
                self.running[connection] = given = self._group()
                assert self.task is not None
                shared = given[0][0].shared(self.task)
                try:
                    if shared is not None and self.held.get(connection) is not shared:
                        connection.send(shared)
                        self.held[connection] = shared
                    connection.send([job for job, _ in given])
                except OSError:
                    pass  # the worker is gone: `next` sees the closed pipe and starts another

    def _group(self) -> list[tuple[Job, int]]:
        """What one worker takes: one job, or its share of those that may be trained together."""
        if self.queue[0][0].engine == "cohort":
            free = sum(current is None for current in self.running.values())
            most = min(GROUP, -(-len(self.queue) // free))
        else:
            most = min(AHEAD, int(QUICK / self.pace), len(self.queue) // (2 * len(self.running)))
        group = [self.queue.popleft()]
        while self.queue and len(group) < most and _together(group[-1], self.queue[0]):
            group.append(self.queue.popleft())
        return group

    def next(self) -> tuple[int, Outcome]:
        if not self.processes:
            raise SearchError("these workers have been closed; start others with nonlin.run.start.")
        self._hand_out()
        while not (found := self._answers(None)):
            self._hand_out()  # a worker has started
        self.finished.extend(found[1:])
        return found[0]

    def more(self) -> list[tuple[int, Outcome]]:
        return self._answers(0)

    def slots(self) -> int:
        return len(self.processes)

    def _answers(self, timeout: float | None) -> list[tuple[int, Outcome]]:
        """What workers have sent, after waiting for at least one message unless `timeout` is 0."""
        if self.finished:
            timeout = 0
        found, self.finished = self.finished, []
        for ready in wait(list(self.running), timeout):
            assert isinstance(ready, Connection)
            found.extend(self._answer(ready))
        return found

    def _answer(self, ready: Connection) -> list[tuple[int, Outcome]]:
        current = self.running[ready]
        try:
            answer = ready.recv()
        except (EOFError, OSError):
            return self._replace(ready)
        if answer == _READY:
            self.ready.add(ready)
            self._send_task(ready)
            self._hand_out()
            return []
        if isinstance(answer, NonlinError):
            raise answer
        assert current is not None
        self.running[ready] = None
        if self.queue and self.queue[0][0].engine != "cohort":
            self._hand_out()
        outcomes = [self._outcome(found) for found in answer]
        for outcome in outcomes:
            self.pace = max(outcome.seconds, 0.9 * self.pace, 1e-3)
        return [(job.number, outcome) for (job, _), outcome in zip(current, outcomes, strict=True)]

    def _outcome(self, found: Outcome | Trained) -> Outcome:
        from nonlin.native.training import Trained
        from nonlin.train.engine import outcome_of

        assert self.task is not None
        return outcome_of(found, self.task) if isinstance(found, Trained) else found

    def _replace(self, connection: Connection) -> list[tuple[int, Outcome]]:
        """Start a worker in place of a dead one; a job that killed two workers has failed. Those of a group that
        died are tried again by themselves."""
        current = self.running.pop(connection)
        process = self.processes.pop(connection)
        self.held.pop(connection, None)
        process.join(timeout=5)
        connection.close()
        if current is None or connection not in self.ready:
            raise SearchError(
                f"a worker process could not start (exit code {process.exitcode}). Workers import your script again: "
                'keep the call to nonlin.search under  if __name__ == "__main__":  in a file, or search with workers=0.'
            )
        self._start()
        failed = []
        for job, attempt in reversed(current):
            if attempt >= 2:
                from nonlin.train import Outcome

                error = f"the worker process died twice while training it (exit code {process.exitcode})"
                failed.append((job.number, Outcome("failed", error=error)))
            else:
                self.queue.appendleft((job, attempt + 1))
        self._hand_out()
        return failed

    def close(self) -> None:
        for connection, process in self.processes.items():
            connection.close()
            process.terminate()
        for process in self.processes.values():
            process.join(timeout=5)
        self.processes.clear()
        self.running.clear()


def _together(one: tuple[Job, int], other: tuple[Job, int]) -> bool:
    """Whether a worker may take the two at once: as a cohort, or one after the other in the compiled core."""
    (job, attempt), (second, second_attempt) = one, other
    in_core = job.engine == second.engine == "core" and job.common() == second.common()
    return attempt == second_attempt == 1 and (in_core or job.joins(second))


def default_workers() -> int:
    """One process for each core that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _work(connection: Connection) -> None:
    """A worker's life: receive the task and then jobs, send outcomes, end when the parent's end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    from nonlin.native.training import Training
    from nonlin.run.job import Job  # noqa: F401 - what comes first would wait for it

    gc.collect()
    gc.freeze()  # what has been imported stays: collections need not look at it again, half a millisecond a child
    gc.set_threshold(RARELY, *gc.get_threshold()[1:])
    try:
        connection.send(_READY)
        packed, shared = b"", None
        while True:
            received = connection.recv()  # a list of jobs, or what all jobs that follow need
            if isinstance(received, list):
                connection.send(_train(received, shared, packed))
            elif isinstance(received, Training):
                shared = received
            else:
                packed = received
    except NonlinError as error:
        connection.send(error)
    except (EOFError, OSError):
        return
    except Exception as error:  # a fault of ours: the same for every child, so the search must not go on
        connection.send(SearchError(f"a worker process failed: {type(error).__name__}: {error}"))


def _train(jobs: list[Job], shared: Training | None, packed: bytes) -> list[Outcome | Trained]:
    """What becomes of the jobs; torch is loaded, and the task unpacked, where one of them needs it."""
    from nonlin.run.job import trained

    found: list[Outcome | Trained | None] = [None] * len(jobs)
    if jobs[0].engine == "core" and not jobs[0].final and shared is not None:
        found = list(trained(jobs, shared))
    rest = [job for job, one in zip(jobs, found, strict=True) if one is None]
    others = iter(_train_by_torch(rest, packed) if rest else ())
    return [next(others) if one is None else one for one in found]


def _train_by_torch(jobs: list[Job], packed: bytes) -> list[Outcome]:
    import torch

    from nonlin.run.job import run_together

    if jobs[0].engine != "core":
        torch.optim.SGD([torch.zeros(1, requires_grad=True)])  # the first loads half of torch: not timed
    torch.set_num_threads(1)
    return run_together(jobs, _unpacked(packed))


@lru_cache(maxsize=1)
def _unpacked(packed: bytes) -> Task:
    return pickle.loads(packed)


@contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread, so that results do not depend on the number of cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _quiet_main() -> Iterator[None]:
    """Spawn imports the main script again in the worker; our own command line needs no such import."""
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    ours = file is not None and os.path.basename(file) in ("nonlin", "nonlin.exe", "__main__.py")
    if not ours:
        yield
        return
    main.__spec__ = None
    if hasattr(main, "__file__"):
        del main.__file__
    try:
        yield
    finally:
        main.__spec__, main.__file__ = spec, file
