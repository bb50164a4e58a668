"""Running an experiment: one comparison for each network and data set, all of them in one store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonlin.errors import ComparisonError
from nonlin.experiments.cells import cell_task, check_ready, missing_extra
from nonlin.experiments.papers import Cell, Experiment, Figure, experiment
from nonlin.experiments.smoke import reductions, tiny, tiny_world
from nonlin.experiments.tables import Table, table
from nonlin.run.comparison import Comparison, compare
from nonlin.run.executor import Executor, crew_of
from nonlin.run.trainings import Watcher
from nonlin.tasks import Task

if TYPE_CHECKING:
    from nonlin.run.runs import Run


@dataclass(frozen=True)
class Reproduction:
    """An experiment that was run; get one from `nonlin.reproduce`.

    Attributes
    ----------
    experiment : what was asked for
    cells, comparisons : the networks and data sets, and what was found for each
    smoke : whether it was a smoke run, of which no figure means anything
    reduced : what was smaller than in a real run, in words
    """

    experiment: Experiment
    cells: tuple[Cell, ...]
    comparisons: tuple[Comparison, ...]
    smoke: bool = False
    reduced: tuple[str, ...] = ()

    def __repr__(self) -> str:
        kind = "smoke run of " if self.smoke else ""
        return f"<Reproduction: {kind}{self.experiment.name}, {len(self.cells)} cells>"

    def tables(self) -> list[Table]:
        """The paper's figures beside ours, one table for each cell and measure."""
        return [
            table(cell, self._trained(figure), comparison)
            for cell, comparison in zip(self.cells, self.comparisons, strict=True)
            for figure in cell.figures
        ]

    def runs(self) -> list[Run]:
        """All trainings of all cells."""
        return [run for comparison in self.comparisons for run in comparison.runs()]

    def report(self, path: str | Path) -> Path:
        """Write an HTML page that works offline; returns its path."""
        from nonlin.report.reproduction import write_reproduction

        return write_reproduction(self, path)

    def as_dict(self) -> dict[str, Any]:
        return {
            "experiment": self.experiment.name,
            "reference": self.experiment.reference,
            "smoke": self.smoke,
            "reduced": list(self.reduced),
            "tables": [one.as_dict() for one in self.tables()],
        }

    def _trained(self, figure: Figure) -> Figure:
        """A figure with the published values of the functions that were trained."""
        places = [self.experiment.functions.index(name) for name in functions(self.experiment, self.smoke)]
        return replace(figure, published=tuple(figure.published[place] for place in places if figure.published))


def functions(found: Experiment, smoke: bool) -> tuple[str, ...]:
    """What is trained: all functions, or in a smoke run the two that matter most."""
    return found.pair if smoke else found.functions


def reproduce(
    name: str,
    *,
    tasks: Sequence[str] | None = None,
    seeds: int | None = None,
    store: str | Path | None = None,
    workers: int | Executor = 0,
    address: str | None = None,
    smoke: bool = False,
    precision: str | None = None,
    checkpoints: str | Path | None = None,
    watcher: Watcher | None = None,
) -> Reproduction:
    """Run an experiment of a paper: its functions on its networks and data sets, with several seeds.

    Parameters
    ----------
    name : of the experiment; `nonlin reproduce` lists them
    tasks : only these of its tasks; None for all
    seeds : how many, in place of the experiment's
    store : file that keeps everything, None for memory; what is in it already is not trained again
    workers, address : processes on this machine, or a Ray cluster, as for `nonlin.run.start`
    smoke : two functions, one seed, one step on tiny made-up data in the true formats
    precision : "bfloat16" or "float16" for mixed precision on CUDA, in place of the tasks' own
    checkpoints : folder in which each run keeps its state while it lasts; see `nonlin.compare`

    Returns
    -------
    Reproduction : `.tables()`, `.report(path)`

    Raises
    ------
    UnknownNameError : no such experiment, or no such task in it
    MissingExtraError, TaskError : what a task needs is not here; nothing is trained then
    """
    found = experiment(name)
    cells = found.chosen(list(tasks or []))
    if smoke:
        return _smoke(found, cells, store, workers, address, watcher)
    chosen = [cell_task(cell, precision) for cell in cells]
    check_ready(found, cells, chosen)
    number = found.seeds if seeds is None else seeds
    with crew_of(workers, address) as crew:
        done = [_compare(found, task, number, store, crew, watcher, checkpoints) for task in chosen]
    return Reproduction(found, cells, tuple(done))


def _smoke(
    found: Experiment,
    cells: Sequence[Cell],
    store: str | Path | None,
    workers: int | Executor,
    address: str | None,
    watcher: Watcher | None,
) -> Reproduction:
    if address is not None:
        raise ComparisonError("a smoke run is one of this machine: its data exist here alone. Leave out the address.")
    for cell in cells:
        if problem := missing_extra(cell_task(cell)):
            raise problem
    names = list(dict.fromkeys(cell.task for cell in cells))
    done = []
    with tiny_world(names), crew_of(workers) as crew:
        for cell in cells:
            done.append(_compare(found, tiny(cell_task(cell)), 1, store, crew, watcher, smoke=True))
    for run in (run for comparison in done for run in comparison.runs()):
        if run.status == "failed":
            raise ComparisonError(f"{run.task} with {run.arm} failed: {run.error}")
    return Reproduction(found, tuple(cells), tuple(done), smoke=True, reduced=tuple(reductions(names)))


def _compare(
    found: Experiment,
    task: Task,
    seeds: int,
    store: str | Path | None,
    crew: Executor,
    watcher: Watcher | None,
    checkpoints: str | Path | None = None,
    smoke: bool = False,
) -> Comparison:
    """One cell. The papers put every function into the network as it is: no gain, no protocol, no nulls."""
    return compare(
        functions(found, smoke), task, seeds, store, crew, normalise=False, per=found.per, nulls=False,
        protocols=False, engine="torch", watcher=watcher, checkpoints=checkpoints,
    )  # fmt: skip
