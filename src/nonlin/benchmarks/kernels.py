"""Value and gradient of every catalogue function as a module: time over F.silu, a copy and its transcendentals.

A job is one forward and backward pass over float32 as a network makes them: results in fresh memory. Each function
is timed in turns with three others, and its ratios are medians over the turns:

- F.silu, forward and backward
- a copy: two of x into fresh memory, as many results as the job has
- its transcendentals alone: the exp, log, sin ... instructions of its two programs, within the cache, without the
  rest of the work and without memory

F.silu and F.relu stand beside them (`Reference`): what torch's own kernels need of the same limit.

The time is the processor's for one thread (other work on the machine distorts it less), otherwise the clock's.
Compiled, modules and F.silu run under torch.compile, which takes seconds for each.
"""

from __future__ import annotations

import csv
import ctypes
import os
import statistics
import time
from collections.abc import Callable, Sequence
from ctypes import POINTER, c_void_p
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from nonlin import native
from nonlin.errors import NonlinError
from nonlin.native.library import FLOAT32, load
from nonlin.native.structures import CActivationCall, CProgram
from nonlin.run.provenance import provenance
from nonlin.zoo import activation
from nonlin.zoo import names as catalogue_names

TRANSCENDENTAL = set(
    "exp expm1 log log1p decay softplus tanh sin cos sin_cos tan asin acos atan sinc sincs spherical_j sinh cosh "
    "sinh_cosh asinh acosh atanh erf erfc gaussian Phi power".split()
)
SIZES = (16_000_000, 262_144, 4096)
WITHIN, CHEAP = 1.3, 1.1  # the targets: over the limit, and over F.silu with one transcendental
SMALL = 0.004  # seconds: shorter jobs are repeated up to this within one timing
Job = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One function at one size. Ratios of times; bytes are kept for backward per element."""

    name: str
    elements: int
    nanoseconds: float
    over_silu: float
    over_copy: float
    over_limit: float  # the larger of a copy and the transcendentals alone
    transcendentals: int
    bytes_kept: float


@dataclass(frozen=True)
class Reference:
    """A function of torch's own at one size, forward and backward."""

    name: str
    elements: int
    nanoseconds: float
    over_copy: float
    over_limit: float


def job_of(module: Callable, x: torch.Tensor, gradient: torch.Tensor) -> Job:
    return lambda: torch.autograd.grad(module(x), x, gradient)


def copies(x: torch.Tensor) -> Job:
    plain = x.detach()
    return lambda: (plain.clone(), plain.clone())


def transcendentals(function: native.Function, x: torch.Tensor) -> tuple[Job, int]:
    """Those instructions of value and gradient, each of x itself, and how many they are."""
    core = load()
    assert core is not None
    names = {number: name for name, number in core.opcodes.items()}
    size = x.detach().abs()  # within every domain
    calls = []
    for program in (function.value, function.partials):
        code = np.array([line for line in program.code if names[line[0]] in TRANSCENDENTAL], dtype=np.int32)
        if not len(code):
            continue
        code[:, 1:6] = [1, 2, 0, 0, 0]
        c = CProgram(code.ctypes.data, 0, len(code), 0, 0, 2, 3)
        call = CActivationCall(FLOAT32, 1, torch.get_num_threads(), 0, x.numel(), 1, 1)
        call.programs, call.x, call.output_count = ctypes.pointer(c), size.data_ptr(), 0
        call.outputs = ctypes.cast((c_void_p * 1)(), POINTER(c_void_p))
        calls.append((call, code, size))

    def job() -> None:
        for call, *_ in calls:
            core.call("nl_activate", ctypes.byref(call))

    return job, sum(len(code) for _, code, _ in calls)


def kept_bytes(module: torch.nn.Module) -> float:
    """Per element; parameters are not counted."""
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    x = torch.randn(4096, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        module(x)
    return sum(t.numel() * t.element_size() for t in kept if t.numel() >= x.numel()) / x.numel()


def clock() -> float:
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def timed(job: Job, repeats: int) -> float:
    begin = clock()
    for _ in range(repeats):
        job()
    return (clock() - begin) / repeats


def turns(jobs: list[Job], rounds: int) -> list[list[float]]:
    """Seconds of each job in each round."""
    for job in jobs:
        job()
    repeats = [max(1, min(400, int(SMALL / max(timed(job, 1), 1e-6)))) for job in jobs]
    return [[timed(job, count) for job, count in zip(jobs, repeats, strict=True)] for _ in range(rounds)]


def measure(
    names: Sequence[str], elements: int, rounds: int, compiled: bool, watcher: Callable[[Row], None] | None = None
) -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(elements, generator=generator).requires_grad_()
    gradient = torch.randn(elements, generator=generator)
    wrap = (lambda module: torch.compile(module, fullgraph=True)) if compiled else (lambda module: module)
    silu = job_of(wrap(lambda x: F.silu(x)), x, gradient)
    rows = []
    for name in names:
        act = activation(name)
        module = act.module().requires_grad_(False)  # the function's own work: sums for parameters are extra
        alone, count = transcendentals(native.function(act.expr, tuple(act.parameters)), x)
        times = turns([job_of(wrap(module), x, gradient), silu, copies(x), alone], rounds)
        middle = statistics.median
        rows.append(Row(
            name, elements, 1e9 * middle(own for own, *_ in times) / elements,
            middle(own / other for own, other, *_ in times), middle(own / copy for own, _, copy, _ in times),
            middle(own / max(copy, only) for own, _, copy, only in times), count, kept_bytes(module),
        ))  # fmt: skip
        if watcher:
            watcher(rows[-1])
        if compiled:
            torch._dynamo.reset()
            silu = job_of(wrap(lambda x: F.silu(x)), x, gradient)
    return rows


def references(elements: int, rounds: int, compiled: bool) -> list[Reference]:
    """F.relu and F.silu against a copy and, for F.silu, the transcendentals that it needs as well."""
    x = torch.randn(elements, generator=torch.Generator().manual_seed(0)).requires_grad_()
    wrap = (lambda module: torch.compile(module, fullgraph=True)) if compiled else (lambda module: module)
    alone, _ = transcendentals(native.function(activation("silu").expr), x)
    jobs = [job_of(wrap(lambda x: F.relu(x)), x, x.detach()), job_of(wrap(lambda x: F.silu(x)), x, x.detach())]
    times, middle = turns([*jobs, copies(x), alone], rounds), statistics.median
    if compiled:
        torch._dynamo.reset()
    return [
        Reference("F.relu", elements, 1e9 * middle(relu for relu, *_ in times) / elements,
                  middle(relu / copy for relu, _, copy, _ in times), middle(relu / copy for relu, _, copy, _ in times)),
        Reference("F.silu", elements, 1e9 * middle(silu for _, silu, *_ in times) / elements,
                  middle(silu / copy for _, silu, copy, _ in times),
                  middle(silu / max(copy, only) for _, silu, copy, only in times)),
    ]  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """The targets at one size.

    Attributes
    ----------
    within : functions of at most 1.3 x the larger of a copy and their transcendentals, of `functions`
    cheap : functions of at most 1.1 x F.silu, of the `single` ones with at most one transcendental
    median_over_silu, median_over_limit : of all functions
    relu_over_limit, silu_over_limit : what torch's own F.relu and F.silu take
    bytes_kept : for backward, per element, at most
    """

    elements: int
    functions: int
    within: int
    single: int
    cheap: int
    median_over_silu: float
    median_over_limit: float
    relu_over_limit: float
    silu_over_limit: float
    bytes_kept: float


def summary(rows: Sequence[Row], known: Sequence[Reference]) -> list[Summary]:
    """The targets, for each size."""
    found, middle = [], statistics.median
    for elements in dict.fromkeys(row.elements for row in rows):
        these = [row for row in rows if row.elements == elements]
        single = [row for row in these if row.transcendentals <= 2]  # one in the value, one in the derivative
        limits = {one.name: one.over_limit for one in known if one.elements == elements}
        found.append(Summary(
            elements, len(these), sum(row.over_limit <= WITHIN for row in these), len(single),
            sum(row.over_silu <= CHEAP for row in single), middle(row.over_silu for row in these),
            middle(row.over_limit for row in these), limits["F.relu"], limits["F.silu"],
            max(row.bytes_kept for row in these),
        ))  # fmt: skip
    return found


def worst(rows: Sequence[Row], count: int) -> list[Row]:
    """At each size the `count` functions that are farthest above the larger of a copy and their transcendentals."""
    found = []
    for elements in dict.fromkeys(row.elements for row in rows):
        these = [row for row in rows if row.elements == elements]
        found += sorted(these, key=lambda row: row.over_limit, reverse=True)[:count]
    return found


def picture(rows: list[Row], path: Path, title: str) -> Path:
    from nonlin.report.plot import COLOURS, checked_format, panels, save

    checked_format(path)
    sizes = list(dict.fromkeys(row.elements for row in rows))
    largest = [row for row in rows if row.elements == sizes[0]]
    order = [row.name for row in sorted(largest, key=lambda row: row.over_silu)]
    columns = 1 + (len(order) - 1) // 50
    height = -(-len(order) // columns)
    figure, axes = panels(max(7.0, 4.2 * columns), 0.9 + 0.19 * height, columns=columns)
    colours = (COLOURS[0], COLOURS[4], COLOURS[2])
    for number, axis in enumerate(axes):
        names = order[number * height : (number + 1) * height]
        for size, colour, marker in zip(sizes, colours, "osd", strict=False):
            values = {row.name: row.over_silu for row in rows if row.elements == size}
            axis.plot(
                [values[name] for name in names], range(len(names)), marker, ms=4, color=colour, label=f"{size:,}"
            )
        axis.axvline(1, color="0.4", lw=0.8)
        axis.axvline(CHEAP, color="0.4", lw=0.8, ls="--")
        axis.set_xscale("log", base=2)
        axis.set_xlim(0.9 * min(1.0, *(row.over_silu for row in rows)), 1.15 * max(row.over_silu for row in rows))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_yticks(range(len(names)), names, fontsize=7)
        axis.set_ylim(height - 0.4, -0.6)
        axis.grid(axis="both", lw=0.3)
        axis.set_xlabel("time over F.silu", fontsize=8)
    axes[0].legend(title="elements", fontsize=7, title_fontsize=7, loc="upper right")
    figure.suptitle(f"{title}\ndashed: {CHEAP:g}, the target with one transcendental", fontsize=8)
    return save(figure, path)


@dataclass(frozen=True)
class Kernels:
    """What `bench_kernels` found."""

    rows: tuple[Row, ...]
    references: tuple[Reference, ...]
    heading: str

    def summary(self) -> list[Summary]:
        return summary(self.rows, self.references)

    def worst(self, count: int = 10) -> list[Row]:
        return worst(self.rows, count)

    def as_dict(self) -> dict[str, Any]:
        return {
            "heading": self.heading,
            "summary": [asdict(one) for one in self.summary()],
            "references": [asdict(one) for one in self.references],
            "rows": [asdict(row) for row in self.rows],
        }

    def table(self, path: str | Path) -> Path:
        """Write every row into a .csv file."""
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(row) for row in self.rows)
        return Path(path)

    def picture(self, path: str | Path) -> Path:
        """Draw the times over F.silu into a .png, .svg or .pdf file."""
        return picture(list(self.rows), Path(path), self.heading.partition("; load")[0])


def bench_kernels(
    functions: Sequence[str] = (),
    sizes: Sequence[int] = SIZES,
    rounds: int = 5,
    threads: int = 1,
    compiled: bool = False,
    watcher: Callable[[Row], None] | None = None,
) -> Kernels:
    """Measure functions of the catalogue, all of them unless named, at each size.

    Raises
    ------
    NonlinError : the compiled core is not there, a name that is not known, or a number below 1
    """
    if not native.available():
        raise NonlinError(f"the compiled core is not there: {native.reason()}")
    for label, value in (("elements", min(sizes, default=0)), ("rounds", rounds), ("threads", threads)):
        if value < 1:
            raise NonlinError(f"{label} must be at least 1; got {value}.")
    names = [activation(name).name for name in functions] or list(catalogue_names())
    usual, before = torch.get_num_threads(), os.getloadavg()[0]
    torch.set_num_threads(threads)
    try:
        known = [one for size in sizes for one in references(size, rounds, compiled)]
        rows = [row for size in sizes for row in measure(names, size, rounds, compiled, watcher)]
    finally:
        torch.set_num_threads(usual)
    core, machine = load(), provenance()
    assert core is not None
    heading = (
        f"Forward and backward, float32, {'compiled' if compiled else 'eager'}, {threads} thread(s), medians of "
        f"{rounds} turns; {machine['processor']}, torch {machine['torch']}, core {core.isa}; load of the machine "
        f"{before:.1f} to {os.getloadavg()[0]:.1f}."
    )
    return Kernels(tuple(rows), tuple(known), heading)
