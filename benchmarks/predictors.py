"""Does entropy predict which activation trains well? Rank correlations over every trained function of `core-1`.

    python benchmarks/predictors.py digits-mlp digits-cnn digits-vit --markdown

Predictors are computed at the initial parameters, for pre-activations N(0, 1): entropy H (smoothed by 0.1) and its
scale-free form J (smoothed by 0.1·sd), and simple competitors. What they are compared with is the validation loss after
the last epoch (lower is better), its mean over the seeds, of all functions of the tasks' tables that did not diverge
(`nonlin.benchmarks.read_table`; `nonlin bench table` makes another). Intervals: 95% bootstrap over functions.
"""

from __future__ import annotations

import argparse
import math
import warnings
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata

import nonlin as nl
from nonlin.benchmarks import find_table, read_table
from nonlin.errors import NonlinError
from nonlin.expr.tree import size

Z = torch.linspace(-8, 8, 16001, dtype=torch.float64)
WEIGHT = torch.exp(-0.5 * Z * Z) * (Z[1] - Z[0]) / math.sqrt(2 * math.pi)


def predictors(formula: str) -> dict[str, float]:
    """All predictors of one function; NaN where one does not exist."""
    act = nl.activation(formula)
    f, slope = act(Z), act.derivative()(Z)
    mean, second = float((WEIGHT * f).sum()), float((WEIGHT * f * f).sum())
    variance = second - mean * mean
    linear = float((WEIGHT * f * Z).sum()) ** 2 / variance if variance > 0 else math.nan
    found = {
        "share of the variance that is linear": linear,
        "slope: E[f'²]/E[f²]": float((WEIGHT * slope * slope).sum()) / second if second > 0 else math.nan,
        "share of inputs with abs(f') < 0.05": float(WEIGHT[slope.abs() < 0.05].sum()),
        "mean over deviation: abs(E f)/sd f": abs(mean) / math.sqrt(variance) if variance > 0 else math.nan,
        "gain 1/√E[f²]": 1 / math.sqrt(second) if second > 0 else math.nan,
        "size of the formula": float(size(act.expr)),
    }
    for name, measure in (("entropy H", nl.entropy.H), ("scale-free entropy J", nl.entropy.J)):
        try:
            found[name] = measure(act, "normal", smoothing=0.1)
        except NonlinError:
            found[name] = math.nan
    return found


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def interval(a: np.ndarray, b: np.ndarray, generator: np.random.Generator, repeats: int = 500) -> tuple[float, float]:
    rows = (generator.integers(len(a), size=len(a)) for _ in range(repeats))
    values = [correlation(a[row], b[row]) for row in rows]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def judged(loss: np.ndarray, rows: list[dict[str, float]]) -> dict[str, tuple[str, str, int]]:
    """For each predictor its correlation with the loss, over all functions and over the best quarter; their number."""
    best, generator = loss <= np.quantile(loss[np.isfinite(loss)], 0.25), np.random.default_rng(0)
    found = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        known, cells = np.isfinite(values) & np.isfinite(loss), []
        for part in (known, known & best):
            rho = correlation(values[part], loss[part])
            low, high = interval(values[part], loss[part], generator)
            cells.append(f"{rho:+.2f} ({low:+.2f} to {high:+.2f})")
        found[name] = cells[0], cells[1], int(known.sum())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="+", help="a task that the project has a table of, or the file of a table")
    parser.add_argument("--functions", type=int, help="a random sample of so many functions; default: all")
    parser.add_argument("--markdown", action="store_true", help="print tables for the documentation")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", RuntimeWarning)
    known: dict[str, dict[str, float]] = {}
    pattern = "| {} | {} | {} | {} |" if options.markdown else "{:40} {:28} {:28} {}"
    for name in options.task:
        table = read_table(name if Path(name).exists() else find_table(name))
        chosen = np.arange(len(table.formulas))
        if options.functions and options.functions < len(chosen):
            chosen = np.sort(np.random.default_rng(0).choice(chosen, options.functions, replace=False))
        formulas = [table.formulas[k] for k in chosen]
        known |= {formula: predictors(formula) for formula in formulas if formula not in known}
        loss, made = table.losses[chosen].mean(axis=1), table.header["provenance"]
        seeds = f"{len(table.seeds)} seed{'s' * (len(table.seeds) > 1)}"
        print(f"\n{table.task}, {seeds}; trained by nonlin {made['commit']}, torch {made['torch']}\n")
        print(pattern.format("predictor", "all functions", "best quarter", "functions"))
        if options.markdown:
            print("|---|---|---|---|")
        found = judged(loss, [known[formula] for formula in formulas])
        for predictor, cells in sorted(found.items(), key=lambda one: -abs(float(one[1][0].split()[0]))):
            print(pattern.format(predictor, *cells))


if __name__ == "__main__":
    main()
