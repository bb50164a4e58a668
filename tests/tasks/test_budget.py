"""Budgets: what is stored, what is refused, and steps in place of epochs."""

import dataclasses

import pytest

from nonlin.errors import TaskError
from nonlin.tasks import TASKS, Budget


def test_a_budget_of_the_first_version_is_stored_as_then():
    assert Budget().as_dict() == {
        "epochs": 20, "batch_size": 128, "optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0,
    }  # fmt: skip
    assert "device" not in Budget(device="cpu").as_dict()
    assert Budget(clip_norm=1.0).as_dict()["clip_norm"] == 1.0


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_stored_budget_makes_the_same_again(task):
    stored = task.budget.as_dict()
    assert Budget(**stored).as_dict() == stored


def test_settings_that_a_faster_way_may_not_know():
    budget = Budget(schedule="cosine", warmup=5, clip_norm=1.0, weight_decay=0.1, device="cpu")
    assert budget.beyond({"clip_norm"}) == ["schedule", "warmup"]
    assert Budget(clip_value=0.5).beyond({"clip_value"}) == []


@pytest.mark.parametrize(("steps", "rows", "epochs"), [(10_000, 45_000, 29), (4, 512, 1), (5, 512, 2), (1, 1, 1)])
def test_of_steps(steps, rows, epochs):
    budget = Budget.of_steps(steps, rows, batch_size=128)
    assert (budget.steps, budget.epochs) == (steps, epochs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be a whole number above 0, got 0"),
        ({"accumulate": 1.5}, "accumulate must be a whole number above 0"),
        ({"warmup": -1}, "warmup must be a whole number above -1"),
        ({"schedule": "cosin"}, "schedule 'cosin' is not one of constant, cosine"),
        ({"precision": "fp16"}, "precision 'fp16' is not one of float32, bfloat16, float16"),
        ({"schedule": "step"}, "needs some, such as"),
        ({"milestones": (0.5,)}, "milestones belong to schedule='step'"),
        ({"schedule": "step", "milestones": (60, 120)}, "shares of the training between 0 and 1"),
        ({"schedule": "inverse-sqrt"}, "needs a warmup"),
        ({"label_smoothing": 1.0}, "label_smoothing must lie between 0 and 1"),
        ({"decay": 0}, "decay must lie between 0 and inf"),
        ({"nesterov": True}, "kind of momentum for sgd"),
        ({"betas": (0.9, 1.0)}, "two numbers from 0 to below 1"),
        ({"betas": (0.9, 0.98), "optimizer": "sgd"}, "for Adam"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_settings_are_one_error(settings, message):
    with pytest.raises(TaskError, match=message):
        Budget(**settings)


def test_what_json_made_of_a_tuple_is_one_again():
    stored = Budget(schedule="step", milestones=(0.5, 0.75), betas=(0.9, 0.98)).as_dict()
    assert stored["milestones"] == [0.5, 0.75]
    made = Budget(**stored)
    assert (made.milestones, made.betas) == ((0.5, 0.75), (0.9, 0.98))
    assert hash(made) == hash(dataclasses.replace(made))
