"""Checksums of a task's data and of its model."""

from __future__ import annotations

import hashlib
import re

from torch import nn

from nonlin.native.module import ActivationModule
from nonlin.tasks.data import Data
from nonlin.tasks.rows import Rows

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def data_digest(data: Data) -> str:
    """A short checksum of all parts, so that a study or a training is never continued on other data."""
    digest = hashlib.sha256()
    for part in (data.train, data.validation, data.test):
        for tensor in part:
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.fingerprint() if isinstance(tensor, Rows) else tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


def model_digest(model: nn.Module, designed_for: str = "relu") -> str:
    """A short checksum of how a model is built, so that a study is never continued with another one.

    It is made of the modules with their settings (as they print them) and the shapes of parameters and buffers; not
    of the weights, which differ from seed to seed, nor of what a `forward` of the user's own does beside its modules.

    Parameters
    ----------
    model : made with a function that has parameters per channel, so that the widths that activations are given count
    designed_for : the task's, by which weights are scaled
    """
    lines = [designed_for]
    for name, part in model.named_modules():
        ours = isinstance(part, ActivationModule)  # how it prints itself is ours to change
        settings = "" if ours else _ADDRESS.sub("", part.extra_repr())
        lines.append(f"{name}: {'activation' if ours else type(part).__name__}({settings})")
    tensors = [*model.named_parameters(), *model.named_buffers()]
    lines += [f"{name}: {tuple(tensor.shape)}" for name, tensor in tensors]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
