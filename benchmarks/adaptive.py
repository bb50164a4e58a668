"""What an adaptive layer costs: the time of a training step over that of the same network with GELU.

    python benchmarks/adaptive.py [--rounds 150] [--compile] [--task chars-gpt] [--only entropy]

One thread, and the time is the processor's, so that other work on the machine distorts it little. In each
round every network takes one step on one batch, one after another, in an order that turns; a network's ratio
is the median over the rounds of its time over nn.GELU's in the same round. Steps at which statistics are
refreshed (each 50th) are timed too and count as one in 50.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch import nn

import nonlin as nl
from nonlin.nn import Adaptive, parameter_groups
from nonlin.run.provenance import provenance
from nonlin.train.fit import task_loss

EVERY = 50
REFRESHES = 12  # timed per network
TARGETS = {False: 1.15, True: 1.05}

Factory = Callable[..., nn.Module]


def adaptive(mode: str, per: str) -> Factory:
    def layer(channels: int | None = None, dim: int = 1) -> nn.Module:
        own = {"channels": channels, "dim": dim} if per == "channel" else {}
        return Adaptive("gelu", mode=mode, per=per, every=EVERY, **own)

    return layer


NETWORKS: dict[str, Factory] = {
    "nn.GELU": lambda channels=None, dim=1: nn.GELU(),
    "nonlin gelu": lambda channels=None, dim=1: nl.activation("gelu").module(),
    **{
        f"{mode}, per {per}": adaptive(mode, per)
        for mode in ("entropy", "learned", "entropy-init")
        for per in ("tensor", "channel")
    },
}


class Training:
    """One network's steps, always on the same batch."""

    def __init__(self, task: nl.Task, factory: Factory, compiled: bool):
        torch.manual_seed(0)
        self.model = task.model(factory)
        self.layers = [module.correction for module in self.model.modules() if isinstance(module, Adaptive)]
        self.run = torch.compile(self.model) if compiled else self.model
        budget = task.budget
        self.optimizer = torch.optim.AdamW(parameter_groups(self.model, budget.weight_decay), lr=budget.learning_rate)
        self.x, self.y = (part[: budget.batch_size] for part in task.load().train)

    def step(self) -> float:
        """Processor seconds of one training step."""
        begin = time.process_time()
        self.optimizer.zero_grad(set_to_none=True)
        task_loss(self.run(self.x), self.y).backward()
        self.optimizer.step()
        return time.process_time() - begin

    def refreshing_step(self) -> float:
        """The same at a step that refreshes the statistics."""
        for layer in self.layers:
            layer._begin(EVERY * (layer._turn.count // EVERY + 1) - 1)
        return self.step()


def measure(trainings: dict[str, Training], rounds: int, kind: str) -> dict[str, list[float]]:
    """Seconds by network and round."""
    times: dict[str, list[float]] = {name: [] for name in trainings}
    names = list(trainings)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            times[name].append(getattr(trainings[name], kind)())
    return times


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=150)
    options.add_argument("--compile", action="store_true", help="the networks under torch.compile")
    options.add_argument("--task", default="chars-gpt")
    options.add_argument("--only", default="", help="adaptive networks whose name holds this text")
    arguments = options.parse_args()
    torch.set_num_threads(1)
    task = nl.tasks.task(arguments.task)
    chosen = {n: f for n, f in NETWORKS.items() if arguments.only in n or n in ("nn.GELU", "nonlin gelu")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler about itself
        trainings = {name: Training(task, factory, arguments.compile) for name, factory in chosen.items()}
        measure(trainings, 60, "step")  # compilation, and the early refreshes
        compilations = sum(torch._dynamo.utils.counters["stats"].values())
        plain = measure(trainings, arguments.rounds, "step")
        refresh = measure(trainings, REFRESHES, "refreshing_step")
    machine = provenance()
    state = "compiled" if arguments.compile else "eager"
    print(
        f"{task.name}, batch {task.budget.batch_size}, {state}, one thread, processor time, {arguments.rounds} rounds; "
        f"{machine['processor']}, torch {machine['torch']}, nonlin {machine['commit']}; "
        f"target {TARGETS[arguments.compile]}"
    )
    if sum(torch._dynamo.utils.counters["stats"].values()) != compilations:
        print("SOMETHING WAS COMPILED AGAIN during the measurement")
    print(f"{'':24s} {'ms':>7s} {'refresh ms':>10s} {'x nn.GELU':>10s} {'quarters':>14s} {'x nonlin gelu':>13s}")
    base, own = plain["nn.GELU"], plain["nonlin gelu"]
    middle = statistics.median(base)
    for name, training in trainings.items():
        extra = max(0.0, statistics.median(refresh[name]) - statistics.median(plain[name])) / EVERY
        extra = extra if training.layers else 0.0
        ratios = [(a + extra) / b for a, b in zip(plain[name], base, strict=True)]
        low, half, high = statistics.quantiles(ratios, n=4)
        against = statistics.median((a + extra) / b for a, b in zip(plain[name], own, strict=True))
        print(f"{name:24s} {1e3 * statistics.median(plain[name]):7.2f} {1e3 * statistics.median(refresh[name]):10.2f} "
              f"{half:10.3f} {low:6.3f}-{high:.3f} {against:13.3f}")  # fmt: skip
    print(f"nn.GELU's median step: {1e3 * middle:.2f} ms")


if __name__ == "__main__":
    main()
