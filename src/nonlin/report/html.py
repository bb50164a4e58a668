"""The page that every report shares: one HTML file that needs no network, filled from templates."""

from __future__ import annotations

import math
import os
import re
from datetime import UTC, datetime
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonlin.errors import NonlinError

if TYPE_CHECKING:
    from jinja2 import Environment

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def write_page(path: str | Path, template: str, **values: Any) -> Path:
    """Fill a template of `templates/`, write it to `path` and return the path.

    Raises
    ------
    NonlinError : the path is not one of a page, or the file cannot be written.
    """
    path = checked_path(path)
    text = page(template, **values)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise NonlinError(f"cannot write the report {path}: {error.strerror or error}.") from None
    return path


def checked_path(path: str | Path) -> Path:
    """`path`, if a report can be written there: it ends with .html and its folder exists; else NonlinError."""
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise NonlinError(f"cannot write the report {path}: it is HTML, so the file must end with .html.")
    if not path.parent.is_dir() or path.is_dir() or not os.access(path.parent, os.W_OK):
        raise NonlinError(
            f"cannot write the report {path}: its folder does not exist, it is a folder, or you may not write there."
        )
    return path


def page(template: str, **values: Any) -> str:
    """A filled template as text."""
    written = datetime.now(UTC).isoformat(timespec="minutes")
    return environment().get_template(template).render(
        style=asset("page.css"), script=asset("page.js"), written=written, **values
    )  # fmt: skip


def asset(name: str) -> str:
    """The text of a file of `templates/`."""
    return resources.files("nonlin.report").joinpath("templates", name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    made = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(asset), undefined=StrictUndefined
    )
    made.filters.update(
        number=number,
        signed=signed,
        general=general,
        p_value=p_value,
        count=count,
        memory=memory,
        sortable=sortable,
        brief=brief,
        small=small,
        share=share,
    )
    return made


# Numbers as words of the page


def number(value: float | None, digits: int = 4) -> str:
    """Fixed digits with a true minus; a dash for what is not there, or infinite because trainings diverged."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text[1:] if float(text) == 0 and text[0] == "-" else text.replace("-", "−")


def signed(value: float, digits: int = 4) -> str:
    """A difference, with its sign."""
    text = number(value, digits)
    return text if text[0] in "–−" or not text.strip("0.") else f"+{text}"


def general(value: float) -> str:
    """A setting such as a learning rate: as short as it can be."""
    return f"{value:.4g}".replace("-", "−")


def p_value(value: float) -> str:
    """A p value: two significant digits and not less than 0.001."""
    if math.isnan(value):
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def count(value: int) -> str:
    """Small numbers as words, as in a sentence."""
    return NAMES[value] if 0 <= value < len(NAMES) else f"{value:,}"


def memory(value: float) -> str:
    """Bytes in the unit that suits them."""
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def small(value: float | None) -> str:
    """A number of any size, to three digits."""
    return "–" if value is None else f"{value:.3g}".replace("-", "−")


def share(value: float | None) -> str:
    """A share as a percentage."""
    return "–" if value is None else f"{value:.1%}"


def brief(formula: str) -> str:
    """A formula with its long numbers cut to five digits, for where space is short."""
    return re.sub(r"\d+\.\d{5,}", lambda digits: f"{digits[0][:6]}…", formula)


def sortable(value: float | None) -> str:
    """A number for the page's script to sort by; empty where there is none, which sorts last."""
    return "" if value is None or math.isnan(value) else repr(float(value))
