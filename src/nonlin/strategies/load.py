"""Spaces of the user's own, from a TOML file.

name = "mine"
like = "core-1"                      # take over the functions of another space, or write them:
unary = ["a", "sin(a)", "beta*a"]    # a is the input; other names are trainable parameters
binary = ["a + b", "a*b"]
nary = ["max(a, b)"]
add_unary = ["softplus(a)"]          # with `like`: more functions, and fewer
add_binary = ["a*tanh(b)"]
remove = ["exp(a)", "sqrt(a)"]
templates = ["b(x, g(x))", "x*sigmoid(u(x))"]    # shapes; or core units:
units = 2
wiring = "chain"                     # or "free"
per = "channel"                      # or "tensor"
remark = "what it is for"
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nonlin.errors import FormulaError, SearchError, UnknownNameError, suggest
from nonlin.strategies.component import Component
from nonlin.strategies.spaces import SPACES, Space, space

_LISTS = ("unary", "binary", "nary", "add_unary", "add_binary", "add_nary", "remove", "templates")
_TEXTS = ("name", "like", "wiring", "per", "remark")
_KEYS = (*_LISTS, *_TEXTS, "units")
_CHOICES = {"wiring": ("chain", "free"), "per": ("channel", "tensor")}


def load_space(path: str | Path) -> Space:
    """The space that a TOML file describes; see this module's own text for an example.

    Raises
    ------
    SearchError : naming file, line and remedy, if the file is missing or anything in it cannot be used
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SearchError(f"there is no file {path}. A space is a name (see: nonlin spaces) or a TOML file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SearchError(f"cannot read {path}: {error}.") from None
    return _Loader(path, text).space()


class _Loader:
    def __init__(self, path: Path, text: str):
        self.path, self.lines = path, text.splitlines()
        try:
            self.table: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"line (\d+)", str(error))
            line = int(found[1]) if found else len(self.lines)
            raise self.fail(f"this is not TOML: {error}.", line=line) from None

    def fail(self, problem: str, key: str = "", value: str = "", line: int = 0) -> SearchError:
        """An error that shows the line of `value`, or else of `key`."""
        line = line or self.line_of(key, value)
        if not line:
            return SearchError(f"{self.path}: {problem}")
        shown = self.lines[line - 1].strip() if line <= len(self.lines) else ""
        return SearchError(f"{self.path}, line {line}: {problem}\n    {shown}")

    def line_of(self, key: str, value: str = "") -> int:
        """The line on which `key` is set, or the first from there that holds `value`; 0 if there is none."""
        start = next(
            (n for n, text in enumerate(self.lines, 1) if re.match(rf"\s*\"?{re.escape(key)}\"?\s*=", text)), 0
        )
        if start and value:
            return next((n for n, text in enumerate(self.lines, 1) if n >= start and value in text), start)
        return start

    def space(self) -> Space:
        self.check_keys()
        values: dict[str, Any] = {"name": self.path.stem, "remark": "", "unary": (), "binary": (), "nary": ()}
        if like := self.table.get("like"):
            values |= self.taken_from(like)
        for key in ("name", "remark", "wiring", "per", "units"):
            if key in self.table:
                values[key] = self.table[key]
        for kind in ("unary", "binary", "nary"):
            own = self.table.get(kind, values[kind])
            values[kind] = tuple(dict.fromkeys((*own, *self.table.get(f"add_{kind}", ()))))
        self.remove(values)
        if "units" in self.table and "templates" in self.table:
            raise self.fail("give either units or templates, not both.", "units")
        if "templates" in self.table:
            values["templates"] = tuple(self.table["templates"])
        elif "units" in self.table:
            values["templates"] = ()
        made = Space(**values)
        self.check(made)
        return made

    def check_keys(self) -> None:
        for key, value in self.table.items():
            if key not in _KEYS:
                close = suggest(key, _KEYS)
                advice = f"did you mean {close}?" if close else f"known are {', '.join(_KEYS)}."
                raise self.fail(f"{key!r} is not known here; {advice}", key)
            if key in _LISTS and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
                raise self.fail(f'{key} must be a list of texts, as in {key} = ["..."].', key)
            if key in _TEXTS and not isinstance(value, str):
                raise self.fail(f'{key} must be a text, as in {key} = "...".', key)
            if key == "units" and (isinstance(value, bool) or not isinstance(value, int)):
                raise self.fail("units must be a whole number, as in units = 2.", key)
            if key in _CHOICES and value not in _CHOICES[key]:
                raise self.fail(f"{key} must be {' or '.join(map(repr, _CHOICES[key]))}, not {value!r}.", key)
        name = self.table.get("name", self.path.stem)
        if not name or name in SPACES or re.fullmatch(r"core-\d+(-free)?", name) or name.endswith(".toml"):
            raise self.fail(f"the name {name!r} cannot be used for a space of your own; take another.", "name")

    def taken_from(self, like: str) -> dict[str, Any]:
        if like.endswith(".toml"):
            raise self.fail("like names a built-in space, not a file.", "like")
        try:
            definition = space(like).definition()
        except (UnknownNameError, SearchError) as error:
            raise self.fail(str(error), "like") from None
        kept = ("unary", "binary", "nary", "units", "wiring", "templates")
        return {key: tuple(value) if isinstance(value := definition[key], list) else value for key in kept}

    def remove(self, values: dict[str, Any]) -> None:
        for gone in self.table.get("remove", ()):
            holders = [kind for kind in ("unary", "binary", "nary") if gone in values[kind]]
            if not holders:
                everything = [*values["unary"], *values["binary"], *values["nary"]]
                close = suggest(gone, everything)
                advice = f"did you mean {close}?" if close else f"it has: {', '.join(everything)}."
                raise self.fail(f"remove names {gone!r}, which the space does not have; {advice}", "remove", gone)
            for kind in holders:
                values[kind] = tuple(formula for formula in values[kind] if formula != gone)

    def check(self, made: Space) -> None:
        """Read every formula and template now, so that a mistake is shown with its line."""
        inputs: Sequence[tuple[str, tuple[str, ...]]] = (
            ("unary", ("a",)),
            ("binary", ("a", "b")),
            ("nary", ("a", "b")),
        )
        for kind, names in inputs:
            for formula in getattr(made, kind):
                key = kind if formula in self.table.get(kind, ()) else f"add_{kind}"
                try:
                    component = Component(formula, names)
                    _ = component.expr
                except FormulaError as error:
                    raise self.fail(str(error), key, formula) from None
                stray = {"x", "b"} & set(component.parameters)
                if stray:
                    expected = "its input is a" if kind == "unary" else "its inputs are a and b"
                    raise self.fail(f"a {kind} function is written without {stray.pop()}; {expected}.", key, formula)
        for text in made.templates:
            try:
                _ = Space("template", made.unary, made.binary, nary=made.nary, templates=(text,)).size
            except (SearchError, FormulaError) as error:
                raise self.fail(str(error), "templates", text) from None
        try:
            _ = made.size
        except SearchError as error:
            raise self.fail(str(error), "units") from None
