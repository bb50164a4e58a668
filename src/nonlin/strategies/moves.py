"""Moves inside a space: small changes of a code, and the crossing of two.

After PANGAEA (Bingham & Miikkulainen 2020, arXiv:2006.03179, section 3): insert a function, remove one, change one,
change all. The moves stay inside the space; one that is impossible there becomes a change of one function.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from nonlin.strategies.spaces import Code, Space

# move: probability
MOVES = {"change": 0.6, "insert": 0.15, "remove": 0.15, "change-all": 0.1}
_NAMES, _TOTALS = tuple(MOVES), np.cumsum([*MOVES.values()])[:-1]
_CHANGE, _INSERT, _REMOVE, _ALL = range(4)


def draw(space: Space, count: int, generator: np.random.Generator) -> list[Code]:
    """`count` codes, each code of the space with the same probability."""
    shares = np.cumsum([shape.size / space.size for shape in space.shapes])
    shapes = np.searchsorted(shares[:-1], generator.random(count), side="right")
    codes: list[Code] = [()] * count
    for number, shape in enumerate(space.shapes):
        members = np.flatnonzero(shapes == number)
        rows = generator.integers(shape.widths, size=(len(members), len(shape.widths)))
        for place, code in zip(members.tolist(), _composed(space, number, rows), strict=True):
            codes[place] = code
    return codes


def mutate(space: Space, code: Code, generator: np.random.Generator, move: str | None = None) -> Code:
    """A code one move away from `code`; the move is drawn by `MOVES` unless it is given."""
    return mutate_each(space, [code], generator, move)[0]


def mutate_each(
    space: Space, codes: Sequence[Code], generator: np.random.Generator, move: str | None = None
) -> list[Code]:
    """For each code one that is a move away; all at once, at a tenth of the time of one after another."""
    if len(space.shapes) == 1 and codes:
        return _moved(space, 0, np.array(codes), generator, move)
    found: list[Code] = [()] * len(codes)
    for number, members in _by_shape(space, codes).items():
        rows = np.array([space.shape_of(codes[k])[1] for k in members])
        for place, code in zip(members, _moved(space, number, rows, generator, move), strict=True):
            found[place] = code
    return found


def _moved(space: Space, number: int, rows: np.ndarray, generator: np.random.Generator, move: str | None) -> list[Code]:
    """`mutate_each` of choices (codes, slots) in one shape.

    Insert: a function where there was none (an identity), else the next larger shape around the same functions.
    Remove: the identity in place of a function, else the next smaller shape. Where a move is impossible one place
    changes.
    """
    shape = space.shapes[number]
    widths, identities = shape.widths, shape.identities
    n, m = rows.shape
    one = np.arange(n)
    which = np.full(n, 0 if move is None else _NAMES.index(move))
    if move is None:
        which[:] = np.searchsorted(_TOTALS, generator.random(n), side="right")
    luck = generator.random((n, m + 1))  # for places, and for what comes there
    is_identity, several = rows == identities, widths > 1
    inserts, removes = which == _INSERT, which == _REMOVE
    allowed = np.where(inserts[:, None], is_identity & several, several)
    allowed = np.where(removes[:, None], (identities >= 0) & ~is_identity, allowed)
    reshaped = (inserts | removes) & ~allowed.any(axis=1)
    if reshaped.any():
        allowed[reshaped] = several
    place = np.where(allowed, luck[:, :m], -1.0).argmax(axis=1)
    wide = widths[place]
    chosen = (rows[one, place] + 1 + (luck[:, m] * (wide - 1)).astype(int)) % wide
    after = rows.copy()
    after[one, place] = np.where(removes & ~reshaped, identities[place], chosen)
    everything = np.flatnonzero(which == _ALL)
    after[everything] = generator.integers(widths, size=(len(everything), m))
    codes = _composed(space, number, after)
    if len(space.shapes) > 1:
        for k in np.flatnonzero(reshaped).tolist():
            other_shape = _reshaped(space, number, rows[k].tolist(), generator, larger=which[k] == _INSERT)
            codes[k] = codes[k] if other_shape is None else other_shape
    return codes


def crossover(space: Space, left: Code, right: Code, generator: np.random.Generator) -> Code:
    """A code in the shape of `left`, each place from either; of another shape's places those of the same kind."""
    return cross_each(space, [left], [right], generator)[0]


def cross_each(space: Space, left: Sequence[Code], right: Sequence[Code], generator: np.random.Generator) -> list[Code]:
    """The crossing of each pair of codes."""
    found: list[Code] = [()] * len(left)
    for number, members in _by_shape(space, left).items():
        mine = np.array([space.shape_of(left[k])[1] for k in members])
        theirs = np.array([_as_shape(space, right[k], number, generator) for k in members])
        crossed = np.where(generator.random(mine.shape) < 0.5, mine, theirs)
        for place, code in zip(members, _composed(space, number, crossed), strict=True):
            found[place] = code
    return found


def _by_shape(space: Space, codes: Sequence[Code]) -> dict[int, list[int]]:
    """Number of a shape -> places of its codes."""
    if len(space.shapes) == 1:
        return {0: list(range(len(codes)))} if codes else {}
    groups: dict[int, list[int]] = defaultdict(list)
    for place, code in enumerate(codes):
        groups[code[0]].append(place)
    return groups


def _composed(space: Space, number: int, rows: np.ndarray) -> list[Code]:
    """The codes of choices (codes, slots) in one shape."""
    if len(space.shapes) == 1:
        return list(map(tuple, rows.tolist()))
    return [(number, *row) for row in rows.tolist()]


def _as_shape(space: Space, code: Code, target: int, generator: np.random.Generator) -> Code:
    number, choices = space.shape_of(code)
    return choices if number == target else _fitted(space, number, choices, target, generator)


def _reshaped(
    space: Space, number: int, choices: Sequence[int], generator: np.random.Generator, larger: bool
) -> Code | None:
    """Any larger or smaller shape around the same functions; None if there is none."""
    length = len(space.shapes[number].slots)
    lengths = [len(shape.slots) for shape in space.shapes]
    fitting = [k for k, other in enumerate(lengths) if (other > length if larger else other < length)]
    if not fitting:
        return None
    target = fitting[int(generator.integers(len(fitting)))]
    return space.compose(target, _fitted(space, number, choices, target, generator))


def _fitted(space: Space, source: int, choices: Sequence[int], target: int, generator: np.random.Generator) -> Code:
    """The choices of one shape for the places of another: kind by kind in order, the rest at random."""
    left: dict[str, list[int]] = defaultdict(list)
    for slot, choice in zip(space.shapes[source].slots, choices, strict=True):
        left[slot.kind].append(choice)
    fitted = []
    for slot in space.shapes[target].slots:
        taken = left[slot.kind].pop(0) if left[slot.kind] else slot.count
        fitted.append(taken if taken < slot.count else int(generator.integers(slot.count)))
    return tuple(fitted)
