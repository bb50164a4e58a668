"""Naming a rediscovery: "this is Swish with beta=1"."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

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
    index, owners = _index(tuple(catalogue().entries.values()))
    key = index.find(expr)
    return tuple(owners[key]) if key is not None else ()


@lru_cache(maxsize=2)
def _index(entries: tuple[Entry, ...]) -> tuple[IdentityIndex, dict[str, list[Known]]]:
    """The keys of all known functions, and the names of each key."""
    index = IdentityIndex()
    owners: dict[str, list[Known]] = {}
    found: list[tuple[str, Known]] = []
    for entry in entries:
        act = entry.activation()
        found.append((index.add(act.expr)[0], Known(entry.name)))
    for entry in entries:
        act = entry.activation()
        if act.parameters:
            fixed = substitute(act.expr, act.parameters)
            found.append((index.add(fixed)[0], Known(entry.name, act.initial)))
    for key, known in found:
        owners.setdefault(key, []).append(known)
    return index, owners
