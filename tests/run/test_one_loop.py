"""The one loop: everything in one folder, nothing trained twice, and an honest end."""

import importlib.util
import json
import sqlite3
from dataclasses import replace

import pytest
import torch
from small import TASK
from torch import nn

import nonlin as nl
from nonlin.errors import ComparisonError, ExportError, NonlinError, TaskError
from nonlin.run import Store
from nonlin.run import one_loop as module
from nonlin.strategies import Space

TINY = Space("tiny", ("a", "tanh(a)", "sigmoid(a)", "a**2", "sin(a)", "abs(a)"), ("a*b", "a + b"))  # counted at once
SMALL = {"space": TINY, "budget": 4, "top": 2, "seeds": 2, "rates": (1.0,), "baselines": ("relu", "gelu")}


def counts(folder):
    database = sqlite3.connect(folder / "runs.db")
    return {name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("trials", "runs")}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    other = replace(TASK, name="other")
    folder = tmp_path_factory.mktemp("loop") / "all"
    return nl.pipeline(TASK, folder, **SMALL, transfer=[other], transfer_seeds=1, to=("torch", "latex"))


def test_everything_is_written(found):
    for name in ("store", "search report", "confirm report", "transfer report", "torch", "latex", "summary", "as JSON"):
        assert found.files[name].stat().st_size > 0, name
    assert "<html" in found.files["confirm report"].read_text()[:500]


def test_the_exported_file_is_the_function_found(found):
    spec = importlib.util.spec_from_file_location("exported", found.files["torch"])
    exported = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(exported)
    layer = next(v for v in vars(exported).values() if isinstance(v, type) and issubclass(v, torch.nn.Module))()
    x = torch.linspace(-4, 4, 33)
    assert torch.allclose(layer(x), found.found(x), atol=1e-6)


def test_the_choice_is_among_the_finalists_and_not_a_baseline(found):
    finalists = {t.formula for t in found.study.top(None) if t.role == "candidate" and t.status == "ok"}
    assert found.found.formula in finalists
    assert {row.label for row in found.judgement.against if row.role == "given"} == {"relu", "gelu"}
    assert [one.task for one in found.judgements] == ["small", "other"]


def test_two_seeds_are_said_to_show_nothing(found):
    text = found.summary()
    assert "2 seeds cannot show a difference" in text
    assert "Verdict: a tie" in text
    assert str(found.files["torch"]) in text
    assert text + "\n" == found.files["summary"].read_text()
    row = json.loads(found.files["as JSON"].read_text())
    assert row["outcome"] == "tied"
    assert row["found"]["formula"] == found.found.formula


def test_a_second_call_trains_nothing(found, monkeypatch):
    before = counts(found.folder)
    monkeypatch.setattr("nonlin.run.job.Job.run", lambda *_: pytest.fail("trained again"))
    other = replace(TASK, name="other")
    again = nl.pipeline(TASK, found.folder, **SMALL, transfer=[other], transfer_seeds=1, to=("torch", "latex"))
    assert counts(found.folder) == before
    assert again.summary() == found.summary()


def test_an_interrupted_loop_ends_like_an_uninterrupted_one(tmp_path, monkeypatch):
    from nonlin.run.job import Job

    whole = nl.pipeline(TASK, tmp_path / "whole", **SMALL)
    train, calls = Job.run, []

    def interrupted(job, task):
        calls.append(job.number)
        if len(calls) in (7, 23):  # within the search, then within the confirmation
            raise KeyboardInterrupt
        return train(job, task)

    monkeypatch.setattr(Job, "run", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            nl.pipeline(TASK, tmp_path / "parts", **SMALL)
    parts = nl.pipeline(TASK, tmp_path / "parts", **SMALL)
    assert len(calls) == sum(counts(tmp_path / "whole").values()) + 2
    assert parts.summary().replace("parts", "whole") == whole.summary()


def test_a_gain_is_called_one(tmp_path, monkeypatch):
    """The baselines are made to fail: what was found must then win, and the next step is to use it."""
    from nonlin.run.job import Job

    train = Job.run

    def spoiled(job, task):
        outcome = train(job, task)
        if job.final and job.formula in (nl.activation("relu").formula, nl.activation("gelu").formula):
            outcome.test_score = -1.0
        return outcome

    monkeypatch.setattr(Job, "run", spoiled)
    found = nl.pipeline(TASK, tmp_path / "x", **{**SMALL, "seeds": 7, "top": 1})
    assert found.judgement.outcome == "better"
    assert "better than every baseline" in found.advice()
    assert found.next_command().startswith("nl.swap(model")


def test_what_follows_from_a_tie_that_can_be_settled(found):
    near = replace(found.judgement, seeds=10, seeds_needed=40.0)
    tie = replace(found, judgements=(near,))
    assert tie.next_command() == f"nl.confirm(found.study, top={tie.top}, seeds=40)"
    named = replace(found, judgements=(replace(near, task="digits-mlp"),))
    assert named.next_command() == (
        f"nonlin confirm {found.files['store']} --study 1 --top 2 --seeds 40 --baseline relu --baseline gelu"
    )
    far = replace(found, judgements=(replace(near, seeds_needed=900.0),))
    assert "it hardly matters which you take" in far.advice()
    assert far.next_command().startswith("nonlin top")


def test_numbers_in_the_place_of_parameters_are_the_trained_ones(tmp_path):
    swish = nl.activation("swish")
    path = module._export(swish, {"beta": 1.75}, "c", tmp_path)
    assert "1.75" in path.read_text()
    assert "beta=1.0" in module._export(swish, {"beta": 1.75}, "torch", tmp_path).read_text()


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"top": 0}, ComparisonError, "top must be a whole number above 0; got 0"),
        ({"seeds": 2.5}, ComparisonError, "seeds must be"),
        ({"rates": (0.0,)}, ComparisonError, "rates"),
        ({"baselines": "relu"}, ComparisonError, "baselines are a list"),
        ({"baselines": ("no_such_thing",)}, NonlinError, "unknown activation"),
        ({"transfer": ("no-such-task",)}, NonlinError, "unknown task"),
        ({"transfer": (TASK,)}, ComparisonError, "named twice"),
        ({"to": "torch"}, ExportError, "list of targets"),
        ({"to": ("fortran",)}, ExportError, "'fortran' is not known"),
        ({"budget": 0}, NonlinError, "budget"),
    ],
    ids=["top", "seeds", "rates", "text", "baseline", "task", "twice", "target-text", "target", "budget"],
)
def test_what_cannot_work_is_refused_before_anything_is_trained(tmp_path, monkeypatch, change, kind, message):
    monkeypatch.setattr("nonlin.run.job.Job.run", lambda *_: pytest.fail("trained"))
    with pytest.raises(kind, match=message):
        nl.pipeline(TASK, tmp_path / "x", **{**SMALL, **change})
    assert not (tmp_path / "x" / "runs.db").exists() or not Store(tmp_path / "x" / "runs.db").study_ids()


def test_the_tasks_of_the_transfer_are_tried_out_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr("nonlin.run.job.Job.run", lambda *_: pytest.fail("trained"))
    broken = replace(TASK, name="broken", build=lambda act: nn.Sequential(nn.Linear(2, 8), act(9), nn.Linear(8, 2)))
    with pytest.raises(TaskError, match="broken"):
        nl.pipeline(TASK, tmp_path / "x", transfer=(broken,), **SMALL)
    assert not (tmp_path / "x").exists()


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(ComparisonError, match="cannot be the folder"):
        nl.pipeline(TASK, tmp_path / "x", **SMALL)
