"""One training of a comparison, and the table of the store that keeps them."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from nonlin.errors import StoreError
from nonlin.run.row import Row
from nonlin.run.store import Store, now

Phase = Literal["tuning", "final"]


@dataclass
class Run(Row):
    """One training of a comparison. Also reads like a mapping: ``run["score"]``, ``dict(run)``.

    Attributes
    ----------
    phase : "tuning" chooses a learning rate on validation data, with seeds of its own; "final" is reported
    task, arm : names
    rate : the learning rate
    status : "ok", "diverged" or "failed"; see `nonlin.train.Outcome`
    score, loss : accuracy (or R²) and loss on validation data
    test_score, test_loss : the same on test data; NaN while tuning, which never sees them
    seconds_per_epoch : median over the epochs, without evaluation
    saved_bytes : what autograd keeps for the backward pass of one batch; None while tuning
    measures : the task's further figures on test data, such as BLEU; empty while tuning, or where it has none
    """

    phase: Phase
    task: str
    arm: str
    rate: float
    seed: int
    status: str = "running"
    score: float = math.nan
    loss: float = math.nan
    test_score: float = math.nan
    test_loss: float = math.nan
    epochs: int = 0
    seconds: float = 0.0
    seconds_per_epoch: float = math.nan
    saved_bytes: int | None = None
    curves: dict[str, list[float]] = field(default_factory=dict, repr=False)
    parameters: dict[str, float] = field(default_factory=dict)
    error: str = ""
    measures: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str, float, int]:
        """What sets a run apart from all others of its comparison."""
        return self.phase, self.task, self.arm, self.rate, self.seed


_COLUMNS = tuple(item.name for item in fields(Run))
_JSON = ("curves", "parameters", "measures")
_FLOATS = ("score", "loss", "test_score", "test_loss", "seconds_per_epoch")


def find_comparison(store: Store, config: Mapping[str, Any]) -> int | None:
    """The id of the comparison of exactly this configuration."""
    text = json.dumps(config, sort_keys=True)
    with store.errors("read"):
        found = store.db.execute("SELECT id FROM comparisons WHERE config = ?", (text,)).fetchone()
    return found["id"] if found else None


def add_comparison(store: Store, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> int:
    """A new comparison, or the one of exactly this configuration; returns its id."""
    if (found := find_comparison(store, config)) is not None:
        return found
    text = json.dumps(config, sort_keys=True)
    with store.transaction("write to"):
        cursor = store.db.execute(
            "INSERT INTO comparisons (created, config, provenance) VALUES (?, ?, ?)",
            (now(), text, json.dumps(provenance)),
        )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def comparison_ids(store: Store) -> list[int]:
    with store.errors("read"):
        return [row["id"] for row in store.db.execute("SELECT id FROM comparisons ORDER BY id")]


def comparison_row(store: Store, id: int) -> dict[str, Any]:
    """A comparison's row with config and provenance decoded."""
    with store.errors("read"):
        row = store.db.execute("SELECT * FROM comparisons WHERE id = ?", (id,)).fetchone()
    if row is None:
        known = ", ".join(map(str, comparison_ids(store))) or "none"
        raise StoreError(f"{store.label} has no comparison {id}; it has: {known}.")
    return {**dict(row), "config": json.loads(row["config"]), "provenance": json.loads(row["provenance"])}


def finish_comparison(store: Store, id: int) -> None:
    with store.transaction("write to"):
        store.db.execute("UPDATE comparisons SET finished = 1 WHERE id = ?", (id,))


def save_run(store: Store, id: int, run: Run) -> None:
    """Record a finished run."""
    names, slots = ", ".join(_COLUMNS), ", ".join("?" * (len(_COLUMNS) + 1))
    values = [getattr(run, name) for name in _COLUMNS]
    encoded = [
        json.dumps(value) if name in _JSON else None if isinstance(value, float) and math.isnan(value) else value
        for name, value in zip(_COLUMNS, values, strict=True)
    ]
    with store.transaction("write to"):
        store.db.execute(f"INSERT OR REPLACE INTO runs (comparison, {names}) VALUES ({slots})", (id, *encoded))


def stored_runs(store: Store, id: int) -> list[Run]:
    """All finished runs in the order in which they finished."""
    with store.errors("read"):
        rows = store.db.execute("SELECT * FROM runs WHERE comparison = ? ORDER BY rowid", (id,)).fetchall()
    return [_decode(row) for row in rows]


def _decode(row: sqlite3.Row) -> Run:
    values = {name: json.loads(row[name]) if name in _JSON else row[name] for name in _COLUMNS}
    for name in _FLOATS:
        values[name] = math.nan if values[name] is None else values[name]
    return Run(**values)
