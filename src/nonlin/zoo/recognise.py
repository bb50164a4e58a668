"""Naming a rediscovery: "this is Swish with beta=1"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nonlin.expr import Expr, substitute
from nonlin.expr.identity import IdentityIndex
from nonlin.zoo.catalogue import Entry, catalogue


@dataclass(frozen=True)
class Known:
    """A catalogue name for a function, and the parameter values at which it is that function."""

    name: str
    values: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        if not self.values:
            return self.name
        return f"{self.name} with " + ", ".join(f"{name}={value:g}" for name, value in self.values)


def recognise(expr: Expr) -> tuple[Known, ...]:
    """Every known activation that is this function: as it stands first, then at its initial values."""
    names = _names()
    key = names.index.find(expr)
    return tuple(names.owners[key]) if key is not None else ()


class _Names:
    """The keys of all known functions, and the names of each key."""

    def __init__(self, entries: Sequence[Entry]):
        self.entries = entries
        self.index = IdentityIndex()
        self.owners: dict[str, list[Known]] = {}
        acts = [entry.activation() for entry in entries]
        for act in acts:
            self._add(act.expr, Known(act.name))
        for act in acts:
            if act.parameters:
                self._add(substitute(act.expr, act.parameters), Known(act.name, act.initial))

    def _add(self, expr: Expr, known: Known) -> None:
        self.owners.setdefault(self.index.add(expr)[0], []).append(known)


_latest = _Names(())


def _names() -> _Names:
    """Those of the catalogue as it is now. Entries that have not changed are compared by identity, in a microsecond."""
    global _latest
    entries = list(catalogue().entries.values())
    if entries != _latest.entries:
        _latest = _Names(entries)
    return _latest
