"""The experiments of the papers, read from papers.toml: functions, networks, seeds, and the published figures."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

from nonlin.errors import NonlinError, UnknownNameError

Per = Literal["channel", "tensor"]  # as `nonlin.native.module.Per`, without loading torch


@dataclass(frozen=True)
class Figure:
    """One figure that is reported of every function.

    Attributes
    ----------
    measure : "accuracy" of the test part in per cent, or the name of one of the task's own measures
    source : where in the paper its figures stand; empty if none was read
    published : one for each function of the experiment, or none
    """

    measure: str
    source: str = ""
    published: tuple[float, ...] = ()


@dataclass(frozen=True)
class Cell:
    """One network on one data set; `beta`, `steps` and `epochs` in place of the task's own."""

    task: str
    figures: tuple[Figure, ...]
    beta: float | None = None
    steps: int | None = None
    epochs: int | None = None

    @property
    def name(self) -> str:
        """What its task is called in stores and tables."""
        return self.task if self.beta in (None, 0.1) else f"{self.task}:beta={self.beta:g}"


@dataclass(frozen=True)
class Experiment:
    """What papers.toml says of one experiment; see its head for the fields."""

    name: str
    title: str
    reference: str
    functions: tuple[str, ...]
    pair: tuple[str, str]
    seeds: int
    per: Per
    paper: tuple[str, ...]
    ours: tuple[str, ...]
    cells: tuple[Cell, ...]

    def __post_init__(self) -> None:
        for cell in self.cells:
            for figure in cell.figures:
                if figure.published and len(figure.published) != len(self.functions):
                    raise NonlinError(f"{self.name}, {cell.name}: {len(figure.published)} published figures, "
                                      f"expected one for each of {len(self.functions)} functions.")  # fmt: skip

    def chosen(self, tasks: list[str] | tuple[str, ...] | None) -> tuple[Cell, ...]:
        """The cells of these tasks, all for None or nothing; UnknownNameError for a task that is not among them.

        A task's name stands for all its betas.
        """
        if not tasks:
            return self.cells
        known = list(dict.fromkeys(name for cell in self.cells for name in (cell.task, cell.name)))
        for name in tasks:
            if name not in known:
                raise UnknownNameError(f"task of {self.name}", name, known, f"It has: {', '.join(known)}.")
        return tuple(cell for cell in self.cells if cell.name in tasks or cell.task in tasks)


@lru_cache(maxsize=1)
def experiments() -> dict[str, Experiment]:
    """All experiments by name."""
    text = resources.files("nonlin.experiments").joinpath("papers.toml").read_text(encoding="utf-8")
    found = [_experiment(row) for row in tomllib.loads(text)["experiments"]]
    return {experiment.name: experiment for experiment in found}


def experiment(name: str) -> Experiment:
    """The experiment of this name; UnknownNameError if there is none."""
    known = experiments()
    if name not in known:
        raise UnknownNameError("experiment", name, known, "See 'nonlin reproduce'.")
    return known[name]


def _experiment(row: dict[str, Any]) -> Experiment:
    cells = tuple(_cell(cell) for cell in row["cells"])
    lists = {key: tuple(row[key]) for key in ("functions", "pair", "paper", "ours")}
    return Experiment(**{**row, **lists, "cells": cells})


def _cell(row: dict[str, Any]) -> Cell:
    figures = tuple(
        Figure(**{**figure, "published": tuple(figure.get("published", ()))}) for figure in row["figures"]
    )  # fmt: skip
    return Cell(**{**row, "figures": figures})
