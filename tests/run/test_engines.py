"""Which engine trains a task, and that it is said why where "auto" trains child by child."""

import dataclasses

import pytest
from small import TASK
from torch import nn

import nonlin as nl
from nonlin import native
from nonlin.run.engines import engine_for, why_torch

needs_core = pytest.mark.skipif(not native.available(), reason="the core is not built")


class Sorted(nn.Module):
    """What neither the core nor a cohort knows: a choice by values."""

    def __init__(self, activation):
        super().__init__()
        self.layer, self.act, self.last = nn.Linear(2, 8), activation(8), nn.Linear(8, 2)

    def forward(self, x):
        hidden = self.act(self.layer(x))
        return self.last(hidden if float(hidden.mean()) > -1e9 else -hidden)


ODD = dataclasses.replace(TASK, name="odd", build=Sorted)


class Heard:
    def __init__(self):
        self.reasons = []

    def explained(self, reason):
        self.reasons.append(reason)

    def counted(self, found): ...

    def restored(self, best, done, total): ...

    def finished(self, trial, done, total): ...


@needs_core
def test_a_search_says_why_it_trains_one_by_one():
    heard = Heard()
    study = nl.search(ODD, budget=1, watcher=heard)
    assert study.config.engine == engine_for("auto", ODD) == "torch"
    (reason,) = heard.reasons
    assert study.provenance["engine_reason"] == reason == why_torch(ODD)
    assert reason.startswith("one by one in torch: the compiled core cannot train this task (its model is not")
    assert "they cannot be trained as one (" in reason


@needs_core
@pytest.mark.parametrize(("task", "engine"), [(ODD, "torch"), (TASK, "auto")], ids=["as asked", "in the core"])
def test_nothing_is_said_of_what_was_asked_for_or_is_the_fastest(task, engine):
    heard = Heard()
    study = nl.search(task, budget=1, engine=engine, watcher=heard)
    assert not heard.reasons
    assert "engine_reason" not in study.provenance


@needs_core
def test_a_comparison_keeps_the_reason_with_the_task():
    found = nl.compare(["relu"], [TASK, ODD], seeds=1, nulls=False)
    assert found.provenance["engine_reason"].startswith("odd one by one in torch: the compiled core cannot")
    assert "a time of its own" in found.provenance["engine_reason"]


def test_without_the_core_that_is_the_reason(monkeypatch):
    monkeypatch.setattr(native, "available", lambda: False)
    monkeypatch.setattr(native, "reason", lambda: "no compiler")
    assert why_torch(TASK) == "one by one in torch, since there is no compiled core (no compiler)"
