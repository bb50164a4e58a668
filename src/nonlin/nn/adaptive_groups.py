"""Parameter groups in which the shapes of activations are not pulled towards zero."""

from __future__ import annotations

from typing import Any

from torch import nn

from nonlin.native.module import ActivationModule
from nonlin.nn.adaptive_correction import Correction


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for an optimiser: `weight_decay` for weights, none for the parameters of activations.

    Decay pulls a slope, an amplitude or a coefficient towards 0, which is no simpler a function. The edge
    coefficients of `KANLinear` are weights: they do decay.
    """
    shapes = {
        id(p) for module in model.modules() if isinstance(module, ActivationModule | Correction)
        for p in module.parameters()
    }  # fmt: skip
    groups = [{"params": [p for p in model.parameters() if id(p) not in shapes], "weight_decay": weight_decay}]
    if shapes:
        groups.append({"params": [p for p in model.parameters() if id(p) in shapes], "weight_decay": 0.0})
    return groups
