"""`nonlin compare`, and what the other verbs do with its store."""

import json

import pytest

from nonlin.run import Comparison

FEW = ("--task", "digits-mlp", "--seeds", "2", "--epochs", "2", "--workers", "0")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("compare") / "c.db"


@pytest.fixture
def store(run, path):
    if not path.exists():
        code, out, err = run("compare", "relu", "gelu", *FEW, "--store", path)
        assert (code, err) == (0, "")
        assert "2 seeds cannot show any of 2 functions to be worse than another; --seeds 6 can." in out
        assert "10/10 runs" in out
        assert "linear null" in out
        assert "With 2 seeds none of 2 functions" in out
    return path


def test_the_same_command_shows_it_again_without_training(run, store):
    before = len(Comparison.open(store).runs())
    code, out, _ = run("compare", "relu", "gelu", *FEW, "--store", store)
    assert code == 0
    assert "runs, " not in out
    assert len(Comparison.open(store).runs()) == before == 10


def test_json_of_compare_and_of_top_agree(run, store):
    _, compared, _ = run("compare", "relu", "gelu", *FEW, "--store", store, "--json")
    _, listed, _ = run("top", store, "--json")
    assert json.loads(compared) == json.loads(listed)
    found = json.loads(compared)
    table = found["tasks"]["digits-mlp"]["table"]
    assert {row["label"] for row in table} >= {"relu", "gelu", "linear", "constant"}
    assert found["tasks"]["digits-mlp"]["ties"][0] == [row["label"] for row in table if row["role"] == "given"]
    assert table[0]["score"]["median"] == Comparison.open(store).table()[0].score.median


def test_by_loss_ranks_by_loss(run, store):
    _, out, _ = run("top", store, "--by", "loss", "--json")
    table = json.loads(out)["tasks"]["digits-mlp"]["table"]
    medians = [row["loss"]["median"] for row in table]
    assert medians == sorted(medians)


def test_resume_of_a_finished_comparison_shows_it(run, store):
    code, out, _ = run("resume", store, "--workers", "0")
    assert code == 0
    assert "Best by test accuracy" in out


def test_report_of_the_comparison(run, store):
    code, _, _ = run("report", store, "-o", store.with_name("r.html"))
    assert code == 0
    assert "gelu" in store.with_name("r.html").read_text(encoding="utf-8")


def test_the_latest_of_both_kinds_is_shown_and_either_can_be_named(run, store):
    code, _, err = run("top", store, "--study", "1")
    assert code == 2
    assert "holds no study yet" in err
    code, _, err = run("top", store, "--comparison", "7")
    assert code == 2
    assert "no comparison 7; it has: 1" in err
    code, _, err = run("top", store, "--comparison", "1", "--study", "1")
    assert code == 2
    assert "give one of them" in err


def test_confirm_and_transfer_train_the_finalists_of_a_search(run, tmp_path):
    store = tmp_path / "s.db"
    code, _, _ = run("search", "--budget", "3", "--store", store, "--workers", "0", "--no-halving", "--json")
    assert code == 0
    few = ("--top", "2", "--seeds", "2", "--workers", "0", "--baseline", "relu", "--json")
    code, out, _ = run("confirm", store, *few, "--rates", "1")
    assert code == 0
    confirmed = json.loads(out)["tasks"]["digits-mlp"]["table"]
    assert [row["role"] for row in confirmed].count("given") == 3
    code, out, _ = run("transfer", store, *few, "--task", "tabular-cancer")
    assert code == 0
    assert set(json.loads(out)["tasks"]) == {"tabular-cancer"}
    code, _, err = run("confirm", tmp_path / "none.db")
    assert code == 2
    assert "there is no store" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("relu", "--rates", "a,b"), "numbers with commas between them, such as 0.5,1,2; got 'a,b'"),
        (("relu", "--rates", "0"), "above 0"),
        (("relu", "--by", "time"), "--by must be 'score' or 'loss'; got 'time'"),
        (("relu", "--seeds", "0"), "got 0"),
        (("reluu",), "reluu"),
        (("relu", "--task", "digits"), "Did you mean"),
        (("relu", "--report", "a.pdf"), "must end with .html"),
        (("relu", "--clip-value", "1", "--clip-norm", "1"), "only one"),
        (("relu", "--engine", "core", "--task", "digits-cnn"), "the core cannot train task"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(run, tmp_path, arguments, message):
    code, _, err = run("compare", *arguments, "--workers", "0", "--store", tmp_path / "c.db")
    assert code == 2
    assert message in err
    assert err.startswith("error: ")
    assert "Traceback" not in err
