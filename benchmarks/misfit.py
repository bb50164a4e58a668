"""How much does a wrong density matter? Improved activations from assumed densities, judged under the true one.

    python benchmarks/misfit.py [--seeds 10] [--eps 0.01 0.1] [--markdown table.md]

The true densities are N(0, 1) and the pre-activations of a trained digits-mlp. For each assumed density: the
improved function f - eps·u, whose entropy is lower if the density is right; how far it is from the one of the
true density; H and J under the true density; and losses on digits-mlp, paired by seed with the base. eps is
fixed, not trained, so that the shape alone is compared. ReLU's u is that of `nonlin.entropy.improve`; GELU,
which has no inverse, takes the forward correction, fitted by Hermite functions.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

import nonlin as nl
from nonlin.entropy import Density, correction
from nonlin.entropy.hermite import fit
from nonlin.errors import EntropyError
from nonlin.run.provenance import provenance
from nonlin.tasks import Factory
from nonlin.train.engine import fit_in_core
from nonlin.train.fit import train_model
from nonlin.train.outcome import Outcome

RESAMPLES = 2000
DRAWS = 200_000


def measured_inputs(base: str) -> torch.Tensor:
    """Pre-activations of a digits-mlp trained with `base`, all layers and training rows, flat."""
    task = nl.tasks.task("digits-mlp")
    torch.manual_seed(1000)
    model = task.model(Factory(nl.activation(base)))
    train_model(model, task, 1000, Outcome("ok", curves={"train_loss": [], "loss": [], "score": []}))
    seen: list[torch.Tensor] = []
    for index, part in enumerate(model):
        if index % 2:
            part.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().reshape(-1)))
    with torch.no_grad():
        model(task.load().train[0])
    values = torch.cat(seen).double()
    chosen = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))[:DRAWS]
    return values[chosen]


def assumed(values: torch.Tensor) -> dict[str, Density]:
    """Densities that one might assume, at the mean m and deviation s of the truth unless the name says otherwise."""
    m, s = float(values.mean()), float(values.std())
    root = math.sqrt(3.0)
    return {
        "normal": nl.density("normal", loc=m, scale=s),
        **{f"normal, loc {step:+g} s": nl.density("normal", loc=m + step * s, scale=s) for step in (-1, -0.5, 0.5, 1)},
        **{f"normal, scale {factor:g} s": nl.density("normal", loc=m, scale=factor * s) for factor in (0.5, 2)},
        "logistic": nl.density("logistic", loc=m, scale=s * root / math.pi),
        "laplace": nl.density("laplace", loc=m, scale=s / math.sqrt(2)),
        "uniform": nl.density("uniform", low=m - root * s, high=m + root * s),
        "student_t, df 3": nl.density("student_t", df=3, loc=m, scale=s / root),
        "mixture of two": nl.density(
            "mixture", weights=[0.5, 0.5], locs=[m - 0.8 * s, m + 0.8 * s], scales=[0.6 * s] * 2
        ),
    }  # fmt: skip


def direction(base: str, p: Density) -> str | None:
    """The formula of u; None where the base is already the worst function of this density."""
    try:
        if base == "relu":
            return nl.entropy.improve(base, p).direction.formula
        found = correction(base, p, "forward")
        peak = float(p.pdf(p.panels()).max())
        return str(fit(lambda x: -np.nan_to_num(found.values(x), posinf=0.0, neginf=0.0) / peak, p)[0])
    except EntropyError:
        return None


def improved(base: str, u: str | None, eps: float) -> Any:
    formula = nl.activation(base).formula
    return nl.activation(base) if u is None else nl.activation(f"{formula} - {eps!r}*({u})")


def interval(values: list[float], digits: int) -> str:
    """Median and 95% bootstrap interval of the median."""
    data = np.array(values)
    if not np.isfinite(data).all():
        return f"{int((~np.isfinite(data)).sum())} diverged"
    medians = np.median(np.random.default_rng(0).choice(data, (RESAMPLES, len(data))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return f"{np.median(data):+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def trainings(act: Any, seeds: int) -> tuple[list[float], list[float], list[float]]:
    """Validation loss, test loss and test score in per cent, by seed; the base's gain for all."""
    task = nl.tasks.task("digits-mlp")
    outcomes = [fit_in_core(task, act, seed, normalise=False, final=True) for seed in range(seeds)]
    good = [one.status == "ok" for one in outcomes]
    return (
        [one.loss if ok else math.inf for one, ok in zip(outcomes, good, strict=True)],
        [one.test_loss if ok else math.inf for one, ok in zip(outcomes, good, strict=True)],
        [100 * one.test_score if ok else 0.0 for one, ok in zip(outcomes, good, strict=True)],
    )


def rows(base: str, truth: str, eps: float, seeds: int) -> list[list[str]]:
    """A line for each assumed density; the first is the base itself, the second the true density."""
    values = torch.randn(DRAWS, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    if truth == "measured":
        values = measured_inputs(base)
    true_density = nl.density("normal") if truth == "N(0, 1)" else nl.density(values)
    guesses = assumed(values)
    if truth == "N(0, 1)":
        guesses.pop("normal")
    directions = {"true": direction(base, true_density)}
    directions |= {name: direction(base, p) for name, p in guesses.items()}
    own = nl.activation(base)
    plain = trainings(own, seeds)
    right = improved(base, directions["true"], eps)(values)
    h, j = (measure(own, values, smoothing=0.1) for measure in (nl.entropy.H, nl.entropy.J))
    found = [[base, truth, f"{eps:g}", "none: the base", "", "", f"{h:.4f}", f"{j:.4f}", *map(absolute, plain)]]
    for name, u in directions.items():
        act = improved(base, u, eps)
        difference = (act(values) - right).abs()
        change = [measure(act, values, smoothing=0.1) - before
                  for measure, before in ((nl.entropy.H, h), (nl.entropy.J, j))]  # fmt: skip
        runs = trainings(act, seeds) if u is not None else plain
        pairs = [[a - b for a, b in zip(mine, base_, strict=True)] for mine, base_ in zip(runs, plain, strict=True)]
        label = name if u is not None else f"{name} (no correction)"
        found.append([
            base, truth, f"{eps:g}", label, f"{float(difference.max()):.4f}", f"{float(difference.mean()):.4f}",
            f"{change[0]:+.4f}", f"{change[1]:+.4f}", interval(pairs[0], 4), interval(pairs[1], 4),
            interval(pairs[2], 2),
        ])  # fmt: skip
        print("  ".join(found[-1]), flush=True)
    return found


def absolute(values: list[float]) -> str:
    return f"{np.median(values):.4f}"


HEADER = ["base", "truth", "eps", "assumed", "largest diff.", "mean diff.", "H (change)", "J (change)",
          "validation loss (change)", "test loss (change)", "test score, % (change)"]  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seeds", type=int, default=10)
    options.add_argument("--eps", type=float, nargs="+", default=[0.01, 0.1])
    options.add_argument("--bases", nargs="+", default=["relu", "gelu"])
    options.add_argument("--truths", nargs="+", default=["measured", "N(0, 1)"])
    options.add_argument("--markdown", type=Path)
    arguments = options.parse_args()
    torch.set_num_threads(1)
    cells = [HEADER]
    for base in arguments.bases:
        for truth in arguments.truths:
            for eps in arguments.eps:
                cells += rows(base, truth, eps, arguments.seeds)
    machine = provenance()
    lines = [f"| {' | '.join(row)} |" for row in cells]
    text = "\n".join([lines[0], "|" + "---|" * len(HEADER), *lines[1:]])
    print(f"\ndigits-mlp, {arguments.seeds} seeds; {machine['processor']}, torch {machine['torch']}, nonlin "
          f"{machine['commit']}\n\n{text}")  # fmt: skip
    if arguments.markdown:
        arguments.markdown.write_text(text + "\n")


if __name__ == "__main__":
    main()
