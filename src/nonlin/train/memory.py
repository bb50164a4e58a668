"""Memory: how much a training batch keeps for its backward pass, and what to do where there is too little."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nonlin.tasks import Budget
from nonlin.train.place import Place
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


def shortage(error: BaseException, budget: Budget, place: Place, accumulate: int | None = None) -> str:
    """What to do about an error that says that memory ran out; empty for any other error."""
    on_cpu = isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)  # torch has no class for it
    if not (on_cpu or isinstance(error, torch.OutOfMemoryError)):
        return ""
    parts = accumulate or budget.accumulate
    more = min(2 * parts, budget.batch_size)
    remedy = f"pass the batch of {budget.batch_size} in {more} parts, which gives the same result: --accumulate {more}"
    if parts >= budget.batch_size:
        remedy = "use a smaller model, or a device with more memory"
    elif place.device.type == "cuda" and place.precision == "float32":
        remedy += "; or --precision bfloat16"
    room = ""
    if place.device.type == "cuda":
        room = f" ({torch.cuda.get_device_properties(place.device).total_memory / 2**30:.0f} GiB)"
    return f"too little memory on {place.device}{room}: {remedy}"
