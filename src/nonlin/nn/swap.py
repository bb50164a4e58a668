"""`swap`: another activation inside an existing model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import nn

from nonlin.errors import NonlinError
from nonlin.native.module import Per
from nonlin.nn.gains import gain
from nonlin.nn.swap_audit import remaining
from nonlin.nn.swap_blend import Blend
from nonlin.nn.swap_probe import Probe, Seen, gain_of, observe
from nonlin.nn.swap_sites import Pattern, Site, Skipped, find, select
from nonlin.nn.swap_source import base_and_uses, rewritten
from nonlin.nn.swap_table import Kind, Wanted
from nonlin.zoo import Activation, activation

_ABSENT = object()


@dataclass(frozen=True)
class _Change:
    """One attribute of one object as it was before."""

    owner: Any
    key: str
    before: Any

    def undo(self) -> None:
        if isinstance(self.owner, nn.Module) and isinstance(getattr(self.owner, self.key, None), nn.Module):
            if not isinstance(self.before, nn.Module):
                delattr(self.owner, self.key)
        if isinstance(self.before, nn.Module) and isinstance(self.owner, nn.Module):
            self.before.train(self.owner.training)
        if self.before is not _ABSENT:
            setattr(self.owner, self.key, self.before)


class Swapped(list[str]):
    """What `swap` did: the qualified names of the new modules, as a list.

    Attributes
    ----------
    skipped : activations that were not replaced, each with the reason
    scaled : names of the layers whose weights were scaled, with their factors
    """

    def __init__(self, names: Iterable[str], act: str):
        super().__init__(names)
        self.activation = act
        self.skipped: list[Skipped] = []
        self.scaled: dict[str, float] = {}
        self._weights: list[tuple[torch.Tensor, float]] = []
        self._changes: list[_Change] = []
        self._placed: list[tuple[str, nn.Module, str, nn.Module]] = []  # name, owner, key, the new module

    def undo(self) -> None:
        """The model as it was: old activations, and scaled weights divided by their factor.

        Raises NonlinError, and changes nothing, if one of the new modules was replaced since, as by a later swap.
        """
        for name, owner, key, module in self._placed:
            now = getattr(owner, key, None)
            if now is not module and not (isinstance(module, Blend) and now is module.new):
                raise NonlinError(
                    f"{name} was replaced after this swap, by a {type(now).__name__}; undo the later swap first."
                )
        self._revert()

    def _revert(self) -> None:
        for change in reversed(self._changes):
            change.undo()
        with torch.no_grad():
            for weight, factor in self._weights:
                weight.div_(factor)
        self._changes, self._weights, self._placed = [], [], []
        self.clear()

    def __str__(self) -> str:
        count = "1 activation is" if len(self) == 1 else f"{len(self)} activations are"
        lines = [f"{count} now {self.activation}:", *(f"  {name}" for name in self)]
        if self.scaled:
            lines += ["weights scaled:", *(f"  {name} by {factor:.4g}" for name, factor in self.scaled.items())]
        if self.skipped:
            lines += ["not replaced:", *(f"  {one}" for one in self.skipped)]
        return "\n".join(lines)


def swap(
    model: nn.Module,
    act: Activation | str | nn.Module | Callable[[int | None, int], nn.Module],
    replace: Kind | tuple[Kind, ...] | list[Kind] | None = None,
    *,
    names: Pattern | Iterable[Pattern] | None = None,
    index: int | Iterable[int] | slice | None = None,
    per: Per = "tensor",
    dim: int | None = None,
    example: Any = None,
    functional: bool = True,
    rescale: bool = False,
    blend: int = 0,
) -> Swapped:
    """Replace activations of a model, in place.

    Parameters
    ----------
    model : any module
    act : name, formula or activation; or a module, copied for each place; or a function
        ``(channels, dim) -> module`` (channels is None without ``per="channel"``)
    replace : module classes, functions such as ``F.relu`` (which stand for their class), or names of classes;
        default: ReLU, GELU, SiLU and the other usual ones of torch, transformers and timm, but not sigmoid and
        tanh, which mostly are gates and outputs
    names : only places whose qualified name matches: shell patterns ("encoder.*"), compiled regular
        expressions (searched), or a list of them
    index : only these of the places that are left, in the order of `model.named_modules()` (calls in a module's own
        code come before its submodules); negative ones from the end
    per : "channel" for parameters of their own for each channel; how many there are is seen in a dry run
    dim : the dimension of the channels; default: found in the dry run
    example : one batch: a tensor, a tuple of arguments or a dictionary of keyword arguments
    functional : whether to replace calls too (``F.relu(x)``, ``torch.relu(x)``, ``x.relu()``)
    rescale : whether to scale the weights that follow by gain(new)/gain(old), for a model that is yet to be trained
    blend : over how many optimiser steps to go from the old function to the new (see `Blend`); 0 for at once

    Returns
    -------
    Swapped : a list of the qualified names of the new modules, with ``.skipped`` and ``.undo()``

    Notes
    -----
    One module used in several places stays one; where its places differ in channels, there is one for each
    count. New parameters are on the device and of the dtype of their neighbours: make the optimiser after this.

    Raises
    ------
    NonlinError : if nothing is found, a name or an index fits nothing, or the dry run fails.
    """
    _check(model, per, rescale, blend, example)
    new = _Factory(act)
    wanted = Wanted(replace)
    found = find(model, wanted, functional)
    if not found.sites:
        raise NonlinError(_nothing(model, wanted, found.skipped))
    sites = select(found.sites, names, index)
    report = Swapped([name for site in sites for name in site.names], new.label)
    try:
        seen = _install(model, sites, new, report, per, dim, example, rescale, blend)
        if rescale:
            _scale(sites, new, seen, report)
        report.skipped = list(found.skipped)
        if functional and names is None and index is None:
            report.skipped += remaining(model, wanted, example)
    except BaseException:
        report._revert()
        raise
    report._placed = [(site.name, site.owner, site.key, getattr(site.owner, site.key)) for site in sites]
    return report


def _check(model: Any, per: str, rescale: bool, blend: int, example: Any) -> None:
    if not isinstance(model, nn.Module):
        raise NonlinError(f"swap works on a torch.nn.Module; got {type(model).__name__}.")
    if isinstance(model, torch.jit.ScriptModule):
        raise NonlinError("a TorchScript model cannot be changed; swap the Python model before torch.jit.script.")
    if per not in get_args(Per):
        raise NonlinError(f"per={per!r} is not known; use 'tensor' or 'channel'.")
    if not isinstance(blend, int) or blend < 0:
        raise NonlinError(f"blend={blend!r} must be a whole number of optimiser steps, 0 for none.")
    if rescale and blend:
        raise NonlinError("rescale is for a model yet to be trained, blend for a trained one; choose one of them.")
    for name, asked in (("per='channel'", per == "channel"), ("rescale=True", rescale)):
        if asked and example is None:
            raise NonlinError(f"{name} needs a dry run: pass example=, one batch that the model takes.")


class _Factory:
    """Makes the new module of a place."""

    def __init__(self, act: Any):
        self.act = act
        self.made: Callable[[Per, int | None, int], nn.Module]
        if isinstance(act, nn.Module):
            self.label = type(act).__name__
            self.made = lambda per, channels, dim: copy.deepcopy(act)
        elif callable(act) and not isinstance(act, Activation):
            self.label = getattr(act, "__name__", "the new ones")
            self.made = lambda per, channels, dim: self._called(act, channels, dim)
        else:
            self.act = found = activation(act)
            self.label = found.name
            self.made = lambda per, channels, dim: found.module(per=per, channels=channels, dim=dim)

    def _called(self, act: Any, channels: int | None, dim: int) -> nn.Module:
        hint = f"Pass an instance, {self.label}(), to have it copied for each place" if isinstance(act, type) else (
            "Pass a name, a formula or a module; a function is called with (channels, dim) and returns a module"
        )  # fmt: skip
        if isinstance(act, type) and issubclass(act, nn.Module):
            raise NonlinError(f"{self.label} is a class. {hint}.")
        try:
            return act(channels, dim)
        except TypeError as error:
            raise NonlinError(f"{self.label}(channels={channels}, dim={dim}) failed: {error}. {hint}.") from error

    def __call__(self, per: Per, channels: int | None, dim: int, site: Site, blend: int) -> nn.Module:
        module = self.made(per, channels, dim)
        if not isinstance(module, nn.Module):
            raise NonlinError(f"{self.label} made a {type(module).__name__} for {site.name}, not a torch.nn.Module.")
        if blend:
            if site.old is None:
                raise NonlinError(
                    f"{site.name} cannot blend: the arguments of the old function are not plain numbers in the source. "
                    "Leave it out by names=, or swap without blend."
                )
            module = Blend(site.old, module, blend)
        return module.train(site.owner.training)


def _install(
    model: nn.Module, sites: list[Site], new: _Factory, report: Swapped, per: Per, dim: int | None, example: Any,
    rescale: bool, blend: int,
) -> list[Seen]:  # fmt: skip
    log: list = []
    probing = per == "channel" or rescale
    for position, site in enumerate(sites):
        _set(report, site.owner, site.key, Probe(site.old or nn.Identity(), log, position))
    _redirect_calls(report, sites)
    seen = observe(model, sites, example, log) if probing else [Seen() for _ in sites]
    made: dict[Any, nn.Module] = {}
    for site, met in zip(sites, seen, strict=True):
        channels, place = _channels(site, met, dim) if per == "channel" else (None, 1)
        key = (site.shared or id(site), channels, place)
        if key not in made:
            made[key] = _placed(new(per, channels, place, site, blend), site, model)
        setattr(site.owner, site.key, made[key])
    _leave_fast_paths(report, model, sites)
    return seen


def _set(report: Swapped, owner: Any, key: str, value: Any) -> None:
    report._changes.append(_Change(owner, key, getattr(owner, key, _ABSENT)))
    setattr(owner, key, value)


def _redirect_calls(report: Swapped, sites: list[Site]) -> None:
    """Let the code of the owners call the new submodules."""
    by_owner: dict[nn.Module, list[Site]] = {}
    for site in sites:
        if site.use is not None:
            by_owner.setdefault(site.owner, []).append(site)
        if site.node is not None:
            _redirect_node(report, site)
    for owner, own in by_owner.items():
        base, done = base_and_uses(owner)
        more = tuple((site.use.method, site.use.ordinal, site.key) for site in own if site.use)
        _set(report, owner, "__class__", rewritten(base, done + more))


def _redirect_node(report: Swapped, site: Site) -> None:
    node, owner = site.node, site.owner
    assert node is not None
    before = copy.deepcopy(owner.graph)
    with node.graph.inserting_before(node):
        call = node.graph.call_module(site.key, (node.args[0] if node.args else node.kwargs["input"],))
    node.replace_all_uses_with(call)
    node.graph.erase_node(node)
    owner.recompile()  # type: ignore[operator]
    report._changes.append(_Change(owner, "graph", before))


def _channels(site: Site, met: Seen, dim: int | None) -> tuple[int | None, int]:
    if not met.channels:
        raise NonlinError(
            f"{site.name} did not run on the example, so its channels are not known. Pass an example that reaches "
            "it, or leave it out by names=."
        )
    counts = sorted(set(met.channels))
    if len({count for count, _ in counts}) > 1:
        shown = " and ".join(str(count) for count, _ in counts)
        raise NonlinError(
            f"{site.name} is used on {shown} channels, and has one set of parameters. Give each use a module of "
            "its own, or take per='tensor'."
        )
    return counts[0][0], counts[0][1] if dim is None else dim


def _placed(module: nn.Module, site: Site, model: nn.Module) -> nn.Module:
    """On the device and of the dtype of the parameters around it."""
    around = next((p for m in (site.owner, model) for p in m.parameters() if p.is_floating_point()), None)
    return module if around is None else module.to(device=around.device, dtype=around.dtype)


def _leave_fast_paths(report: Swapped, model: nn.Module, sites: list[Site]) -> None:
    """Fused inference kernels know relu and gelu only; they would go on computing the old function."""
    owners = {site.owner for site in sites}
    for owner in owners:
        if getattr(owner, "activation_relu_or_gelu", 0):
            _set(report, owner, "activation_relu_or_gelu", 0)
    for encoder in model.modules():
        layers = set(encoder.layers) if isinstance(encoder, nn.TransformerEncoder) else set()
        if layers & owners and getattr(encoder, "use_nested_tensor", False):
            _set(report, encoder, "use_nested_tensor", False)


def _scale(sites: list[Site], new: _Factory, seen: list[Seen], report: Swapped) -> None:
    """Scale the weights that follow each place by gain(new)/gain(old)."""
    done: set[int] = set()
    for site, met in zip(sites, seen, strict=True):
        factor = _factor(site, new)
        for name, layer in met.followers:
            weight = layer.weight
            assert isinstance(weight, torch.Tensor)
            if factor is None or id(weight) in done:
                continue
            done.add(id(weight))
            with torch.no_grad():
                weight.mul_(factor)
            report.scaled[name] = factor
            report._weights.append((weight, factor))


def _factor(site: Site, new: _Factory) -> float | None:
    old = gain_of(site.old) if site.old is not None else None
    try:
        now = gain(new.act) if isinstance(new.act, Activation) else gain_of(getattr(site.owner, site.key))
    except NonlinError:
        now = None
    return now / old if old and now else None


def _nothing(model: nn.Module, wanted: Wanted, skipped: list[Skipped]) -> str:
    kinds = sorted({type(module).__name__ for name, module in model.named_modules() if name})
    if wanted.module(model):
        return "the model itself is the activation; swap works inside a model. Use the new activation's .module()."
    text = f"the model has no {wanted} to replace. Its modules are: {', '.join(kinds[:20]) or 'none'}."
    own = "ActivationModule" in kinds and not wanted.names
    text += (
        " Its activations are made by nonlin already: replace='ActivationModule' replaces them."
        if own
        else " Name what to replace by replace=, such as replace=(nn.Tanh,)."
    )
    return text + "".join(f"\nnot replaced: {one}" for one in skipped)
