"""What early stopping saves and what it loses, for the rungs in use and for others.

    python benchmarks/halving.py --task digits-mlp --seeds 0 1 2
    python benchmarks/halving.py --task digits-cnn --budget 400

Trains functions of core-1 to the end, then applies the rule to the recorded losses, child by child in the order of the
search: the cost (epochs trained), the recall of the best functions by validation loss, and the rank correlation between
the loss at each rung and the final one.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from scipy.stats import spearmanr

import nonlin as nl
from nonlin.run.halving import FEW_RUNGS, QuantileRule, rungs_of
from nonlin.run.local import default_workers
from nonlin.run.loop import WINDOW
from nonlin.run.store import Trial

SHARES = (0.01, 0.05, 0.10)


RULES = {
    "few": FEW_RUNGS,
    "thirds": dict.fromkeys((0.1, 0.25, 0.5, 0.65, 0.8), 2 / 3),
    "halves": dict.fromkeys((0.1, 0.25, 0.5), 1 / 2),
}


def rules(epochs: int) -> dict[str, dict[int, float]]:
    """{name: {epoch: share that goes on}}: the rule in use, and others."""
    others = {name: {round(share * epochs): kept for share, kept in rule.items()} for name, rule in RULES.items()}
    return {"in use": rungs_of(epochs), **others}


def applied(trials: Sequence[Trial], rungs: Mapping[int, float]) -> list[Trial]:
    """What would have become of each child, trained to the end in truth, had the rule stopped it at these rungs."""
    rule = QuantileRule(rungs)
    found: list[Trial] = []
    for number, trial in enumerate(trials):
        if number >= WINDOW:
            rule.tell(found[number - WINDOW])
        losses = trial.curves["loss"]
        over = (rung for rung, limit in rule.limits().items() if len(losses) > rung and losses[rung - 1] > limit)
        if (stop := next(over, None)) is not None:
            trial = replace(trial, status="stopped", epochs=stop, curves={"loss": losses[:stop]})
        found.append(trial)
    return found


def best(trials: Sequence[Trial], share: float) -> list[Trial]:
    """The best share of all by final validation loss."""
    ranked = sorted((trial for trial in trials if trial.status == "ok"), key=lambda trial: trial.loss)
    return ranked[: max(1, math.ceil(share * len(trials)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="digits-mlp")
    parser.add_argument("--budget", type=int, help="functions drawn at random; default: all of core-1")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--workers", type=int, default=default_workers())
    options = parser.parse_args()
    strategy = "random" if options.budget else "exhaustive"
    epochs = nl.tasks.task(options.task).budget.epochs
    runs = []
    for seed in options.seeds:
        study = nl.search(
            options.task, strategy=strategy, budget=options.budget, seed=seed, workers=options.workers, halving=False
        )
        runs.append([trial for trial in study.trials() if trial.role == "candidate"])
    machine = study.provenance
    print(f"{machine['processor']}, {machine['cores']} cores, torch {machine['torch']}, nonlin {machine['commit']}")
    counts = ", ".join(f"{len(run):,}" for run in runs)
    print(
        f"{options.task}: {counts} functions of core-1, seeds {', '.join(map(str, options.seeds))}, {epochs} epochs\n"
    )
    for name, rungs in rules(epochs).items():
        print(f"{name}: " + ", ".join(f"{kept:.0%} after {rung}" for rung, kept in rungs.items()))
    print(f"\n{'go on':10s}{'cost':>6s}   recall of the best 1%           5%             10%")
    for name, rungs in rules(epochs).items():
        outcomes = [applied(run, rungs) for run in runs]
        cost = sum(t.epochs for run in outcomes for t in run) / sum(t.epochs for run in runs for t in run)
        cells = []
        for share in SHARES:
            wanted = [{trial.number for trial in best(run, share)} for run in runs]
            kept = [{trial.number for trial in run if trial.status == "ok"} for run in outcomes]
            hits = sum(len(some & others) for some, others in zip(wanted, kept, strict=True))
            total = sum(map(len, wanted))
            cells.append(f"{hits}/{total} {hits / total:.3f}")
        print(f"{name:10s}{cost:6.2f}   {cells[0]:>21s}{cells[1]:>15s}{cells[2]:>16s}")
    print()
    for rung in rungs_of(epochs):
        pairs = [
            [(trial.curves["loss"][rung - 1], trial.loss) for trial in run if trial.status == "ok"] for run in runs
        ]
        found = ", ".join(f"{spearmanr(both).statistic:.2f}" for both in pairs)
        print(f"rank correlation of the loss after {rung} epochs with the final one: {found}")


if __name__ == "__main__":
    main()
