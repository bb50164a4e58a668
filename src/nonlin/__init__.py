"""nonlin: which activation function should this network use, is there a better one, why, and how to ship it.

An activation is an expression; value, derivative, text, module, entropy, search move and export are
computed from it. The public names load on first use, so that ``import nonlin`` stays instant.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public name -> the module that defines it
_PUBLIC = {
    "Activation": "nonlin.zoo",
    "activation": "nonlin.zoo",
    "register": "nonlin.zoo",
    "density": "nonlin.entropy",
    "fit": "nonlin.train",
    "gain": "nonlin.nn",
    "swap": "nonlin.nn",
    "export": "nonlin.exporters",
    "Budget": "nonlin.tasks",
    "Data": "nonlin.tasks",
    "Task": "nonlin.tasks",
    "Comparison": "nonlin.run",
    "Study": "nonlin.run",
    "compare": "nonlin.run",
    "confirm": "nonlin.run",
    "Pipeline": "nonlin.run",
    "pipeline": "nonlin.run",
    "Diagnosis": "nonlin.diagnosis",
    "diagnose": "nonlin.diagnosis",
    "HealthCard": "nonlin.diagnosis",
    "NonlinClassifier": "nonlin.integrations.estimators",
    "NonlinRegressor": "nonlin.integrations.estimators",
    "health": "nonlin.diagnosis",
    "reproduce": "nonlin.experiments",
    "search": "nonlin.run",
    "transfer": "nonlin.run",
}
_MODULES = ("diagnosis", "entropy", "errors", "experiments", "expr", "nn", "tasks", "testing", "zoo")
# modules of other libraries' names, in the folder integrations
_INTEGRATIONS = ("hf", "optuna", "ray_tune", "timm")

if TYPE_CHECKING:
    from nonlin import diagnosis, entropy, errors, experiments, expr, nn, tasks, testing, zoo
    from nonlin.diagnosis import Diagnosis, HealthCard, diagnose, health
    from nonlin.entropy import density
    from nonlin.experiments import reproduce
    from nonlin.exporters import export
    from nonlin.integrations import hf, optuna, ray_tune, timm
    from nonlin.integrations.estimators import NonlinClassifier, NonlinRegressor
    from nonlin.nn import gain, swap
    from nonlin.run import Comparison, Pipeline, Study, compare, confirm, pipeline, search, transfer
    from nonlin.tasks import Budget, Data, Task
    from nonlin.train.fit import fit
    from nonlin.zoo import Activation, activation, register

__all__ = [
    "Activation",
    "Budget",
    "Comparison",
    "Data",
    "Diagnosis",
    "HealthCard",
    "NonlinClassifier",
    "NonlinRegressor",
    "Pipeline",
    "Study",
    "Task",
    "__version__",
    "activation",
    "compare",
    "confirm",
    "density",
    "diagnose",
    "diagnosis",
    "entropy",
    "errors",
    "experiments",
    "export",
    "expr",
    "fit",
    "gain",
    "health",
    "hf",
    "nn",
    "optuna",
    "pipeline",
    "ray_tune",
    "register",
    "reproduce",
    "search",
    "swap",
    "tasks",
    "testing",
    "timm",
    "transfer",
    "zoo",
]


@contextmanager
def _uncollected() -> Iterator[None]:
    """No looking for garbage while modules load: what they make stays, and it takes a seventh of torch's import."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def __getattr__(name: str) -> Any:
    with _uncollected():
        if name in _PUBLIC:
            value = getattr(import_module(_PUBLIC[name]), name)
        elif name in _MODULES:
            value = import_module(f"nonlin.{name}")
        elif name in _INTEGRATIONS:
            value = import_module(f"nonlin.integrations.{name}")
        else:
            raise AttributeError(f"module 'nonlin' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*_PUBLIC, *_MODULES, *_INTEGRATIONS, "__version__"})
