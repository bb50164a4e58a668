"""Everything nonlin raises on purpose.

    NonlinError                 base of them all; also a ValueError
    ├── FormulaError            a formula that cannot be read, with a caret under the place
    ├── UnknownNameError        a name that no catalogue, task, space or strategy knows
    ├── CatalogueError          an activation file or a registration that is not well formed
    ├── DensityError            a density that cannot be built from what was given
    ├── EntropyError            an entropy, a correction or an inverse that does not exist as asked
    ├── TaskError               a task whose model or data cannot be used
    ├── TrainingError           a training that cannot be run as asked: no such device, a damaged checkpoint
    ├── SearchError             a search that cannot be set up as asked
    ├── ComparisonError         a comparison that cannot be set up as asked
    ├── DiagnosisError          a model or a batch that cannot be diagnosed as given
    ├── ExportError             a function that cannot be exported as asked
    ├── StoreError              a store that cannot be opened, read or written
    └── MissingExtraError       an optional dependency that is not installed

A child network that diverges is not an error: it is a result with a status.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NonlinError(ValueError):
    """Base of every error that nonlin raises on purpose."""


class FormulaError(NonlinError):
    """A formula that cannot be read.

    Parameters
    ----------
    text : the formula as the user gave it
    message : what is wrong and what to do about it
    start, length : the offending place in `text`, in characters
    """

    def __init__(self, text: str, message: str, start: int = 0, length: int = 1):
        self.text, self.message, self.start, self.length = text, message, start, length
        super().__init__(self._render())

    def __reduce__(self):
        return type(self), (self.text, self.message, self.start, self.length)

    def _render(self) -> str:
        window = 72
        left = max(0, self.start - window // 2) if len(self.text) > window else 0
        shown = self.text[left : left + window].replace("\n", " ").replace("\t", " ")
        before, after = ("..." if left else ""), ("..." if left + window < len(self.text) else "")
        column = len(before) + self.start - left
        carets = "^" * max(1, min(self.length, len(shown) - (self.start - left)))
        return f"cannot read this formula:\n    {before}{shown}{after}\n    {' ' * column}{carets}\n{self.message}"


class UnknownNameError(NonlinError):
    """A name that is not known where it was used."""

    def __init__(self, kind: str, name: str, known: Iterable[str], remedy: str = ""):
        self.kind, self.name, self.known, self.remedy = kind, name, list(known), remedy
        message = f"unknown {kind} {name!r}."
        if close := suggest(name, self.known):
            message += f" Did you mean {close}?"
        elif self.known and len(self.known) <= 12:
            message += f" Known: {', '.join(self.known)}."
        super().__init__(f"{message} {remedy}".strip())

    def __reduce__(self):
        return type(self), (self.kind, self.name, self.known, self.remedy)


class CatalogueError(NonlinError):
    """An activation file or a registration that is not well formed."""


class DensityError(NonlinError):
    """A density that cannot be built from what was given."""


class EntropyError(NonlinError):
    """An entropy, a correction or an inverse that does not exist as asked."""


class TaskError(NonlinError):
    """A task whose model or data cannot be used."""


class TrainingError(NonlinError):
    """A training that cannot be run as asked: no such device, a damaged checkpoint."""


class SearchError(NonlinError):
    """A search that cannot be set up as asked."""


class ComparisonError(NonlinError):
    """A comparison that cannot be set up as asked."""


class DiagnosisError(NonlinError):
    """A model or a batch that cannot be diagnosed as given."""


class ExportError(NonlinError):
    """A function that cannot be exported as asked."""


class StoreError(NonlinError):
    """A store that cannot be opened, read or written."""


class MissingExtraError(NonlinError):
    """An optional dependency that is not installed."""

    def __init__(self, package: str, extra: str, purpose: str):
        self.package, self.extra, self.purpose = package, extra, purpose
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'nonlin[{extra}]'"
        )

    def __reduce__(self):
        return type(self), (self.package, self.extra, self.purpose)


def suggest(name: str, known: Iterable[str]) -> str:
    """The closest known names as text, or an empty string: ``'tanh' or 'tan'``."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    swapped = [known for known in by_lower if known != name.lower() and sorted(known) == sorted(name.lower())]
    alike = difflib.get_close_matches(name.lower(), by_lower, n=2, cutoff=0.6)
    close = list(dict.fromkeys(swapped + alike))[:2]
    return " or ".join(repr(by_lower[match]) for match in close)
