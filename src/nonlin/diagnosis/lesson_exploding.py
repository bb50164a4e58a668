"""Exploding gradients: what too large weights do, and what clipping changes.

Clipping by norm [Pascanu2013] shortens the gradient and keeps its direction; clipping by value cuts every
element on its own, and so also turns it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median

import torch
from torch import Tensor, nn

from nonlin.diagnosis.deep import deep_network, digits, scores, spread, trained
from nonlin.diagnosis.diagnosis import Diagnosis, diagnose
from nonlin.diagnosis.lesson_vanishing import relative
from nonlin.diagnosis.lessons import HANSEN, Finding, Lesson
from nonlin.diagnosis.tables import Table, percent
from nonlin.report.diagnosis import Panel
from nonlin.tasks import Budget
from nonlin.train import Outcome
from nonlin.train.fit import task_loss

DEPTH, EPOCHS, RATE = 8, 15, 0.05
TOO_LARGE = 2.0  # times He's weights
HUGE = 50.0  # gain of the sigmoid's weights
NORM, VALUE = 1.0, 0.1  # limits of the two ways to clip
LEARNS = 0.7


def exploding(seed: int, repeats: int) -> Lesson:
    x, y = digits()
    networks = {
        "relu, He": lambda s: deep_network("relu", DEPTH, s, "he"),
        f"relu, {TOO_LARGE:g}×He": lambda s: deep_network("relu", DEPTH, s, "he", TOO_LARGE),
        "sigmoid, orthogonal": lambda s: deep_network("sigmoid", DEPTH, s, "orthogonal"),
        f"sigmoid, {HUGE:g}×, centred": lambda s: deep_network("sigmoid", DEPTH, s, "orthogonal", HUGE, centred=True),
    }
    before = {name: diagnose(make(seed), (x[:512], y[:512]), learning_rate=RATE) for name, make in networks.items()}
    ratios = {name: relative(found) for name, found in before.items()}
    plain = Budget(epochs=EPOCHS, optimizer="sgd", learning_rate=RATE)
    large = networks[f"relu, {TOO_LARGE:g}×He"]
    trials = {
        "no clipping": (large, plain),
        f"clipped by norm, {NORM:g}": (large, replace(plain, clip_norm=NORM)),
        f"clipped by value, {VALUE:g}": (large, replace(plain, clip_value=VALUE)),
        "no clipping, He's own weights": (networks["relu, He"], plain),
    }
    runs: dict[str, list[Outcome]] = {
        name: [trained(make(seed + i), budget, seed + i) for i in range(repeats)]
        for name, (make, budget) in trials.items()
    }
    first = {name: _first_step(make(seed), budget, x[:128], y[:128]) for name, (make, budget) in trials.items()}
    return Lesson(
        name="exploding",
        title="Exploding gradients, and clipping",
        question="What do too large weights do to the gradient, and what does clipping change?",
        setting=(
            f"{DEPTH} hidden layers of 64 units, biases 0, on the digits; weights of ReLU {TOO_LARGE:g} times He's; "
            f"SGD with momentum 0.9 and learning rate {RATE:g}, {EPOCHS} epochs, {repeats} seeds. Clipped are the "
            f"gradient's norm over all parameters to {NORM:g}, or every element to ±{VALUE:g}."
        ),
        tables=(_growth(ratios, before), _training(runs, first)),
        findings=tuple(_findings(ratios, runs, first)),
        panels=_panels(ratios, runs),
        sources=(
            HANSEN,
            "R. Pascanu, T. Mikolov, Y. Bengio, On the difficulty of training recurrent neural networks, 2013 "
            "(arXiv:1211.5063), section 3.2: clipping by norm",
        ),
    )  # fmt: skip


def _first_step(model: nn.Module, budget: Budget, x: Tensor, y: Tensor) -> tuple[float, float, float, float]:
    """Norm of the first gradient, the same after clipping, the cosine between both, share of elements cut."""
    parameters = list(model.parameters())
    task_loss(model(x), y).backward()
    raw = torch.cat([p.grad.reshape(-1) for p in parameters if p.grad is not None]).double()
    cut = 0.0
    if budget.clip_norm is not None:
        nn.utils.clip_grad_norm_(parameters, budget.clip_norm)
    if budget.clip_value is not None:
        nn.utils.clip_grad_value_(parameters, budget.clip_value)
        cut = float((raw.abs() > budget.clip_value).double().mean())
    clipped = torch.cat([p.grad.reshape(-1) for p in parameters if p.grad is not None]).double()
    cosine = float(torch.dot(raw, clipped) / (raw.norm() * clipped.norm()))
    return float(raw.norm()), float(clipped.norm()), cosine, cut


def _growth(ratios: dict[str, list[float]], before: dict[str, Diagnosis]) -> Table:
    rows: list[tuple] = [(n + 1, *(found[n] for found in ratios.values())) for n in range(DEPTH)]
    rows.append(("growth per layer", *(per_layer(found) for found in ratios.values())))
    rows.append(("loss before training", *(found.loss for found in before.values())))
    title = "gradient at the output of each hidden layer, relative to the last one, before training"
    return Table(title, ("layer", *ratios), tuple(rows))


def per_layer(found: list[float]) -> float:
    """The mean factor from one layer to the one below it."""
    return found[0] ** (1 / (len(found) - 1))


def _training(runs: dict[str, list[Outcome]], first: dict[str, tuple[float, float, float, float]]) -> Table:
    rows = []
    for name, outcomes in runs.items():
        diverged = sum(out.status == "diverged" for out in outcomes)
        raw, clipped, cosine, cut = first[name]
        rows.append((name, f"{diverged} of {len(outcomes)}", spread(scores(outcomes)), raw, clipped, cosine,
                     percent(cut)))  # fmt: skip
    columns = (
        "training", "diverged", "accuracy", "first |gradient|", "clipped to", "cosine to unclipped", "elements cut",
    )  # fmt: skip
    return Table("training (a network that diverged counts as guessing, 0.1)", columns, tuple(rows))


def _findings(
    ratios: dict[str, list[float]], runs: dict[str, list[Outcome]],
    first: dict[str, tuple[float, float, float, float]],
):  # fmt: skip
    he, large, plain, huge = (per_layer(found) for found in ratios.values())
    yield Finding.of(
        large > 1.5 and 0.7 < he < 1.4,
        f"with weights {TOO_LARGE:g} times too large the gradient grows by {large:.2f} in every layer on its way back, "
        f"{next(iter(list(ratios.values())[1])):.3g}-fold in all; with He's weights by {he:.2f}.",
        f"no clear growth: {large:.2f} per layer with large weights, {he:.2f} with He's.",
    )
    yield Finding.of(
        plain < 0.3 and huge > 1,
        f"the sigmoid, whose gradients vanish ({plain:.2f} per layer), explodes too ({huge:.2f}) once its weights are "
        f"{HUGE:g} times larger and its biases keep it in the steep middle.",
        f"the sigmoid with huge weights does not explode: {huge:.2f} per layer (with plain ones {plain:.2f}).",
    )
    none, norm, value, matched = runs.values()
    bad = sum(out.status == "diverged" for out in none)
    yield Finding.of(
        bad == len(none),
        f"without clipping the loss becomes infinite or NaN for {bad} of {len(none)} seeds.",
        f"without clipping only {bad} of {len(none)} seeds diverge.",
    )
    kinds = {"norm": norm, "value": value}
    reached = {kind: median(scores(outcomes)) for kind, outcomes in kinds.items()}
    finite = all(out.status == "ok" and math.isfinite(out.loss) for outcomes in kinds.values() for out in outcomes)
    yield Finding.of(
        finite and min(reached.values()) >= LEARNS,
        f"with clipping every seed stays finite: accuracy {reached['norm']:.3f} by norm, {reached['value']:.3f} by "
        "value.",
        f"clipping does not rescue it: accuracy {reached['norm']:.3f} by norm, {reached['value']:.3f} by value.",
    )
    turned, kept = list(first.values())[2], list(first.values())[1]
    yield Finding.of(
        kept[2] > 0.9999 and turned[2] < 0.99,
        f"clipping by norm keeps the gradient's direction (cosine {kept[2]:.4f}), by value turns it (cosine "
        f"{turned[2]:.3f}) and leaves a longer one here ({turned[1]:.3g} against {kept[1]:.3g}).",
        f"directions: cosine {kept[2]:.4f} by norm, {turned[2]:.4f} by value.",
    )
    best = median(scores(matched))
    yield Finding.of(
        best > max(reached.values()),
        f"clipping treats the symptom: with weights of the right size the network reaches {best:.3f} without it.",
        f"weights of the right size ({best:.3f}) are no better than clipping here.",
    )


def _panels(ratios: dict[str, list[float]], runs: dict[str, list[Outcome]]) -> tuple[Panel, ...]:
    layers = list(range(1, DEPTH + 1))

    def curve(outcome: Outcome) -> tuple[list[int], list[float]]:
        values = outcome.curves.get("score", [])
        return list(range(1, len(values) + 1)), values

    def label(name: str, outcome: Outcome) -> str:
        return f"{name} (diverged in epoch {outcome.epochs + 1})" if outcome.status == "diverged" else name

    return (
        Panel("gradient relative to the last hidden layer", "layer",
              {name: (layers, found) for name, found in ratios.items()}, log=True),
        Panel("validation accuracy", "epoch", {label(name, found[0]): curve(found[0]) for name, found in runs.items()}),
    )  # fmt: skip
