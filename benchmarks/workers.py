"""Two worker processes against one: children a second, and the memory of a worker.

    python benchmarks/workers.py [--counts 1 2] [--rounds 5] [--task digits-mlp] [--engine torch]

Every round gives the same children to each number of workers, in turn, so that a busy moment of the machine meets all
of them. Workers are started and warm before the clock runs: a search pays the start once. Ratios are of one round;
their median and range are printed, with the machine's load, since a ratio of a busy machine says little.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from nonlin.expr.identity import kind
from nonlin.run.job import Job
from nonlin.run.local import Workers
from nonlin.run.study import engine_for
from nonlin.strategies import space
from nonlin.tasks import task as task_by_name
from nonlin.zoo import activation


def children(count: int, engine: str) -> list[Job]:
    """Functions of core-1, drawn at random."""
    where, generator = space("core-1"), np.random.default_rng(0)
    formulas: list[str] = []
    while len(formulas) < count:
        expr = where.sample(generator)
        if kind(expr) == "ordinary":
            formulas.append(str(expr))
    return [
        Job(number, formula, activation(formula).parameters, 0, True, "channel", {}, engine)
        for number, formula in enumerate(formulas)
    ]


def seconds(crew: Workers, jobs: list[Job]) -> float:
    """Wall-clock time from the first job's submission to the last outcome."""
    begin = time.perf_counter()
    for job in jobs:
        crew.submit(job)
    left = len(jobs)
    while left:
        left -= len([crew.next(), *crew.more()])
    return time.perf_counter() - begin


def megabytes(crew: Workers) -> float:
    """Resident memory of the largest worker; NaN where /proc is not."""
    found = []
    for process in crew.processes.values():
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except OSError:
            return float("nan")
        found += [int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")]
    return max(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="digits-mlp")
    parser.add_argument("--engine", default="auto", choices=["auto", "torch", "core"])
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--children", type=int, default=60, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    task = task_by_name(options.task)
    jobs = children(options.children, engine_for(options.engine, task))
    rates: dict[int, list[float]] = {count: [] for count in options.counts}
    memory: dict[int, list[float]] = {count: [] for count in options.counts}
    loads = [os.getloadavg()[0]]
    with ExitStack() as stack:
        crews = {count: stack.enter_context(Workers(count)) for count in options.counts}
        for count, crew in crews.items():
            crew.begin(task)
            seconds(crew, jobs[: 2 * count])
        for _ in range(options.rounds):
            for count, crew in crews.items():
                rates[count].append(len(jobs) / seconds(crew, jobs))
                memory[count].append(megabytes(crew))
        loads.append(os.getloadavg()[0])
    first = options.counts[0]
    print(f"{options.task}, engine {jobs[0].engine}, {os.cpu_count()} cores, load {loads[0]:.1f} to {loads[1]:.1f}\n")
    print(f"| workers | children/s | against {first} | its range | MiB of a worker, first and last round |")
    print("|--:|--:|--:|---|---|")
    found = []
    for count in options.counts:
        ratios = [mine / base for mine, base in zip(rates[count], rates[first], strict=True)]
        row = {
            "workers": count, "rates": rates[count], "ratios": ratios, "ratio": statistics.median(ratios),
            "megabytes": memory[count],
        }  # fmt: skip
        found.append(row)
        print(
            f"| {count} | {statistics.median(rates[count]):.1f} | {row['ratio']:.2f} | {min(ratios):.2f} to "
            f"{max(ratios):.2f} | {memory[count][0]:.0f}, {memory[count][-1]:.0f} |"
        )
    if options.json:
        options.json.write_text(json.dumps({"task": options.task, "load": loads, "rows": found}, indent=1))


if __name__ == "__main__":
    main()
