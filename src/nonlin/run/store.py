"""The store: studies with their trials, and comparisons with their runs, in one SQLite file.

Schema (version 3; readable with datasette, pandas or the sqlite3 shell):

    meta     key, value
    studies  id, created, config (JSON), provenance (JSON), census (JSON), state (JSON), finished
    trials   study, number, role, name, formula, key, initial (JSON), rungs (JSON), seed, status,
             score, loss, epochs, seconds, curves (JSON), parameters (JSON), error, told
    comparisons  id, created, config (JSON), provenance (JSON), finished
    runs     comparison, phase, task, arm, rate, seed, then as `nonlin.run.runs.Run`

A trial is written before the search waits for it (status "running") and again when it is finished, before anything
is told of it, so that `kill -9` loses at most the children in flight. `told` marks those whose outcome the strategy
has been told, together with the strategy's state of that moment; what it was told since repeats itself on resuming.
In a search with asynchronous halving `told` is the place in the order in which outcomes came, written with the outcome.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nonlin.errors import StoreError
from nonlin.run.row import Row

try:
    import fcntl
except ImportError:  # not on Windows, where two searches on one store are the user's to avoid
    fcntl = None  # type: ignore[assignment]

SCHEMA_VERSION = 3

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE studies (
    id INTEGER PRIMARY KEY, created TEXT NOT NULL, config TEXT NOT NULL, provenance TEXT NOT NULL,
    census TEXT NOT NULL DEFAULT '{}', state TEXT NOT NULL DEFAULT '{}', finished INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE trials (
    study INTEGER NOT NULL REFERENCES studies(id), number INTEGER NOT NULL, role TEXT NOT NULL,
    name TEXT NOT NULL, formula TEXT NOT NULL, key TEXT NOT NULL, initial TEXT NOT NULL, rungs TEXT NOT NULL,
    seed INTEGER NOT NULL, status TEXT NOT NULL, score REAL, loss REAL, epochs INTEGER NOT NULL DEFAULT 0,
    seconds REAL NOT NULL DEFAULT 0, curves TEXT NOT NULL DEFAULT '{}', parameters TEXT NOT NULL DEFAULT '{}',
    error TEXT NOT NULL DEFAULT '', told INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (study, number)
);
CREATE UNIQUE INDEX one_trial_per_function ON trials (study, key);
"""

# What version 2 added, and version 3; an older store gets it when it is opened.
_COMPARISONS = """
CREATE TABLE comparisons (
    id INTEGER PRIMARY KEY, created TEXT NOT NULL, config TEXT NOT NULL, provenance TEXT NOT NULL,
    finished INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE runs (
    comparison INTEGER NOT NULL REFERENCES comparisons(id), phase TEXT NOT NULL, task TEXT NOT NULL,
    arm TEXT NOT NULL, rate REAL NOT NULL, seed INTEGER NOT NULL, status TEXT NOT NULL, score REAL, loss REAL,
    test_score REAL, test_loss REAL, epochs INTEGER NOT NULL, seconds REAL NOT NULL, seconds_per_epoch REAL,
    saved_bytes INTEGER, curves TEXT NOT NULL, parameters TEXT NOT NULL, error TEXT NOT NULL,
    PRIMARY KEY (comparison, phase, task, arm, rate, seed)
);
"""
_MEASURES = "ALTER TABLE runs ADD COLUMN measures TEXT NOT NULL DEFAULT '{}';"
_UPDATES = {"1": f"{_COMPARISONS} {_MEASURES}", "2": _MEASURES}  # from which version


@dataclass
class Trial(Row):
    """One child network of a study. Also reads like a mapping: ``trial["score"]``, ``dict(trial)``.

    Attributes
    ----------
    number : 0, 1, 2, … in the order in which the study asked
    role : "baseline" a well-known function, "null" a control, "candidate" proposed by the strategy
    name : what the function is known as, or its formula
    key : equal for equal functions
    status : "running", "ok", "stopped", "diverged" or "failed"; see `nonlin.train.Outcome`
    score, loss : validation accuracy (or R²) and validation loss; NaN if there is none
    """

    number: int
    role: str
    name: str
    formula: str
    key: str = field(repr=False)
    initial: dict[str, float] = field(repr=False)
    rungs: dict[int, float] = field(repr=False)
    seed: int
    status: str = "running"
    score: float = math.nan
    loss: float = math.nan
    epochs: int = 0
    seconds: float = 0.0
    curves: dict[str, list[float]] = field(default_factory=dict, repr=False)
    parameters: dict[str, float] = field(default_factory=dict)
    error: str = ""

    def rank_key(self) -> tuple:
        """Sorts trials best first: full trainings before stopped ones, then score, loss, number."""
        order = {"ok": 0, "stopped": 1, "running": 2, "diverged": 3, "failed": 4}[self.status]
        score = self.score if math.isfinite(self.score) else -math.inf
        loss = self.loss if math.isfinite(self.loss) else math.inf
        return (order, -self.epochs if order == 1 else 0, -score, loss, self.number)


_HOLDERS = ("studies", "comparisons")
_JSON = ("initial", "rungs", "curves", "parameters")
_COLUMNS = tuple(item.name for item in fields(Trial))
OUTCOMES = ("status", "score", "loss", "epochs", "seconds", "curves", "parameters", "error")
_ADD = f"INSERT INTO trials (study, {', '.join(_COLUMNS)}) VALUES ({', '.join('?' * (len(_COLUMNS) + 1))})"
_SAVE = f"UPDATE trials SET {', '.join(f'{name} = ?' for name in OUTCOMES)} WHERE study = ? AND number = ?"


class Store:
    """One SQLite file, one writer. `path` None keeps everything in memory.

    Raises
    ------
    StoreError : not a store, made by a newer nonlin, read-only, locked, or the disk is full. The file is
        left as it was.
    """

    def __init__(self, path: str | Path | None, create: bool = True):
        if path is not None and not isinstance(path, str | os.PathLike):
            raise StoreError(f"a store is a file's path, or None for one in memory; got {path!r}.")
        self.path = None if path is None else Path(path)
        self.label = ":memory:" if self.path is None else str(self.path)
        self._new = self.path is not None and not self.path.exists()
        if self.path is not None:
            self._check_file(create)
        with self.errors("open"):
            self.db = sqlite3.connect(self.label, isolation_level=None, timeout=10)
            self.db.row_factory = sqlite3.Row
            self._check_schema(create)

    def _check_file(self, create: bool) -> None:
        assert self.path is not None
        if self.path.is_dir():
            raise StoreError(f"{self.path} is a folder; a store is a file such as {self.path / 'runs.db'}.")
        if not self.path.exists() and not create:
            raise StoreError(f"there is no store {self.path}. Make one with: nonlin search --store {self.path}")
        if not self.path.parent.is_dir():
            raise StoreError(f"the folder {self.path.parent} of the store {self.path.name} does not exist.")
        if self.path.exists() and self.path.stat().st_size:
            with open(self.path, "rb") as file:
                if file.read(16) != b"SQLite format 3\x00":
                    raise StoreError(f"{self.path} is not a nonlin store (not an SQLite file); it was not touched.")

    def _check_schema(self, create: bool) -> None:
        tables = {row[0] for row in self.db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables and create:
            self.db.execute("PRAGMA journal_mode = WAL")
            self.db.execute("PRAGMA synchronous = NORMAL")
            self.db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} {_COMPARISONS} {_MEASURES} COMMIT;")
            self.db.execute("INSERT INTO meta VALUES ('schema_version', ?)", (str(SCHEMA_VERSION),))
            return
        if not {"meta", "studies", "trials"} <= tables:
            raise StoreError(
                f"{self.label} is an SQLite file but not a nonlin store; it was not touched. (If it was copied while a "
                "search ran: part of it was in the file with -wal at the end of its name.)"
            )
        row = self.db.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
        version = row[0] if row else "missing"
        if version not in (*_UPDATES, str(SCHEMA_VERSION)):
            raise StoreError(
                f"{self.label} has schema version {version}; this nonlin reads version {SCHEMA_VERSION}. "
                "Install the nonlin that wrote it (pip install -U nonlin), or use another file. It was not touched."
            )
        check = self.db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if check != "ok":
            raise StoreError(f"{self.label} is damaged ({check}); restore it from a backup. It was not touched.")
        self.db.execute("PRAGMA synchronous = NORMAL")
        if version in _UPDATES:
            number = f"UPDATE meta SET value = '{SCHEMA_VERSION}' WHERE key = 'schema_version';"
            self.db.executescript(f"BEGIN IMMEDIATE; {_UPDATES[version]} {number} COMMIT;")

    @contextmanager
    def errors(self, action: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            remedies = {
                "readonly": "Use a file and folder that you may write to.",
                "full": "Free some space and run the same command again: finished children are kept.",
                "locked": "Another process writes to it; wait for it or use another file.",
                "unable to open": "Use a file in a folder that exists and that you may write to.",
                "malformed": "The file is damaged; restore it from a backup or use another file.",
                "not a database": "The file is damaged; restore it from a backup or use another file.",
            }
            remedy = next((text for word, text in remedies.items() if word in str(error)), "")
            raise StoreError(f"cannot {action} the store {self.label}: {error}. {remedy}".strip()) from None

    @contextmanager
    def unless_unused(self) -> Iterator[None]:
        """Where an error ends the block before anything was written, a file that is new is removed again."""
        try:
            yield
        except BaseException:
            if self._new and self.path is not None and self._is_empty():
                self.close()
                for ending in ("", "-wal", "-shm"):
                    self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
            raise

    def _is_empty(self) -> bool:
        try:
            return not any(self.db.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() for name in _HOLDERS)
        except sqlite3.Error:  # it cannot be told: another process made it its own, or the disk is gone
            return False

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the store for one running search or comparison; StoreError if another process holds it.

        The lock ends with the process, however it ends. It is a file of its own beside the store, since closing
        any handle of the store itself would drop SQLite's own locks.
        """
        if self.path is None or fcntl is None:
            yield
            return
        path = self.path.with_name(f"{self.path.name}-lock")
        with open(path, "a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise StoreError(
                    f"process {file.read().strip() or 'unknown'} is working with the store {self.label} just now; "
                    "wait for it, or use another file."
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            try:
                yield
            finally:
                self.fold()
            path.unlink(missing_ok=True)

    def fold(self) -> None:
        """Take what SQLite keeps in the file beside it (-wal) into the store, which can then be copied alone.

        Where another process is reading it is left for later.
        """
        with suppress(sqlite3.Error):
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def transaction(self, action: str) -> Iterator[None]:
        if self.path is not None and not self.path.exists():
            raise StoreError(f"the store {self.label} was removed while it was in use; its results cannot be kept.")
        with self.errors(action):
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")

    def close(self) -> None:
        self.db.close()

    # Studies

    def add_study(self, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> int:
        """A new study; returns its id."""
        with self.transaction("write to"):
            cursor = self.db.execute(
                "INSERT INTO studies (created, config, provenance) VALUES (?, ?, ?)",
                (now(), json.dumps(config, sort_keys=True), json.dumps(provenance)),
            )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def find_study(self, config: Mapping[str, Any]) -> int | None:
        """The id of the study with exactly this configuration."""
        with self.errors("read"):
            row = self.db.execute(
                "SELECT id FROM studies WHERE config = ?", (json.dumps(config, sort_keys=True),)
            ).fetchone()
        return row["id"] if row else None

    def study_ids(self) -> list[int]:
        with self.errors("read"):
            return [row["id"] for row in self.db.execute("SELECT id FROM studies ORDER BY id")]

    def study(self, study: int) -> dict[str, Any]:
        """A study's row with config, provenance, census and state decoded."""
        with self.errors("read"):
            row = self.db.execute("SELECT * FROM studies WHERE id = ?", (study,)).fetchone()
        if row is None:
            known = ", ".join(map(str, self.study_ids())) or "none"
            raise StoreError(f"{self.label} has no study {study}; it has: {known}.")
        decoded = {key: json.loads(row[key]) for key in ("config", "provenance", "census", "state")}
        return {**dict(row), **decoded}

    def set_census(self, study: int, census: Mapping[str, Any]) -> None:
        with self.transaction("write to"):
            self.db.execute("UPDATE studies SET census = ? WHERE id = ?", (json.dumps(census), study))

    def finish(self, study: int) -> None:
        with self.transaction("write to"):
            self.db.execute("UPDATE studies SET finished = 1 WHERE id = ?", (study,))

    # Trials

    def record(
        self, study: int, asked: Sequence[Trial], finished: Sequence[Trial] = (), place: int | None = None
    ) -> None:
        """Children that are about to be trained, and finished ones, of which some may be among these: in one
        transaction. With `place`, that they came at this place and after it."""
        rows = [(study, *_encode(trial, _COLUMNS)) for trial in asked]
        outcomes = [(*_encode(trial, OUTCOMES), study, trial.number) for trial in finished]
        with self.transaction("write to"):
            self.db.executemany(_ADD, rows)
            self.db.executemany(_SAVE, outcomes)
            if place is not None:
                places = [(place + k, study, trial.number) for k, trial in enumerate(finished, start=1)]
                self.db.executemany("UPDATE trials SET told = ? WHERE study = ? AND number = ?", places)

    def completion(self, study: int) -> list[int]:
        """Numbers of the trials of an asynchronous search in the order in which their outcomes came."""
        with self.errors("read"):
            rows = self.db.execute("SELECT number FROM trials WHERE study = ? AND told > 0 ORDER BY told", (study,))
            return [row[0] for row in rows.fetchall()]

    def save_state(self, study: int, told: int, state: Mapping[str, Any]) -> None:
        """The strategy's state after it was told trial `told` - 1, the last of those told so far."""
        with self.transaction("write to"):
            self.db.execute("UPDATE studies SET state = ? WHERE id = ?", (json.dumps(state), study))
            self.db.execute("UPDATE trials SET told = 1 WHERE study = ? AND number < ? AND NOT told", (study, told))

    def trials(self, study: int) -> list[Trial]:
        """All trials in the order in which they were asked."""
        with self.errors("read"):
            rows = self.db.execute("SELECT * FROM trials WHERE study = ? ORDER BY number", (study,)).fetchall()
        return [_decode(row) for row in rows]


def _encode(trial: Trial, names: tuple[str, ...]) -> list[Any]:
    values = [getattr(trial, name) for name in names]
    return [
        _json(value) if name in _JSON else None if isinstance(value, float) and math.isnan(value) else value
        for name, value in zip(names, values, strict=True)
    ]


def _json(value: dict[Any, Any]) -> str:
    return json.dumps(value) if value else "{}"  # most are empty, and there are four for each trial


def _decode(row: sqlite3.Row) -> Trial:
    values = {name: _parsed(row[name]) if name in _JSON else row[name] for name in _COLUMNS}
    for name in ("score", "loss"):
        values[name] = math.nan if values[name] is None else values[name]
    values["rungs"] = {int(epoch): loss for epoch, loss in values["rungs"].items()}
    return Trial(**values)


def _parsed(text: str) -> Any:
    return {} if text == "{}" else json.loads(text)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
