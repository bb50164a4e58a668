"""How much memory a training batch keeps for its backward pass: the activation's share of it differs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nonlin.train.score import task_loss


def saved_bytes(model: nn.Module, x: Tensor, y: Tensor) -> int:
    """Bytes that autograd keeps of one forward pass and loss in train mode, until the backward pass.

    Each storage counts once, however many operations keep it, and whole, as it cannot be freed in parts.
    The model's parameters do not count: they are there anyway. The input batch does, if the first layer
    keeps it. No random numbers are used up, and buffers (BatchNorm's statistics) stay as they are.

    Parameters
    ----------
    x, y : one batch, (rows, ...)
    """
    sizes: dict[int, int] = {}
    kept: list[Tensor] = []  # alive to the end, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.detach())
        storage = kept[-1].untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return kept[-1]

    training = model.training
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.train()
    try:
        with torch.random.fork_rng(devices=[]), torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept):
            task_loss(functional_call(model, buffers, (x,)), y)
    finally:
        model.train(training)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    return sum(size for place, size in sizes.items() if place not in own)
