"""Dead units: what kills a ReLU, whether it comes back, and what other functions do in its place.

Two ways to die: a learning rate that throws weights far off, and biases that start too low. A unit is dead
if no input of the training data gets a gradient through it, or if it gives the same output for all.

References
----------
[Lu2020] L. Lu et al., "Dying ReLU and initialization: theory and numerical examples", 2020
    (arXiv:1903.06733)
"""

from __future__ import annotations

from contextlib import nullcontext
from statistics import median

from nonlin.diagnosis.deep import deep_network, digits, scores, spread, trained
from nonlin.diagnosis.diagnosis import Diagnosis, diagnose
from nonlin.diagnosis.lesson_vanishing import relative
from nonlin.diagnosis.lessons import HANSEN, Finding, Lesson
from nonlin.diagnosis.recorder import Recorder
from nonlin.diagnosis.tables import Table, percent
from nonlin.nn import gain
from nonlin.report.diagnosis import Panel
from nonlin.tasks import Budget
from nonlin.train import Outcome

DEPTH, EPOCHS = 4, 15
FUNCTIONS = ("relu", "leaky_relu", "gelu", "elu")
FAST = Budget(epochs=EPOCHS, optimizer="adam", learning_rate=0.05)
SLOW = Budget(epochs=EPOCHS, optimizer="sgd", learning_rate=0.05)
LOW = -1.0  # the bias of the second scene
LEARNS, GUESSES = 0.85, 0.2


class Scene:
    """One way to die, for every function: diagnoses before and after, outcomes, dead units over the steps."""

    def __init__(self, budget: Budget, bias: float, seed: int, repeats: int):
        x, y = digits()
        self.before: dict[str, list[Diagnosis]] = {name: [] for name in FUNCTIONS}
        self.after: dict[str, list[Diagnosis]] = {name: [] for name in FUNCTIONS}
        self.outcomes: dict[str, list[Outcome]] = {name: [] for name in FUNCTIONS}
        self.course: dict[str, tuple[list[int], list[float]]] = {}
        for name in FUNCTIONS:
            for number in range(repeats):
                model = deep_network(name, DEPTH, seed + number, "lecun", gain(name), bias)
                self.before[name].append(diagnose(model, (x, y)))
                watch = Recorder(model, every=9) if number == 0 else nullcontext()
                with watch as recorder:
                    self.outcomes[name].append(trained(model, budget, seed + number))
                self.after[name].append(diagnose(model, (x, y)))
                if recorder is not None:
                    dead = list(recorder.record.series["dead"].values())
                    mean = [sum(step) / len(step) for step in zip(*dead, strict=True)]
                    self.course[name] = (recorder.record.steps, mean)

    def accuracy(self, name: str) -> float:
        return median(scores(self.outcomes[name]))

    def dead(self, name: str) -> tuple[float, float]:
        """Share of dead units in the whole network, median over seeds: before, after."""
        return median(map(share, self.before[name])), median(map(share, self.after[name]))

    def table(self, title: str) -> Table:
        rows = []
        for name in FUNCTIONS:
            layers = [[found.layers[n].dead or 0.0 for found in self.after[name]] for n in range(DEPTH)]
            before, after = self.dead(name)
            rows.append((name, percent(before), percent(after), *(percent(median(layer)) for layer in layers),
                         spread(scores(self.outcomes[name]))))  # fmt: skip
        numbered = tuple(f"layer {n + 1}" for n in range(DEPTH))
        return Table(title, ("function", "dead before", "dead after", *numbered, "accuracy"), tuple(rows))


def share(found: Diagnosis) -> float:
    """Dead units over all units of a network."""
    return sum((layer.dead or 0.0) * layer.units for layer in found.layers) / sum(layer.units for layer in found.layers)


def dead(seed: int, repeats: int) -> Lesson:
    fast, low = Scene(FAST, 0.0, seed, repeats), Scene(SLOW, LOW, seed, repeats)
    return Lesson(
        name="dead",
        title="Dead units",
        question="What kills a ReLU, does it come back, and how do other functions fare under the same conditions?",
        setting=(
            f"{DEPTH} hidden layers of 64 units, weights of variance gain²/fan_in with each function's own gain, on "
            f"the digits, {EPOCHS} epochs, {repeats} seeds. First scene: Adam with the learning rate "
            f"{FAST.learning_rate:g}, biases 0. Second: SGD with momentum 0.9 and learning rate "
            f"{SLOW.learning_rate:g}, biases {LOW:g}. Dead is measured on all 1,077 training images."
        ),
        tables=(
            fast.table(
                f"a too large learning rate (Adam, {FAST.learning_rate:g}): share of dead units, after training"
            ),
            low.table(f"biases that start at {LOW:g}: share of dead units, after training"),
        ),
        findings=tuple(_findings(fast, low)),
        panels=_panels(fast, low),
        sources=(
            HANSEN,
            "L. Lu, Y. Shin, Y. Su, G. Karniadakis, Dying ReLU and initialization: theory and numerical examples, 2020 "
            "(arXiv:1903.06733)",
        ),
    )


def _findings(fast: Scene, low: Scene):
    (born, died), (_, leaky), (_, gelu), (_, elu) = (fast.dead(name) for name in FUNCTIONS)
    yield Finding.of(
        died >= 0.25 and max(leaky, gelu, elu) <= died / 2,
        f"the large learning rate kills {died:.0%} of the ReLU units ({born:.0%} before); under the same conditions "
        f"{leaky:.0%} of Leaky ReLU's, {gelu:.0%} of GELU's and {elu:.0%} of ELU's.",
        f"ReLU does not stand out: {died:.0%} dead after training, Leaky ReLU {leaky:.0%}, GELU {gelu:.0%}, "
        f"ELU {elu:.0%}.",
    )
    with_dead = fast.accuracy("relu")
    others = {name: fast.accuracy(name) for name in FUNCTIONS[1:]}
    best = max(others.values())
    yield Finding.of(
        with_dead >= best - 0.03,
        f"this costs it nothing that these digits could show: ReLU {with_dead:.3f}, the best of the others {best:.3f}. "
        "So wide a network can do with half of its units; dead units are a waste before they are a loss.",
        f"it also costs accuracy: ReLU {with_dead:.3f}, the best of the others {best:.3f}.",
    )
    start, end = low.dead("relu")
    whole = median(found.layers[-1].dead or 0.0 for found in low.after["relu"])
    yield Finding.of(
        whole == 1 and low.accuracy("relu") <= GUESSES,
        f"biases of {LOW:g} kill a whole layer of ReLU at the start, and nothing passes a dead layer: {start:.0%} of "
        f"all units are dead before training and {end:.0%} after it, accuracy {low.accuracy('relu'):.3f}.",
        f"ReLU survives biases of {LOW:g}: {end:.0%} dead after training, accuracy {low.accuracy('relu'):.3f}.",
    )
    yield Finding.of(
        low.accuracy("elu") >= LEARNS and low.dead("elu")[1] < 0.05,
        f"ELU, whose negative side has a slope, learns from the same start: {low.accuracy('elu'):.3f}.",
        f"ELU does not learn from that start either: {low.accuracy('elu'):.3f}.",
    )
    alive, reached = low.dead("leaky_relu")[1], low.accuracy("leaky_relu")
    arrives = median(relative(found)[0] for found in low.before["leaky_relu"])
    yield Finding.of(
        alive < 0.05 and reached <= GUESSES,
        f"to be alive is not enough: Leaky ReLU has {alive:.0%} dead units there and still guesses ({reached:.3f}), "
        f"for where its slope is 0.01 next to no gradient passes: {arrives:.1g} of the last hidden layer's arrives at "
        "the first.",
        f"Leaky ReLU has {alive:.0%} dead units there and reaches {reached:.3f}.",
    )


def _panels(fast: Scene, low: Scene) -> tuple[Panel, ...]:
    def accuracy(scene: Scene) -> dict[str, tuple[list[int], list[float]]]:
        curves = {name: outcomes[0].curves.get("score", []) for name, outcomes in scene.outcomes.items()}
        return {name: (list(range(1, len(curve) + 1)), curve) for name, curve in curves.items()}

    return (
        Panel("large learning rate: share of dead units in a batch", "step", fast.course),
        Panel("large learning rate: validation accuracy", "epoch", accuracy(fast)),
        Panel("low biases: share of dead units in a batch", "step", low.course),
        Panel("low biases: validation accuracy", "epoch", accuracy(low)),
    )
