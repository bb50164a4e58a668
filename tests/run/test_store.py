"""The store: what it refuses, and that it leaves alone what it refuses."""

import dataclasses
import hashlib
import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from small import TASK
from torch import nn

import nonlin as nl
from nonlin.errors import StoreError, TaskError
from nonlin.run import Store, Trial


def checksum(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "a.db"
    nl.search(TASK, budget=2, store=path).store.close()
    return path


def refuse(path, message):
    before = checksum(path)
    for attempt in (lambda: nl.Study.open(path), lambda: nl.search(TASK, budget=3, store=path)):
        with pytest.raises(StoreError, match=message) as caught:
            attempt()
        assert str(path) in str(caught.value)
    assert checksum(path) == before


def test_a_finished_store_is_one_file(tmp_path):
    """Nothing is left in SQLite's log beside it, though the store is still open: it can be copied alone."""
    study = nl.search(TASK, budget=2, store=tmp_path / "a.db")
    (tmp_path / "copy.db").write_bytes((tmp_path / "a.db").read_bytes())
    assert len(nl.Study.open(tmp_path / "copy.db").trials()) == len(study.trials())


def test_a_terminated_search_says_how_to_go_on(tmp_path):
    """SIGTERM, as Slurm and Kubernetes send it: what was trained is in the one file."""
    path = tmp_path / "a.db"
    command = [sys.executable, "-m", "nonlin", "search", "--task", "digits-mlp", "--store", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as search:
        deadline = time.monotonic() + 100
        while not (path.exists() and finished(path)) and time.monotonic() < deadline:
            time.sleep(0.1)
        search.terminate()
        said = search.communicate(timeout=60)[0]
    assert search.returncode == 130
    assert f"nonlin resume {path}" in " ".join(said.split())
    (tmp_path / "copy.db").write_bytes(path.read_bytes())
    assert finished(tmp_path / "copy.db")


def finished(path):
    with closing(sqlite3.connect(path)) as db:
        try:
            return db.execute("SELECT count(*) FROM trials WHERE status != 'running'").fetchone()[0]
        except sqlite3.Error:  # not made yet
            return 0


@pytest.mark.parametrize("path", [7, b"a.db", ["a.db"]])
def test_no_path(path):
    with pytest.raises(StoreError, match="a store is a file's path"):
        nl.search(TASK, budget=2, store=path)


def test_newer_schema(store):
    with sqlite3.connect(store) as db:
        db.execute("UPDATE meta SET value = '99'")
    db.close()
    refuse(store, "schema version 99; this nonlin reads version 3")


def test_text_file(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("my notes, dear to me")
    refuse(path, "not a nonlin store")


def test_another_database(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mine (a)")
    db.close()
    refuse(path, "not a nonlin store")


@pytest.mark.parametrize("where", [b"SQLite format 3", b"CREATE TABLE", b"train_loss"])
def test_damaged_file(store, where):
    content = bytearray(store.read_bytes())
    start = content.index(where) // 4096 * 4096 + 100 * (where != b"train_loss")  # into the page that holds it
    content[start : start + 3000] = b"\x5a" * min(3000, len(content) - start)
    store.write_bytes(content)
    refuse(store, "damaged|malformed|not a nonlin store|not a database")


def test_truncated_file(store):
    store.write_bytes(store.read_bytes()[: store.stat().st_size // 2])
    refuse(store, "damaged|malformed")


def test_folder_and_missing(tmp_path):
    with pytest.raises(StoreError, match="is a folder"):
        nl.search(TASK, budget=1, store=tmp_path)
    with pytest.raises(StoreError, match="does not exist"):
        nl.search(TASK, budget=1, store=tmp_path / "no" / "a.db")
    with pytest.raises(StoreError, match="there is no store"):
        nl.Study.open(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_store_without_a_study(tmp_path):
    Store(tmp_path / "empty.db").close()
    with pytest.raises(StoreError, match="no study yet"):
        nl.Study.open(tmp_path / "empty.db")


def test_unknown_study(store):
    with pytest.raises(StoreError, match=r"no study 7; it has: 1"):
        nl.Study.open(store, 7)


@pytest.mark.parametrize("name", ["search", "compare"])
def test_bad_input_leaves_no_new_file_behind_and_an_old_one_alone(tmp_path, name):
    task = dataclasses.replace(TASK, build=lambda activation: nn.Linear(2, 2))
    begin = {
        "search": lambda path: nl.search(task, store=path),
        "compare": lambda path: nl.compare(["relu"], task, store=path),
    }[name]
    with pytest.raises(TaskError):
        begin(tmp_path / "new.db")
    assert not list(tmp_path.iterdir())
    Store(tmp_path / "old.db").close()
    with pytest.raises(TaskError):
        begin(tmp_path / "old.db")
    assert Store(tmp_path / "old.db", create=False).study_ids() == []


def test_an_error_after_something_was_written_keeps_the_file(tmp_path):
    store = Store(tmp_path / "a.db")

    def interrupted():
        with store.unless_unused():
            store.add_study({}, {})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert store.study_ids() == [1]


def test_read_only(tmp_path, store):
    """A store that may not be written: said clearly, and not touched."""
    before = checksum(store)
    connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    opened = Store(store)
    opened.db.close()
    opened.db = connection
    connection.row_factory = sqlite3.Row
    connection.isolation_level = None
    with pytest.raises(StoreError, match=r"readonly.*may write"):
        opened.add_study({}, {})
    connection.close()
    assert checksum(store) == before


def test_full_disk(store):
    """SQLite's own limit on the file's size raises the error of a full disk."""
    opened = Store(store)
    pages = opened.db.execute("PRAGMA page_count").fetchone()[0]
    opened.db.execute(f"PRAGMA max_page_count = {pages}")
    written = []

    def fill():
        for number in range(100, 10_000):
            opened.record(1, [Trial(number, "candidate", "", "x" * 500, str(number), {}, {}, 0)])
            written.append(number)

    with pytest.raises(StoreError, match=r"full.*finished children are kept"):
        fill()
    opened.close()
    again = nl.Study.open(store)
    assert again.finished
    assert len(again.trials()) == 14 + len(written)


def test_locked(store):
    other = sqlite3.connect(store, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    opened = Store(store)
    opened.db.execute("PRAGMA busy_timeout = 50")
    with pytest.raises(StoreError, match=r"locked.*Another process"):
        opened.add_study({}, {})
    other.execute("ROLLBACK")
    other.close()


def test_readable_by_others(store):
    with sqlite3.connect(store) as db:
        names = [row[0] for row in db.execute("SELECT name FROM trials WHERE role = 'baseline' ORDER BY number")]
        curves = json.loads(db.execute("SELECT curves FROM trials WHERE name = 'relu'").fetchone()[0])
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    db.close()
    assert names[:3] == ["relu", "gelu", "silu"]
    assert len(curves["loss"]) == TASK.budget.epochs


def test_two_processes_may_read_while_one_writes(store):
    code = f"import nonlin as nl; print(len(nl.Study.open({str(store)!r}).trials()))"
    opened = Store(store)
    opened.db.execute("BEGIN IMMEDIATE")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    opened.db.execute("ROLLBACK")
    assert found.stdout.strip() == "14"


def test_a_store_of_version_2_learns_of_measures(tmp_path):
    """As it was before: no such column. What it holds is kept, and the next run has its measures in it."""
    path = tmp_path / "old.db"
    first = nl.compare(["relu"], TASK, seeds=1, store=path, nulls=False)
    first.store.close()
    with sqlite3.connect(path) as db:
        db.executescript("ALTER TABLE runs DROP COLUMN measures; UPDATE meta SET value = '2';")
    db.close()
    again = nl.Comparison.open(path)
    assert [run.measures for run in again.runs()] == [{}]
    measured = dataclasses.replace(TASK, name="measured", measure=lambda model, part: {"rows": float(len(part[1]))})
    found = nl.compare(["relu"], measured, seeds=1, store=path, nulls=False, engine="torch")
    assert found.runs()[0].measures == {"rows": float(len(TASK.load().test[1]))}
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone() == ("3",)
    db.close()
