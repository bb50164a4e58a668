"""timm: an activation for its models' ``act_layer=``.

    timm.create_model("efficientnet_b0", act_layer=nl.timm.act_layer("swish"))

Nothing of timm is imported: its models take any callable that makes a module.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from nonlin.native.module import ActivationModule
from nonlin.zoo import Activation, activation


def act_layer(act: Activation | str, **parameters: float) -> partial[ActivationModule]:
    """What timm calls to make each activation of a model; each call gives a module with parameters of its own.

    The result can be pickled, and takes timm's ``inplace=`` and other arguments, which change nothing here: the
    input is kept for the backward pass as it is.

    Parameters
    ----------
    act : name, formula or activation
    parameters : initial values of its trainable parameters

    Raises
    ------
    NonlinError : for an activation that cannot be read

    >>> act_layer("swish", beta=0.5)(inplace=True)
    ActivationModule(swish: x*sigmoid(beta*x), parameters=['beta'], per='tensor')
    """
    # a partial, and no class of our own: timm takes a class, a function or a partial, and refuses other callables
    return partial(_layer, activation(act, **parameters))


def _layer(act: Activation, *, device: Any = None, dtype: Any = None, **_of_timm: Any) -> ActivationModule:
    return act.module().to(device=device, dtype=dtype)
