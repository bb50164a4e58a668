"""Where a model has activations: submodules, attributes that hold a function, and calls in its own code."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn
from torch.fx import GraphModule, Node

from nonlin.errors import NonlinError
from nonlin.nn.swap_source import FunctionModule, Use, base_and_uses, uses_of
from nonlin.nn.swap_table import FUNCTIONS, METHODS, Wanted

Pattern = str | re.Pattern[str]


@dataclass
class Site:
    """One place that a new module can take.

    Attributes
    ----------
    names : the qualified names of the place; several where a module is shared
    owner, key : the module and the name in it that the new module gets
    old : what computed the activation before, as a module; None where its arguments are not known
    shared : equal for places that hold one and the same module
    use, node : the call in the owner's source, or in its torch.fx graph
    """

    names: list[str]
    owner: nn.Module
    key: str
    old: nn.Module | None
    shared: int = 0
    use: Use | None = None
    node: Node | None = None

    @property
    def name(self) -> str:
        return self.names[0]


@dataclass(frozen=True)
class Skipped:
    """An activation that was not replaced, and why."""

    name: str
    what: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name or '(the model)'}: {self.what}: {self.reason}"


@dataclass
class Found:
    sites: list[Site] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def find(model: nn.Module, wanted: Wanted, functional: bool) -> Found:
    """All places in `model` with a wanted activation, in order of definition."""
    found = Found()
    by_place: dict[tuple[int, str], Site] = {}
    inside: list[str] = []  # prefixes of wanted modules: what is inside them goes with them
    for path, module in model.named_modules(remove_duplicate=False):
        if path and any(path.startswith(f"{prefix}.") for prefix in inside):
            continue
        if path and wanted.module(module):
            inside.append(path)
            parent, _, key = path.rpartition(".")
            owner = model.get_submodule(parent)
            _add(by_place, Site([path], owner, key, module, id(module)))
            continue
        for site in _own_sites(path, module, wanted, functional, found.skipped):
            _add(by_place, site)
    found.sites = list(by_place.values())
    return found


def select(sites: list[Site], names: Pattern | Iterable[Pattern] | None, index: Any) -> list[Site]:
    """Those sites whose name matches one of the patterns, then those with the given positions."""
    if names is not None:
        patterns = [names] if isinstance(names, str | re.Pattern) else list(names)
        kept = [site for site in sites if any(_matches(p, n) for p in patterns for n in site.names)]
        idle = [p for p in patterns if not any(_matches(p, n) for site in sites for n in site.names)]
        if idle:
            shown = idle[0] if isinstance(idle[0], str) else idle[0].pattern
            raise NonlinError(f"no activation of the model matches names={shown!r}. {_listing(sites)}")
        sites = kept
    if index is None:
        return sites
    if isinstance(index, slice):
        return sites[index]
    positions = [index] if isinstance(index, int) else list(index)
    for position in positions:
        if not isinstance(position, int) or not -len(sites) <= position < len(sites):
            raise NonlinError(f"index={position!r} is not one of 0 to {len(sites) - 1}. {_listing(sites)}")
    chosen = {position % len(sites) for position in positions}
    return [site for position, site in enumerate(sites) if position in chosen]


def _matches(pattern: Pattern, name: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) if isinstance(pattern, str) else bool(pattern.search(name))


def _listing(sites: list[Site]) -> str:
    shown = ", ".join(f"{i}: {site.name}" for i, site in enumerate(sites[:12]))
    return f"Found: {shown}{', ...' if len(sites) > 12 else ''}."


def _add(by_place: dict[tuple[int, str], Site], site: Site) -> None:
    if known := by_place.get((id(site.owner), site.key)):
        known.names += site.names
    else:
        by_place[id(site.owner), site.key] = site


def _own_sites(
    path: str, module: nn.Module, wanted: Wanted, functional: bool, skipped: list[Skipped]
) -> Iterator[Site]:
    """Functions in the attributes of one module, and calls in its own code."""
    for key, value in vars(module).items():
        if (callable(value) or isinstance(value, partial)) and _known(value) and wanted.function(value):
            yield Site([_join(path, key)], module, key, _as_module(value))
    if not functional:
        return
    if isinstance(module, GraphModule):
        yield from _graph_sites(path, module, wanted)
    elif type(module).__module__.split(".")[0] == "torch":
        if reason := _fused(module, wanted):
            skipped.append(Skipped(path, type(module).__name__, reason))
    else:
        yield from _call_sites(path, module, wanted, skipped)


def _known(value: Any) -> bool:
    try:
        return (value.func if isinstance(value, partial) else value) in FUNCTIONS
    except TypeError:
        return False


def _as_module(value: Callable) -> FunctionModule:
    if isinstance(value, partial):
        return FunctionModule(value.func, value.args, value.keywords)
    return FunctionModule(value)


def _fused(module: nn.Module, wanted: Wanted) -> str:
    """Why an activation inside a module of torch itself cannot be taken out."""
    kernel = "its activation is part of one fused kernel; write the layer out to replace it"
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        used = {"relu": nn.ReLU, "tanh": nn.Tanh}.get(getattr(module, "nonlinearity", "tanh"), nn.Tanh)
        return kernel if used in wanted.classes else ""
    kind = type(module)
    if kind.__module__.startswith("torch.ao.nn") and "ReLU" in kind.__name__ and not isinstance(module, nn.Sequential):
        return kernel + " (or swap before quantisation)" if nn.ReLU in wanted.classes else ""
    return ""


def _call_sites(path: str, module: nn.Module, wanted: Wanted, skipped: list[Skipped]) -> Iterator[Site]:
    base, done = base_and_uses(module)
    replaced = {(method, ordinal) for method, ordinal, _ in done}
    taken = set(dir(module))
    for use in uses_of(base):
        known = wanted.function(use.function) if use.function else wanted.method(use.label)
        if not known or (use.method, use.ordinal) in replaced:
            continue
        if use.reason:
            skipped.append(Skipped(path, f"{use.label} in {base.__name__}.{use.method}, line {use.line}", use.reason))
            continue
        key = _free_key(use.label, taken)
        yield Site([_join(path, key)], module, key, _called(use), use=use)


def _called(use: Use) -> nn.Module | None:
    if use.extra is None:
        return None
    if use.function is None:
        return METHODS[use.label]()
    return FunctionModule(use.function, use.extra[0], dict(use.extra[1]))


def _graph_sites(path: str, module: GraphModule, wanted: Wanted) -> Iterator[Site]:
    taken = set(dir(module))
    for node in module.graph.nodes:
        by_function = node.op == "call_function" and wanted.function(node.target)
        if by_function or (node.op == "call_method" and wanted.method(node.target)):
            label = node.target if isinstance(node.target, str) else node.target.__name__
            key = _free_key(label.rstrip("_"), taken)
            function = METHODS[node.target]() if isinstance(node.target, str) else None
            plain = not any(isinstance(value, Node) for value in (*node.args[1:], *node.kwargs.values()))
            keywords = {k: v for k, v in node.kwargs.items() if k not in ("input", "inplace")}
            old = function or (FunctionModule(node.target, tuple(node.args[1:]), keywords) if plain else None)
            yield Site([_join(path, key)], module, key, old, node=node)


def _free_key(label: str, taken: set[str]) -> str:
    count = 1
    while f"{label}_{count}" in taken:
        count += 1
    taken.add(f"{label}_{count}")
    return f"{label}_{count}"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
