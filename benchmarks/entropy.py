"""Does adapting an activation by entropy help? Arms, controls, learning rates, seeds; paired and with intervals.

    python benchmarks/entropy.py --task digits-mlp --seeds 10 --rates 0.001,0.002,0.004,0.008 --workers 2
    python benchmarks/entropy.py --task chars-gpt --arms base,crrelu,entropy,hermite --markdown table.md

Every run is one line of a JSON-lines file (--runs); what stands there is not run again, so that the benchmark
can be stopped at any time and continued with more seeds, rates or arms. A run trains the task's model with
one arm, one learning rate and one seed. Each arm's learning rate is chosen on validation data, by the median
loss over the seeds (over the first --tune ones, where all rates are too many for all seeds); the table shows
test data at that rate, and the difference to the base paired by seed, each at its own best rate. Brackets are
95% bootstrap intervals of the median over seeds.

Arms: the plain functions start from weights that suit their own gain, and train their parameters per channel.
The adaptive arms have one set of numbers for a layer, but for those called -channel; they and the controls
start from the weights of the base, so that a control which is only larger (gain-2) shows what size alone does.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from entropy_arms import ADAPTIVE, CONTROLS
from torch import nn

import nonlin as nl
from nonlin.nn import Adaptive
from nonlin.nn.adaptive_correction import TableCorrection
from nonlin.nn.initialise import match_gain
from nonlin.run.provenance import provenance
from nonlin.run.statistics import interval
from nonlin.tasks import Factory, Task
from nonlin.train.fit import evaluate, train_model
from nonlin.train.outcome import Outcome

PLAIN = ("relu", "crrelu", "prelu", "gelu", "silu")
ARMS = ("base", *PLAIN, *ADAPTIVE, *CONTROLS)


@dataclasses.dataclass(frozen=True)
class Run:
    """One training: all that decides its result."""

    task: str
    base: str
    arm: str
    rate: float
    seed: int
    epochs: int

    def key(self) -> tuple:
        return dataclasses.astuple(self)


def build(task: Task, run: Run) -> nn.Module:
    """The task's model with the arm's layers, weights drawn by the seed."""
    torch.manual_seed(run.seed)
    name = run.base if run.arm == "base" else run.arm
    if run.arm in ADAPTIVE or run.arm in CONTROLS:
        model = task.model((ADAPTIVE | CONTROLS)[run.arm](run.base, run.seed))
        weights = matched(task, run.base, run.seed).state_dict()  # the same ones as the base arm's, gain included
        shared = {key: weights[key] for key in model.state_dict() if key in weights}
        model.load_state_dict(shared, strict=False)
        return model
    return matched(task, name, run.seed)


def matched(task: Task, name: str, seed: int) -> nn.Module:
    """The model with one plain activation, its weights scaled by that function's gain."""
    torch.manual_seed(seed)
    act = nl.activation(name)
    model = task.model(Factory(act))
    match_gain(model, act, task.load().train[0][:2], nl.activation(task.designed_for))
    return model


def perform(run: Run) -> dict[str, Any]:
    """Train and evaluate; a run that diverges has infinite losses."""
    torch.set_num_threads(1)
    task = nl.tasks.task(run.task)
    task = dataclasses.replace(task, budget=dataclasses.replace(task.budget, learning_rate=run.rate, epochs=run.epochs))
    outcome = Outcome("ok", curves={"train_loss": [], "loss": [], "score": []})
    start = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        model = build(task, run)
        train_model(model, task, run.seed, outcome)
    seconds = time.perf_counter() - start
    test_loss, test_score = evaluate(model, *task.load().test) if outcome.status == "ok" else (math.inf, 0.0)
    good = outcome.status == "ok"
    return {
        **dataclasses.asdict(run),
        "status": outcome.status,
        "validation_loss": outcome.loss if good else math.inf,
        "validation_score": outcome.score if good else 0.0,
        "test_loss": test_loss if math.isfinite(test_loss) else math.inf,
        "test_score": test_score,
        "seconds": round(seconds, 3),
        "adapted": adapted(model),
    }


def adapted(model: nn.Module) -> dict[str, list[float]]:
    """What the adaptive layers arrived at: rho, or the coefficients, layer by layer."""
    found: dict[str, list[float]] = {}
    for name, module in model.named_modules():
        if isinstance(module, Adaptive):
            part = module.correction
            values = part.rho if isinstance(part, TableCorrection) else part.coefficients
            found[name] = [round(float(value), 5) for value in values.detach().reshape(-1)]
    return found


def load(path: Path) -> dict[tuple, dict[str, Any]]:
    """The runs of a file by key; a line cut off by an interruption is passed over."""
    found: dict[tuple, dict[str, Any]] = {}
    names = [field.name for field in dataclasses.fields(Run)]
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
            found[tuple(row[name] for name in names)] = row
        except (json.JSONDecodeError, KeyError):
            continue
    return found


def perform_all(runs: list[Run], path: Path, workers: int) -> None:
    """Perform the runs and append each to the file when it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size:
        path.write_text(path.read_text() + "\n")  # after an interruption in the middle of a line
    start = time.perf_counter()
    # The pool starts no process before it is given work; workers=0 runs here, where a debugger sees it.
    with path.open("a") as file, ProcessPoolExecutor(max(1, workers), mp_context=get_context("spawn")) as pool:
        results = map(perform, runs) if not workers else (
            done.result() for done in as_completed([pool.submit(perform, run) for run in runs])
        )  # fmt: skip
        for count, row in enumerate(results, start=1):
            file.write(json.dumps(row) + "\n")
            file.flush()
            left = (time.perf_counter() - start) / count * (len(runs) - count)
            if sys.stderr.isatty():
                print(f"\r{count}/{len(runs)} runs, {left:.0f} s left   ", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)


@dataclasses.dataclass
class Line:
    """One arm at its best learning rate; lists by seed."""

    arm: str
    rate: float
    at_edge: bool
    loss: dict[int, float]
    score: dict[int, float]
    seconds: float
    diverged: int


def best_rate(rows: list[dict[str, Any]], tune: int) -> tuple[float, list[float]]:
    """The rate with the smallest median validation loss over the first `tune` seeds, and the rates tried there."""
    by_rate: dict[float, list[float]] = {}
    for row in rows:
        if row["seed"] < tune:
            by_rate.setdefault(row["rate"], []).append(row["validation_loss"])
    most = max(map(len, by_rate.values()))
    complete = {rate: losses for rate, losses in by_rate.items() if len(losses) == most}
    return min(complete, key=lambda rate: float(np.median(complete[rate]))), sorted(complete)


def summarise(rows: list[dict[str, Any]], arm: str, tune: int) -> Line | None:
    """The arm at the rate with the smallest median validation loss, shown on test data."""
    own = [row for row in rows if row["arm"] == arm]
    if not any(row["seed"] < tune for row in own):
        return None
    best, complete = best_rate(own, tune)
    chosen = [row for row in own if row["rate"] == best]
    return Line(
        arm=arm,
        rate=best,
        at_edge=len(complete) > 1 and best in (min(complete), max(complete)),
        loss={row["seed"]: row["test_loss"] for row in chosen},
        score={row["seed"]: row["test_score"] for row in chosen},
        seconds=float(np.median([row["seconds"] for row in chosen])),
        diverged=sum(row["status"] != "ok" for row in own),
    )


def shown(values: list[float], digits: int = 4, sign: bool = False) -> str:
    found = interval(values)
    plus = "+" if sign else ""
    text = f"{found.median:{plus}.{digits}f}"
    return text if math.isnan(found.low) else f"{text} [{found.low:{plus}.{digits}f}, {found.high:{plus}.{digits}f}]"


def paired(line: Line, base: Line) -> list[float]:
    """Test loss minus the base's, by seed; below 0 is better."""
    return [line.loss[seed] - base.loss[seed] for seed in sorted(line.loss) if seed in base.loss]


def better_in(differences: list[float]) -> str:
    return f"{sum(value < 0 for value in differences)}/{len(differences)}"


def table(rows: list[dict[str, Any]], arms: list[str], tune: int) -> list[list[str]]:
    """Cells of the table, header first."""
    cells = [["arm", "rate", "test loss", "loss - base", "better in", "test score", "seconds", "diverged"]]
    base = summarise(rows, "base", tune)
    for arm in arms:
        line = summarise(rows, arm, tune)
        if line is None:
            continue
        differences = paired(line, base) if base and arm != "base" else []
        cells.append([
            arm,
            f"{line.rate:g}{' (edge)' if line.at_edge else ''}",
            shown(list(line.loss.values())),
            shown(differences, sign=True) if differences else "",
            better_in(differences) if differences else "",
            shown([100 * value for value in line.score.values()], digits=2),
            f"{line.seconds:.1f}",
            str(line.diverged),
        ])  # fmt: skip
    return cells


def as_text(cells: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)


def as_markdown(cells: list[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(cells[0]), *lines[1:]])


def heading(options: argparse.Namespace, seeds: int) -> str:
    machine = provenance()
    return (
        f"{options.task}, base {options.base}, {options.epochs} epochs, up to {seeds} seeds, learning rates "
        f"{', '.join(f'{rate:g}' for rate in options.rates)}; each arm at the rate with its best validation loss"
        f"{f' on the first {options.tune}' if options.tune < seeds else ''}, "
        f"figures on test data, medians with 95% bootstrap intervals. nonlin {machine['commit']}, torch "
        f"{machine['torch']}, {machine['processor']}. An (edge) rate is the least or greatest tried: the best may "
        "lie outside."
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="digits-mlp")
    parser.add_argument("--base", help="the function to adapt; default: the one the task is designed for")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--tune", type=int, help="try all rates on the first so many seeds; default: on all")
    parser.add_argument("--rates", help="learning rates, with commas; default: the task's times 1/4, 1/2, 1, 2, 4")
    parser.add_argument("--arms", default=",".join(ARMS), help=f"of {', '.join(ARMS)}")
    parser.add_argument("--epochs", type=int, help="default: the task's")
    parser.add_argument("--workers", type=int, default=2, help="processes; 0 for none")
    parser.add_argument("--runs", type=Path, help="the JSON-lines file; default: entropy-TASK.jsonl")
    parser.add_argument("--markdown", type=Path, help="write the table there too")
    parser.add_argument("--table-only", action="store_true", help="run nothing, show what the file holds")
    options = parser.parse_args()
    task = nl.tasks.task(options.task)
    options.base = options.base or task.designed_for
    options.epochs = options.epochs or task.budget.epochs
    own = task.budget.learning_rate
    options.rates = (
        [float(rate) for rate in options.rates.split(",")] if options.rates else [own * f for f in (0.25, 0.5, 1, 2, 4)]
    )
    options.tune = min(options.tune or options.seeds, options.seeds)
    options.arms = options.arms.split(",")
    if unknown := [arm for arm in options.arms if arm not in ARMS]:
        parser.error(f"unknown arm {unknown[0]!r}; known: {', '.join(ARMS)}")
    if "base" not in options.arms:
        options.arms.insert(0, "base")  # every other arm is compared with it
    options.runs = options.runs or Path(f"entropy-{options.task}.jsonl")
    return options


def plan(options: argparse.Namespace, seeds: range, known: list[dict[str, Any]]) -> list[Run]:
    """Seeds outermost: an interrupted benchmark has complete comparisons for fewer seeds."""
    runs = []
    for seed in seeds:
        for arm in options.arms:
            rates = options.rates
            if seed >= options.tune:
                of_arm = [
                    row for row in known
                    if row["arm"] == arm and row["rate"] in options.rates
                    and (row["task"], row["base"], row["epochs"]) == (options.task, options.base, options.epochs)
                ]  # fmt: skip
                if not any(row["seed"] < options.tune for row in of_arm):
                    continue  # nothing was tried yet: only with --table-only
                rates = [best_rate(of_arm, options.tune)[0]]
            runs += [Run(options.task, options.base, arm, rate, seed, options.epochs) for rate in rates]
    return runs


def main() -> None:
    options = arguments()
    known = load(options.runs)
    for seeds in (range(options.tune), range(options.tune, options.seeds)):
        wanted = plan(options, seeds, list(known.values()))
        missing = [run for run in wanted if run.key() not in known]
        if missing and not options.table_only:
            perform_all(missing, options.runs, options.workers)
            known = load(options.runs)
    wanted = plan(options, range(options.seeds), list(known.values()))
    rows = [known[run.key()] for run in wanted if run.key() in known]
    if not rows:
        print("nothing has been run yet")
        return
    cells, title = table(rows, options.arms, options.tune), heading(options, len({row["seed"] for row in rows}))
    print(title, as_text(cells), sep="\n\n")
    if options.markdown:
        options.markdown.write_text(f"{title}\n\n{as_markdown(cells)}\n")


if __name__ == "__main__":
    main()
