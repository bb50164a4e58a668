"""The benchmark of strategies on tables: replay, intervals, partial tables, and the command."""

import gzip
import json

import numpy as np
import pytest
from typer.testing import CliRunner

import nonlin as nl
from nonlin.benchmarks import bench_strategies, check_table, find_table, make_table, read_table
from nonlin.benchmarks.replay import first_hit, regret, replay
from nonlin.benchmarks.table import UNKNOWN, Table
from nonlin.cli.app import app
from nonlin.errors import NonlinError, UnknownNameError
from nonlin.expr import parse
from nonlin.expr.identity import kind
from nonlin.strategies import space


@pytest.fixture(scope="module")
def digits():
    return read_table(find_table("digits-mlp"))


def test_the_table_holds_the_whole_space(digits):
    assert digits.is_complete
    where, generator = space("core-1"), np.random.default_rng(0)
    for expr in (where.sample(generator) for _ in range(40)):
        assert (digits.row(expr) is None) == (kind(expr) != "ordinary")
    assert digits.losses.shape == (len(digits.formulas), 3)
    assert len(set(digits.rows.values())) == len(digits.formulas)  # no function twice


def test_the_table_is_what_training_gives(digits):
    for row in check_table(digits, 3):
        assert row["again"] == pytest.approx(row["loss"], rel=0.02, nan_ok=True)


def small_table():
    """Ten functions, the third the best."""
    formulas = [f"{k}*sin(x) + cos({k}*x)" for k in range(1, 11)]
    losses = np.array([[5.0], [4.0], [0.1], [3.0], [np.nan], [2.0], [6.0], [7.0], [8.0], [9.0]])
    return Table({"seeds": [0], "study": {"task": "t"}, "complete": False}, formulas, 1 - losses / 10, losses)


def test_ranks_of_a_table():
    table = small_table()
    assert table.best(0.1) == {2}
    assert table.best(0.3) == {2, 5, 3}
    assert table.quality()[2] == pytest.approx(0.1)
    assert table.quality()[4] == pytest.approx(1.0)  # what diverged is worst
    assert table.row(parse("sin(x)*exp(x)")) == UNKNOWN
    assert table.row(parse("3*x")) is None


class Script:
    """Proposes given formulas, and keeps what it is told."""

    def __init__(self, *texts):
        self.texts, self.told = list(texts), []

    def ask(self):
        return parse(self.texts.pop(0)) if self.texts else None

    def tell(self, expr, score, loss):
        self.told.append((str(expr), loss))


def test_a_replay_counts_new_functions_only():
    table = small_table()
    texts = [table.formulas[0], "3*x", table.formulas[0], "sin(x)*exp(x)", table.formulas[2], table.formulas[5]]
    made = Script(*texts)
    found = replay(table, made, 10, 0)
    assert found.rows == [0, 2, 5]
    assert found.asks == 7
    assert [loss for _, loss in made.told] == pytest.approx([5.0, np.nan, 5.0, 0.1, 2.0], nan_ok=True)
    late = Script(*texts)
    assert replay(table, late, 10, 0, window=3).rows == [0, 2, 5]
    assert [loss for _, loss in late.told] == pytest.approx([np.nan, 5.0], nan_ok=True)
    assert first_hit(found.rows, {2}, 10) == 2
    assert first_hit(found.rows, {9}, 10) == 11
    assert regret(found.rows, table.quality(), 5) == pytest.approx([0.5, 0.1, 0.1, 0.1, 0.1])


def test_the_surrogate_is_far_better_than_chance(digits):
    found = bench_strategies("digits-mlp", strategies=["random", "surrogate"], repeats=3, budget=25)
    chance, learnt = (row["regret"] for row in found.rows())
    assert learnt < chance / 1.5
    assert found.standings[0].curves.shape == (3, 25)
    assert (np.diff(found.standings[1].curves, axis=1) <= 0).all()
    assert json.loads(json.dumps(found.as_dict()))["strategies"][1]["strategy"] == "surrogate"


def test_partial_tables_go_on(tmp_path):
    path, store = tmp_path / "t.csv.gz", tmp_path / "t.db"
    first = make_table("tabular-cancer", [0, 1], path, store, limit=2)
    few = {row["formula"] for row in map(dict, nl.Study.open(store).trials()) if row["role"] == "candidate"}
    assert not first.is_complete
    assert len(few) == 2
    assert few <= set(first.formulas)
    header = json.loads(gzip.decompress(path.read_bytes()).decode().splitlines()[0].removeprefix("# "))
    assert header["made_by"] == "nonlin bench table --task tabular-cancer --seeds 0,1 --limit 2"
    assert header["provenance"]["torch"]
    again = make_table("tabular-cancer", [0, 1], path, store, limit=2)
    assert again.formulas == first.formulas
    assert len(nl.Study.open(store).store.study_ids()) == 2  # nothing was begun anew
    whole = read_table(find_table("tabular-cancer"))
    for formula in first.formulas:
        row = whole.row(parse(formula))
        if row is not None:
            mine = first.losses[first.row(parse(formula))]
            assert mine == pytest.approx(whole.losses[row, :2], rel=0.1, nan_ok=True)


def test_bad_input(tmp_path):
    with pytest.raises(NonlinError, match="there is one of digits-cnn, digits-mlp"):
        find_table("chars-gpt")
    (tmp_path / "x.gz").write_text("nothing")
    with pytest.raises(NonlinError, match="cannot be read as a table"):
        read_table(tmp_path / "x.gz")
    with pytest.raises(NonlinError, match="repeats must be at least 1; got 0"):
        bench_strategies(repeats=0)
    with pytest.raises(UnknownNameError, match="grid"):
        bench_strategies(strategies=["grid"])
    with pytest.raises(NonlinError, match="there is no folder"):
        make_table("digits-mlp", [0], tmp_path / "no" / "t.csv.gz", None)


def test_the_command(tmp_path):
    picture = tmp_path / "a.png"
    command = ["bench", "strategies", "--strategy", "random", "--repeats", "3", "--budget", "20", "--workers", "1"]
    result = CliRunner().invoke(app, [*command, "--json", "--output", str(picture)])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["budget"] == 20
    assert len(found["curves"]["random"]) == 20
    assert picture.read_bytes().startswith(b"\x89PNG")
    shown = CliRunner().invoke(app, command)
    assert "to the best 1%" in shown.stdout
