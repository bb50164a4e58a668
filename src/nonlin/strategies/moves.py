"""Moves inside a space: small changes of a code, and the crossing of two.

After PANGAEA (Bingham & Miikkulainen 2020, arXiv:2006.03179, section 3): insert a function, remove one, change one,
change all. The moves stay inside the space; one that is impossible there becomes a change of one function.
"""

from __future__ import annotations

from bisect import bisect
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from nonlin.strategies.spaces import Code, Space

# move: probability
MOVES = {"change": 0.6, "insert": 0.15, "remove": 0.15, "change-all": 0.1}
_NAMES, _TOTALS = tuple(MOVES), tuple(accumulate(MOVES.values()))


def draw(space: Space, count: int, generator: np.random.Generator) -> list[Code]:
    """`count` codes, each code of the space with the same probability."""
    if len(space.shapes) > 1:
        return [space.sample_code(generator) for _ in range(count)]
    widths = np.array([slot.count for slot in space.shapes[0].slots])
    return [tuple(row) for row in generator.integers(widths, size=(count, len(widths))).tolist()]


def mutate(space: Space, code: Code, generator: np.random.Generator, move: str | None = None) -> Code:
    """A code one move away from `code`; the move is drawn by `MOVES` unless it is given."""
    name = move or _NAMES[min(bisect(_TOTALS, generator.random()), len(_NAMES) - 1)]
    if name == "change-all":
        number, _ = space.shape_of(code)
        return space.compose(number, [_one(slot.count, generator) for slot in space.shapes[number].slots])
    if name in ("insert", "remove"):
        changed = _grow(space, code, generator) if name == "insert" else _shrink(space, code, generator)
        if changed is not None:
            return changed
    return _change(space, code, generator)


def crossover(space: Space, left: Code, right: Code, generator: np.random.Generator) -> Code:
    """A code in the shape of `left`, each place from either; of another shape's places those of the same kind."""
    number, mine = space.shape_of(left)
    other, theirs = space.shape_of(right)
    if other != number:
        theirs = _fitted(space, other, theirs, number, generator)
    return space.compose(number, [pair[_one(2, generator)] for pair in zip(mine, theirs, strict=True)])


def _one(count: int, generator: np.random.Generator) -> int:
    """A number in [0, count); for a small count a tenth of the time of `generator.integers`."""
    return int(generator.random() * count)


def _change(space: Space, code: Code, generator: np.random.Generator) -> Code:
    """Another choice at one place that has one."""
    number, choices = space.shape_of(code)
    slots = space.shapes[number].slots
    places = [k for k, slot in enumerate(slots) if slot.count > 1]
    if not places:
        return code
    place = places[_one(len(places), generator)]
    step = 1 + _one(slots[place].count - 1, generator)
    changed = list(choices)
    changed[place] = (choices[place] + step) % slots[place].count
    return space.compose(number, changed)


def _grow(space: Space, code: Code, generator: np.random.Generator) -> Code | None:
    """A function where there was none (an identity), or the next larger shape around the same functions."""
    number, choices = space.shape_of(code)
    shape = space.shapes[number]
    free = [k for k, choice in enumerate(choices) if _is_identity(space, number, k, choice)]
    if free:
        place = free[_one(len(free), generator)]
        others = [c for c in range(shape.slots[place].count) if not _is_identity(space, number, place, c)]
        if others:
            return space.compose(
                number, [*choices[:place], others[_one(len(others), generator)], *choices[place + 1 :]]
            )
    return _reshaped(space, number, choices, generator, larger=True)


def _shrink(space: Space, code: Code, generator: np.random.Generator) -> Code | None:
    """The identity in place of a function, or the next smaller shape around the same functions."""
    number, choices = space.shape_of(code)
    removable = []
    for place, choice in enumerate(choices):
        options = range(space.shapes[number].slots[place].count)
        identity = next((c for c in options if _is_identity(space, number, place, c)), None)
        if identity not in (None, choice):
            removable.append((place, identity))
    if removable:
        place, identity = removable[_one(len(removable), generator)]
        return space.compose(number, [*choices[:place], identity, *choices[place + 1 :]])
    return _reshaped(space, number, choices, generator, larger=False)


def _is_identity(space: Space, number: int, place: int, choice: int) -> bool:
    shape = space.shapes[number]
    kind = shape.slots[place].kind
    return kind != "input" and shape.functions[kind][choice].is_identity


def _reshaped(space: Space, number: int, choices: Code, generator: np.random.Generator, larger: bool) -> Code | None:
    length = len(space.shapes[number].slots)
    fitting = [k for k, shape in enumerate(space.shapes) if (len(shape.slots) > length) == larger and k != number]
    fitting = [k for k in fitting if len(space.shapes[k].slots) != length]
    if not fitting:
        return None
    target = fitting[_one(len(fitting), generator)]
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
