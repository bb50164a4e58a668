"""The pages of the Python interface: one for each module of the public names, from their docstrings."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import nonlin

# module, title, what the page says first
PAGES = (
    ("nonlin", "nonlin", "The names that most work needs; `import nonlin as nl`. They load on first use."),
    ("nonlin.entropy", "nonlin.entropy", "Entropy of outputs, worst activations, and the steps to a better one."),
    ("nonlin.nn", "nonlin.nn", "Modules: gains, gated and vector-valued units, adaptive layers, swapping."),
    ("nonlin.tasks", "nonlin.tasks", "What is trained: model, data and budget by name, and your own."),
    ("nonlin.zoo", "nonlin.zoo", "The catalogue of known activations."),
    ("nonlin.expr", "nonlin.expr", "The language: parsing, derivatives, simplification, identity, code."),
    ("nonlin.strategies", "nonlin.strategies", "Search spaces and the strategies that propose from them."),
    ("nonlin.train", "nonlin.train", "Training one child, and many children as one."),
    ("nonlin.run", "nonlin.run", "Studies, comparisons, the store, and workers here and elsewhere."),
    ("nonlin.diagnosis", "nonlin.diagnosis", "Health cards, networks layer by layer, recorders, lessons."),
    ("nonlin.experiments", "nonlin.experiments", "The papers' experiments: what they take, and what they gave."),
    ("nonlin.hf", "nonlin.hf", "Activations in the configs of Hugging Face's transformers."),
    ("nonlin.timm", "nonlin.timm", "Activations in the models of timm."),
    ("nonlin.optuna", "nonlin.optuna", "Activations among the choices of an Optuna study."),
    ("nonlin.ray_tune", "nonlin.ray_tune", "Activations among the choices of Ray Tune."),
    ("nonlin.testing", "nonlin.testing", "Checks that a strategy or space of your own can run."),
    ("nonlin.errors", "nonlin.errors", "Everything raised on purpose."),
)


def setup(app: Any) -> dict[str, bool]:
    """Write the pages before Sphinx looks for its sources."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True}


def _write(app: Any) -> None:
    folder = Path(app.srcdir) / "generated" / "api"
    folder.mkdir(parents=True, exist_ok=True)
    for module, title, words in PAGES:
        (folder / f"{module}.rst").write_text(_page(module, title, words), encoding="utf-8")
    listed = "\n".join(module for module, _, _ in PAGES)
    index = (
        "# Python interface\n\nGenerated from the docstrings: shapes, units, errors and sources.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"
    )
    (folder / "index.md").write_text(index, encoding="utf-8")


def _page(module: str, title: str, words: str) -> str:
    parts = [f"{title}\n{'=' * len(title)}\n", words.replace("`", "``"), f".. py:module:: {module}\n   :no-index:\n"]
    for name in public_names(module):
        value = getattr(_module(module), name)
        if callable(value):
            parts.append(_entry(module, name, value))
    return "\n\n".join(parts) + "\n"


def public_names(module: str) -> list[str]:
    """The names a module offers, in its own order."""
    found = _module(module)
    listed = getattr(found, "__all__", None)
    if listed is None:
        listed = [name for name, value in vars(found).items() if getattr(value, "__module__", "") == found.__name__]
    return [name for name in listed if not name.startswith("_")]


def _module(name: str) -> ModuleType:
    """By the name under which users reach it, such as nonlin.hf, which is a file of the folder integrations."""
    found: ModuleType = nonlin
    for part in name.split(".")[1:]:
        found = getattr(found, part, None) or import_module(name)
    return found


def _entry(module: str, name: str, value: object) -> str:
    # a name that two modules offer is indexed where it is met first
    again = "\n   :no-index:" if module != "nonlin" and getattr(nonlin, name, None) is value else ""
    if inspect.isclass(value):
        return f".. autoclass:: {module}.{name}\n   :members:{again}"
    return f".. autofunction:: {module}.{name}{again}"
