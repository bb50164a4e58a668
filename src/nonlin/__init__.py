"""nonlin: which activation function should this network use, is there a better one, why, and how to ship it.

An activation is an expression; value, derivative, text, module, entropy, search move and export are
computed from it. The public names load on first use, so that ``import nonlin`` stays instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public name -> the module that defines it
_PUBLIC = {
    "Activation": "nonlin.zoo",
    "activation": "nonlin.zoo",
    "register": "nonlin.zoo",
    "density": "nonlin.entropy",
    "gain": "nonlin.nn",
    "Budget": "nonlin.tasks",
    "Data": "nonlin.tasks",
    "Task": "nonlin.tasks",
    "Study": "nonlin.run",
    "search": "nonlin.run",
}
_MODULES = ("entropy", "errors", "expr", "nn", "tasks", "zoo")

if TYPE_CHECKING:
    from nonlin import entropy, errors, expr, nn, tasks, zoo
    from nonlin.entropy import density
    from nonlin.nn import gain
    from nonlin.run import Study, search
    from nonlin.tasks import Budget, Data, Task
    from nonlin.zoo import Activation, activation, register

__all__ = [
    "Activation",
    "Budget",
    "Data",
    "Study",
    "Task",
    "__version__",
    "activation",
    "density",
    "entropy",
    "errors",
    "expr",
    "gain",
    "nn",
    "register",
    "search",
    "tasks",
    "zoo",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(import_module(_PUBLIC[name]), name)
    elif name in _MODULES:
        value = import_module(f"nonlin.{name}")
    else:
        raise AttributeError(f"module 'nonlin' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*_PUBLIC, *_MODULES, "__version__"})
