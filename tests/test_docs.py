"""The documentation's commands parse, its Python compiles, its links lead somewhere, and every page is reachable."""

import inspect
import re
import shlex
from pathlib import Path

import pytest
import typer.main

import nonlin as nl
from nonlin.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
COMMAND = re.compile(r"^(?:\$ )?(nonlin (?:[^\n\\]|\\\n)+)", re.MULTILINE)


def blocks(page, *kinds):
    """The fenced blocks of these kinds."""
    found = re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [body for kind, body in found if kind in kinds]


def commands():
    """Every command line of ours in a console block, with its page; shells' own signs and comments cut off."""
    for page in TEXTS:
        for body in blocks(page, "console", "bash", "sh", ""):
            for line in COMMAND.findall(body):
                for part in re.split(r"&&|\|\||[;|>]", re.sub(r"\s#.*", "", line.replace("\\\n", " "))):
                    if part.strip().startswith("nonlin "):
                        yield page.name, part.strip()


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in link and not link.startswith(("generated/", "mailto:")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = set(
        re.findall(r"^[\w-]+$", "\n".join(re.findall(r"```{toctree}(.*?)```", index, re.DOTALL)), re.MULTILINE)
    )
    assert {page.stem for page in PAGES} - {"index"} <= listed


def test_commands_parse():
    """Names of verbs, options and their values; nothing is run."""
    group = typer.main.get_command(app)
    seen = 0
    for page, line in commands():
        verb, rest = group, shlex.split(line)[1:]
        while hasattr(verb, "commands") and rest and not rest[0].startswith("-"):
            assert rest[0] in verb.commands, f"{page}: {line}"
            verb, rest = verb.commands[rest[0]], rest[1:]
        if rest and "..." not in rest and not hasattr(verb, "commands") and "--help" not in rest:
            try:
                verb.make_context(line, list(rest))
            except Exception as error:  # whatever the parser says, with the place
                pytest.fail(f"{page}: {line}: {error}")
        seen += 1
    assert seen > 10


def test_every_public_name_has_its_place_in_the_reference(monkeypatch):
    """A function or class on the page of `nonlin`, a module on a page of its own, each with a docstring."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    from pages.interface import PAGES as REFERENCE
    from pages.interface import _page

    pages = {module: _page(module, title, words) for module, title, words in REFERENCE}
    for name in set(nl.__all__) - {"__version__"}:
        value = getattr(nl, name)
        assert value.__doc__, name
        if inspect.ismodule(value):
            assert f"nonlin.{name}" in pages, name
        else:
            assert re.search(rf"^\.\. auto(class|function):: nonlin\.{name}$", pages["nonlin"], re.MULTILINE), name
    assert "autofunction:: nonlin.hf.register\n" in pages["nonlin.hf"] + "\n"  # not the register of the catalogue
    assert all(".. auto" in page for page in pages.values())


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_python_compiles(page):
    for body in blocks(page, "python"):
        compile(body, page.name, "exec")
