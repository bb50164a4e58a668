"""What stands beside a comparison's results in its report: health cards, and the networks before their training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nonlin.tasks import Task
from nonlin.zoo import activation

if TYPE_CHECKING:
    from nonlin.run.setting import Setting


def health_cards(config: Setting) -> dict[str, dict[str, Any]]:
    """The health card of each given function as a dictionary, by label; those that have none are left out."""
    from nonlin.diagnosis import health

    found: dict[str, dict[str, Any]] = {}
    for arm in config.arms:
        if arm.role == "given" and arm.protocol == "common":
            try:
                found[arm.label] = health(activation(arm.formula, **arm.initial)).as_dict()
            except (ValueError, ArithmeticError):  # no card is no reason for no report
                continue
    return found


def initial_diagnoses(config: Setting, tasks: Sequence[Task]) -> dict[str, dict[str, dict[str, Any]]]:
    """For each task and label the diagnosis of the network before its training, with the first seed."""
    from nonlin.diagnosis import diagnose_task

    found: dict[str, dict[str, dict[str, Any]]] = {}
    for task in tasks:
        rows = found.setdefault(task.name, {})
        for arm in config.arms:
            try:
                seen = diagnose_task(
                    activation(arm.formula, **arm.initial), task, config.seeds[0], train=False,
                    normalise=config.normalise, per=config.per, protocol=arm.protocol,
                )  # fmt: skip
            except Exception:  # a user's model may do what cannot be observed; that is no reason for no report
                continue
            rows[arm.label] = seen.initial.as_dict()
    return found
