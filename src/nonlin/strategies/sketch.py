"""A quick look at many expressions at once: their values at fixed inputs, and what follows from these.

The search's own judgement of identity (`nonlin.expr.identity`) is exact and takes a millisecond or more for each
expression; a sketch takes some microseconds, so that a strategy can look at hundreds of candidates for each one it
proposes. Where the two disagree the search has the last word.

Features follow Bingham & Miikkulainen (2023, arXiv:2301.05785, section 3): outputs at N(0, 1) inputs, clipped. Here the
inputs are quantiles, and outputs are divided by √E[f²], since a network's gain takes the scale out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from weakref import WeakKeyDictionary

import numpy as np
import torch

from nonlin.strategies.evaluate import Tables, evaluate
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
KEPT = 20_000  # sketches in a book, 0.8 kB each


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
        """Equal for expressions with equal values, to five digits."""
        with np.errstate(all="ignore"):
            rounded = np.round(np.arcsinh(np.hstack([self.values, self.generic])) * 1e5) + 0.0
        rounded = np.nan_to_num(rounded, nan=9e15, posinf=8e15, neginf=7e15)
        return [row.tobytes() for row in rounded.astype(np.int64)]

    def outputs(self) -> np.ndarray:
        """(n, 48): outputs at the quantiles over √E[f²], clipped to ±5; 0 where they are not finite."""
        with np.errstate(all="ignore"):
            inner = np.clip(self.values[:, :QUANTILES], -1e100, 1e100)
            size = np.sqrt(np.mean(inner**2, axis=1, keepdims=True))
            return np.clip(np.nan_to_num(inner / np.where(size > 0, size, 1.0)), -CLIP, CLIP)

    def numbers(self) -> np.ndarray:
        """(n, 9): simple numbers of each function, named in `NUMBERS`."""
        y = self.outputs()
        mean, spread = y.mean(axis=1), y.std(axis=1) + 1e-9
        slope = np.diff(y, axis=1) / np.diff(LEVELS)
        linear = (y * LEVELS).mean(axis=1) ** 2 / (np.mean(LEVELS**2) * spread**2)
        with np.errstate(all="ignore"):
            size = np.sqrt(np.mean(np.clip(self.values[:, :QUANTILES], -1e6, 1e6) ** 2, axis=1))
            tails = np.arcsinh(
                np.nan_to_num(self.values[:, QUANTILES:], posinf=1e6, neginf=-1e6) / (size[:, None] + 1e-9)
            )
        numbers = [
            -np.log(np.nan_to_num(size) + 1e-6),
            mean / spread,
            linear,
            np.log(np.mean(slope**2, axis=1) + 1e-6),
            (np.abs(slope) < 0.05).mean(axis=1),
            (slope > 0).mean(axis=1),
            spacing_entropy(y),
            tails[:, 0],
            tails[:, 3],
        ]
        return np.nan_to_num(np.stack(numbers, axis=1), posinf=20.0, neginf=-20.0)

    def features(self) -> np.ndarray:
        """(n, 57): `outputs` and `numbers` side by side."""
        return np.hstack([self.outputs(), self.numbers()])


NUMBERS = (
    "log gain", "mean over deviation", "share that is linear", "log E[f'²]/E[f²]", "share that is flat",
    "share that rises", "entropy J", "left tail", "right tail",
)  # fmt: skip


def sketch(space: Space, codes: Sequence[Code]) -> Sketches:
    """The sketches of `codes`, in order."""
    x = torch.cat([INPUTS, INPUTS])
    result = np.empty((len(codes), len(x)))
    rows: dict[int, list[int]] = {}
    for row, code in enumerate(codes):
        rows.setdefault(space.shape_of(code)[0], []).append(row)
    with torch.no_grad(), one_thread():
        for number, members in rows.items():
            choices = np.array([space.shape_of(codes[row])[1] for row in members])
            shape = space.shapes[number]
            tables = _TABLES.setdefault(shape, {})
            result[members] = evaluate(shape, choices, x, _parameters(), tables).numpy()
    half = len(INPUTS)
    return Sketches(result[:, :half], result[:, half:])


_TABLES: WeakKeyDictionary[Shape, Tables] = WeakKeyDictionary()


class Sketchbook:
    """Sketches of one space's codes that are kept: strategies look at the same candidates again and again.

    Where it is full it begins anew; that changes nothing but the time taken.

    Attributes
    ----------
    values : (codes looked at, 104), both halves of a sketch
    good : bool, which are worth training
    keys : equal for equal functions
    """

    def __init__(self, space: Space):
        self.space = space
        self._begin()

    def _begin(self) -> None:
        self.rows: dict[Code, int] = {}
        self.values, self.good = np.empty((64, 2 * len(INPUTS))), np.empty(64, bool)
        self.keys: list[bytes] = []

    def look(self, codes: Sequence[Code]) -> list[int]:
        """Rows of `codes`, which stay valid until the next call."""
        if len(self.rows) + len(codes) > KEPT:
            self._begin()
        new = [code for code in dict.fromkeys(codes) if code not in self.rows]
        if new:
            self._add(new)
        return [self.rows[code] for code in codes]

    def _add(self, codes: list[Code]) -> None:
        sketches = sketch(self.space, codes)
        start, stop = len(self.keys), len(self.keys) + len(codes)
        while stop > len(self.good):
            self.values = np.concatenate([self.values, np.empty_like(self.values)])
            self.good = np.concatenate([self.good, np.empty_like(self.good)])
        self.values[start:stop] = np.hstack([sketches.values, sketches.generic])
        self.good[start:stop] = sketches.ordinary()
        self.keys += sketches.keys()
        self.rows.update(zip(codes, range(start, stop), strict=True))

    def sketches(self, codes: Sequence[Code]) -> Sketches:
        """The sketches of `codes`, in order."""
        rows = self.look(codes)  # before the arrays are read: it may replace them
        values = self.values[rows]
        return Sketches(values[:, : len(INPUTS)], values[:, len(INPUTS) :])


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
