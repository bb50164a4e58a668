"""Hugging Face transformers: any activation by a string in a model's config.

    nl.hf.register()
    GPT2Config(activation_function="nonlin:swish")        ViTConfig(hidden_act="nonlin:x*tanh(softplus(x))")

Configs take nothing but text for an activation, and look it up in one table, ``ACT2FN``. That table learns to read
names that begin with ``nonlin:``, so the text that is saved in config.json is the whole recipe: a process that loads
the model needs ``nl.hf.register()`` and nothing else. Behind the prefix stands a name or a formula, then, if wanted,
initial values and channels:

    nonlin:swish; beta=0.5        nonlin:prelu; channels=3072        nonlin:gelu; channels=64; dim=1
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from nonlin.errors import MissingExtraError, NonlinError, UnknownNameError
from nonlin.native.module import ActivationModule
from nonlin.zoo import Activation, activation, names, shipped

PREFIX = "nonlin:"


def register(*acts: Activation | str) -> list[str]:
    """Let transformers read ``nonlin:...`` wherever a config names an activation. May be called again.

    Parameters
    ----------
    acts : names, formulas or activations to check now. None are needed: every name of the catalogue and every formula
        is read when a model asks for it. Only the few models that look into a second table of classes (``ACT2CLS``:
        the DETR family and others) know catalogue names and what is given here, and no other formula.

    Returns
    -------
    The text for a config, one for each of `acts`, as `name` gives it.

    Raises
    ------
    MissingExtraError : if transformers is not installed
    NonlinError : for an activation that cannot be read

    >>> register("swish", "x*tanh(x)")  # doctest: +SKIP
    ['nonlin:swish', 'nonlin:x*tanh(x)']
    """
    known = [name(act) for act in acts]
    table, classes, base = _transformers()
    _open_table(table)
    for text in (*(PREFIX + one for one in names()), *known):
        classes.setdefault(text, partial(module, text))
    _keep_initial_values(base)
    return known


def name(act: Activation | str, *, channels: int | None = None, dim: int = -1) -> str:
    """The text that stands for an activation in a config.

    Names of the shipped catalogue stay names. What the user registered is written out as a formula, since another
    process could not know the name.

    >>> name("silu"), name(activation("swish", beta=0.5), channels=64)
    ('nonlin:silu', 'nonlin:swish; beta=0.5; channels=64')

    Parameters
    ----------
    act : name, formula or activation, with its initial values
    channels : parameters for each of so many channels; transformers does not tell an activation how many there are
    dim : the dimension of the channels; the last one in transformers' linear layers, 1 in its convolutions
    """
    if isinstance(act, str) and (act.startswith(PREFIX) or ";" in act):
        act, own, own_dim = _read(act)
        channels, dim = (own, own_dim) if channels is None else (channels, dim)
    act = activation(act)
    spelled = act.name if shipped(act.name) and activation(act.name).expr == act.expr else act.formula
    usual = activation(spelled).parameters
    parts = [spelled, *(f"{key}={value!r}" for key, value in act.parameters.items() if usual[key] != value)]
    if channels is not None:
        parts += [f"channels={channels}", *([f"dim={dim}"] if dim != -1 else [])]
    text = PREFIX + "; ".join(parts)
    module(text)  # refuses what it could not make
    return text


def module(text: str) -> ActivationModule:
    """The module that a config's text stands for; what transformers calls.

    Raises
    ------
    NonlinError : with the text and what is wrong with it
    """
    act, channels, dim = _read(text)
    try:
        return act.module(per="tensor" if channels is None else "channel", channels=channels, dim=dim)
    except NonlinError as error:
        raise NonlinError(f"the activation {text!r} of a model's config: {error}") from None


def _read(text: str) -> tuple[Activation, int | None, int]:
    """(activation, channels, dimension) of ``nonlin:swish; beta=0.5; channels=64; dim=1``."""
    spec, *options = (part.strip() for part in text.removeprefix(PREFIX).split(";"))
    whole: dict[str, int | None] = {"channels": None, "dim": -1}
    values: dict[str, float] = {}
    for option in options:
        key, _, value = (part.strip() for part in option.partition("="))
        try:
            if key in whole:
                whole[key] = int(value)
            else:
                values[key] = float(value)
        except ValueError:
            raise NonlinError(
                f"cannot read {option!r} in the activation {text!r}: expected a parameter and a number, as in "
                f"'{PREFIX}swish; beta=0.5', or channels= and dim= with a whole number."
            ) from None
    try:
        act = activation(spec, **values)
    except NonlinError as error:
        hint = " A name given by nl.register is to be registered again in each process, before the model is made."
        raise NonlinError(
            f"the activation {text!r} of a model's config: {error}{hint * isinstance(error, UnknownNameError)}"
        ) from None
    return act, whole["channels"], whole["dim"] or 0


def _transformers() -> tuple[Any, dict[str, Any], type]:
    """Its table of activations, its table of classes, and the base of its models."""
    try:
        from transformers import PreTrainedModel
        from transformers.activations import ACT2CLS, ACT2FN
    except ImportError:
        raise MissingExtraError("transformers", "hf", "an activation in a Hugging Face config") from None
    return ACT2FN, ACT2CLS, PreTrainedModel


def _open_table(table: Any) -> None:
    """Give the one table, which every model file holds by reference, a class that also reads our names."""
    kind = type(table)
    if hasattr(kind, "__missing__"):
        return

    def missing(self: Any, key: Any) -> Any:
        if isinstance(key, str) and key.startswith(PREFIX):
            return partial(module, key)  # the table calls what it finds
        raise KeyError(key)

    def contains(self: Any, key: Any) -> bool:
        return kind.__contains__(self, key) or (isinstance(key, str) and key.startswith(PREFIX))

    table.__class__ = type(kind.__name__, (kind,), {"__missing__": missing, "__contains__": contains})


def _keep_initial_values(base: Any) -> None:
    """Let models start our parameters at their initial values where a checkpoint lacks them.

    A checkpoint trained with another activation has no values for them. transformers then leaves fresh memory to the
    model's ``_init_weights``, which knows its own layers only: whatever lay in that memory would be the parameter.
    """
    before = getattr(base, "_initialize_weights", None)
    if before is None or hasattr(before, "nonlin"):
        return

    def initialise(self: Any, layer: Any, *args: Any, **keywords: Any) -> Any:
        if isinstance(layer, ActivationModule) and not getattr(layer, "_is_hf_initialized", False):
            for attribute, value in layer.initial.items():
                parameter = getattr(layer, attribute)
                if not getattr(parameter, "_is_hf_initialized", False):  # not from the checkpoint
                    with torch.no_grad():
                        parameter.fill_(value)
        return before(self, layer, *args, **keywords)

    initialise.nonlin = True  # type: ignore[attr-defined]
    base._initialize_weights = initialise
