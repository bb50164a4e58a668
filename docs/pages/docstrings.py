"""Docstrings as Sphinx wants them: code between backticks is the only markup, and fields are described, not typed."""

from __future__ import annotations

import re
from typing import Any

_CODE = re.compile(r"(``.+?``|`[^`]+`)", re.DOTALL)
_MARKUP = re.compile(r"(?<!\\)([*|])|(?<=\w)(_)(?!\w)")
_FIELD = re.compile(r"(?P<names>\w[\w, ]*?) : (?P<words>.+)")


def setup(app: Any) -> dict[str, bool]:
    """Clean each docstring before napoleon reads it."""
    app.connect("autodoc-process-docstring", _clean, priority=100)
    return {"parallel_read_safe": True}


def _clean(app: Any, what: str, name: str, of: object, options: object, lines: list[str]) -> None:
    text = "\n".join(_with_descriptions(lines))
    parts = _CODE.split(text)
    lines[:] = "".join(part if _CODE.fullmatch(part) else _plain(part) for part in parts).split("\n")


def _with_descriptions(lines: list[str]) -> list[str]:
    """`name : what it is` with the words on a line of their own, where napoleon looks for a description."""
    out: list[str] = []
    inside = False
    for index, line in enumerate(lines):
        if index + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[index + 1]):
            inside = line in {"Parameters", "Attributes"}
        if inside and (field := _FIELD.fullmatch(line)):
            out += [field["names"], f"    {field['words']}"]
        else:
            out.append(line)
    return out


def _plain(text: str) -> str:
    return _MARKUP.sub(lambda found: "\\" + found.group(), text)
