"""An edited model is another study: what was trained with the old one is never shown for the new one."""

import json
import os
import sqlite3

import pytest
from small import data
from torch import nn

import nonlin as nl
from nonlin.errors import ComparisonError, SearchError
from nonlin.run import Comparison, Study
from nonlin.strategies import Space

TINY = Space("tiny", ("a", "tanh(a)", "sin(a)"), ("a*b",))
BUDGET = nl.Budget(epochs=2, batch_size=64)


def mine(width):
    return nl.Task(
        "mine", lambda act: nn.Sequential(nn.Linear(2, width), act(width), nn.Linear(width, 2)), data, BUDGET
    )


def search(width, store):
    return nl.search(mine(width), TINY, budget=1, store=store)


def compare(width, store):
    return nl.compare(["relu", "tanh"], mine(width), 1, store, nulls=False)


@pytest.mark.parametrize("begin", [search, compare])
def test_another_width_is_trained_anew_and_the_same_is_not(begin, tmp_path):
    first, second, again = (begin(width, tmp_path / "a.db").id for width in (8, 12, 8))
    assert (first, second, again) == (1, 2, 1)


def test_an_interrupted_study_is_not_continued_with_another_model(tmp_path):
    store = tmp_path / "a.db"
    study, comparison = search(8, store), compare(8, store)
    with sqlite3.connect(store) as database:
        database.execute("UPDATE studies SET finished = 0")
        database.execute("UPDATE comparisons SET finished = 0")
    with pytest.raises(SearchError, match="the model of task 'mine' is not what this study was begun with"):
        Study(study.store, study.id, mine(12)).run()
    with pytest.raises(ComparisonError, match="the model of task 'mine' is not what this comparison was begun with"):
        Comparison(comparison.store, comparison.id, [mine(12)]).run()
    assert Study(study.store, study.id, mine(8)).run().finished
    assert Comparison(comparison.store, comparison.id, [mine(8)]).run().finished


def test_a_study_from_before_models_were_noted_is_continued(tmp_path):
    store = tmp_path / "a.db"
    search(8, store), compare(8, store)
    with sqlite3.connect(store) as database:
        for table in ("studies", "comparisons"):
            config = json.loads(database.execute(f"SELECT config FROM {table}").fetchone()[0])
            del (config if table == "studies" else config["tasks"][0])["model"]
            text = json.dumps(config, sort_keys=True)
            database.execute(f"UPDATE {table} SET config = ?, finished = 0", (text,))
    assert (search(8, store).id, compare(8, store).id) == (1, 1)


SCRIPT = """
import nonlin as nl
from torch import nn
from small import data
budget = nl.Budget(epochs=2, batch_size=64)
build = lambda act: nn.Sequential(nn.Linear(2, {0}), act({0}), nn.Linear({0}, 2))
"""


def test_an_edited_script_is_read_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, ids = tmp_path / "edited.py", []
    for turn, width in enumerate((8, 12, 8)):
        path.write_text(SCRIPT.format(width))
        os.utime(path, ns=(turn, turn))
        ids.append(nl.search("edited.py", TINY, budget=1, store="a.db").id)
    assert ids == [1, 2, 1]
