"""A plan's calls written down, to be made again on the same memory without the Python between them.

A plan (`nonlin.train.plan`) does the same in every step: the same operations on tensors of the same shapes. What they
cost in Python (choosing layouts, making tensors and views, filling in the core's structures) is more than what small
networks' operations take themselves. So one performance is written down: every call of the core with its structure,
every operation of torch that computes something, with its tensors. Views and empty tensors leave nothing to do.
`Tape.run` makes the calls again.

All tensors that the plan makes lie in one piece of memory at fixed places, which several use one after another. Which
ones can is found by watching a performance before: when each tensor's memory is made, and when it is free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from nonlin.native import library
from nonlin.train.plan import Plan

_LINE = 64  # bytes: tensors begin with a cache line
_EMPTY = {
    f"aten::{name}" for name in ("empty.memory_format", "empty_like", "new_empty", "empty_strided", "new_empty_strided")
}


class Unwritable(Exception):
    """What a plan does may be something else in the next step, or cannot be written down."""


@dataclass(frozen=True)
class Room:
    """Where the tensors of a performance lie, in the order of their making: sizes and offsets in bytes."""

    sizes: tuple[int, ...]
    offsets: tuple[int, ...]
    total: int


class Tape:
    """Calls written down by `write`.

    Attributes
    ----------
    outputs : the plan's, whose values `run` replaces
    """

    def __init__(self, batch: Sequence[Tensor], calls: list[tuple[bool, Callable[[], Any]]], outputs: list):
        self.batch, self.calls, self.outputs = batch, calls, outputs

    def run(self, *batch: Tensor) -> list[Tensor | None]:
        """As `Plan.run`, with the same parameters and buffers; the results are overwritten by the next run."""
        for own, given in zip(self.batch, batch, strict=True):
            own.copy_(given)
        for is_core, call in self.calls:
            if is_core:
                library.check(call())
            else:
                call()
        return self.outputs


def write(
    plan: Plan, room: Room | None, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], *batch: Tensor
) -> tuple[Tape, Room]:
    """Perform a plan, like `Plan.run`, and write it down.

    Parameters
    ----------
    room : of an earlier performance of the same plan for as many children, if there was one

    Raises
    ------
    Unwritable : with buffers and random numbers as they were before
    """
    generator, before = torch.get_rng_state(), {name: value.clone() for name, value in buffers.items()}

    def restore() -> None:
        torch.set_rng_state(generator)
        for name, value in buffers.items():
            value.copy_(before[name])

    own = [one.clone(memory_format=torch.contiguous_format) for one in batch]
    try:
        if room is None:
            with _Watching() as watching:
                kept = plan.run(parameters, buffers, *own)
            room = watching.room()
            del kept
            restore()
        with _Writing(room, [*parameters.values(), *buffers.values(), *own]) as writing, \
                library.calls_to(writing.core):  # fmt: skip
            outputs = plan.run(parameters, buffers, *own)
        if writing.count != len(room.sizes):
            raise Unwritable("it makes other tensors than before")
    except Unwritable:
        restore()
        raise
    return Tape(own, writing.calls, outputs), room


class _Watching(TorchDispatchMode):
    """Notes the memory that operations make, and when it is free again."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.ends: list[int | None] = []  # the number of the first piece that was made without it
        self.alive: dict[int, StorageWeakRef] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for one in _made(func, args, kwargs, result):
            self._free()
            storage = one.untyped_storage()
            self.alive[len(self.sizes)] = StorageWeakRef(storage)
            self.sizes.append(storage.nbytes())
            self.ends.append(None)
        return result

    def _free(self) -> None:
        for number, reference in list(self.alive.items()):
            if reference.expired():
                self.ends[number] = len(self.sizes)
                del self.alive[number]

    def room(self) -> Room:
        """A place for each piece: the first gap that is large enough between those that live when it is made."""
        offsets: list[int] = []
        living: list[tuple[int, int, int]] = []  # offset, end, number
        total = 0
        for number, size in enumerate(self.sizes):
            living = [one for one in living if (end := self.ends[one[2]]) is None or end > number]
            wide, place = -(-size // _LINE) * _LINE, 0
            for begin, end, _ in sorted(living):
                if begin - place >= wide:
                    break
                place = max(place, end)
            offsets.append(place)
            living.append((place, place + wide, number))
            total = max(total, place + wide)
        return Room(tuple(self.sizes), tuple(offsets), total)


class _Writing(TorchDispatchMode):
    """Writes operations down, and has what they make lie where `room` says."""

    def __init__(self, room: Room, inputs: Sequence[Tensor]):
        super().__init__()
        self.room, self.count = room, 0
        self.calls: list[tuple[bool, Callable[[], Any]]] = []
        memory = np.empty(room.total + _LINE, dtype=np.uint8)
        begin = -memory.ctypes.data % _LINE
        self.memory = memory[begin : begin + room.total]
        self.changing = {one.untyped_storage().data_ptr() for one in inputs}

    def core(self, call: Callable[[], Any]) -> None:
        """Hears of the core's calls."""
        self.calls.append((True, call))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if _looks(func, args) and any(one.untyped_storage().data_ptr() in self.changing for one in _tensors(args)):
            raise Unwritable(f"{func} depends on numbers that change")
        result = func(*args, **kwargs)
        made = list(_made(func, args, kwargs, result))
        if not made:
            if func._schema.is_mutable:
                self.calls.append((False, partial(func, *args, **kwargs)))
            return result
        places = {id(one): self._place(one) for one in made}
        if func.name() not in _EMPTY:
            for one in made:
                places[id(one)].copy_(one)
            self.calls.append((False, _again(func, args, kwargs, result, places)))
        return _mapped(result, places)

    def _place(self, like: Tensor) -> Tensor:
        """Room for the next tensor, of the sizes and strides of this one."""
        size, number = like.untyped_storage().nbytes(), self.count
        self.count += 1
        if number >= len(self.room.sizes) or self.room.sizes[number] != size:
            raise Unwritable("it makes other tensors than before")
        if not size:
            return torch.empty_like(like)
        piece = torch.frombuffer(
            self.memory, dtype=like.dtype, count=size // like.element_size(), offset=self.room.offsets[number]
        )
        self.changing.add(piece.data_ptr())
        return piece.as_strided(like.shape, like.stride(), like.storage_offset())


def _looks(func: Any, args: Sequence[Any]) -> bool:
    """Whether what an operation gives, as a number of Python's or a shape, depends on the numbers in its tensors."""
    if func is torch.ops.aten.index.Tensor:
        return any(one.dtype in (torch.bool, torch.uint8) for one in _tensors(args[1]))
    return any(tag in func.tags for tag in (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape))


def _made(func: Any, args: Any, kwargs: Any, result: Any) -> list[Tensor]:
    """The tensors of a result that lie in new memory, each piece of memory once."""
    known = {one.untyped_storage()._cdata for one in _tensors((args, list((kwargs or {}).values())))}
    made = []
    for one in _tensors([result]):
        if one.layout is not torch.strided or one.device.type != "cpu":
            raise Unwritable(f"{func} gives something else than a tensor in memory")
        storage = one.untyped_storage()._cdata
        if storage not in known:
            known.add(storage)
            made.append(one)
    return made


def _tensors(values: Any):
    """The tensors in nested lists and tuples."""
    for one in values:
        if isinstance(one, Tensor):
            yield one
        elif isinstance(one, list | tuple):
            yield from _tensors(one)


def _mapped(result: Any, places: Mapping[int, Tensor]) -> Any:
    if isinstance(result, Tensor):
        return places.get(id(result), result)
    if isinstance(result, list | tuple):
        return type(result)(_mapped(one, places) for one in result)
    return result


def _again(func: Any, args: Any, kwargs: Any, result: Any, places: Mapping[int, Tensor]) -> Callable[[], Any]:
    """What puts the operation's result into its place once more."""
    if isinstance(result, Tensor):
        place = places[id(result)]
        if func is torch.ops.aten.clone.default:
            return partial(place.copy_, args[0])
        if not func._schema.is_mutable and (variant := _with_out(func)) is not None:
            return partial(variant[0], *args, **{**kwargs, variant[1]: place})
    wanted = [places.get(id(one)) for one in _tensors([result])]

    def copied() -> None:
        for place, one in zip(wanted, _tensors([func(*args, **kwargs)]), strict=True):
            if place is not None:
                place.copy_(one)

    return copied


@lru_cache(maxsize=1024)
def _with_out(func: Any) -> tuple[Any, str] | None:
    """The same operation with a place for its result, and that argument's name."""
    packet, wanted = func.overloadpacket, [(one.name, str(one.type)) for one in func._schema.arguments]
    for name in packet.overloads():
        other = getattr(packet, name)
        places = [one.name for one in other._schema.arguments if one.is_out]
        if len(places) == 1 and wanted == [
            (one.name, str(one.type)) for one in other._schema.arguments if not one.is_out
        ]:
            return other, places[0]
    return None
