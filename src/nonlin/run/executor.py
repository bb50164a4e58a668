"""What trains children: the interface that this machine's processes and a cluster have in common.

    with start(2) as crew:                     # or start(0, address="auto")
        crew.begin(task)
        crew.submit(job)
        number, outcome = crew.next()

Outcomes come in any order; what a study makes of them does not depend on it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from nonlin.errors import SearchError

if TYPE_CHECKING:
    from nonlin.run.job import Job
    from nonlin.tasks import Task
    from nonlin.train import Outcome


PER_CORE, LEAST_ALLOWED = 8, 32  # worker processes that a machine may be asked for


class Executor(ABC):
    """Trains jobs. Close it when done, or use it in a ``with``.

    Attributes
    ----------
    beside : whether it trains while this process is busy, as long as `more` is called now and then
    """

    beside = False

    @abstractmethod
    def begin(self, task: Task) -> None:
        """Take up a task, before its first job and when no job is left."""

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Put a job in the queue."""

    @abstractmethod
    def next(self) -> tuple[int, Outcome]:
        """Wait for a child to finish; its number and outcome.

        Raises NonlinError if the task itself cannot be used: it would fail for every child.
        """

    def more(self) -> list[tuple[int, Outcome]]:
        """Those that have finished as well by now, without waiting."""
        return []

    @abstractmethod
    def slots(self) -> int:
        """How many workers there are just now."""

    @abstractmethod
    def close(self) -> None:
        """End what is running, and everything that was started."""

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Lent(Executor):
    """Another executor, for several searches or comparisons one after the other: it stays open when one ends."""

    def __init__(self, owner: Executor):
        self.owner, self.beside = owner, owner.beside

    def begin(self, task: Task) -> None:
        self.owner.begin(task)

    def submit(self, job: Job) -> None:
        self.owner.submit(job)

    def next(self) -> tuple[int, Outcome]:
        return self.owner.next()

    def more(self) -> list[tuple[int, Outcome]]:
        return self.owner.more()

    def slots(self) -> int:
        return self.owner.slots()

    def close(self) -> None:
        """Left to the owner."""

    def __exit__(self, *error: object) -> None:
        if any(part is not None for part in error):
            self.owner.close()  # it holds jobs that nobody waits for


def start(workers: int = 0, address: str | None = None, gpus: float = 0.0) -> Executor:
    """Something to train with: processes on this machine, or on a Ray cluster.

    Parameters
    ----------
    workers : processes on this machine, 0 for this process. With an address: how many children or groups of
        children may be trained at once, 0 for one on each CPU of the cluster
    address : of a running Ray cluster: "auto" for the one this machine belongs to, "host:port",
        "ray://host:port"; or "local" to start Ray on this machine alone
    gpus : for each child on the cluster, a half for two on one; Ray hides GPUs from children that have none

    Raises
    ------
    SearchError : `workers` is no such number or far too many, or there is no cluster at the address
    MissingExtraError : an address is given and Ray is not installed
    """
    check_workers(workers, here=address is None)
    if not 0 <= gpus < 2**10 or (gpus and address is None):
        raise SearchError(f"gpus is a number from 0 on, for a cluster with an address; got {gpus!r}.")
    if address is not None:
        from nonlin.run.cluster import Cluster

        return Cluster(address, workers, gpus)
    from nonlin.run.local import InProcess, Workers

    return Workers(workers) if workers else InProcess()


def check_workers(workers: int, here: bool = True) -> None:
    """SearchError unless it is a number of workers, and for processes on this machine not far too many."""
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 0:
        raise SearchError(f"workers must be a whole number, at least 0; got {workers!r}.")
    if here and workers > LEAST_ALLOWED:
        from nonlin.run.local import default_workers

        cores = default_workers()
        if workers > (most := max(LEAST_ALLOWED, PER_CORE * cores)):
            raise SearchError(
                f"workers={workers:,}: so many processes on {cores} cores would fill the memory and slow each other "
                f"down. Give at most {most}, best {cores}; for more machines give an address (docs/cluster.md)."
            )


def crew_of(workers: int | Executor, address: str | None = None) -> Executor:
    """What trains: what `start` returned, which stays open for its owner to close, or what it returns now."""
    if not isinstance(workers, Executor):
        return start(workers, address)
    if address is not None:
        raise SearchError("give either an address or what nonlin.run.start returned, not both.")
    return Lent(workers)
