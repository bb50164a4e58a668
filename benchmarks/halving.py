"""What early stopping saves and what it loses: one search with it, one without, on the same functions.

    python benchmarks/halving.py --budget 600

Prints the cost (epochs trained), the recall of the best functions by validation loss, and the rank correlation
between the loss at each rung and after the last epoch.
"""

from __future__ import annotations

import argparse
import math

from scipy.stats import spearmanr

import nonlin as nl
from nonlin.run.halving import rung_epochs
from nonlin.run.local import default_workers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="digits-mlp")
    parser.add_argument("--budget", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=default_workers())
    options = parser.parse_args()
    common = {"task": options.task, "budget": options.budget, "seed": options.seed, "workers": options.workers}
    full = nl.search(**common, halving=False)
    short = nl.search(**common, halving=True)
    truth = {trial.formula: trial for trial in full.trials() if trial.role == "candidate"}
    kept = {trial.formula for trial in short.trials() if trial.status == "ok"}

    machine = full.provenance
    print(f"{machine['processor']}, {machine['cores']} cores, torch {machine['torch']}, nonlin {machine['commit']}")
    print(f"{options.task}: {len(truth)} functions of core-1, seed {options.seed}")
    cost = sum(trial.epochs for trial in short.trials()) / sum(trial.epochs for trial in full.trials())
    print(f"epochs trained: {cost:.2f} of full training")
    ranked = sorted((t for t in truth.values() if t.status == "ok"), key=lambda trial: trial.loss)
    for share in (0.01, 0.05, 0.10):
        best = ranked[: max(1, math.ceil(share * len(truth)))]
        recall = sum(trial.formula in kept for trial in best) / len(best)
        print(f"recall of the best {share:.0%} by validation loss ({len(best)} functions): {recall:.2f}")
    for rung in rung_epochs(nl.tasks.task(options.task).budget.epochs):
        early = [trial.curves["loss"][rung - 1] for trial in ranked]
        correlation = spearmanr(early, [trial.loss for trial in ranked]).statistic
        print(f"rank correlation of the loss after {rung} epochs with the final one: {correlation:.2f}")


if __name__ == "__main__":
    main()
