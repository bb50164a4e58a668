"""Matching a model's initial weights to its activation.

Scale is a confounder: under one fixed initialisation the functions that are merely larger win, since a
larger gain acts like a larger learning rate. So the weights that follow an activation are scaled by that
activation's gain, relative to the gain of the function the model's own initialisation was made for.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from nonlin.errors import NonlinError
from nonlin.native.module import ActivationModule
from nonlin.nn.gains import gain
from nonlin.zoo import Activation

_WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd)
_PLAIN = (nn.Linear, ActivationModule)


def match_gain(model: nn.Module, act: Activation, example: Tensor, reference: Activation) -> list[str]:
    """Scale the weights of each linear or convolution layer whose input comes from an activation.

    The factor is gain(act)/gain(reference); functions without a finite gain leave the weights alone.
    Which layers those are is seen by running `example`, a small batch in the model's input shape, and
    watching the order of execution: pooling, dropout, reshaping and the like may stand in between.

    Returns the qualified names of the scaled layers.
    """
    try:
        factor = gain(act) / gain(reference)
    except NonlinError:
        return []
    followers = layers_after_activations(model, example)
    with torch.no_grad():
        for name in followers:
            weight = model.get_submodule(name).weight
            assert isinstance(weight, Tensor)
            weight.mul_(factor)
    return followers


def layers_after_activations(model: nn.Module, example: Tensor) -> list[str]:
    """Names of linear and convolution layers that run next after an activation, in order of execution."""
    parts = list(model.named_children())
    if type(model) is nn.Sequential and len(parts) == len(model) and all(type(part) in _PLAIN for _, part in parts):
        return [  # runs in the order written: no need to look
            name
            for (_, before), (name, part) in pairwise(parts)
            if isinstance(before, ActivationModule) and isinstance(part, nn.Linear)
        ]
    followers: dict[str, None] = {}
    last_was_activation = False

    def watch(name: str):
        def hook(module: nn.Module, inputs, output) -> None:
            nonlocal last_was_activation
            if isinstance(module, ActivationModule):
                last_was_activation = True
                return
            if last_was_activation:
                followers.setdefault(name)
            last_was_activation = False

        return hook

    watched = [(n, m) for n, m in model.named_modules() if isinstance(m, (*_WEIGHTED, ActivationModule))]
    handles = [module.register_forward_hook(watch(name)) for name, module in watched]
    training = model.training
    model.eval()  # leaves BatchNorm's statistics and Dropout's random numbers alone
    try:
        with torch.no_grad():
            model(example)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return list(followers)
