"""A quick look at many expressions at once: their values at fixed inputs, and what follows from these.

The search's own judgement of identity (`nonlin.expr.identity`) is exact and takes a millisecond or more for each
expression; a sketch takes some microseconds, so that a strategy can look at hundreds of candidates for each one it
proposes. Where the two disagree the search has the last word.

Features follow Bingham & Miikkulainen (2023, arXiv:2301.05785, section 3): outputs at N(0, 1) inputs, clipped. Here the
inputs are quantiles, and outputs are divided by √E[f²], since a network's gain takes the scale out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from weakref import WeakKeyDictionary

import numpy as np
import torch

from nonlin.strategies.evaluate import Tables, evaluate
from nonlin.strategies.moves import draw
from nonlin.strategies.shape import Shape
from nonlin.strategies.spaces import Code, Space
from nonlin.strategies.threads import one_thread

QUANTILES = 48
_LEVELS = torch.special.ndtri((torch.arange(QUANTILES, dtype=torch.float64) + 0.5) / QUANTILES)
_TAILS = torch.tensor([-4.0, -3.2, 3.2, 4.0], dtype=torch.float64)
INPUTS = torch.cat([_LEVELS, _TAILS])  # (52,): 48 quantiles of N(0, 1) in order, then four far points
LEVELS = _LEVELS.numpy()
_INNER = np.append(np.abs(LEVELS) <= 3.0, [False] * 4)
CLIP = 5.0
KEPT = 20_000  # sketches in a book, up to 1 kB each


@dataclass(frozen=True)
class Sketches:
    """Values of n expressions.

    Attributes
    ----------
    values : (n, 52), at `INPUTS` with every parameter at its initial value 1
    generic : the same with parameters at irregular values
    """

    values: np.ndarray
    generic: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def ordinary(self) -> np.ndarray:
        """bool (n,): finite where |x| ≤ 3, neither constant nor a straight line."""
        found = np.isfinite(self.values[:, _INNER]).all(axis=1)
        return found & ~(_straight(self.values) & _straight(self.generic))

    def keys(self) -> list[bytes]:
        """Equal for expressions with equal values, to some five digits; those below 1e-5 count as 0."""
        with np.errstate(all="ignore"):
            values = np.hstack([self.values, self.generic]).astype(np.float32)
            small = np.clip(values, -1e8, 1e8)
            rounded = np.rint(1e5 * small / np.sqrt(1 + np.abs(small)))
        rounded[np.isnan(values)] = 2e9
        rounded[np.isinf(values)] = np.copysign(1.9e9, values[np.isinf(values)])
        return [row.tobytes() for row in rounded.astype(np.int32)]

    def outputs(self) -> np.ndarray:
        """(n, 48): outputs at the quantiles over √E[f²], clipped to ±5; 0 where they are not finite."""
        return normalised(self.values[:, :QUANTILES])


def normalised(values: np.ndarray) -> np.ndarray:
    """Rows of values at the quantiles, each over its √E[f²], clipped to ±5; 0 where they are not finite."""
    with np.errstate(all="ignore"):
        inner = np.clip(values, -1e100, 1e100)
        size = np.sqrt(np.mean(inner**2, axis=1, keepdims=True))
        return np.clip(np.nan_to_num(inner / np.where(size > 0, size, 1.0)), -CLIP, CLIP)


View = Callable[[Sketches], np.ndarray]


def sketch(space: Space, codes: Sequence[Code]) -> Sketches:
    """The sketches of `codes`, in order."""
    x = torch.cat([INPUTS, INPUTS])
    result = np.empty((len(codes), len(x)))
    with torch.no_grad(), one_thread():
        for number, shape in enumerate(space.shapes):
            members, choices = _of_shape(space, number, codes)
            if len(members):
                tables = _TABLES.setdefault(shape, {})
                result[members] = evaluate(shape, choices, x, _parameters(), tables).numpy()
    half = len(INPUTS)
    return Sketches(result[:, :half], result[:, half:])


def _of_shape(space: Space, number: int, codes: Sequence[Code]) -> tuple[np.ndarray, np.ndarray]:
    """Places of the codes of one shape, and their choices, (places, slots)."""
    if len(space.shapes) == 1:
        return np.arange(len(codes)), np.array(codes)
    members = [place for place, code in enumerate(codes) if code[0] == number]
    return np.array(members, int), np.array([codes[place][1:] for place in members])


_TABLES: WeakKeyDictionary[Shape, Tables] = WeakKeyDictionary()


class Sketchbook:
    """Sketches of one space's codes that are kept: strategies look at the same candidates again and again.

    A space that fits is sketched whole at the first look, which takes less time than some dozens of looks, and once
    in a process. Where the book is full it begins anew; that changes nothing but the time taken.

    Parameters
    ----------
    view : what a strategy sees of sketches, (sketches, any number); it is kept too, in single precision

    Attributes
    ----------
    codes, rows : those looked at, and where each is
    good : bool, which of the codes looked at are worth training
    keys : equal for equal functions
    alike, firsts : of a whole book: (rows,), the first row of an equal function, -1 for what is not worth training; and
        the same by key
    """

    def __init__(self, space: Space, view: View | None = None):
        self.space, self.view = space, view
        self._begin()

    def _begin(self) -> None:
        self.rows: dict[Code, int] = {}
        self.codes: list[Code] = []
        self.good: list[bool] = []
        self.keys: list[bytes] = []
        self.firsts: dict[bytes, int] = {}
        self.alike = np.empty(0, int)
        self.views: np.ndarray | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it has all codes of its space: rows are then indices."""
        return self.space.size <= KEPT

    def look(self, codes: Sequence[Code]) -> list[int]:
        """Rows of `codes`, which stay valid until the next call."""
        rows = self.rows
        try:
            return [rows[code] for code in codes]
        except KeyError:
            pass
        if self.is_whole:
            self._open()
        else:
            if len(self.rows) + len(codes) > KEPT:
                self._begin()
            self._add([code for code in dict.fromkeys(codes) if code not in self.rows])
        return [self.rows[code] for code in codes]

    def _open(self) -> None:
        """Have what is known of the whole space."""
        whole = _whole(self.space, self.view)
        self.codes, self.rows, self.good, self.keys = whole.codes, whole.rows, whole.good, whole.keys
        self.firsts, self.alike, self.views = whole.firsts, whole.alike, whole.views

    def draw(self, count: int, generator: np.random.Generator) -> list[Code] | np.ndarray:
        """Codes drawn with equal probability; of a whole book their rows, which is faster."""
        if not self.is_whole:
            return draw(self.space, count, generator)
        if not self.rows:
            self._open()
        return generator.integers(self.space.size, size=count)

    def _add(self, codes: list[Code]) -> None:
        sketches = sketch(self.space, codes)
        start, stop = len(self.keys), len(self.keys) + len(codes)
        if self.view is not None:
            seen = self.view(sketches)
            if self.views is None:
                self.views = np.empty((max(64, stop), seen.shape[1]), np.float32)
            while stop > len(self.views):
                self.views = np.concatenate([self.views, np.empty_like(self.views)])
            self.views[start:stop] = seen
        good, keys = sketches.ordinary().tolist(), sketches.keys()
        self.good += good
        self.keys += keys
        self.codes += codes
        self.rows.update(zip(codes, range(start, stop), strict=True))

    def distinct(self, rows: Sequence[int]) -> list[int]:
        """Of these rows those of functions that are worth training, each function once.

        Of equal functions it is the first of the space where the book is whole, else the first given: never the first
        that was looked at, since a search that is resumed looks at others.
        """
        if self.is_whole:
            return [row for row in np.unique(self.alike[rows]).tolist() if row >= 0]
        found = {self.keys[row]: row for row in reversed(rows) if self.good[row]}
        return [*reversed(found.values())]

    def seen(self, codes: Sequence[Code]) -> np.ndarray:
        """The views of `codes`, in order."""
        rows = self.look(codes)  # before the array is read: it may replace it
        assert self.views is not None, "a book without a view"
        return self.views[rows]


@lru_cache(maxsize=4)
def _whole(space: Space, view: View | None) -> Sketchbook:
    """A book of all codes of a space, in their order; nobody writes to it."""
    book = Sketchbook(space, view)
    book._add(list(space.codes()))
    rows = zip(book.good, book.keys, range(len(book.keys)), strict=True)
    book.alike = np.array([book.firsts.setdefault(key, row) if fit else -1 for fit, key, row in rows], int)
    return book


def from_values(values: np.ndarray) -> Sketches:
    """Sketches of functions known by their values at `INPUTS`, (n, 52)."""
    return Sketches(values, values)


@lru_cache(maxsize=1)
def _parameters() -> torch.Tensor:
    """Values of parameters, (64, 104): 1 for the first half of the inputs, irregular for the second."""
    generator = np.random.default_rng(20171016)
    irregular = torch.from_numpy(generator.uniform(0.4, 1.9, size=(64, 1)))
    ones = torch.ones(64, len(INPUTS), dtype=torch.float64)
    return torch.cat([ones, irregular.expand(64, len(INPUTS))], dim=1)


def _straight(values: np.ndarray) -> np.ndarray:
    """bool (n,): a straight line (or constant) where |x| ≤ 3; rows that are not finite are not."""
    y, x = values[:, _INNER], INPUTS.numpy()[_INNER]
    with np.errstate(all="ignore"):
        slope = (y[:, -1:] - y[:, :1]) / (x[-1] - x[0])
        away = np.abs(y - y[:, :1] - slope * (x - x[0])).max(axis=1)
        return np.nan_to_num(away, nan=np.inf) <= 1e-9 * (np.abs(y).max(axis=1) + 1e-300)


def spacing_entropy(outputs: np.ndarray) -> np.ndarray:
    """(n,): a rough scale-free entropy of each row's values, by 3-spacings (Vasicek 1976), noise 0.1 for atoms."""
    ordered = np.sort(outputs, axis=1)
    spread = outputs.std(axis=1) + 1e-9
    gaps = np.hypot(ordered[:, 3:] - ordered[:, :-3], 0.02 * spread[:, None])
    return np.log(gaps).mean(axis=1) - np.log(spread) - 0.5 * math.log(2 * math.pi * math.e) + math.log(QUANTILES / 3)
