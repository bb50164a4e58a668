"""The papers' experiments: their grids as data, run through the store, with the published figures beside ours.

The names load on first use, as those of `nonlin.run`. The function is `nonlin.reproduce`; a module of that name would
stand in its way, which is why this folder has another.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nonlin.experiments.costs import Cost, cost
    from nonlin.experiments.grid import Reproduction, reproduce
    from nonlin.experiments.papers import Experiment, experiment, experiments

_HOMES = {
    "Cost": "costs",
    "Experiment": "papers",
    "Reproduction": "grid",
    "cost": "costs",
    "experiment": "papers",
    "experiments": "papers",
    "reproduce": "grid",
}

__all__ = ["Cost", "Experiment", "Reproduction", "cost", "experiment", "experiments", "reproduce"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nonlin.experiments' has no attribute {name!r}")
    return getattr(import_module(f"nonlin.experiments.{_HOMES[name]}"), name)
