"""Vanishing gradients: why a deep sigmoid network does not learn, and that its shape is not the reason.

A gradient on its way back is multiplied, layer by layer, by the weights and by the sigmoid's slope, which
is nowhere above 1/4. With orthogonal weights, which change no length, the n-th layer below the last one
receives at most 0.25^n of its gradient: a theorem, not a rule of thumb. The cure that is tried is the same
sigmoid moved to mean 0 and scaled by its own gain.
"""

from __future__ import annotations

from statistics import median

import torch

from nonlin.diagnosis.deep import deep_network, digits, scores, spread, trained
from nonlin.diagnosis.diagnosis import Diagnosis, diagnose
from nonlin.diagnosis.lessons import HANSEN, Finding, Lesson
from nonlin.diagnosis.tables import Table
from nonlin.nn import gain
from nonlin.report.diagnosis import Panel
from nonlin.tasks import Budget

DEPTH, EPOCHS, RATE = 12, 15, 0.01
SLOPE = 0.25  # the largest slope of the sigmoid
LEARNS, GUESSES = 0.9, 0.2  # accuracies that count as having learned, and as having not


def vanishing(seed: int, repeats: int) -> Lesson:
    scale = gain("sigmoid", "variance")
    kinds = {  # what the network is called: (function, gain of the weights behind it)
        "sigmoid": ("sigmoid", 1.0),
        "tanh": ("tanh", 1.0),
        "relu": ("relu", gain("relu")),
        "centred sigmoid": (f"{scale:.6g}*(sigmoid(x) - 0.5)", 1.0),
    }
    x, y = digits()
    before: dict[str, Diagnosis] = {}
    runs, curves = {}, {}
    sgd = Budget(epochs=EPOCHS, optimizer="sgd", learning_rate=RATE)
    adam = Budget(epochs=EPOCHS, optimizer="adam", learning_rate=1e-3)
    for name, (function, weight_gain) in kinds.items():
        networks = [deep_network(function, DEPTH, seed + i, "orthogonal", weight_gain) for i in range(repeats)]
        before[name] = diagnose(networks[0], (x[:512], y[:512]), learning_rate=RATE)
        runs[name] = [trained(network, sgd, seed + i) for i, network in enumerate(networks)]
        curves[name] = runs[name][0].curves.get("score", [])
    runs["sigmoid, Adam"] = [
        trained(deep_network("sigmoid", DEPTH, seed + i, "orthogonal"), adam, seed + i) for i in range(repeats)
    ]
    ratios = {name: relative(found) for name, found in before.items()}
    return Lesson(
        name="vanishing",
        title="Vanishing gradients",
        question="How much of the gradient arrives at the first layers of a deep network, and what decides it?",
        setting=(
            f"{DEPTH} hidden layers of 64 units, orthogonal weights (ReLU: times its gain {gain('relu'):.4f}), "
            f"biases 0, on the digits; SGD with momentum 0.9 and learning rate {RATE:g}, {EPOCHS} epochs, "
            f"{repeats} seeds. 'centred sigmoid' is {scale:.4f}·(sigmoid(x) − 1/2), of variance 1 under N(0, 1)."
        ),
        tables=(_gradients(ratios), _training(before, runs)),
        findings=tuple(_findings(ratios, before, {name: scores(outcomes) for name, outcomes in runs.items()})),
        panels=_panels(ratios, before, curves),
        sources=(
            HANSEN,
            "S. Hochreiter, Untersuchungen zu dynamischen neuronalen Netzen, diploma thesis, TU München, 1991",
            "Y. Bengio, P. Simard, P. Frasconi, Learning long-term dependencies with gradient descent is difficult, "
            "IEEE Transactions on Neural Networks 5, 1994",
        ),
    )


def relative(found: Diagnosis) -> list[float]:
    """The gradient's size at each hidden layer's output over that at the last one's, first layer first."""
    sizes = [layer.gradient or 0.0 for layer in found.layers]
    return [size / sizes[-1] for size in sizes]


def _gradients(ratios: dict[str, list[float]]) -> Table:
    rows = tuple(
        (layer + 1, DEPTH - 1 - layer, SLOPE ** (DEPTH - 1 - layer), *(found[layer] for found in ratios.values()))
        for layer in range(DEPTH)
    )
    title = "gradient at the output of each hidden layer, relative to the last one, before training"
    return Table(title, ("layer", "n", "bound 0.25^n", *ratios), rows)


def _training(before: dict[str, Diagnosis], runs) -> Table:
    rows = []
    for name, outcomes in runs.items():
        speeds = _speeds(before[name]) if name in before else (None, None)
        rows.append((name, *speeds, spread(scores(outcomes))))
    columns = ("network", "|update|/|weight|: first layer", "last hidden layer", "accuracy after training")
    return Table("speed of learning in one step at the start, and validation accuracy", columns, tuple(rows))


def _speeds(found: Diagnosis) -> tuple[float, float]:
    return found.weights[0].update_ratio or 0.0, found.weights[DEPTH - 1].update_ratio or 0.0


def _findings(ratios: dict[str, list[float]], before: dict[str, Diagnosis], accuracy: dict[str, list[float]]):
    steps = [small / large for small, large in zip(ratios["sigmoid"], ratios["sigmoid"][1:], strict=False)]
    bound = SLOPE ** (DEPTH - 1)
    reached = ratios["sigmoid"][0]
    yield Finding.of(
        max(steps) <= SLOPE * (1 + 1e-5) and reached <= bound * (1 + 1e-4),
        f"in the sigmoid network each layer passes at most {max(steps):.4f} of its gradient to the one below, never "
        f"above the bound 0.25; the first layer receives {reached:.2g} of the last one's (bound {bound:.2g}).",
        f"the bound is broken: a layer passes {max(steps):.4f} of its gradient, the first receives {reached:.2g}.",
    )
    slow, fast = _speeds(before["sigmoid"])
    yield Finding.of(
        slow < 1e-3 * fast,
        f"its first layer learns {fast / max(slow, 1e-300):.1e} times more slowly than its last hidden one.",
        f"its first layer is not much slower than its last hidden one: {slow:.2g} against {fast:.2g}.",
    )
    low, tanh, relu = (median(accuracy[name]) for name in ("sigmoid", "tanh", "relu"))
    yield Finding.of(
        low <= GUESSES and min(tanh, relu) >= LEARNS,
        f"under the same training the sigmoid network guesses ({low:.3f}), tanh reaches {tanh:.3f} and ReLU "
        f"{relu:.3f}.",
        f"accuracies do not part as expected: sigmoid {low:.3f}, tanh {tanh:.3f}, ReLU {relu:.3f}.",
    )
    adam = median(accuracy["sigmoid, Adam"])
    yield Finding.of(
        adam <= GUESSES,
        f"Adam, which divides gradients by their size, does not save it: {adam:.3f}.",
        f"with Adam the sigmoid network learns: {adam:.3f}.",
    )
    cured, kept = median(accuracy["centred sigmoid"]), ratios["centred sigmoid"][0]
    yield Finding.of(
        cured >= LEARNS and 0.1 < kept < 10,
        f"the same sigmoid with mean 0 and variance 1 keeps the gradient ({kept:.2g} at the first layer) and learns "
        f"({cured:.3f}): scale and mean were the trouble, not the S shape.",
        f"moving and scaling the sigmoid does not cure it: gradient {kept:.2g}, accuracy {cured:.3f}.",
    )


def _panels(ratios: dict[str, list[float]], before: dict[str, Diagnosis], curves: dict[str, list[float]]):
    layers = list(range(1, DEPTH + 1))
    bound = [SLOPE ** (DEPTH - n) for n in layers]
    speeds = {name: [w.update_ratio or 0.0 for w in found.weights[:DEPTH]] for name, found in before.items()}
    epochs = list(range(1, EPOCHS + 1))
    return (
        Panel("gradient relative to the last hidden layer", "layer",
              {**{name: (layers, found) for name, found in ratios.items()}, "bound 0.25^n": (layers, bound)}, log=True),
        Panel("speed of learning |update|/|weight|, first step", "layer",
              {name: (layers, found) for name, found in speeds.items()}, log=True),
        Panel("validation accuracy", "epoch", {name: (epochs[: len(c)], c) for name, c in curves.items()}),
        Panel("slope of the function", "pre-activation", _slopes()),
    )  # fmt: skip


def _slopes():
    from nonlin.zoo import activation

    x = torch.linspace(-6, 6, 241, dtype=torch.float64)
    scale = gain("sigmoid", "variance")
    functions = {"sigmoid": "sigmoid", "tanh": "tanh", "relu": "relu", "centred sigmoid": f"{scale:.6g}*sigmoid(x)"}
    return {name: (x.tolist(), activation(f).derivative()(x).tolist()) for name, f in functions.items()}
