"""Writes each example as a notebook, so that there is one text to keep: python examples/notebooks/write.py

The docstring becomes the heading. What stands between two blank lines of a script becomes a cell, comments above the
code of a cell become text, and the part under ``if __name__ == "__main__":`` stands without it. Nothing is run:
notebooks hold no outputs, which could grow old.
"""

from __future__ import annotations

import ast
import json
import re
import textwrap
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SCRIPTS_ALONE = {"train"}  # is about what a script is for


def sources() -> list[Path]:
    """The scripts that become notebooks."""
    return sorted(path for path in HERE.parent.glob("*.py") if path.stem not in SCRIPTS_ALONE)


def notebook(script: Path) -> str:
    """The script as the text of a notebook (format 4.5)."""
    found = cells(script.read_text(encoding="utf-8"), script.name)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    page = {
        "cells": [_cell(number, kind, text) for number, (kind, text) in enumerate(found)],
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(page, indent=1, ensure_ascii=False) + "\n"


def cells(source: str, name: str) -> list[tuple[str, str]]:
    """("markdown" or "code", text), in order."""
    tree = ast.parse(source)
    heading, _, more = (ast.get_docstring(tree) or "").partition("\n")
    heading = re.sub(rf":? *python examples/{re.escape(name)}$", "", heading)
    parts = [f"# {heading.rstrip('.')}", more.strip(), f"The same as a script: `examples/{name}`."]
    found = [("markdown", "\n\n".join(filter(None, parts)))]
    rest = tree.body[1:]
    lines = source.splitlines()
    main = rest[-1] if rest and isinstance(rest[-1], ast.If) and "__main__" in ast.unparse(rest[-1].test) else None
    begin = tree.body[0].end_lineno or 0
    if main is None:
        found += _paragraphs(lines[begin:])
    else:
        found += _paragraphs(lines[begin : main.lineno - 1])
        found += _paragraphs(textwrap.dedent("\n".join(lines[main.lineno : main.end_lineno])).splitlines())
    return found


def _paragraphs(lines: list[str]) -> list[tuple[str, str]]:
    """Cells of what stands together; imports stand together in any case."""
    text = "\n".join(lines)
    groups: list[list[int]] = []  # first and last line
    imports = False
    for node in ast.parse(text).body:
        first, last = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))]), node.end_lineno or 0
        while first > 1 and lines[first - 2].startswith("#"):
            first -= 1
        imported = isinstance(node, ast.Import | ast.ImportFrom)
        if groups and (first == groups[-1][1] + 1 or (imports and imported)):
            groups[-1][1] = last
        else:
            groups.append([first, last])
        imports = imported
    found: list[tuple[str, str]] = []
    for first, last in groups:
        said = first - 1
        while lines[said].startswith("#"):
            said += 1
        if said >= first:
            words = " ".join(line.lstrip("# ") for line in lines[first - 1 : said])
            found.append(("markdown", words))
        code = "\n".join(lines[said:last])
        found.append(("code", re.sub(r'Path\(__file__\)\.with_name\("(.+?)"\)', r'Path("../\1")', code)))
    return found


def _cell(number: int, kind: str, text: str) -> dict[str, Any]:
    common = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": text.splitlines(keepends=True)}
    return common if kind == "markdown" else {**common, "execution_count": None, "outputs": []}


if __name__ == "__main__":
    for path in sources():
        target = HERE / f"{path.stem}.ipynb"
        target.write_text(notebook(path), encoding="utf-8")
        print(target)
