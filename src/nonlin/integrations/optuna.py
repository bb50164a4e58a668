"""Optuna: an activation as one of a trial's parameters, no function proposed twice.

    def objective(trial):
        act = nl.optuna.suggest_activation(trial, space="core-1")
        rate = trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
        ...

Optuna's samplers see categories: the names of a list, or for a space one category for each function in an expression
("activation.unary 1" = "tanh(a)"). What a duplicate is:

- Two spellings of one function are one choice, always.
- `repeats` is the number of trials that one function may get, since the other parameters of a trial may differ. In a
  list it is unlimited unless given: three functions at thirty learning rates are an ordinary study. In a space it is 1
  unless given: there are thousands of functions, and each of them may come in many expressions.
- Trials that are finished, pruned or running count, also those that the study's storage has from other processes. A
  trial that failed does not: an exception says nothing about a function.
- A trial that the user enqueued is taken as it is.

A proposal of the sampler that may not be made is drawn again, before anything is recorded.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from nonlin.errors import MissingExtraError, SearchError
from nonlin.expr.identity import kind
from nonlin.integrations.choices import TRIES, Spec, distinct, key, named, one_source
from nonlin.strategies import Space, listable
from nonlin.strategies import space as space_by_name
from nonlin.zoo import Activation, activation

DRAWS = 30  # of the sampler, before any function that is left will do

Values = dict[str, Any]  # parameter of a trial -> the choice
Pick = Callable[[str, Sequence[Any]], Any]
_asking = threading.Lock()  # n_jobs: what one thread proposes, the next must see


def suggest_activation(
    trial: Any,
    name: str = "activation",
    *,
    choices: Sequence[Spec] | None = None,
    space: str | Path | Space | None = None,
    repeats: int | Literal["auto"] | None = "auto",
) -> Activation:
    """The activation of this trial.

    Parameters
    ----------
    trial : an ``optuna.Trial``
    name : of the parameter; in a space, the beginning of several parameters' names
    choices : names, formulas or activations to choose among
    space : or where to search: a name (`nonlin spaces`), a .toml file, or a `Space`
    repeats : how many trials one function may get; None for any number. See above

    Returns
    -------
    Activation : also kept in the trial's user attributes, from which `activation_of` reads it again

    Raises
    ------
    SearchError : neither or both of `choices` and `space`; other choices than the study was begun with; no function
        is left (within ``study.optimize`` the study then ends, and this trial counts as pruned)
    MissingExtraError : without the package optuna
    """
    optuna = _library()
    one_source(choices, space)
    if not hasattr(trial, "suggest_categorical"):
        raise SearchError(f"suggest_activation takes an optuna.Trial first; got {type(trial).__name__}.")
    source: _Source = _Listed(name, choices) if choices is not None else _Coded(name, space)  # type: ignore[arg-type]
    limit = _limit(repeats, choices is not None)
    if not isinstance(trial, optuna.Trial):  # a FixedTrial or a FrozenTrial: nothing to choose
        return source.activation(source.draw(trial.suggest_categorical))
    with _asking:
        values = _enqueued(trial, source) or _proposal(trial, source, limit, optuna)
        trial._fixed_params.update(values)  # what `enqueue_trial` fills, and the only way to settle a value
        try:
            act = source.activation(source.draw(trial.suggest_categorical))
        except ValueError as error:
            raise SearchError(
                f"this study knows the parameter {name!r} with other choices ({error}). Give the choices or the space "
                "it was begun with, or take another name for the parameter or the study."
            ) from None
        trial.set_user_attr(name, {"name": act.name, "formula": act.formula, "initial": act.parameters})
    return act


def activation_of(trial: Any, name: str = "activation") -> Activation:
    """The activation that a trial had: ``activation_of(study.best_trial)``. SearchError if it had none."""
    kept = trial.user_attrs.get(name)
    if not isinstance(kept, dict) or "formula" not in kept:
        raise SearchError(f"trial {trial.number} has no activation called {name!r} from nl.optuna.suggest_activation.")
    act = activation(kept["formula"], **kept["initial"])
    return Activation(kept["name"], act.expr, act.initial)


def _library() -> Any:
    try:
        return import_module("optuna")
    except ImportError:
        raise MissingExtraError("optuna", "optuna", "suggesting activations to Optuna") from None


def _limit(repeats: Any, listed: bool) -> float:
    if repeats is None or (repeats == "auto" and listed):
        return float("inf")
    if repeats == "auto":
        return 1
    if not isinstance(repeats, int) or isinstance(repeats, bool) or repeats < 1:
        raise SearchError(f"repeats must be a whole number above 0, None, or 'auto'; got {repeats!r}.")
    return repeats


# Where proposals come from


class _Source(Protocol):
    def draw(self, pick: Pick) -> Values:
        """A choice for every parameter, each made by `pick`."""

    def activation(self, values: Values) -> Activation: ...

    def everything(self, generator: np.random.Generator) -> Iterator[Values]:
        """All there is, in random order; of a large space many draws."""


class _Listed:
    """A list of functions: one parameter."""

    def __init__(self, name: str, choices: Sequence[Spec]):
        self.name, self.functions = name, distinct(choices)

    def draw(self, pick: Pick) -> Values:
        return {self.name: pick(self.name, tuple(self.functions))}

    def activation(self, values: Values) -> Activation:
        return self.functions[values[self.name]]

    def everything(self, generator: np.random.Generator) -> Iterator[Values]:
        labels = tuple(self.functions)
        return ({self.name: labels[k]} for k in generator.permutation(len(labels)))


class _Coded:
    """A space: a parameter for each choice of a code, and one for the shape where there are several."""

    def __init__(self, name: str, space: str | Path | Space):
        self.name, self.space = name, space_by_name(space)

    def draw(self, pick: Pick) -> Values:
        values: Values = {}
        for parameter, choices in self._places(values):
            values[parameter] = pick(parameter, choices)
        return values

    def _places(self, values: Values) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """(parameter, choices) one after another; which come later depends on the shape chosen before."""
        shapes, label = self.space.shapes, self.name
        number = 0
        if len(shapes) > 1:
            texts = tuple(shape.text for shape in shapes)
            yield f"{self.name}.shape", texts
            number = texts.index(values[f"{self.name}.shape"])
            label = f"{self.name}.{number + 1}"
        seen: Counter[str] = Counter()
        for slot in shapes[number].slots:
            seen[slot.kind] += 1
            formulas = getattr(self.space, slot.kind, ())
            yield f"{label}.{slot.kind} {seen[slot.kind]}", formulas or tuple(range(slot.count))

    def activation(self, values: Values) -> Activation:
        choices = [places.index(values[parameter]) for parameter, places in self._places(values)]
        return named(self.space.decode(choices))

    def everything(self, generator: np.random.Generator) -> Iterator[Values]:
        if listable(self.space):
            codes = (self.space.code(int(k)) for k in generator.permutation(self.space.size))
        else:
            codes = (self.space.sample_code(generator) for _ in range(TRIES))
        for code in codes:
            digits = iter(code)
            yield self.draw(lambda parameter, choices, digits=digits: choices[next(digits)])  # type: ignore[misc]


# Choosing


def _enqueued(trial: Any, source: _Source) -> Values | None:
    """What the user enqueued for this trial; None unless it is all that the source asks for."""
    fixed = trial._fixed_params
    try:
        return source.draw(lambda parameter, choices: choices[choices.index(fixed[parameter])])
    except (KeyError, ValueError):
        return None


def _proposal(trial: Any, source: _Source, limit: float, optuna: Any) -> Values:
    """The sampler's proposal, drawn again while it is a function that may not be tried, else any that may."""
    study = trial.study
    trials = study.get_trials(deepcopy=False)
    tried = _tried(trial, trials, source)
    own = next(one for one in trials if one.number == trial.number)

    def free(values: Values) -> bool:
        function = source.activation(values).expr
        worth = isinstance(source, _Listed) or kind(function) == "ordinary"
        return worth and tried[key(function)] < limit

    def joint(parameter: str, choices: Sequence[Any]) -> Any:
        value = trial.relative_params.get(parameter)
        return value if value in choices else alone(parameter, choices)

    def alone(parameter: str, choices: Sequence[Any]) -> Any:
        distribution = optuna.distributions.CategoricalDistribution(choices)
        return study.sampler.sample_independent(study, own, parameter, distribution)

    for attempt in range(DRAWS):
        values = source.draw(alone if attempt else joint)  # samplers that look at all parameters together go first
        if free(values):
            return values
    for values in source.everything(np.random.default_rng(trial.number)):
        if free(values):
            return values
    return _exhausted(study, limit, optuna)


def _tried(trial: Any, trials: Sequence[Any], source: _Source) -> Counter[str]:
    """How many other trials each function had, by its key."""
    name = source.name  # type: ignore[attr-defined]
    kept = [
        one.user_attrs[name]["formula"]
        for one in trials
        if one.number != trial.number and one.state.name != "FAIL" and isinstance(one.user_attrs.get(name), dict)
    ]
    return Counter(map(key, kept))


def _exhausted(study: Any, limit: float, optuna: Any) -> Values:
    message = (
        f"every function has had its {limit:.0f} trial{'s' if limit > 1 else ''}; none is left to propose. Give "
        "repeats= a larger number, or more choices."
    )
    try:
        study.stop()
    except RuntimeError:  # asked and told, outside of study.optimize
        raise SearchError(message) from None
    raise optuna.TrialPruned(message)
