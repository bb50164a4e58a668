"""Children per second and core: every engine against a plain PyTorch loop, one child after another.

For each task twelve activations are trained from the same initial weights with the same batches and validated after
each epoch: in plain PyTorch (the formula in torch's own operations, differentiated by autograd), by the reference
`fit`, as a cohort, and, where the model is a multilayer perceptron, in the compiled core. One thread; the engines take
turns; medians over the rounds. Time is this process's CPU time, which other work on the machine disturbs least. What a
cohort does once for a task (recording its model) is shown apart. Final validation losses are compared with `fit`'s.

    python benchmarks/children.py [--task digits-mlp] [--rounds 3] [--json children.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from nonlin import native
from nonlin.expr.codegen import compile_kernel
from nonlin.native.library import load
from nonlin.tasks import Task
from nonlin.tasks import task as task_by_name
from nonlin.train import cohort, fit, fit_cohort, fit_in_core, obstacle
from nonlin.train.score import evaluate, task_loss
from nonlin.zoo import activation

FORMULAS = (
    "relu(x)", "tanh(x)", "x*sigmoid(x)", "x*Phi(x)", "x*tanh(softplus(x))", "sin(x)", "min(x, sin(x))",
    "x*sigmoid(beta*x)", "exp(-beta*(x - sin(x))**2)", "max(tanh(x), x**2)", "atan(x) + asinh(x)", "x*exp(-x**2)",
)  # fmt: skip
SIZES = {  # (rows of the task's data or None for all, epochs): what a child's time is measured on
    "digits-mlp": (None, 20),
    "digits-cnn": (None, 3),
    "digits-vit": (None, 2),
    "chars-gpt": (400, 1),
}
TARGETS = {("digits-mlp", "core"): 9, ("digits-mlp", "cohort"): 5}  # for every other task and "cohort": 3


class PlainActivation(nn.Module):
    """The formula in torch's own operations, differentiated by autograd; parameters per channel."""

    def __init__(self, formula: str, channels: int | None, dim: int):
        super().__init__()
        act = activation(formula)
        names = tuple(act.parameters)
        self.kernel, self.dim = compile_kernel((act.expr,), names), dim
        self.values = nn.ParameterList(nn.Parameter(torch.ones(channels or 1)) for _ in names)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = [1] * x.dim()
        shape[self.dim] = -1
        return self.kernel(x, *(value.reshape(shape) for value in self.values))[0]


def plain(task: Task, formula: str) -> None:
    """What a user would write."""
    torch.manual_seed(0)
    model = task.model(lambda channels=None, dim=1: PlainActivation(formula, channels, dim))
    budget, data = task.budget, task.load()
    rule = torch.optim.Adam if budget.optimizer == "adam" else torch.optim.AdamW
    optimiser = rule(model.parameters(), budget.learning_rate, weight_decay=budget.weight_decay)
    x, y = data.train
    for _ in range(budget.epochs):
        model.train()
        for rows in torch.randperm(len(x)).split(budget.batch_size):
            optimiser.zero_grad()
            task_loss(model(x[rows]), y[rows]).backward()
            optimiser.step()
        evaluate(model, *data.validation)


def seconds(work: Callable[[], object]) -> tuple[float, object]:
    begun = time.process_time()
    found = work()
    return time.process_time() - begun, found


def measure(name: str, rounds: int) -> dict:
    """Seconds per child of every engine, and how far its losses are from the reference's."""
    whole = task_by_name(name)
    rows, epochs = SIZES[name]
    task = replace(whole, budget=replace(whole.budget, epochs=epochs)) if rows is None else whole.subset(rows, epochs)
    size = cohort.cohort_size(task)
    groups = [FORMULAS[k : k + size] for k in range(0, len(FORMULAS), size)]
    engines: dict[str, Callable[[], list]] = {
        "plain": lambda: [plain(task, formula) for formula in FORMULAS],
        "fit": lambda: [fit(task, formula) for formula in FORMULAS],
        "cohort": lambda: [outcome for group in groups for outcome in fit_cohort(task, group)],
    }
    if not obstacle(task):
        engines["core"] = lambda: [fit_in_core(task, activation(formula)) for formula in FORMULAS]
    recording, _ = seconds(lambda: fit_cohort(task, FORMULAS[-2:]))
    again, _ = seconds(lambda: fit_cohort(task, FORMULAS[-2:]))
    times: dict[str, list[float]] = {engine: [] for engine in engines}
    outcomes: dict[str, list] = {}
    for _ in range(rounds):
        for engine, work in engines.items():
            taken, outcomes[engine] = seconds(work)  # type: ignore[assignment]
            times[engine].append(taken / len(FORMULAS))
    found = {"task": name, "rows": len(task.load().train[0]), "epochs": epochs, "cohort": size,
             "recording_seconds": recording - again, "engines": []}  # fmt: skip
    for engine, taken in times.items():
        ratios = [a / b for a, b in zip(times["plain"], taken, strict=True)]
        found["engines"].append(
            {
                "engine": engine,
                "seconds": statistics.median(taken),
                "ratio": statistics.median(ratios),
                "target": TARGETS.get((name, engine), 3 if engine == "cohort" else None),
                **agreement(outcomes[engine], outcomes["fit"]),
            }
        )
    return found


def agreement(found: Sequence, expected: Sequence) -> dict:
    """Largest and median relative difference of final losses, and whether all end with the same status."""
    if found[0] is None:
        return {}
    apart = [
        abs(a.loss - b.loss) / abs(b.loss) for a, b in zip(found, expected, strict=True) if a.status == b.status == "ok"
    ]
    same = all(a.status == b.status for a, b in zip(found, expected, strict=True))
    return {"largest_difference": max(apart), "median_difference": statistics.median(apart), "same_status": same}


def show(found: dict) -> None:
    print(
        f"\n{found['task']}: {found['rows']} rows, {found['epochs']} epochs; cohorts of {found['cohort']}; "
        f"recorded once in {found['recording_seconds']:.1f} s"
    )
    print(f"  {'engine':8s} {'ms a child':>10s} {'children/s':>10s} {'ratio':>6s} {'target':>6s}   difference from fit")
    for one in found["engines"]:
        apart = ""
        if "largest_difference" in one:
            status = "same status" if one["same_status"] else "STATUS DIFFERS"
            apart = f"median {one['median_difference']:.1e}, largest {one['largest_difference']:.1e}, {status}"
        print(
            f"  {one['engine']:8s} {1e3 * one['seconds']:10.1f} {1 / one['seconds']:10.2f} {one['ratio']:6.2f} "
            f"{one['target'] or '':>6}   {apart}"
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--task", choices=SIZES, action="append", help="only this task; may repeat")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = options.parse_args()
    torch.set_num_threads(1)
    core = load()
    print(f"one thread, CPU time; core: {core.isa if core else native.reason()}")
    results = []
    for name in arguments.task or SIZES:
        results.append(measure(name, arguments.rounds))
        show(results[-1])
    if arguments.json:
        arguments.json.write_text(json.dumps({"core": core.isa if core else None, "tasks": results}, indent=1))


if __name__ == "__main__":
    main()
