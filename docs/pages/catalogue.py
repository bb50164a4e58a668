"""The catalogue's pages: a gallery, and for every activation its picture, derivative, numbers and source."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from html import escape
from multiprocessing import get_context
from pathlib import Path
from typing import Any


def setup(app: Any) -> dict[str, bool]:
    """Write the pages before Sphinx looks for its sources."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True}


def _write(app: Any) -> None:
    import nonlin as nl

    folder = Path(app.srcdir) / "generated" / "catalogue"
    folder.mkdir(parents=True, exist_ok=True)
    names = nl.zoo.names()
    stale = [name for name in names if not _fresh(folder / f"{name}.md")]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as workers:
        for name, page in zip(stale, workers.map(page_of, stale), strict=True):
            (folder / f"{name}.md").write_text(page, encoding="utf-8")
    (folder / "index.md").write_text(_gallery(names), encoding="utf-8")


def _fresh(page: Path) -> bool:
    """Whether a page of an earlier build is newer than all the code it comes from: half a second each."""
    import nonlin

    code = (path for path in Path(nonlin.__file__).parent.rglob("*") if path.suffix in {".py", ".toml"})
    return page.exists() and page.stat().st_mtime > max(path.stat().st_mtime for path in (Path(__file__), *code))


def _gallery(names: list[str]) -> str:
    import nonlin as nl
    from nonlin.report.shapes import shape_svg

    cards = []
    for name in names:
        act = nl.activation(name)
        cards.append(
            f'<a href="{name}.html">{shape_svg(act, name)}<span class="name">{escape(name)}</span>'
            f"<code>{escape(act.formula)}</code></a>"
        )
    listed = "\n".join(names)
    return (
        f"# The catalogue\n\n{len(names)} known activations, each with its derivative (dashed), health and source; "
        "drawn with their initial parameters. `nonlin list WORD` searches the same data.\n\n"
        f'<div class="gallery">\n{chr(10).join(cards)}\n</div>\n\n'
        f"```{{toctree}}\n:hidden:\n\n{listed}\n```\n"
    )


def page_of(name: str) -> str:
    """The page of one activation, in Markdown."""
    import nonlin as nl
    from nonlin.diagnosis.sheet import rows
    from nonlin.report.shapes import shape_svg

    entry, act = nl.zoo.entry(name), nl.activation(name)
    card = nl.health(name)
    advantages, drawbacks = card.words()
    parts = [
        f"# {name}",
        entry.remark,
        shape_svg(act, name),
        f"```python\nf = nl.activation({name!r})  # {act.formula}\n```",
        f"$$\nf(x) = {act.latex()}\n$$",
        f"$$\nf'(x) = {act.derivative().latex()}\n$$",
        "\n".join(_facts(entry, act)),
        "## Health",
        "What the numbers mean: [health cards](../../health.md).",
        "| | |\n|---|---|\n" + "\n".join(f"| {_cell(label)} | {_cell(text)} |" for label, text in rows(card)),
        "**For it**\n\n" + _list(advantages),
        "**Against it**\n\n" + _list(drawbacks),
        "## Source",
        _source(entry.source),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(entry: Any, act: Any) -> list[str]:
    facts = []
    if entry.aliases:
        facts.append("- Also called: " + ", ".join(entry.aliases))
    if act.parameters:
        facts.append("- Trainable: " + ", ".join(f"`{k}` = {v:g}" for k, v in act.parameters.items()))
    if entry.constants:
        facts.append("- Fixed: " + ", ".join(f"`{k}` = {v:g}" for k, v in entry.constants))
    return facts


def _source(source: str) -> str:
    from nonlin.zoo.citation import citation

    work = citation(source)
    return source + (f"\n\n```bibtex\n{work.bibtex()}\n```" if work else "")


def _list(sentences: list[str]) -> str:
    return "\n".join(f"- {_cell(sentence)}" for sentence in sentences) or "- Nothing that the numbers show."


def _cell(text: str) -> str:
    """Text that Markdown must take as it is."""
    return "".join(f"\\{c}" if c in "|*_<>[]`$\\" else c for c in text)
