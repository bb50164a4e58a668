"""The pages of the Python interface: one for each module of the public names, from their docstrings."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
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
        value = getattr(import_module(module), name)
        if callable(value):
            parts.append(_entry(module, name, value))
    return "\n\n".join(parts) + "\n"


def public_names(module: str) -> list[str]:
    """The names a module offers, in its own order."""
    found = import_module(module)
    listed = getattr(found, "__all__", None)
    if listed is None:
        listed = [name for name, value in vars(found).items() if getattr(value, "__module__", "") == module]
    return [name for name in listed if not name.startswith("_")]


def _entry(module: str, name: str, value: object) -> str:
    # a name that two modules offer is indexed where it is met first
    again = "\n   :no-index:" if module != "nonlin" and name in nonlin.__all__ else ""
    if inspect.isclass(value):
        return f".. autoclass:: {module}.{name}\n   :members:{again}"
    return f".. autofunction:: {module}.{name}{again}"
