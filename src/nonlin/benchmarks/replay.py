"""A strategy run on a table instead of on trainings: milliseconds in place of minutes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from nonlin.benchmarks.table import UNKNOWN, Table
from nonlin.expr import Expr
from nonlin.strategies import Strategy
from nonlin.zoo import activation

FRUITLESS = 20_000  # proposals in a row that bring nothing new: the strategy is at its end


@dataclass
class Replay:
    """What a strategy tried: rows of the table in order; how often it was asked; CPU seconds that it took in all."""

    rows: list[int]
    asks: int
    seconds: float


def replay(table: Table, made: Strategy, budget: int, column: int, window: int = 1) -> Replay:
    """Run a strategy on the outcomes of one seed of a table.

    It is told the well-known functions first, as in a search; they do not count. Proposals that are no new function
    cost nothing, as in a search; those that are not in a table that is not complete are passed over.

    Parameters
    ----------
    budget : functions to try
    column : which seed of the table
    window : functions out at a time; answers come in the order asked
    """
    from nonlin.run.loop import BASELINES

    spent = 0.0
    scores, losses = table.scores[:, column], table.losses[:, column]
    answered: set[int] = set()
    for name in BASELINES:
        expr = activation(name).expr
        row = table.row(expr)
        if row is not None and row != UNKNOWN and row not in answered:
            answered.add(row)
            made.tell(expr, float(scores[row]), float(losses[row]))
    seen = set(answered)
    tried: list[int] = []
    out: list[tuple[Expr, int]] = []
    fruitless = asks = 0
    while len(tried) < budget and fruitless < FRUITLESS:
        begun = time.process_time()
        expr_or_none = made.ask()
        spent += time.process_time() - begun
        asks += 1
        if expr_or_none is None:
            break
        expr, row = expr_or_none, table.row(expr_or_none)
        fruitless += 1
        begun = time.process_time()
        if row is None:
            made.tell(expr, math.nan, math.nan)
        elif row in answered:
            made.tell(expr, float(scores[row]), float(losses[row]))
        elif row != UNKNOWN and row not in seen:
            fruitless = 0
            seen.add(row)
            tried.append(row)
            out.append((expr, row))
            if len(out) >= window:
                oldest, place = out.pop(0)
                answered.add(place)
                made.tell(oldest, float(scores[place]), float(losses[place]))
        spent += time.process_time() - begun
    return Replay(tried, asks, spent)


def first_hit(rows: list[int], best: set[int], budget: int) -> int:
    """Functions tried until one of `best`; budget + 1 if there is none."""
    return next((k for k, row in enumerate(rows, start=1) if row in best), budget + 1)


def regret(rows: list[int], quality: np.ndarray, budget: int) -> np.ndarray:
    """(budget,): `quality` of the best function tried so far, after 1, 2, ... of them."""
    best = np.minimum.accumulate(quality[rows]) if rows else np.ones(1)
    return np.concatenate([best, np.full(budget, best[-1])])[:budget]
