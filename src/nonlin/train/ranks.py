"""Several processes that train one network together, each on its share of every batch.

`torchrun` starts them and tells each its rank; `joined` makes them a group. `fit` uses the group that is there,
and splits the budget's batch among its processes: the result is that of one process up to the order of sums.
BatchNorm is the exception: on CUDA its statistics are gathered from all processes; on the CPU torch cannot do
that, and each process uses those of its own share.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from nonlin.errors import TrainingError
from nonlin.train.place import Place


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together: number `rank` of `count`."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    def wrap(self, model: nn.Module, place: Place) -> nn.Module:
        """The model whose gradients are the means over all processes."""
        if self.count == 1:
            return model
        if place.device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
            return DistributedDataParallel(model, device_ids=[place.device])
        return DistributedDataParallel(model)

    def waiting(self, model: nn.Module) -> AbstractContextManager[object]:
        """Where a backward pass adds to this process's gradients alone."""
        return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes; the tensor itself where there is one."""
        if self.count > 1:
            distributed.all_reduce(values)
        return values

    def agree(self, value: Any) -> Any:
        """The first process's value, in all."""
        if self.count == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def collect(self, value: Any) -> list[Any]:
        """The values of all processes, by rank, in all."""
        if self.count == 1:
            return [value]
        box: list[Any] = [None] * self.count
        distributed.all_gather_object(box, value)
        return box


ALONE = Ranks()


def ranks() -> Ranks:
    """This process in torch's group of processes, alone where there is none."""
    if distributed.is_available() and distributed.is_initialized():
        return Ranks(distributed.get_rank(), distributed.get_world_size())
    return ALONE


def launched() -> bool:
    """Whether `torchrun` started this process."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))


@contextmanager
def joined(device: str | None = None) -> Iterator[str | None]:
    """The group of the processes that `torchrun` started, left at the end; nothing is done without it.

    Yields the device that this process shall use: with "cuda", or "auto" where there is CUDA, the GPU of its local
    rank; `device` itself otherwise.

    Raises
    ------
    TrainingError : more processes on this machine than it has GPUs
    """
    if not launched():
        yield device
        return
    on_cuda = (device or "auto") in ("auto", "cuda") and torch.cuda.is_available()
    if on_cuda:
        local, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= count:
            raise TrainingError(
                f"torchrun started process {local} on this machine, which has {count} GPUs: "
                f"use --nproc-per-node={count}."
            )
        device = f"cuda:{local}"
        torch.cuda.set_device(local)
    with group("nccl" if on_cuda else "gloo"):
        yield device or "cpu"


@contextmanager
def group(backend: str, **meeting: Any) -> Iterator[None]:
    """torch's group of processes (`meeting` goes to `init_process_group`), at whose end its threads end too.

    A thread of gloo releases the tensors of the last exchange some time after it, which needs the interpreter. Met by
    the interpreter's end it aborts the process ("terminate called without an active exception"); met by the end of a
    model in DistributedDataParallel that was the last to hold the group, both wait for each other for ever. Here the
    group is let go last, by a reference whose end waits for the threads and leaves the interpreter to them. Models
    wrapped within shall be out of use when it ends.
    """
    # DistributedDataParallel imports this module, whose default arguments would be the group, and hold it.
    from torch.distributed.nn import functional  # noqa: F401

    distributed.init_process_group(backend, **meeting)
    world = distributed.group.WORLD
    try:
        yield
    finally:
        distributed.destroy_process_group()
        gc.collect()  # models in circles of references
        del world
