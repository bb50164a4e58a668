"""`Blend`: from the old activation to the new one over some optimiser steps.

A pre-trained network meets the new function little by little: y = (1 - w)·old(x) + w·new(x), with w rising
linearly from 0 to 1. When it has arrived only the new function is computed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nonlin.errors import NonlinError
from nonlin.nn.adaptive_schedule import Observing


class Blend(Observing):
    """A module that is `old` at first and `new` after `steps` optimiser steps in training mode.

    Steps of every ``torch.optim`` optimiser are noticed by themselves; a loop without one calls
    ``nonlin.nn.step(model)`` after each update. The number of steps taken is in the state dict.

    Parameters
    ----------
    old, new : modules of one input; shapes and dtypes of their results agree
    steps : how many optimiser steps the way takes
    """

    share: Tensor

    def __init__(self, old: nn.Module, new: nn.Module, steps: int):
        if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
            raise NonlinError(f"steps={steps!r} must be a whole number of optimiser steps above 0.")
        super().__init__(every=1, early=(), momentum=1.0, synchronise=False)
        self.old, self.new, self.length = old, new, steps
        # in place, either would overwrite the input that the other reads, and that backward needs
        self._overwrites = any(getattr(part, "inplace", False) for part in (*old.modules(), *new.modules()))
        # the weight of the new function, a tensor so that a compiled graph need not be compiled again
        self.register_buffer("share", torch.zeros(()), persistent=False)
        self.finished = False

    def refresh(self, sample: tuple[Tensor, ...] = ()) -> None:
        """Set the weight that belongs to the steps counted."""
        self.share.fill_(min(self._turn.count / self.length, 1.0))
        self.finished = self._turn.count >= self.length

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape. Same shape and dtype out."""
        if self.finished:
            return self.new(x)
        self.observe(torch.clone)
        first, second = (x.clone(), x.clone()) if self._overwrites else (x, x)
        new = self.new(first)
        return torch.lerp(self.old(second).to(new.dtype), new, self.share.to(new.dtype))

    def _load_from_state_dict(self, *args) -> None:
        super()._load_from_state_dict(*args)
        self.refresh()

    def extra_repr(self) -> str:
        return f"steps={self.length}, taken={self._turn.count}"


def finish_blends(model: nn.Module) -> list[str]:
    """Put the new activation in the place of every `Blend` in `model` that has arrived; returns their names.

    After this the state dict has no trace of the blend. Raises NonlinError for one that is still on its way.
    """
    blends = [(n, m) for n, m in model.named_modules(remove_duplicate=False) if isinstance(m, Blend)]
    for name, blend in blends:
        if not blend.finished:
            raise NonlinError(
                f"the blend {name!r} has taken {blend._turn.count} of {blend.length} steps; "
                "train on before finishing it."
            )
        if not name:
            raise NonlinError("the model itself is a Blend; use its .new.")
    for name, blend in blends:
        parent, _, key = name.rpartition(".")
        setattr(model.get_submodule(parent), key, blend.new)
    return [name for name, _ in blends]
