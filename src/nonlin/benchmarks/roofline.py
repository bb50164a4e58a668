"""How near does each engine come to what this machine can do?

Peak rates are measured in the run, on one thread and in its CPU time: products of small matrices by the compiled core
and by torch (at the sizes that each task has, and at a large one), the exponential, and a copy in cache and out of it.
A child's own products are recorded while torch trains one batch of it. From these follows the least time of a child,

    products / rate of products at its sizes + activations / rate of exp + optimiser's bytes / rate of a copy,

one exponential for each activation's value and one for its slope, everything in cache and nothing else done; the share
of it in the time of an engine says how much is left to gain. Loads and stores of the products' results, losses,
normalisations and dropout are not in it, so that 100% is out of reach.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nonlin.benchmarks.children import FORMULAS, SIZES, Children, TaskChildren, bench_children, machine_name, small
from nonlin.benchmarks.recorded import Product, Work, work_of
from nonlin.native import direct, function
from nonlin.native.products import multiply
from nonlin.strategies.threads import one_thread
from nonlin.zoo import activation

LARGE = Product(1, 1024, 1024, 1024)
IN_CACHE, LARGE_COPY = 2**15, 2**24  # numbers: 128 KiB, 64 MiB
STACKED, ENOUGH = 16, 2e7  # products in one call: at most so many, and until they have so many operations
SHORTEST = 0.01  # seconds that one timing takes at least
ROUNDS = 5
CHILDREN = ("x*sigmoid(x)", "x*tanh(softplus(x))", "tanh(x)", "sin(x)")


@dataclass(frozen=True)
class Peaks:
    """Rates of the machine: products in operations a second, exp in elements, copies in bytes read and written."""

    large_own: float
    large_torch: float
    exp_own: float
    exp_torch: float
    copy_cache: float
    copy_memory: float


@dataclass(frozen=True)
class TaskRoof:
    """One task: what a child has to do, how fast that goes at its sizes, and the engines' times.

    Attributes
    ----------
    own, torch : operations a second of the child's own products, one after another
    floor : least seconds of a child, as the module says
    engines : {engine: (seconds of a child, floor / seconds)}
    """

    task: str
    rows: int
    epochs: int
    work: Work
    own: float
    torch: float
    floor: float
    engines: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Roofline:
    """What `bench_roofline` found."""

    peaks: Peaks
    tasks: tuple[TaskRoof, ...]
    machine: str
    load: tuple[float, float]

    def title(self) -> str:
        return f"{self.machine}; one thread; load of the machine {self.load[0]:.1f} to {self.load[1]:.1f}"

    def as_dict(self) -> dict[str, Any]:
        tasks = [
            {"task": one.task, "rows": one.rows, "epochs": one.epochs, "operations": one.work.operations,
             "activations": one.work.activations, "optimiser_bytes": one.work.optimiser_bytes, "own": one.own,
             "torch": one.torch, "floor": one.floor,
             "products": [{**asdict(product), "count": count} for product, count in sorted(one.work.products.items())],
             "engines": {name: {"seconds": seconds, "share": share} for name, (seconds, share) in one.engines.items()}}
            for one in self.tasks
        ]  # fmt: skip
        return {"peaks": asdict(self.peaks), "tasks": tasks, "machine": self.machine, "load": self.load}

    def picture(self, path: str | Path) -> Path:
        """Draw the tasks under their roofs into a .png, .svg or .pdf file."""
        from nonlin.benchmarks.speed_pictures import draw_roofline

        return draw_roofline(self, Path(path))


def bench_roofline(
    tasks: Sequence[str] = tuple(SIZES),
    rounds: int = ROUNDS,
    rows: int | None = None,
    epochs: int | None = None,
    watcher: Callable[[str], None] | None = None,
) -> Roofline:
    """Measure the machine and the engines.

    Parameters
    ----------
    tasks, rows, epochs, watcher : as for `bench_children`
    rounds : timings of each rate, of which the best counts
    """
    say, before = watcher or (lambda what: None), os.getloadavg()[0]
    with one_thread():
        say("peak rates")
        peaks = measure_peaks(rounds)
    say("engines")
    found: Children = bench_children(tasks, 1, CHILDREN, rows, epochs, lambda one: say(one.task))
    with one_thread():
        roofs = tuple(roof(one, peaks, rounds, rows, epochs) for one in found.tasks)
    return Roofline(peaks, roofs, machine_name(), (before, os.getloadavg()[0]))


def roof(one: TaskChildren, peaks: Peaks, rounds: int, rows: int | None, epochs: int | None) -> TaskRoof:
    """A task's work and least time, from rates at its own sizes."""
    work = work_of(small(one.task, rows, epochs), FORMULAS[2])
    own, by_torch = product_rates(work.products, rounds)
    floor = (
        work.operations / max(own, by_torch)
        + 2 * work.activations / max(peaks.exp_own, peaks.exp_torch)
        + work.optimiser_bytes / peaks.copy_cache
    )
    engines = {engine.engine: (engine.seconds, floor / engine.seconds) for engine in one.engines}
    return TaskRoof(one.task, one.rows, one.epochs, work, own, by_torch, floor, engines)


def measure_peaks(rounds: int = ROUNDS) -> Peaks:
    """The machine's rates, each the best of some rounds."""
    large = product_rates({LARGE: 1}, rounds)
    x = torch.linspace(-4, 4, IN_CACHE)
    exp = function(activation("exp(x)").expr)
    own_exp = (lambda: direct.value(exp, x, ())) if exp.supported else (lambda: torch.exp(x))
    cached, memory = torch.empty_like(x), torch.zeros(LARGE_COPY)
    target = torch.zeros_like(memory)
    times = best_times(
        [own_exp, lambda: torch.exp(x, out=cached), lambda: cached.copy_(x), lambda: target.copy_(memory)], rounds
    )
    moved = 2 * x.element_size()
    return Peaks(*large, len(x) / times[0], len(x) / times[1], moved * len(x) / times[2], moved * LARGE_COPY / times[3])


def product_rates(products: Mapping[Product, int], rounds: int = ROUNDS) -> tuple[float, float]:
    """Operations a second of these products one after another, by the core and by torch.

    Small ones are timed several in a call, as those of a cohort are, so that it is not the call that is timed.
    """
    own = by_torch = operations = 0.0
    for one, count in products.items():
        together = one.batch * max(1, min(STACKED, int(ENOUGH / one.operations)))
        a, b = torch.randn(together, one.rows, one.inner), torch.randn(together, one.inner, one.columns)
        out = torch.empty(together, one.rows, one.columns)
        mine, theirs = best_times([_own_product(a, b, out), _torch_product(a, b, out)], rounds)
        share = count * one.batch / together
        own, by_torch = own + share * mine, by_torch + share * theirs
        operations += count * one.operations
    return operations / own, operations / by_torch


def _own_product(a: Tensor, b: Tensor, out: Tensor) -> Callable[[], object]:
    return lambda: multiply(a, b, out=out)


def _torch_product(a: Tensor, b: Tensor, out: Tensor) -> Callable[[], object]:
    if len(a) == 1:
        return lambda: torch.mm(a[0], b[0], out=out[0])
    return lambda: torch.bmm(a, b, out=out)


def best_times(jobs: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """The least CPU seconds of each job over the rounds, in which they take turns; short jobs are repeated."""
    repeats = []
    for job in jobs:
        job()
        repeats.append(max(1, min(10_000, int(SHORTEST / max(_seconds(job, 1), 1e-7)))))
    turns = [[_seconds(job, count) for job, count in zip(jobs, repeats, strict=True)] for _ in range(rounds)]
    return [min(turn[k] for turn in turns) for k in range(len(jobs))]


def _seconds(job: Callable[[], object], count: int) -> float:
    begin = time.process_time()
    for _ in range(count):
        job()
    return (time.process_time() - begin) / count
