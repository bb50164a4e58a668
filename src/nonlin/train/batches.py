"""The steps of an epoch: which rows pass in which step, in which process, in which part of the batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from nonlin.tasks import Data
from nonlin.tasks.rows import Rows
from nonlin.train.ranks import ALONE, Ranks
from nonlin.train.score import decisions


@dataclass(frozen=True)
class Piece:
    """A part of a batch that passes through the network at once.

    Attributes
    ----------
    x, y : inputs and targets
    weight : how much its mean loss counts: its rows, or of a language model its positions
    share : `weight` as a share of the whole batch's, over all processes
    first, last : whether it begins its batch, and whether it ends it
    """

    x: Tensor
    y: Tensor
    weight: int
    share: float
    first: bool
    last: bool


def pieces(
    data: Data, order: Tensor, batch_size: int, seed: int, epoch: int, *, accumulate: int = 1, ranks: Ranks = ALONE
) -> Iterator[Piece]:
    """The pieces of this process, batch after batch of `order`.

    A batch is dealt to the processes in equal shares, and each share of a whole batch is cut into `accumulate`
    parts. A process that gets no row of a small last batch takes the first one with weight 0, since all must take
    part in the step.
    """
    x, y = data.train
    size = -(-batch_size // (ranks.count * accumulate))  # of a part; a small last batch has fewer parts, not smaller
    plan = [(batch, _parts(batch, size, ranks)) for batch in order.split(batch_size) if len(batch)]
    chosen = [part for _, parts in plan for part in parts]
    inputs = iter(x.batches(chosen, seed, epoch) if isinstance(x, Rows) else (x[part] for part in chosen))
    for batch, parts in plan:
        split = len(parts) > 1 or ranks.count > 1
        whole = decisions(y[batch]) if split else 1
        for number, part in enumerate(parts):
            targets = y[part]
            weight = 0 if _idle(batch, ranks) else decisions(targets)
            share = weight / whole if split else 1.0
            yield Piece(next(inputs), targets, weight, share, number == 0, number == len(parts) - 1)


def _parts(batch: Tensor, size: int, ranks: Ranks) -> tuple[Tensor, ...]:
    """This process's parts of a batch of row numbers, of `size` rows or less; at least one."""
    if ranks.count == 1 and len(batch) <= size:
        return (batch,)
    own = batch[:1] if _idle(batch, ranks) else batch.tensor_split(ranks.count)[ranks.rank]
    return own.split(size)


def _idle(batch: Tensor, ranks: Ranks) -> bool:
    return ranks.rank >= len(batch)  # tensor_split gives the first shares the odd rows
