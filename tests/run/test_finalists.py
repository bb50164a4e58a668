"""Finalists again: fresh seeds, baselines, other tasks."""

import dataclasses

import pytest
from small import TASK

import nonlin as nl
from nonlin.errors import ComparisonError
from nonlin.run.finalists import finalists


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return nl.search(TASK, budget=8, store=tmp_path_factory.mktemp("confirm") / "a.db", halving=False)


def test_finalists_are_the_best_candidates_and_the_baselines(study):
    best = [trial for trial in study.top(None) if trial.role == "candidate" and trial.status == "ok"][:3]
    found = finalists(study, 3, ["relu", "gelu"])
    assert [act.formula for act in found[:3]] == [trial.formula for trial in best]
    assert [act.name for act in found[3:]] == ["relu", "gelu"]
    assert [act.name for act in finalists(study, 3, [best[0].formula, "gelu"])[3:]] == ["gelu"]


def test_confirm_uses_seeds_that_the_search_did_not(study):
    found = nl.confirm(study, top=2, seeds=3, rates=(1, 2), baselines=["relu"])
    assert found.store.path == study.store.path
    final = {run.seed for run in found.runs() if run.phase == "final"}
    assert len(final) == 3
    assert study.config.seed not in {run.seed for run in found.runs()}
    assert {row.role for row in found.table()} == {"given", "null"}
    assert found.tasks == [TASK.name]
    # begun again it is the same comparison, and the search is still there
    assert nl.confirm(study, top=2, seeds=3, rates=(1, 2), baselines=["relu"]).id == found.id
    assert nl.Study.open(study.store.path).finished


def test_a_search_with_the_first_fresh_seed_leaves_it_out():
    own = nl.search(TASK, budget=2, seed=1000, halving=False)
    found = nl.confirm(own, top=1, seeds=2, rates=(1,), baselines=[])
    assert {run.seed for run in found.runs()} == {1001, 1002}


def test_transfer_trains_the_same_functions_on_other_tasks(study):
    other = dataclasses.replace(TASK, name="other", budget=nl.Budget(epochs=2, batch_size=32))
    found = nl.transfer(study, top=2, tasks=[TASK, other], seeds=2, baselines=["relu"])
    assert found.tasks == ["small", "other"]
    assert [arm.label for arm in found.config.arms if arm.role == "given"][-1] == "relu"
    assert len(found.table("other")) == len(found.table("small"))


def test_bad_input(study):
    with pytest.raises(ComparisonError, match="top must be a whole number above 0; got 0"):
        nl.confirm(study, top=0)
    with pytest.raises(ComparisonError, match="seeds must be a whole number above 0; got 'a'"):
        nl.confirm(study, seeds="a")
