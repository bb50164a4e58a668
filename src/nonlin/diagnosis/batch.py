"""Reading a batch, calling the model on it and forming the loss, each with one clear error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nonlin.errors import DiagnosisError
from nonlin.train.fit import task_loss

Loss = Callable[[Any, Any], Tensor]
_TARGETS = ("labels", "label", "target", "targets")
_OUTPUTS = ("logits", "prediction_logits", "last_hidden_state", "output", "out")


@dataclass(frozen=True)
class Batch:
    """What a model is called with, and the target of its loss.

    Attributes
    ----------
    arguments, keywords : of the model's call; tensors on the model's device
    target : or None where the batch has none
    """

    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    target: Any = None

    def call(self, model: nn.Module) -> Any:
        """The model's output; DiagnosisError with the model's own words if it fails."""
        try:
            return model(*self.arguments, **self.keywords)
        except Exception as error:
            raise DiagnosisError(f"the model fails on this batch ({self}): {_one_line(error)}") from error

    def __str__(self) -> str:
        named = dict(zip(("x",), self.arguments, strict=False)) | self.keywords
        return ", ".join(f"{name}: {_describe(value)}" for name, value in named.items())


def read_batch(batch: Any, model: nn.Module) -> Batch:
    """A batch as the user has it: x; (x, y); or a mapping of keywords, as transformers' models take.

    Arrays become tensors in the precision of the model's weights. NaN and infinite inputs are refused.

    Raises
    ------
    DiagnosisError : for anything else
    """
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    if isinstance(batch, Mapping):
        keywords = {str(key): _tensor(value, str(key), like) for key, value in batch.items()}
        target = next((keywords[name] for name in _TARGETS if name in keywords), None)
        return Batch((), keywords, target)
    if isinstance(batch, tuple | list):
        if len(batch) != 2:
            raise DiagnosisError(
                f"the batch must be x, a pair (x, y), or a dictionary of keywords; got {len(batch)} items in a "
                f"{type(batch).__name__}. A model of several inputs takes {{'name': tensor, ...}}."
            )
        x, y = batch
        return Batch((_with_gradient(_tensor(x, "x", like)),), {}, None if y is None else _tensor(y, "y", like))
    return Batch((_with_gradient(_tensor(batch, "x", like)),), {})


def _with_gradient(x: Tensor) -> Tensor:
    """x as the result of an operation, so that gradients reach activations that stand before any weight, also
    those that work in place."""
    return x.requires_grad_().clone() if x.is_floating_point() else x


def _tensor(value: Any, name: str, like: Tensor) -> Any:
    """Arrays, lists of numbers and tensors as a tensor on the model's device; None and flags as they are."""
    if value is None or isinstance(value, bool | str | int | float):
        if name == "x":
            raise DiagnosisError(f"the batch must hold tensors or arrays; got {type(value).__name__} {value!r:.60}.")
        return value
    if not isinstance(value, Tensor):
        try:
            array = np.asarray(value)
            tensor = torch.from_numpy(np.array(array, dtype=None if array.dtype.kind in "iufb" else np.float64))
        except (TypeError, ValueError):
            raise DiagnosisError(
                f"the batch's {name} must be a tensor or an array of numbers; got {type(value).__name__}."
            ) from None
        value = tensor.to(like.dtype) if tensor.is_floating_point() else tensor
    if value.numel() == 0:
        raise DiagnosisError(f"the batch's {name} is empty: shape {tuple(value.shape)}.")
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        bad = int((~torch.isfinite(value)).sum())
        raise DiagnosisError(
            f"the batch's {name} holds {bad} values that are NaN or infinite (of {value.numel()}); clean them first."
        )
    return value.detach().to(like.device).clone()  # a layer that works in place must not reach the caller's


def loss_of(output: Any, batch: Batch, loss: Loss | None) -> Tensor | None:
    """The scalar loss, or None where none can be formed: no target, and the model returns no loss itself.

    Without `loss`: what the model returns as its own loss (transformers, given labels); else cross-entropy
    for whole-number targets and mean squared error for floats.
    """
    own = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if loss is None and isinstance(own, Tensor):
        return _scalar(own, "the model's own loss")
    if loss is None and batch.target is None:
        return None
    try:
        value = (loss or _default)(output, batch.target)
    except DiagnosisError:
        raise
    except Exception as error:
        first = output if isinstance(output, Tensor) else tensor_of(output)
        what = "the loss" if loss else "the default loss (cross-entropy, or squared error for floats)"
        raise DiagnosisError(
            f"{what} fails on output {_describe(first)} and target {_describe(batch.target)}: {_one_line(error)} "
            "Pass loss=a function of (output, target)."
        ) from error
    return _scalar(value, "loss(output, target)")


def tensor_of(output: Any) -> Tensor:
    """The tensor of decisions in what a model returns: itself, .logits and the like, or the first tensor."""
    if isinstance(output, Tensor):
        return output
    for name in _OUTPUTS:
        value = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if isinstance(value, Tensor):
            return value
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    for part in parts:
        if isinstance(part, Tensor):
            return part
    raise DiagnosisError(
        f"the model returns {type(output).__name__}, in which no tensor was found. "
        "Pass loss=a function of (output, target) that returns a scalar tensor."
    )


def _default(output: Any, target: Any) -> Tensor:
    return task_loss(tensor_of(output), target if target.is_floating_point() else target.long())


def _scalar(value: Any, what: str) -> Tensor:
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise DiagnosisError(f"{what} must be one number in a tensor; got {_describe(value)}. Take its mean or sum.")
    return value.reshape(())


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    return type(value).__name__


def _one_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no message'}"[:300]
