"""Training children on a Ray cluster; the one file of the study's machinery that imports Ray.

Groups of children are Ray tasks of one CPU each. Ray sends none of them again by itself: what happens to a child
that takes its worker with it is decided here, so that it costs the search this one child. The task (model, loss and
data) is put into Ray's object store once, and every worker process keeps it.

Ray's own words (https://docs.ray.io/en/latest/ray-core/fault_tolerance/tasks.html): an exception of the function is a
RayTaskError; a worker process or a machine that is gone is one of the errors in `_LOST`.
"""

from __future__ import annotations

import hashlib
import math
import os
import socket
import sys
import sysconfig
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

import nonlin
from nonlin.errors import MissingExtraError, NonlinError, SearchError
from nonlin.run.executor import Executor
from nonlin.run.local import default_workers, one_thread

try:
    import ray
    from ray import cloudpickle, exceptions
except ImportError:
    raise MissingExtraError("ray", "ray", "training on a cluster") from None

if TYPE_CHECKING:
    from nonlin.run.job import Job
    from nonlin.tasks import Task
    from nonlin.train import Outcome

LARGEST_GROUP = 16
ATTEMPTS = 3  # a child whose worker has died so often has failed
MOVES = 20  # how often a child may be lost with a whole machine, which is no fault of its own
OBJECT_STORE = 2**29  # bytes for Ray's store on this machine; it holds little beside the task's data
PATIENCE = 5.0  # seconds to reach an address
_LOST = (exceptions.WorkerCrashedError, exceptions.OutOfMemoryError)
_MOVED = (exceptions.NodeDiedError, exceptions.ObjectLostError)
_START = "Start a cluster with:  ray start --head   (and on each further machine: ray start --address=HEAD:6379)"


@dataclass
class Waiting:
    """A job that is not trained yet, and what has happened to it so far."""

    job: Job
    died: int = 0
    moved: int = 0


class Cluster(Executor):
    """Trains on the Ray cluster at `address`, at most `workers` groups at once (0: one for each CPU).

    With `gpus` each child has so many of them, and is a group of its own.
    """

    def __init__(self, address: str, workers: int = 0, gpus: float = 0.0):
        self.connected = _connect(address, workers)
        self.workers, self.gpus = workers, gpus
        self.queue: deque[Waiting] = deque()
        self.running: dict[Any, list[Waiting]] = {}  # by the reference to the group's outcomes
        self.finished: deque[tuple[int, Outcome]] = deque()
        self.looked = -math.inf
        self._train = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(train_group)

    def begin(self, task: Task) -> None:
        packed = _pack(task)
        self.key = hashlib.sha256(packed).hexdigest()
        self.task = [ray.put(packed)]  # in a list, or Ray would unpack it for every group

    def submit(self, job: Job) -> None:
        self.queue.append(Waiting(job))

    def next(self) -> tuple[int, Outcome]:
        while not self.finished:
            self._hand_out()
            self._collect()
        return self.finished.popleft()

    def more(self) -> list[tuple[int, Outcome]]:
        found, self.finished = list(self.finished), deque()
        return found

    def slots(self) -> int:
        """How many groups can be in training at once; machines may come and go."""
        if time.monotonic() - self.looked > PATIENCE:
            self.looked = time.monotonic()
            there = ray.cluster_resources()
            self.cpus = int(there.get("CPU", 0))
            if self.gpus:
                self.cpus = min(self.cpus, int(there.get("GPU", 0) / self.gpus))
                if not self.cpus:
                    raise SearchError(
                        f"each child was promised {self.gpus:g} GPUs, and the cluster has {there.get('GPU', 0):g} in "
                        "all. Ask for fewer, or for none."
                    )
        return min(self.cpus, self.workers) if self.workers else max(1, self.cpus)

    def _hand_out(self) -> None:
        """Two groups for each slot, so that a worker that has finished one need not wait for the next."""
        free = 2 * self.slots() - len(self.running)
        while self.queue and free > 0:
            count = 1 if self.queue[0].died or self.gpus else min(LARGEST_GROUP, math.ceil(len(self.queue) / free))
            group = [self.queue.popleft() for _ in range(count)]
            jobs = [waiting.job for waiting in group]
            self.running[self._train.remote(self.key, self.task, jobs, nonlin.__version__)] = group
            free -= 1

    def _collect(self) -> None:
        """Wait for a group to end, and take in all that have ended."""
        first, _ = ray.wait(list(self.running), num_returns=1)
        others, _ = ray.wait(list(self.running), num_returns=len(self.running), timeout=0)
        for reference in {*first, *others}:
            group = self.running.pop(reference)
            try:
                answer = ray.get(reference)
            except _LOST as error:
                self._again([replace(waiting, died=waiting.died + 1) for waiting in group], error)
            except _MOVED as error:
                self._again([replace(waiting, moved=waiting.moved + 1) for waiting in group], error)
            except exceptions.RayError as error:
                raise SearchError(_explained(error)) from error
            else:
                if isinstance(answer, NonlinError):
                    raise answer
                numbers = [waiting.job.number for waiting in group]
                self.finished.extend(zip(numbers, answer, strict=True))

    def _again(self, group: Sequence[Waiting], error: Exception) -> None:
        """Children of a worker that is gone: first in the queue, and each on its own."""
        for waiting in reversed(group):
            if waiting.died < ATTEMPTS and waiting.moved < MOVES:
                self.queue.appendleft(waiting)
                continue
            from nonlin.train import Outcome

            reason = "it ran out of memory" if isinstance(error, exceptions.OutOfMemoryError) else "its worker died"
            times = max(waiting.died, waiting.moved)
            self.finished.append((waiting.job.number, Outcome("failed", error=f"{reason} {times} times in training")))

    def close(self) -> None:
        for reference in self.running:
            try:
                ray.cancel(reference, force=True)
            except (exceptions.RayError, ValueError, ConnectionError):
                continue  # it has just ended, or the cluster is gone
        self.running.clear()
        self.queue.clear()
        if self.connected:
            ray.shutdown()


# Connecting


def _connect(address: str, workers: int) -> bool:
    """Connect to Ray; whether it was done here, and not before by the user's own ``ray.init``."""
    if ray.is_initialized():
        return False
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address == "local":
        ray.init(
            address="local",
            num_cpus=workers or default_workers(),
            object_store_memory=OBJECT_STORE,
            include_dashboard=False,
            **quiet,
        )
        return True
    if address != "auto":
        _reach(address)
    try:
        ray.init(address=address, **quiet)
    except ConnectionError as error:
        raise SearchError(f"no Ray cluster at address {address!r}: {_line(error)} {_START}") from None
    except (RuntimeError, ValueError, exceptions.RayError) as error:  # other versions of Python or Ray, a wrong token
        raise SearchError(f"cannot join the Ray cluster at address {address!r}: {_line(error)}") from error
    return True


def _reach(address: str) -> None:
    """SearchError unless something listens at ``host:port``; Ray itself would try for a minute."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and host and port.isdigit() and int(port) < 2**16):
        raise SearchError(
            f"a cluster's address is 'auto', 'local', 'host:port' or 'ray://host:port'; got {address!r}. {_START}"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
    except OSError as error:
        raise SearchError(f"nothing answers at address {address!r} ({error}). {_START}") from None


def _line(error: BaseException) -> str:
    """The first line of an error that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _explained(error: Exception) -> str:
    cause = getattr(error, "cause", None) or error
    if "No module named" in str(error):
        missing = str(error)[str(error).rindex("No module named") :].splitlines()[0]
        return (
            f"the cluster's workers cannot load what they need: {missing}. Install the same nonlin, and what your "
            "task imports, on every machine of the cluster (docs/cluster.md)."
        )
    return f"a worker of the cluster failed: {type(cause).__name__}: {_line(cause)}"


# Sending the task


def _pack(task: Task) -> bytes:
    """The task with its data loaded. Functions of the user's own files travel whole: workers need not have them."""
    with _by_value(_own_modules()):
        try:
            return cloudpickle.dumps(replace(task, data=task.load()))
        except Exception as error:  # whatever a user's objects raise when they are pickled
            raise SearchError(
                f"task {task.name!r} cannot be sent to the cluster ({type(error).__name__}: {error}). Its build and "
                "data functions must not hold locks, sockets or the like."
            ) from None


def _own_modules() -> list[ModuleType]:
    """Modules that are neither of nonlin, nor of Python, nor installed: files of the user's own."""
    installed = tuple(f"{os.path.realpath(path)}{os.sep}" for path in sysconfig.get_paths().values())
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(module, ModuleType) or not file or name.split(".")[0] in ("nonlin", "__main__"):
            continue
        if "site-packages" not in file and not os.path.realpath(file).startswith(installed):
            found.append(module)
    return found


@contextmanager
def _by_value(modules: Sequence[ModuleType]) -> Iterator[None]:
    known = [module for module in modules if sys.modules.get(module.__name__) is module]
    for module in known:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in known:
            cloudpickle.unregister_pickle_by_value(module)


# On the worker


def train_group(key: str, packed: list[Any], jobs: Sequence[Job], version: str) -> list[Outcome] | NonlinError:
    """Train `jobs` on one thread, together where the engine can; an error that would meet every child is returned.

    Parameters
    ----------
    key, packed : of the task, and where it is
    version : of the nonlin that asks; another one here might give other results
    """
    if version != nonlin.__version__:
        return SearchError(
            f"worker {socket.gethostname()} of the cluster has nonlin {nonlin.__version__}, and the search runs with "
            f"{version}. Install the same version on every machine."
        )
    from nonlin.run.job import run_together

    try:
        task = _unpacked(key, packed[0])
        with one_thread():
            return run_together(jobs, task)
    except NonlinError as error:
        return error


_unpacked_tasks: dict[str, Any] = {}


def _unpacked(key: str, reference: Any) -> Task:
    """The task, kept from one group to the next, one at a time."""
    if key not in _unpacked_tasks:
        _unpacked_tasks.clear()
        _unpacked_tasks[key] = cloudpickle.loads(ray.get(reference))
    return _unpacked_tasks[key]
