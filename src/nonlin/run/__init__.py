"""Running: the store, workers here and on a cluster, and the study that joins strategy, training and store.

The names load on first use: workers are started before torch is imported here, so that both sides load it at
the same time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nonlin.run.comparison import Comparison, compare
    from nonlin.run.doctor import Finding, examine
    from nonlin.run.executor import start
    from nonlin.run.finalists import confirm, transfer
    from nonlin.run.one_loop import Pipeline, pipeline
    from nonlin.run.store import Store, Trial
    from nonlin.run.study import Study, search

_HOMES = {
    "Comparison": "comparison",
    "Finding": "doctor",
    "Pipeline": "one_loop",
    "Store": "store",
    "Study": "study",
    "Trial": "store",
    "compare": "comparison",
    "confirm": "finalists",
    "examine": "doctor",
    "pipeline": "one_loop",
    "search": "study",
    "start": "executor",
    "transfer": "finalists",
}

__all__ = [
    "Comparison",
    "Finding",
    "Pipeline",
    "Store",
    "Study",
    "Trial",
    "compare",
    "confirm",
    "examine",
    "pipeline",
    "search",
    "start",
    "transfer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nonlin.run' has no attribute {name!r}")
    return getattr(import_module(f"nonlin.run.{_HOMES[name]}"), name)
