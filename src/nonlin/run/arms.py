"""What a comparison trains side by side: the functions given, and nulls that should lose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from nonlin.errors import ComparisonError
from nonlin.run.standings import Arm
from nonlin.strategies import space
from nonlin.zoo import Activation, activation

NULLS = (("linear", "x"), ("constant", "1"))


def twins(given: Iterable[Activation]) -> list[tuple[Activation, Activation]]:
    """Pairs that are trained in the very same way, each later one with the first like it.

    Functions without parameters are one if they have the same values, however they are written. With parameters
    also formula and initial values must agree: 2·β·x and β·x are one family, and yet train in different ways.
    """
    kept: list[Activation] = []
    found: list[tuple[Activation, Activation]] = []
    for act in given:
        if twin := next((one for one in kept if _trains_alike(one, act)), None):
            found.append((twin, act))
        else:
            kept.append(act)
    return found


def _trains_alike(a: Activation, b: Activation) -> bool:
    if a.parameters or b.parameters:
        return a.expr == b.expr and a.parameters == b.parameters
    return a.same_as(b)


def arms_of(given: Sequence[Activation | str], protocols: bool, nulls: bool, seed: int) -> tuple[Arm, ...]:
    """The arms of a comparison: those given, SELU's own `protocols`, and `nulls`, one of them random by `seed`.

    Raises
    ------
    NonlinError : no activation, or one that there is not
    """
    from nonlin.run.loop import random_functions

    if isinstance(given, str | Activation):
        given = [given]
    acts = [activation(one) for one in given]
    if not acts:
        raise ComparisonError("no activation is given; name two or more, such as relu gelu 'x*tanh(x)'.")
    arms: list[Arm] = []
    for act in acts:
        arms.append(_arm(act, arms))
        if protocols and act.same_as("selu"):
            arms.append(replace(arms[-1], label=f"{arms[-1].label}, own protocol", protocol="selu"))
    if nulls:
        taken = [arm.formula for arm in arms] + [formula for _, formula in NULLS]
        found = random_functions(space("core-1"), seed, 1, taken)
        rows = [*NULLS, *((f"random: {formula}", formula) for formula in found)]
        known = [activation(arm.formula) for arm in arms]
        for name, formula in rows:
            null = activation(formula)
            if not any(null.same_as(act) for act in known):
                arms.append(replace(_arm(null, arms), label=name, name=name, role="null"))
    return tuple(arms)


def _arm(act: Activation, before: Sequence[Arm]) -> Arm:
    """An arm with a label of its own: the name, with a number where the name is taken."""
    values = ", ".join(f"{name}={value:g}" for name, value in act.initial)
    taken = {arm.label for arm in before}
    label = act.name
    if label in taken and values:
        label = f"{act.name} ({values})"
    number = 2
    while label in taken:
        label, number = f"{act.name} ({number})", number + 1
    return Arm(label, act.name, act.formula, act.parameters)
