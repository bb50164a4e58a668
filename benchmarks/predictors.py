"""Does entropy predict which activation trains well? Rank correlations over every trained function of a search.

    nonlin search --space core-1 --no-halving --store core1.db
    python benchmarks/predictors.py core1.db --markdown

Predictors are computed at the initial parameters, for pre-activations N(0, 1): entropy H (smoothed by 0.1) and its
scale-free form J (smoothed by 0.1·sd), and simple competitors. The score is the validation loss after the last epoch
(lower is better) of all candidates that were trained to the end. Intervals: 95% bootstrap over functions.
"""

from __future__ import annotations

import argparse
import math
import warnings

import numpy as np
import torch
from scipy.stats import rankdata

import nonlin as nl
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--functions", type=int, help="a random sample of so many functions; default: all")
    parser.add_argument("--markdown", action="store_true", help="print a table for the documentation")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", RuntimeWarning)
    study = nl.Study.open(options.store)
    trials = [t for t in study.trials() if t.role == "candidate" and t.status == "ok"]
    if options.functions and options.functions < len(trials):
        chosen = np.random.default_rng(0).choice(len(trials), options.functions, replace=False)
        trials = [trials[index] for index in sorted(chosen)]
    rows = [predictors(trial.formula) for trial in trials]
    loss = np.array([trial.loss for trial in trials])
    best = loss <= np.quantile(loss, 0.25)
    generator = np.random.default_rng(0)
    machine = study.provenance
    print(
        f"{study.config.task}, {study.config.space}, seed {study.config.seed}: {len(trials)} functions trained to the "
        f"end; nonlin {machine['nonlin']} ({machine['commit']}), torch {machine['torch']}\n"
    )
    pattern = "| {} | {} | {} | {} |" if options.markdown else "{:40} {:28} {:28} {}"
    print(pattern.format("predictor", "all functions", "best quarter", "functions"))
    if options.markdown:
        print("|---|---|---|---|")
    lines = []
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        cells, strength = [], 0.0
        for part in (np.isfinite(values), np.isfinite(values) & best):
            rho = correlation(values[part], loss[part])
            low, high = interval(values[part], loss[part], generator)
            cells.append(f"{rho:+.2f} ({low:+.2f} to {high:+.2f})")
            strength = strength or abs(rho)
        lines.append((strength, pattern.format(name, *cells, int(np.isfinite(values).sum()))))
    for _, line in sorted(lines, reverse=True):
        print(line)


if __name__ == "__main__":
    main()
