"""Training children on this machine: in this process, or in worker processes.

Workers are started by spawn (fork and torch's threads do not mix), train one child at a time on one
thread, and end by themselves when the parent is gone, however it went: each waits on a pipe of its own.
This module imports nothing heavy, so that workers can be started before anything else.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from nonlin.errors import NonlinError, SearchError

if TYPE_CHECKING:
    from nonlin.run.job import Job
    from nonlin.tasks import Task
    from nonlin.train import Outcome


_READY = "ready"  # a worker's first message


def start(workers: int) -> Executor:
    """`workers` processes, or this process for 0. Close it when done, or use it in a ``with``."""
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 0:
        raise SearchError(f"workers must be a whole number, at least 0; got {workers!r}.")
    return Workers(workers) if workers else InProcess()


class _Closing:
    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        raise AssertionError("every executor closes itself")


class InProcess(_Closing):
    """Trains in the calling process, one child at a time."""

    def __init__(self) -> None:
        self.queue: deque[Job] = deque()

    def begin(self, task: Task) -> None:
        """Take up a task, before its first job and when no job is left."""
        self.task = task

    def submit(self, job: Job) -> None:
        self.queue.append(job)

    def next(self) -> tuple[int, Outcome]:
        """Train the oldest job and return its number and outcome."""
        job = self.queue[0]
        with one_thread():
            outcome = job.run(self.task)
        self.queue.popleft()
        return job.number, outcome

    def close(self) -> None:
        self.queue.clear()


class Workers(_Closing):
    """Trains in `count` processes; a worker that dies is replaced and its job tried once more."""

    def __init__(self, count: int):
        self.queue: deque[tuple[Job, int]] = deque()  # with the number of the attempt
        self.running: dict[Connection, tuple[Job, int] | None] = {}
        self.processes: dict[Connection, multiprocessing.process.BaseProcess] = {}
        self.ready: set[Connection] = set()
        self.task = b""
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
        """Send the task, with its data loaded, to every worker, before its first job and when no job is left."""
        from dataclasses import replace

        try:
            self.task = pickle.dumps(replace(task, data=task.load()))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise SearchError(
                f"task {task.name!r} cannot be sent to worker processes ({error}). Define its build and data "
                "functions at the top level of a module, or search with workers=0."
            ) from None
        for connection in self.running:
            self._send_task(connection)

    def _send_task(self, connection: Connection) -> None:
        try:
            connection.send_bytes(self.task)
        except OSError:
            pass  # the worker is gone: `next` sees the closed pipe and starts another

    def submit(self, job: Job) -> None:
        self.queue.append((job, 1))
        self._hand_out()

    def _hand_out(self) -> None:
        for connection, current in self.running.items():
            if current is None and self.queue:
                self.running[connection] = given = self.queue.popleft()
                try:
                    connection.send(given[0])
                except OSError:
                    pass  # the worker is gone: `next` sees the closed pipe and starts another

    def next(self) -> tuple[int, Outcome]:
        """Wait for a child to finish; its number and outcome.

        Raises NonlinError if the task itself cannot be used: it would fail for every child.
        """
        while True:
            for ready in wait(list(self.running)):
                assert isinstance(ready, Connection)
                current = self.running[ready]
                try:
                    answer = ready.recv()
                except (EOFError, OSError):
                    lost = self._replace(ready)
                    if lost is not None:
                        return lost
                    continue
                if answer == _READY:
                    self.ready.add(ready)
                    continue
                if isinstance(answer, NonlinError):
                    raise answer
                assert current is not None
                self.running[ready] = None
                self._hand_out()
                return current[0].number, answer

    def _replace(self, connection: Connection) -> tuple[int, Outcome] | None:
        """Start a worker in place of a dead one; a job that killed two workers has failed."""
        current = self.running.pop(connection)
        process = self.processes.pop(connection)
        process.join(timeout=5)
        connection.close()
        if current is None or connection not in self.ready:
            raise SearchError(
                f"a worker process could not start (exit code {process.exitcode}). Workers import your script again: "
                'keep the call to nonlin.search under  if __name__ == "__main__":  in a file, or search with workers=0.'
            )
        self._start()
        self._send_task(list(self.running)[-1])
        job, attempt = current
        if attempt >= 2:
            from nonlin.train import Outcome

            error = f"the worker process died twice while training it (exit code {process.exitcode})"
            return job.number, Outcome("failed", error=error)
        self.queue.appendleft((job, attempt + 1))
        self._hand_out()
        return None

    def close(self) -> None:
        for connection, process in self.processes.items():
            connection.close()
            process.terminate()
        for process in self.processes.values():
            process.join(timeout=5)
        self.processes.clear()
        self.running.clear()


Executor = InProcess | Workers


def default_workers() -> int:
    """One process for each core that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _work(connection: Connection) -> None:
    """A worker's life: receive the task and then jobs, send outcomes, end when the parent's end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    import torch

    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1, requires_grad=True)])  # the first optimizer loads half of torch: do it now
    try:
        connection.send(_READY)
        task = None
        while True:
            received = connection.recv()  # a Job, or the Task of all jobs that follow
            if task is None or not hasattr(received, "run"):
                task = received
            else:
                connection.send(received.run(task))
    except NonlinError as error:
        connection.send(error)
    except (EOFError, OSError):
        return
    except Exception as error:  # a fault of ours: the same for every child, so the search must not go on
        connection.send(SearchError(f"a worker process failed: {type(error).__name__}: {error}"))


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
