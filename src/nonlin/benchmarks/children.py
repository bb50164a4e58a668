"""Children per second and core: every engine against a plain PyTorch loop, one child after another.

For each task twelve activations are trained from the same initial weights with the same batches and validated after
each epoch: in plain PyTorch, by the reference `fit`, as a cohort, and, where the model is a multilayer perceptron, in
the compiled core. One thread; the engines take turns; medians over the rounds. Time is this process's CPU time, which
other work on the machine disturbs least. What a cohort does once for a task (recording its model) is shown apart.

Final validation losses are compared with `fit`'s, and beside them stands how far `fit` is from itself when the rows of
each batch come in another order: the noise of float32 sums, which no engine can be expected to stay below.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nonlin import native
from nonlin.benchmarks.plain import train_plain
from nonlin.errors import NonlinError, UnknownNameError
from nonlin.native.library import load
from nonlin.run.provenance import provenance
from nonlin.strategies.threads import one_thread
from nonlin.tasks import Task
from nonlin.tasks import task as task_by_name
from nonlin.train import Outcome, cohort, fit, fit_cohort, fit_in_core, obstacle
from nonlin.zoo import activation

FORMULAS = (
    "relu(x)", "tanh(x)", "x*sigmoid(x)", "x*Phi(x)", "x*tanh(softplus(x))", "sin(x)", "min(x, sin(x))",
    "x*sigmoid(beta*x)", "exp(-beta*(x - sin(x))**2)", "max(tanh(x), x**2)", "atan(x) + asinh(x)", "x*exp(-x**2)",
)  # fmt: skip
SIZES = {  # (rows of the task's data or None for all, epochs): what a child's time is measured on
    "digits-mlp": (None, 20),
    "digits-cnn": (None, 3),
    "digits-vit": (None, 6),
    "chars-gpt": (400, 1),
}
TARGETS = {("digits-mlp", "core"): 9.0, ("digits-mlp", "cohort"): 5.0}  # for every other task and "cohort": 3
ENGINES = ("plain", "fit", "cohort", "core")


@dataclass(frozen=True)
class EngineTime:
    """One engine on one task.

    Attributes
    ----------
    seconds : CPU seconds of a child, median over the rounds
    ratio, ratio_range : children per second over those of plain PyTorch in the same round: median, (least, largest)
    median_difference, largest_difference : of final losses from `fit`'s, relative; NaN for "plain", whose initial
        weights are not matched to the activation
    same_status : whether the same children diverged
    """

    engine: str
    seconds: float
    ratio: float
    ratio_range: tuple[float, float]
    target: float | None
    median_difference: float
    largest_difference: float
    same_status: bool


@dataclass(frozen=True)
class TaskChildren:
    """All engines on one task. `noise`: of `fit` with permuted batches from itself, (median, largest)."""

    task: str
    rows: int
    epochs: int
    cohort: int
    recording_seconds: float
    noise: tuple[float, float]
    engines: tuple[EngineTime, ...]


@dataclass(frozen=True)
class Children:
    """What `bench_children` found."""

    tasks: tuple[TaskChildren, ...]
    rounds: int
    machine: str
    load: tuple[float, float]

    def title(self) -> str:
        return (
            f"{self.machine}; one thread, CPU time, medians over {self.rounds} round(s); load of the machine "
            f"{self.load[0]:.1f} to {self.load[1]:.1f}"
        )

    def as_dict(self) -> dict[str, Any]:
        from dataclasses import asdict

        return asdict(self)

    def picture(self, path: str | Path) -> Path:
        """Draw the ratios into a .png, .svg or .pdf file."""
        from nonlin.benchmarks.speed_pictures import draw_children

        return draw_children(self, Path(path))


def bench_children(
    tasks: Sequence[str] = tuple(SIZES),
    rounds: int = 3,
    formulas: Sequence[str] = FORMULAS,
    rows: int | None = None,
    epochs: int | None = None,
    watcher: Callable[[TaskChildren], None] | None = None,
) -> Children:
    """Measure all engines on each task.

    Parameters
    ----------
    tasks : of `SIZES`
    rounds : turns that every engine takes
    formulas : the children of a round, at least two
    rows, epochs : in place of those of `SIZES`
    watcher : hears of each task when it is done

    Raises
    ------
    NonlinError : unknown tasks, no round or fewer than two children
    """
    if rounds < 1 or len(formulas) < 2:
        raise NonlinError(f"a benchmark needs a round and two children; got {rounds} and {len(formulas)}.")
    for name in tasks:
        if name not in SIZES:
            raise UnknownNameError("task of this benchmark", name, SIZES)
    before, found = os.getloadavg()[0], []
    with one_thread():
        for name in tasks:
            found.append(measure(name, rounds, formulas, rows, epochs))
            if watcher:
                watcher(found[-1])
    return Children(tuple(found), rounds, machine_name(), (before, os.getloadavg()[0]))


def measure(
    name: str, rounds: int, formulas: Sequence[str] = FORMULAS, rows: int | None = None, epochs: int | None = None
) -> TaskChildren:
    """All engines on one task, in turns."""
    task = small(name, rows, epochs)
    size = cohort.cohort_size(task)
    groups = [formulas[k : k + size] for k in range(0, len(formulas), size)]
    engines: dict[str, Callable[[], list]] = {
        "plain": lambda: [train_plain(task, formula) for formula in formulas],
        "fit": lambda: [fit(task, formula) for formula in formulas],
        "cohort": lambda: [outcome for group in groups for outcome in fit_cohort(task, group)],
    }
    if not obstacle(task):
        engines["core"] = lambda: [fit_in_core(task, activation(formula)) for formula in formulas]
    recording, again = (cpu_seconds(lambda: fit_cohort(task, formulas[-2:]))[0] for _ in range(2))
    for engine in ("fit", "core"):
        if engine in engines:
            engines[engine]() if len(formulas) < 3 else fit(task, formulas[0])  # what is compiled or loaded once
    times: dict[str, list[float]] = {engine: [] for engine in engines}
    outcomes: dict[str, list] = {}
    for _ in range(rounds):
        for engine, work in engines.items():
            taken, outcomes[engine] = cpu_seconds(work)
            times[engine].append(taken / len(formulas))
    permuted = permuted_fits(task, formulas)
    found = tuple(
        _engine_time(name, engine, taken, times["plain"], outcomes[engine], outcomes["fit"])
        for engine, taken in times.items()
    )
    noise = differences(permuted, outcomes["fit"])
    return TaskChildren(name, len(task.load().train[0]), task.budget.epochs, size, max(0.0, recording - again),
                        (float(np.median(noise)), max(noise)), found)  # fmt: skip


def small(name: str, rows: int | None = None, epochs: int | None = None) -> Task:
    """A task with as many rows and epochs as it is measured on."""
    usual_rows, usual_epochs = SIZES[name]
    rows, epochs, whole = rows or usual_rows, epochs or usual_epochs, task_by_name(name)
    return replace(whole, budget=replace(whole.budget, epochs=epochs)) if rows is None else whole.subset(rows, epochs)


def _engine_time(
    task: str, engine: str, taken: list[float], plain: list[float], outcomes: list, expected: list[Outcome]
) -> EngineTime:
    ratios = [a / b for a, b in zip(plain, taken, strict=True)]
    target = TARGETS.get((task, engine), 3.0 if engine == "cohort" else None)
    apart, same = [float("nan")], True
    if engine != "plain":
        apart = differences(outcomes, expected)
        same = all(a.status == b.status for a, b in zip(outcomes, expected, strict=True))
    return EngineTime(
        engine, statistics.median(taken), statistics.median(ratios), (min(ratios), max(ratios)), target,
        float(np.median(apart)), max(apart), same,
    )  # fmt: skip


def differences(found: Sequence[Outcome], expected: Sequence[Outcome]) -> list[float]:
    """Relative differences of the final losses of children that were trained to the end in both; NaN if none was."""
    pairs = [(a.loss, b.loss) for a, b in zip(found, expected, strict=True) if a.status == b.status == "ok"]
    return [abs(a - b) / abs(b) for a, b in pairs] or [float("nan")]


def permuted_fits(task: Task, formulas: Sequence[str]) -> list[Outcome]:
    """`fit` with the same batches, the rows of each in reverse: in exact arithmetic the same training."""
    draw = torch.randperm

    def reversed_within_batches(count: int, **options: Any) -> torch.Tensor:
        rows = draw(count, **options)
        return torch.cat([batch.flip(0) for batch in rows.split(task.budget.batch_size)])

    torch.randperm = reversed_within_batches  # type: ignore[assignment]
    try:
        return [fit(task, formula) for formula in formulas]
    finally:
        torch.randperm = draw


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.process_time()
    found = work()
    return time.process_time() - begin, found


def machine_name() -> str:
    """Processor, cores, torch and the instruction set that the compiled core uses."""
    known, core = provenance(), load()
    used = f"core for {core.isa}" if core else f"no compiled core ({native.reason()})"
    return f"{known['processor']}, {known['cores']} cores, torch {known['torch']}, {used}"
