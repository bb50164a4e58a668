"""Rows of results that are read as attributes or as a mapping: row.score, row["score"], dict(row)."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


class Row:
    """Base of a dataclass whose fields can also be read by name."""

    def keys(self) -> list[str]:
        return [item.name for item in fields(self)]  # type: ignore[arg-type]

    def __getitem__(self, name: str) -> Any:
        if name not in self.keys():
            raise KeyError(name)
        return getattr(self, name)
