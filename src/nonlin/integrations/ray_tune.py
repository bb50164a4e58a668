"""Ray Tune: activations in its search spaces, each function once, and a trainable for any task.

    tuner = tune.Tuner(
        nl.ray_tune.trainable("digits-mlp"),
        param_space={"activation": nl.ray_tune.grid(space="core-1", number=50), "learning_rate": 1e-3},
    )

Ray Tune's own samplers draw with replacement, so that no `tune.choice` can keep a function from being tried twice.
`grid` can: it draws the functions beforehand, all different, and each gets exactly one trial (for each sample of the
other parameters). `choice` is for searchers that learn, where one function is tried with many settings; two spellings
of a function are one choice in both. A trial's configuration holds the name or the formula, as text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from nonlin.errors import MissingExtraError, SearchError
from nonlin.integrations.choices import Spec, distinct, drawn, one_source
from nonlin.run.local import one_thread
from nonlin.strategies import Space
from nonlin.tasks import Budget, Task
from nonlin.tasks import task as task_by_name
from nonlin.train import Outcome
from nonlin.train.fit import train_model
from nonlin.train.initial import initial_model
from nonlin.train.pace import Pace
from nonlin.zoo import Activation, activation

_OWN = ("activation", "seed")  # of a trial's configuration, beside the fields of a budget


def grid(
    choices: Sequence[Spec] | None = None,
    *,
    space: str | Path | Space | None = None,
    number: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """A ``tune.grid_search`` over different functions: each is tried once.

    Parameters
    ----------
    choices : names, formulas or activations
    space : or where to draw them: a name (`nonlin spaces`), a .toml file, or a `Space`
    number : how many functions of the space, drawn at random; None for all that are worth training
    seed : of the drawing

    Raises
    ------
    SearchError : neither or both of `choices` and `space`, or more functions than there are
    MissingExtraError : without the package ray
    """
    return _tune().grid_search(_labels(choices, space, number, seed))


def choice(
    choices: Sequence[Spec] | None = None,
    *,
    space: str | Path | Space | None = None,
    number: int | None = None,
    seed: int = 0,
) -> Any:
    """A ``tune.choice`` among different functions, for searchers that try each with many settings; as `grid`."""
    return _tune().choice(_labels(choices, space, number, seed))


def trainable(task: str | Path | Task, normalise: bool = True) -> Callable[[dict[str, Any]], None]:
    """A function for ``tune.Tuner`` that trains `task` with ``config["activation"]``.

    It reports "score" (accuracy or R²) and "loss" on validation data after every epoch, so that a scheduler may stop
    it, and "status": "ok", or "diverged" with the last finite figures (none: a score of minus infinity).

    Beside the activation a configuration may have "seed" and every field of `nonlin.Budget`, such as
    "learning_rate", "batch_size" and "epochs".

    Parameters
    ----------
    task : name, script or `nonlin.Task`
    normalise : scale initial weights by each function's own gain
    """
    tune = _tune()
    chosen = task_by_name(task)
    chosen = replace(chosen, data=chosen.load())

    def train(config: dict[str, Any]) -> None:
        act, seed, budget = _settings(config, chosen)
        child, outcome = replace(chosen, budget=budget), Outcome("ok")
        reporter = _Reporter(tune.report, child.budget.epochs)
        with one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = initial_model(child, act, "channel", normalise, "common")
            train_model(model, child, seed, outcome, watcher=reporter)
        if outcome.status == "diverged":
            tune.report(reporter.figures("diverged"))

    return train


class _Reporter:
    """Reports an epoch's figures when its validation is done."""

    def __init__(self, report: Callable[[dict[str, Any]], None], epochs: int):
        self.report, self.epochs, self.step = report, epochs, 0
        self.epoch, self.score, self.loss = 0, float("-inf"), float("inf")

    def stepped(self, pace: Pace) -> None:
        """Told after every step, and once more after an epoch's validation."""
        validated, self.step = pace.step == self.step, pace.step
        if validated:
            self.epoch, self.score, self.loss = pace.epoch, pace.score, pace.loss
            self.report(self.figures("ok"))

    def resumed(self, step: int, steps: int) -> None: ...

    def figures(self, status: str) -> dict[str, Any]:
        return {"score": self.score, "loss": self.loss, "epoch": self.epoch, "status": status}


def _settings(config: dict[str, Any], task: Task) -> tuple[Activation, int, Budget]:
    """Activation, seed and budget of a trial; SearchError for a setting that a training does not have."""
    known = {item.name for item in fields(Budget)}
    if "activation" not in config:
        raise SearchError(
            "the configuration has no 'activation'; put nl.ray_tune.grid([...]) or nl.ray_tune.choice([...]) under "
            "that name into param_space."
        )
    if unknown := [name for name in config if name not in known and name not in _OWN]:
        raise SearchError(
            f"the configuration's {unknown[0]!r} is no setting of a training; it may have "
            f"{', '.join((*_OWN, *sorted(known)))}."
        )
    changed = {name: value for name, value in config.items() if name in known}
    seed = config.get("seed", 0)
    return activation(config["activation"]), seed, replace(task.budget, **changed)


def _labels(choices, space, number, seed) -> list[str]:
    """Names or formulas that `nonlin.activation` reads again."""
    one_source(choices, space)
    if choices is not None and number is not None:
        raise SearchError(f"number={number!r} says how many functions to draw from a space; a list is taken whole.")
    found = distinct(choices).values() if choices is not None else drawn(space, number, seed)
    return [act.name if _readable(act) else act.formula for act in found]


def _readable(act: Activation) -> bool:
    """Whether its name stands for it in any process: the catalogue's names do, with the catalogue's values."""
    from nonlin.zoo import names

    return act.name in names() and activation(act.name) == act


def _tune() -> Any:
    try:
        return import_module("ray.tune")
    except ImportError:
        raise MissingExtraError("ray", "ray", "a search with Ray Tune") from None
