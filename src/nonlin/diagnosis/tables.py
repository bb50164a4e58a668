"""Plain tables: the same rows for `str`, for the command line and for JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """A title, names of columns, and rows of text, numbers or None."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def cells(self) -> list[list[str]]:
        """The rows as text: three significant digits, '-' for what is missing."""
        return [[show(value) for value in row] for row in self.rows]

    def numeric(self) -> tuple[bool, ...]:
        """For each column whether it holds numbers only, and so is aligned to the right."""
        columns = zip(*self.cells(), strict=True) if self.rows else [()] * len(self.columns)
        return tuple(
            all(text[:1] in "0123456789-+<" or text in ("inf", "nan") for text in column) for column in columns
        )

    def __str__(self) -> str:
        cells, right = self.cells(), self.numeric()
        widths = [max(map(len, column)) for column in zip(self.columns, *cells, strict=True)]
        lines = [self.title] if self.title else []
        for row in (self.columns, *cells):
            padded = (
                text.rjust(width) if number else text.ljust(width)
                for text, width, number in zip(row, widths, right, strict=True)
            )  # fmt: skip
            lines.append("  ".join(padded).rstrip())
        return "\n".join(lines)


def show(value: Any) -> str:
    """A number with three significant digits, whole numbers in full, '-' for None and NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return "0" if value == 0 else f"{value:.3g}"


def percent(share: float | None) -> str | None:
    """'12%', with a decimal below ten percent; None for None."""
    if share is None:
        return None
    if 0 < share < 5e-4:
        return "<0.1%"
    return f"{share:.0%}" if share >= 0.0995 or share == 0 else f"{share:.1%}"


def json_safe(value: Any) -> Any:
    """The same with lists for tuples, and None for numbers that are not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    return value
