"""The catalogue of known activations: data in TOML, its loader, and the look-up by name.

An entry of `catalogue.toml`, or of a user's own file:

    [[activation]]
    name = "leaky_relu"                      # letters, digits and _, unique
    aliases = ["lrelu"]                      # case, "-", "_" and spaces do not matter
    formula = "where(x < 0, alpha*x, x)"
    constants = { alpha = 0.01 }             # fixed numbers of the formula
    parameters = { }                         # trainable, with their initial values (default 1.0)
    source = "Maas, Hannun & Ng 2013"
    remark = "One line on what it is known for."
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from nonlin.errors import CatalogueError, FormulaError, UnknownNameError
from nonlin.expr import Call, Expr, parse, substitute
from nonlin.expr.operators import FUNCTIONS
from nonlin.expr.tree import ONE, call
from nonlin.zoo.activation import Activation, with_initial

_WORD = re.compile(r"[A-Za-z_]\w*([- ]\w*[A-Za-wyz]\w+)*")  # "relu", "leaky-relu", not "-x" or "x-1"
_KEYS = {"name", "aliases", "formula", "parameters", "constants", "source", "remark"}


@dataclass(frozen=True)
class Entry:
    """One known activation."""

    name: str
    formula: str
    aliases: tuple[str, ...] = ()
    parameters: tuple[tuple[str, float], ...] = ()
    constants: tuple[tuple[str, float], ...] = ()
    source: str = ""
    remark: str = ""

    def activation(self, values: Mapping[str, float] | None = None) -> Activation:
        """The activation, with some constants or initial values replaced by `values`."""
        values = dict(values or {})
        constants = {name: values.pop(name, default) for name, default in self.constants}
        tree = parse(self.formula)
        if constants:
            _check_numbers(self.name, constants)
            tree = _without_ones(substitute(tree, constants))
        initial = dict(self.parameters)
        ordered = tuple((name, initial.get(name, 1.0)) for name in tree.parameters)
        act = Activation(self.name, tree, ordered)
        if unknown := [name for name in values if name not in act.parameters]:
            known = ", ".join([*constants, *act.parameters]) or "none"
            raise CatalogueError(f"{self.name} has no parameter {unknown[0]!r}; it has: {known}.")
        return with_initial(act, values)


class Catalogue:
    """Entries by name and alias."""

    def __init__(self, entries: Iterable[Entry] = ()):
        self.entries: dict[str, Entry] = {}
        self._keys: dict[str, str] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry, replace: bool = False) -> None:
        """Take in an entry; a name or alias that is taken is an error unless `replace`."""
        for spelling in (entry.name, *entry.aliases):
            owner = self._keys.get(_key(spelling))
            if owner is not None and owner != entry.name and not replace:
                raise CatalogueError(
                    f"the name {spelling!r} already belongs to {owner!r} "
                    f"({self.entries[owner].formula}). Choose another name."
                )
        if entry.name in self.entries and not replace and self.entries[entry.name] != entry:
            raise CatalogueError(
                f"{entry.name!r} is already known as {self.entries[entry.name].formula}. "
                "Choose another name; register(..., replace=True) replaces it for this process."
            )
        self.entries[entry.name] = entry
        for spelling in (entry.name, *entry.aliases):
            self._keys[_key(spelling)] = entry.name

    def find(self, name: str) -> Entry | None:
        """The entry called `name` or having it as an alias; case, "-", "_" and spaces do not matter."""
        return self.entries.get(self._keys.get(_key(name), ""))

    def spellings(self) -> list[str]:
        return [spelling for entry in self.entries.values() for spelling in (entry.name, *entry.aliases)]


def _without_ones(node: Expr) -> Expr:
    """`1*a`, `a*1`, `a/1` and `a**1` as plain a, so that a constant of 1 leaves no trace in the formula."""
    if not isinstance(node, Call):
        return node
    args = [_without_ones(arg) for arg in node.args]
    if node.name in ("mul", "div", "pow") and args[1] == ONE:
        return args[0]
    if node.name == "mul" and args[0] == ONE:
        return args[1]
    return call(node.name, *args)


def _key(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")


@lru_cache(maxsize=1)
def _shipped() -> tuple[Entry, ...]:
    text = resources.files("nonlin.zoo").joinpath("catalogue.toml").read_text(encoding="utf-8")
    return tuple(read_entries(text, "catalogue.toml"))


@lru_cache(maxsize=1)
def catalogue() -> Catalogue:
    """The shipped catalogue and the user's own file, if there is one."""
    known = Catalogue(_shipped())
    if (path := user_file()).is_file():
        _add_all(known, path)
    return known


def user_file() -> Path:
    """Where a user's own activations are looked for: ``~/.config/nonlin/activations.toml``.

    ``XDG_CONFIG_HOME`` replaces ``~/.config``.
    """
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return Path(base) / "nonlin" / "activations.toml"


def load_file(path: str | Path) -> list[str]:
    """Add the activations of a TOML file for this process; returns their names."""
    return _add_all(catalogue(), Path(path))


def _add_all(known: Catalogue, path: Path) -> list[str]:
    entries = read_entries(_read(path), str(path))
    for entry in entries:
        try:
            known.add(entry)
        except CatalogueError as error:
            raise CatalogueError(f"{path}: {error} (Or remove that entry from the file.)") from None
    return [entry.name for entry in entries]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CatalogueError(f"cannot read the activation file {path}: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise CatalogueError(f"cannot read the activation file {path}: {error}") from None


def read_entries(text: str, origin: str) -> list[Entry]:
    """The entries of a TOML text. `origin` names it in errors.

    Raises
    ------
    CatalogueError : with the origin, the entry and what is wrong with it.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CatalogueError(f"{origin} is not valid TOML: {error}") from None
    rows = data.get("activation", [])
    if not isinstance(rows, list) or set(data) - {"activation"}:
        extra = ", ".join(sorted(set(data) - {"activation"})) or "activation"
        raise CatalogueError(f"{origin}: expected tables [[activation]] alone, found {extra!r}.")
    return [_entry(row, f"{origin}, activation {index + 1}") for index, row in enumerate(rows)]


def _entry(row: Mapping[str, Any], origin: str) -> Entry:
    origin = f"{origin} ({row.get('name', 'without a name')})"
    if extra := set(row) - _KEYS:
        raise CatalogueError(f"{origin}: unknown key {sorted(extra)[0]!r}; known: {', '.join(sorted(_KEYS))}.")
    for key, kind in (("name", str), ("formula", str)):
        if not isinstance(row.get(key), kind):
            raise CatalogueError(f"{origin}: {key!r} is missing or not text.")
    aliases = row.get("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
        raise CatalogueError(f"{origin}: 'aliases' must be a list of text.")
    return make_entry(
        row["name"], row["formula"], origin=origin, aliases=tuple(aliases),
        parameters=row.get("parameters", {}), constants=row.get("constants", {}),
        source=str(row.get("source", "")), remark=str(row.get("remark", "")),
    )  # fmt: skip


def make_entry(
    name: str,
    formula: str,
    *,
    origin: str = "",
    aliases: tuple[str, ...] = (),
    parameters: Mapping[str, float] | None = None,
    constants: Mapping[str, float] | None = None,
    source: str = "",
    remark: str = "",
) -> Entry:
    """A checked entry: the name is a name, the formula reads, the numbers belong to it."""
    origin = origin or name
    if (name in FUNCTIONS and not formula.replace(" ", "").startswith(f"{name}(x")) or name in ("x", "pi"):
        raise CatalogueError(f"{origin}: {name!r} means something else in formulas; choose another name.")
    if not name.replace("-", "_").replace("_", "a").isalnum() or not name.isascii() or name[0].isdigit():
        raise CatalogueError(f"{origin}: {name!r} is not a name; use letters, digits and _.")
    try:
        symbols = parse(formula).parameters
    except FormulaError as error:
        raise CatalogueError(f"{origin}: {error}") from None
    parameters, constants = parameters or {}, constants or {}
    for group, values in (("parameters", parameters), ("constants", constants)):
        if not isinstance(values, Mapping):
            raise CatalogueError(f"{origin}: {group!r} must be a table such as {{ beta = 1.0 }}.")
        _check_numbers(origin, values)
        if missing := [key for key in values if key not in symbols]:
            raise CatalogueError(f"{origin}: {missing[0]!r} does not occur in the formula {formula}.")
    if both := set(parameters) & set(constants):
        raise CatalogueError(f"{origin}: {sorted(both)[0]!r} is both a parameter and a constant.")
    return Entry(
        name, formula, tuple(aliases),
        tuple((key, float(value)) for key, value in parameters.items()),
        tuple((key, float(value)) for key, value in constants.items()),
        source, remark,
    )  # fmt: skip


def _check_numbers(origin: str, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise CatalogueError(f"{origin}: {key} = {value!r} is not a finite number.")


# What users call


def activation(spec: Activation | str, **parameters: float) -> Activation:
    """The activation that a name or a formula stands for.

    Parameters
    ----------
    spec : a catalogue name or alias ("swish", "SiLU"; case does not matter), a formula
        ("x*sigmoid(beta*x)"), or an activation, which is returned as it is
    parameters : initial values of trainable parameters, or values of an entry's constants

    Raises
    ------
    UnknownNameError : for a word that is neither a known name nor a formula of x
    FormulaError : for a formula that cannot be read

    Examples
    --------
    >>> activation("silu")(0.0)
    0.0
    >>> activation("x*sigmoid(beta*x)", beta=0.5).parameters
    {'beta': 0.5}
    """
    if isinstance(spec, Activation):
        return with_initial(spec, parameters)
    if not isinstance(spec, str):
        raise CatalogueError(
            f"an activation is a name, a formula or an Activation; got {type(spec).__name__} {spec!r:.60}."
        )
    text = spec.strip()
    if entry := catalogue().find(text):
        return entry.activation(parameters)
    if text != "x" and _WORD.fullmatch(text):
        raise UnknownNameError(
            "activation", text, catalogue().spellings(),
            "See 'nonlin list', or give a formula of x such as 'x*tanh(x)'.",
        )  # fmt: skip
    try:
        tree = parse(text)
    except FormulaError as error:
        called = error.text[error.start : error.start + error.length]
        if error.message.startswith("Unknown function") and (entry := catalogue().find(called)):
            message = f"{called} is an activation and not a function of formulas; write it out: {entry.formula}"
            raise FormulaError(error.text, message, error.start, error.length) from None
        raise
    act = Activation(str(tree), tree, tuple((name, 1.0) for name in tree.parameters))
    return with_initial(act, parameters)


def register(
    name: str,
    formula: str,
    *,
    parameters: Mapping[str, float] | None = None,
    constants: Mapping[str, float] | None = None,
    aliases: Iterable[str] = (),
    source: str = "",
    remark: str = "",
    replace: bool = False,
) -> Activation:
    """Add an activation by name, usable everywhere from then on in this process.

    Raises CatalogueError if the name is taken (unless `replace`) or the formula does not read.

    >>> register("my_act", "x*tanh(x)").name
    'my_act'
    """
    entry = make_entry(
        name, formula, aliases=tuple(aliases), parameters=parameters, constants=constants,
        source=source, remark=remark,
    )  # fmt: skip
    catalogue().add(entry, replace=replace)
    return entry.activation()


def names() -> list[str]:
    """The names of all known activations, sorted."""
    return sorted(catalogue().entries)


def shipped(name: str) -> bool:
    """Whether every installation knows an activation of this name, and not this process or this user alone."""
    return any(entry.name == name for entry in _shipped())


def entry(name: str) -> Entry:
    """The catalogue entry of a name or alias; UnknownNameError if there is none."""
    found = catalogue().find(name)
    if found is None:
        raise UnknownNameError("activation", name, catalogue().spellings(), "See 'nonlin list'.")
    return found
