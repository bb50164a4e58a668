"""Data in three fixed parts: train, validation (for selection) and test (touched once, at the end)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from nonlin.errors import TaskError
from nonlin.tasks.beside import located, places
from nonlin.tasks.rows import Rows

Part = tuple[Any, Tensor]  # (x, y); x is a Tensor or `Rows`, and both know len, [], split, shape, dim
Name = Literal["train", "validation", "test"]
Kind = Literal["auto", "classification", "regression"]


@dataclass(frozen=True, eq=False)
class Data:
    """Inputs and targets of a task.

    Attributes
    ----------
    train, validation, test : pairs (x, y); x of shape (rows, ...), floats, or whole numbers for a model
        that embeds them, or `nonlin.tasks.rows.Rows`, which make such x batch by batch; y whole numbers
        0 … classes-1 of shape (rows,) for classification, or (rows, positions) for one class at each position
        (language models), or floats of shape (rows,) or (rows, outputs) for regression
    """

    train: Part
    validation: Part
    test: Part

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            object.__setattr__(self, name, _checked(getattr(self, name), name))

    @property
    def classes(self) -> int | None:
        """Number of classes, or None for regression."""
        parts = [y for _, y in (self.train, self.validation, self.test)]  # of sequences, each as wide as it needs
        return None if parts[0].is_floating_point() else max(int(y.max()) for y in parts) + 1

    def batches(
        self, part: Name, rows: Tensor, batch_size: int, seed: int | None = None, epoch: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches (x, y) of a part, in the order of `rows`.

        Parameters
        ----------
        rows : row numbers of the part, (n,): a permutation for training, ``torch.arange(len(y))`` for evaluation,
            the rest of a permutation to go on inside an epoch, every second number for one of two processes
        seed, epoch : of the training run and the epoch in it, by which inputs are augmented where the data has
            augmentation; seed None: as they are. Each row's changes depend on (seed, epoch, row) alone.
        """
        x, y = getattr(self, part)
        chosen = rows.split(batch_size)
        inputs = x.batches(chosen, seed, epoch) if isinstance(x, Rows) else (x[batch] for batch in chosen)
        for batch, values in zip(chosen, inputs, strict=True):
            yield values, y[batch]

    @classmethod
    def from_arrays(
        cls,
        x: Any,
        y: Any,
        fractions: tuple[float, float] = (0.2, 0.2),
        seed: int = 0,
        standardise: bool = True,
        kind: Kind = "auto",
    ) -> Data:
        """Split arrays into train, validation and test, always in the same way for one `seed`.

        Parameters
        ----------
        x : (rows, ...) numbers
        y : (rows,) labels (whole numbers, text, booleans) for classification, floats for regression
        fractions : shares of the rows for validation and test; each class is split in proportion
        kind : "classification", "regression", or "auto": classification for whole numbers and text
        standardise : scale each feature to mean 0 and deviation 1, measured on the training part alone
        """
        from sklearn.model_selection import train_test_split

        x = _numbers(x)
        y = _targets(y, kind)
        if len(x) != len(y):
            raise TaskError(f"x has {len(x)} rows and y has {len(y)}; they must be the same rows.")
        rows = np.arange(len(x))
        try:
            labels = y if y.dtype.kind == "i" else None
            rest, test = train_test_split(rows, test_size=fractions[1], random_state=seed, stratify=labels)
            labels = None if labels is None else labels[rest]
            share = fractions[0] / (1 - fractions[1])
            train, validation = train_test_split(rest, test_size=share, random_state=seed, stratify=labels)
        except ValueError as error:
            reason = str(error).split(":")[0].split(" The least")[0]
            raise TaskError(
                f"these {len(x)} rows with {len(np.unique(y))} different targets cannot be split into train, "
                f"validation and test ({reason}). Whole numbers and text are read as classes; kind='regression' "
                "reads numbers as amounts."
            ) from None
        if standardise:
            mean = x[train].mean(axis=0, keepdims=True)
            deviation = x[train].std(axis=0, keepdims=True)
            x = (x - mean) / np.where(deviation > 0, deviation, 1.0)
        parts = [(x[index].astype(np.float32), y[index]) for index in (train, validation, test)]
        return cls(*parts)

    @classmethod
    def from_csv(cls, path: str | Path, target: str, seed: int = 0, kind: Kind = "auto") -> Data:
        """Read a CSV file with a header line; `target` is the column to predict, all others are features.

        A target column of whole numbers or text gives classification, one of other numbers regression; `kind`
        ("classification" or "regression") overrides that.

        A path that is not absolute is looked for in the current folder, then beside the script of the task, if it is
        a script's.

        Raises
        ------
        TaskError : file missing, no such column, a cell that is not a number (with its line).
        """
        try:
            with open(located(path), newline="", encoding="utf-8-sig") as file:
                lines = [row for row in csv.reader(file) if row]
        except FileNotFoundError:
            raise TaskError(f"cannot read {path}: {places(path)}.") from None
        except (OSError, UnicodeDecodeError) as error:
            raise TaskError(f"cannot read {path}: {error}") from None
        if len(lines) < 2:
            raise TaskError(f"{path} needs a header line and rows; it has {len(lines)} lines.")
        header = [name.strip() for name in lines[0]]
        if target not in header:
            raise TaskError(f"{path} has no column {target!r}; its columns: {', '.join(header)}.")
        if repeated := [name for name in header if header.count(name) > 1]:
            raise TaskError(f"{path} has two columns called {repeated[0]!r}.")
        where = header.index(target)
        features, targets = [], []
        for number, row in enumerate(lines[1:], start=2):
            if len(row) != len(header):
                raise TaskError(f"{path}, line {number}: {len(row)} cells, but the header has {len(header)}.")
            targets.append(row[where].strip())
            try:
                features.append([float(cell) for index, cell in enumerate(row) if index != where])
            except ValueError as error:
                raise TaskError(f"{path}, line {number}: {error}. Features must be numbers.") from None
        return cls.from_arrays(np.array(features), _column(targets), seed=seed, kind=kind)


def _column(cells: list[str]) -> np.ndarray:
    """Whole numbers as int, other numbers as float, anything else as text."""
    try:
        values = np.array([float(cell) for cell in cells])
    except ValueError:
        return np.array(cells)
    return values.astype(np.int64) if np.all(values == np.round(values)) else values


def _numbers(x: Any) -> np.ndarray:
    try:
        array = np.asarray(x, dtype=np.float64)
    except (TypeError, ValueError):
        raise TaskError("x must be an array of numbers, of shape (rows, features) or (rows, ...).") from None
    if array.ndim < 2 or not array.size:
        raise TaskError(f"x must have shape (rows, features) or (rows, ...); got {array.shape}.")
    return array


def _targets(y: Any, kind: Kind) -> np.ndarray:
    array = np.asarray(y)
    if kind not in ("auto", "classification", "regression"):
        raise TaskError(f"kind={kind!r} is not known; use 'auto', 'classification' or 'regression'.")
    if kind == "regression":
        if array.dtype.kind not in "iufb":
            raise TaskError(f"regression needs targets that are numbers; y holds {array.dtype}.")
        return array.astype(np.float32)
    if array.dtype.kind in "iuUSOb" or kind == "classification":
        if len(np.unique(array)) < 2:
            raise TaskError("all targets are the same; there is nothing to learn.")
        return np.unique(array, return_inverse=True)[1].astype(np.int64)
    return array.astype(np.float32)


def _checked(part: Any, name: str) -> Part:
    if isinstance(part, tuple) and len(part) == 2 and isinstance(part[0], Rows):
        rows, targets = part
        if len(rows) != len(targets) or not len(rows):
            raise TaskError(f"the {name} part has {len(rows)} inputs and {len(targets)} targets.")
        return rows, torch.as_tensor(targets).long().contiguous()
    try:
        x, y = (torch.as_tensor(np.asarray(value) if not isinstance(value, Tensor) else value) for value in part)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TaskError(f"the {name} part must be a pair (x, y) of arrays: {error}") from None
    if len(x) != len(y) or not len(x):
        raise TaskError(f"the {name} part has {len(x)} inputs and {len(y)} targets.")
    y = y.float() if y.is_floating_point() else y.long()
    if x.is_floating_point():
        x = x.float()
        if not bool(torch.isfinite(x).all()):
            raise TaskError(f"the {name} inputs hold NaN or infinite values; clean them first.")
    if y.is_floating_point() and not bool(torch.isfinite(y).all()):
        raise TaskError(f"the {name} targets hold NaN or infinite values; clean them first.")
    return x.contiguous(), y.contiguous()
