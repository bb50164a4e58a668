"""Where a network is trained and in which precision.

References
----------
[Micikevicius2018] P. Micikevicius et al., "Mixed precision training", 2018 (arXiv:1710.03740)
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from nonlin.errors import TrainingError
from nonlin.tasks import Budget
from nonlin.tasks.budget import Precision

_CPU = torch.device("cpu")
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Place:
    """A device and a precision.

    Attributes
    ----------
    device : of the model and of each batch
    precision : "float32", or mixed with "bfloat16" or "float16": weights stay float32, while torch's autocast
        computes what bears it in the other
    """

    device: torch.device = _CPU
    precision: Precision = "float32"

    def mixed(self) -> AbstractContextManager[object]:
        """Where the forward pass and the loss are computed in the chosen precision."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, _DTYPES[self.precision])

    def scaler(self) -> torch.amp.GradScaler | None:
        """Scales the loss of float16, whose small gradients would be rounded to 0 [Micikevicius2018]; else None."""
        return torch.amp.GradScaler(self.device.type) if self.precision == "float16" else None

    def take(self, tensor: Tensor) -> Tensor:
        """The tensor on this device."""
        return tensor.to(self.device, non_blocking=True)

    @property
    def devices(self) -> list[torch.device]:
        """Devices with random numbers of their own, beside the CPU's."""
        return [self.device] if self.device.type == "cuda" else []


CPU = Place()


def place(budget: Budget, device: str | None = None, precision: str | None = None) -> Place:
    """Where to train: as asked, else as the budget says.

    Parameters
    ----------
    device : "auto", or torch's name of a device; None for the budget's
    precision : None for the budget's on CUDA and float32 elsewhere

    Raises
    ------
    TrainingError : a device that this machine has not got, or a precision that is not known
    """
    chosen = _device(device or budget.device)
    if precision is None:
        precision = budget.precision if chosen.type == "cuda" else "float32"
    if precision not in get_args(Precision):
        raise TrainingError(f"precision={precision!r} is not one of {', '.join(get_args(Precision))}.")
    return Place(chosen, precision)  # type: ignore[arg-type]


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if _mps() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise TrainingError(f"device={name!r} is no device; use 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.") from None
    count = torch.cuda.device_count() if device.type == "cuda" else int(_mps()) if device.type == "mps" else 1
    if device.type not in ("cpu", "cuda", "mps") or (device.index or 0) >= count:
        raise TrainingError(f"device={name!r} is not there: {_what_is_there()}. Use --device auto or --device cpu.")
    return device


def _mps() -> bool:
    return torch.backends.mps.is_available()


def _what_is_there() -> str:
    if count := torch.cuda.device_count():
        return f"this machine has {count} CUDA device{'s' * (count > 1)}, cuda:0{f' to cuda:{count - 1}' * (count > 1)}"
    if torch.version.cuda is None and not _mps():
        return "this PyTorch was built without CUDA, and there is no Apple GPU"
    return "this machine has an Apple GPU, mps, and no CUDA device" if _mps() else "torch finds no CUDA device"
