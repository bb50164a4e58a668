"""Self-normalisation: SELU keeps mean 0 and deviation 1 over fifty layers, and what breaks it.

SELU's constants are such that N(0, 1) pre-activations from weights of variance 1/fan_in give outputs of mean
0 and variance 1; this fixed point attracts [Klambauer2017, theorem 1]. Whatever changes the weights' variance,
or adds variance as ordinary dropout does, moves it.

References
----------
[Klambauer2017] G. Klambauer et al., "Self-normalizing neural networks", 2017 (arXiv:1706.02515)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from nonlin.diagnosis.deep import Weights, deep_network, digits, scores, spread, trained
from nonlin.diagnosis.lessons import Finding, Lesson
from nonlin.diagnosis.tables import Table
from nonlin.report.diagnosis import Panel
from nonlin.tasks import Budget
from nonlin.train import Outcome

DEPTH, WIDTH = 50, 128
SHOWN = (1, 5, 20, 50)
MEAN, DEVIATION = 0.1, 0.15  # how far from 0 and from 1 still counts as normalised
DROPPED = 0.1
ALPHA, SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
TRAINED = Budget(epochs=4, optimizer="sgd", learning_rate=1e-3)


@dataclass(frozen=True)
class Variant:
    """A network of `DEPTH` layers; `raw`: pixels from 0 to 16 as they are, instead of standardised ones."""

    function: str = "selu"
    weights: Weights = "lecun"
    dropout: type[nn.Module] | None = None
    raw: bool = False

    def network(self, seed: int, width: int = WIDTH) -> nn.Sequential:
        drop = self.dropout(DROPPED) if self.dropout else None
        return deep_network(self.function, DEPTH, seed, self.weights, width=width, dropout=drop)


VARIANTS = {
    "selu": Variant(),
    f"selu, AlphaDropout {DROPPED:g}": Variant(dropout=nn.AlphaDropout),
    "selu, Glorot uniform": Variant(weights="glorot"),
    "selu, raw pixels": Variant(raw=True),
    f"selu, Dropout {DROPPED:g}": Variant(dropout=nn.Dropout),
    "selu, He": Variant(weights="he"),
    "selu, torch's default": Variant(weights="torch"),
    "relu": Variant("relu"),
    "relu, He": Variant("relu", "he"),
    "tanh": Variant("tanh"),
    "elu": Variant("elu"),
}
TRAINING = ("selu", "selu, He", "selu, torch's default", "relu, He")


@dataclass(frozen=True)
class Moments:
    """Mean and deviation of all outputs of each layer, and the mean deviation of one unit over the images."""

    mean: list[float]
    std: list[float]
    within: list[float]

    def normalised(self, layer: int = DEPTH) -> bool:
        return abs(self.mean[layer - 1]) <= MEAN and abs(self.std[layer - 1] - 1) <= DEVIATION


@torch.no_grad()
def moments(variant: Variant, seed: int) -> Moments:
    """Of a fresh network in training mode, on the 1,077 training images."""
    x, _ = digits()
    values = _raw() if variant.raw else x
    found = Moments([], [], [])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        step = 3 if variant.dropout else 2
        for number, part in enumerate(list(variant.network(seed))[:-1], start=1):
            values = part(values)
            if number % step == 0:
                found.mean.append(float(values.mean()))
                found.std.append(float(values.std(unbiased=False)))
                found.within.append(float(values.std(dim=0, unbiased=False).mean()))
    return found


def _raw() -> Tensor:
    """The training images as scikit-learn has them, whole numbers from 0 to 16."""
    from sklearn.datasets import load_digits

    pixels = torch.as_tensor(load_digits().data, dtype=torch.float32)
    x, _ = digits()
    return x * pixels.std(unbiased=False) + pixels.mean()  # undoes the one scaling of the task


def alpha_dropout_constants(q: float) -> tuple[float, float, float]:
    """(a, b, α') of [Klambauer2017]: a·(x·m + α'·(1-m)) + b for a mask m that keeps a share q."""
    low = -SCALE * ALPHA
    a = (q * (1 + (1 - q) * low**2)) ** -0.5
    return a, -a * (1 - q) * low, low


def measured_constants(p: float) -> tuple[float, float, float]:
    """The same read off torch's own AlphaDropout, which is affine in what it keeps."""
    layer = nn.AlphaDropout(p)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        zeros, ones = layer(torch.zeros(4096, dtype=torch.float64)), None
        torch.manual_seed(0)  # the same mask
        ones = layer(torch.ones(4096, dtype=torch.float64))
    kept = zeros != ones
    b = float(zeros[kept][0])
    a = float(ones[kept][0]) - b
    return a, b, (float(zeros[~kept][0]) - b) / a


def selu(seed: int, repeats: int) -> Lesson:
    found = {name: [moments(variant, seed + i) for i in range(repeats)] for name, variant in VARIANTS.items()}
    runs = {
        name: [trained(VARIANTS[name].network(seed + i, 64), TRAINED, seed + i) for i in range(repeats)]
        for name in TRAINING
    }
    theory, torchs = alpha_dropout_constants(1 - DROPPED), measured_constants(DROPPED)
    return Lesson(
        name="selu",
        title="Self-normalisation by SELU",
        question=f"Do mean and deviation stay near 0 and 1 over {DEPTH} layers, and what breaks that?",
        setting=(
            f"{DEPTH} hidden layers of {WIDTH} units, biases 0, weights from N(0, 1/fan_in) as LeCun's unless another "
            f"is named, on the digits scaled to mean 0 and deviation 1; {repeats} seeds. Normalised means |mean| ≤ "
            f"{MEAN:g} and |deviation − 1| ≤ {DEVIATION:g} in layer {DEPTH}. Trained are networks of 64 units, SGD "
            f"with momentum 0.9 and learning rate {TRAINED.learning_rate:g} for all, {TRAINED.epochs} epochs."
        ),
        tables=(_layers(found), _constants(theory, torchs), _training(runs)),
        findings=tuple(_findings(found, theory, torchs, {name: scores(out) for name, out in runs.items()})),
        panels=_panels(found),
        sources=(
            "G. Klambauer, T. Unterthiner, A. Mayr, S. Hochreiter, Self-normalizing neural networks, 2017 "
            "(arXiv:1706.02515)",
        ),
    )


def _layers(found: dict[str, list[Moments]]) -> Table:
    rows = []
    for name, seeds in found.items():
        first = seeds[0]
        cells = [f"{first.mean[n - 1]:.2f} ± {first.std[n - 1]:.3g}" for n in SHOWN]
        good = sum(one.normalised() for one in seeds)
        rows.append((name, *cells, f"{first.within[-1]:.2g}", f"{good} of {len(seeds)}"))
    columns = ("network", *(f"layer {n}" for n in SHOWN), "one unit", "normalised")
    title = f"mean ± deviation of the outputs (first seed); one unit: its deviation over the images in layer {DEPTH}"
    return Table(title, columns, tuple(rows))


def _constants(theory: tuple[float, ...], torchs: tuple[float, ...]) -> Table:
    rows = tuple(
        (name, f"{a:.10f}", f"{b:.10f}") for name, a, b in zip(("a", "b", "alpha'"), theory, torchs, strict=True)
    )
    return Table(f"AlphaDropout({DROPPED:g}): out = a·(x·m + alpha'·(1−m)) + b", ("", "by the formula", "torch"), rows)


def _training(runs: dict[str, list[Outcome]]) -> Table:
    rows = tuple((name, spread(scores(outcomes))) for name, outcomes in runs.items())
    return Table(f"accuracy after {TRAINED.epochs} epochs, {DEPTH} hidden layers", ("network", "accuracy"), rows)


def _findings(
    found: dict[str, list[Moments]], theory: tuple[float, ...], torchs: tuple[float, ...],
    accuracy: dict[str, list[float]],
):  # fmt: skip
    names = list(found)
    plain, alpha, glorot, raw, dropout, he, default = (found[name] for name in names[:7])
    yield Finding.of(
        all(one.normalised() for one in plain),
        f"SELU with LeCun weights stays normalised: after {DEPTH} layers {_typical(plain)}.",
        f"SELU with LeCun weights does not stay normalised: after {DEPTH} layers {_typical(plain)}.",
    )
    worst = max(abs(a - b) for a, b in zip(theory, torchs, strict=True))
    yield Finding.of(
        all(one.normalised() for one in alpha) and worst < 1e-6,
        f"AlphaDropout keeps it so ({_typical(alpha)}), and torch's constants agree with the paper's to {worst:.0e}.",
        f"AlphaDropout gives {_typical(alpha)}; torch's constants differ from the paper's by {worst:.1g}.",
    )
    for what, seeds in (("ordinary dropout", dropout), ("He's weights", he), ("torch's default weights", default)):
        yield Finding.of(
            not any(one.normalised() for one in seeds),
            f"{what} break it: {_typical(seeds)}.".replace("dropout break", "dropout breaks"),
            f"{what} do not break it for every seed: {_typical(seeds)}.",
        )
    back = next((n for n in range(1, DEPTH + 1) if all(one.normalised(n) for one in raw)), None)
    start = raw[0]
    yield Finding.of(
        back is not None and not start.normalised(1),
        f"raw pixels start far off ({start.mean[0]:.1f} ± {start.std[0]:.1f} in layer 1) and are drawn back by layer "
        f"{back}: standardised inputs matter to the first layers, not to the last.",
        f"raw pixels: {start.mean[0]:.1f} ± {start.std[0]:.1f} in layer 1, {_typical(raw)} at the end.",
    )
    yield Finding.of(
        all(one.normalised() for one in glorot),
        f"Glorot's uniform weights do as well as LeCun's ({_typical(glorot)}): between layers of one width both have "
        "variance 1/fan_in, and the shape of their distribution hardly matters.",
        f"Glorot's uniform weights break it: {_typical(glorot)}.",
    )
    others = {name: found[name] for name in names[7:]}
    good = [name for name, seeds in others.items() if any(one.normalised() for one in seeds)]
    yield Finding.of(
        not good,
        "none of ReLU, tanh and ELU does it: "
        + "; ".join(f"{name} {_typical(seeds)}" for name, seeds in others.items()) + ".",
        f"normalised as well: {', '.join(good)}.",
    )  # fmt: skip
    score = {name: median(values) for name, values in accuracy.items()}
    first, broken = score[TRAINING[0]], {name: score[name] for name in TRAINING[1:3]}
    yield Finding.of(
        first > max(broken.values()) + 0.05,
        f"it pays in training: SELU with LeCun weights reaches {first:.3f}, with He's {score[TRAINING[1]]:.3f}, with "
        f"torch's default {score[TRAINING[2]]:.3f}, and ReLU with He's {score[TRAINING[3]]:.3f} after as many epochs.",
        f"training does not tell them apart: SELU with LeCun weights {first:.3f}, with others "
        f"{', '.join(f'{value:.3f}' for value in broken.values())}.",
    )


def _typical(seeds: list[Moments]) -> str:
    """Median over seeds in the last layer: 'mean -0.01, deviation 0.99'."""
    mean, std = median(one.mean[-1] for one in seeds), median(one.std[-1] for one in seeds)
    return f"mean {mean:.2g}, deviation {std:.3g}" if math.isfinite(mean) else "not finite"


def _panels(found: dict[str, list[Moments]]) -> tuple[Panel, ...]:
    layers = list(range(1, DEPTH + 1))
    names = list(found)
    ours, others = names[:7], [names[0], *names[7:]]

    def lines(chosen: list[str], attribute: str) -> dict[str, tuple[list[int], list[float]]]:
        return {name: (layers, getattr(found[name][0], attribute)) for name in chosen}

    near = [name for name in names if max(map(abs, found[name][0].mean)) < 5]
    return (
        Panel("deviation of SELU's outputs", "layer", lines(ours, "std"), log=True),
        Panel("deviation of other functions' outputs", "layer", lines(others, "std"), log=True),
        Panel("mean of SELU's outputs (where below 5)", "layer", lines([n for n in ours if n in near], "mean")),
        Panel("mean of other functions' outputs", "layer", lines([n for n in others if n in near], "mean")),
    )
