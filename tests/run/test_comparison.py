"""Comparisons: fairness, ties, planted differences, resuming, and what is never touched."""

import dataclasses
import math
import sqlite3

import numpy as np
import pytest
import torch
from small import TASK, build, data
from torch import nn

import nonlin as nl
from nonlin.errors import ComparisonError, NonlinError, StoreError, TaskError
from nonlin.run import Comparison, Store
from nonlin.run.runs import Run
from nonlin.run.standings import Arm, Standings
from nonlin.run.statistics import ALPHA
from nonlin.train.initial import initial_model


def scores(comparison, arm, field="test_score"):
    return [run[field] for run in comparison.runs() if run.arm == arm and run.phase == "final"]


@pytest.fixture(scope="module")
def compared():
    """A product of signs, which a linear network cannot learn; swish stands in it under two names."""
    return nl.compare(["relu", "swish", "x*sigmoid(beta*x)", "selu"], TASK, seeds=10)


def test_a_function_under_two_names_is_a_tie(compared):
    one, two = "swish", "x*sigmoid(beta*x)"
    for field in ("test_score", "test_loss", "loss"):
        assert scores(compared, one, field) == scores(compared, two, field)
    standings = compared.standings(by="loss")
    indices = [next(i for i, arm in enumerate(standings.given) if arm.label == label) for label in (one, two)]
    assert standings.adjusted[tuple(sorted(indices))] == 1.0
    assert any({one, two} <= set(group) for group in compared.ties(by="loss"))
    assert [line for line in compared.verdict() if f"{one} and {two} are one function, trained twice" in line]


def test_a_difference_that_is_there_is_found():
    longer = dataclasses.replace(TASK, name="longer", budget=nl.Budget(epochs=30, batch_size=50, learning_rate=0.05))
    found = nl.compare(["relu", "x + 0.0*x**2", "abs(x)"], longer, seeds=12)
    rows = {row.label: row for row in found.table()}
    linear = next(row for row in rows.values() if row.role == "given" and row.rank > 2)
    assert linear.p <= ALPHA
    assert not linear.tied
    assert linear.difference.low > 0.05
    assert not set(linear.groups) & set(rows["relu"].groups)
    assert rows["constant"].p <= ALPHA
    assert "; worse: " in str(found) or "better than every other" in str(found)


def test_the_table_says_what_the_runs_say(compared):
    assert [row.rank for row in compared.table()] == list(range(1, len(compared.config.arms) + 1))
    for row in compared.table():
        assert row["score"].median == pytest.approx(np.median(scores(compared, row.label)))
        assert row.loss.median == pytest.approx(np.median(scores(compared, row.label, "test_loss")))
        assert row.score.low <= row.score.median <= row.score.high
        assert row.seconds_per_epoch > 0
        assert dict(row)["label"] == row.label
    medians = [row.score.median for row in compared.table()]
    assert medians == sorted(medians, reverse=True)


def test_selu_is_trained_under_its_own_protocol_too(compared):
    arms = {arm.label: arm for arm in compared.config.arms}
    assert arms["selu"].protocol == "common"
    assert arms["selu, own protocol"].protocol == "selu"
    assert scores(compared, "selu", "loss") != scores(compared, "selu, own protocol", "loss")


def test_functions_share_initial_weights_and_batches():
    weights = {}
    for name in ("relu", "tanh"):
        torch.manual_seed(3)
        model = initial_model(TASK, nl.activation(name), "channel", True, "common")
        weights[name] = [parameter.detach() for parameter in model.parameters()]
    assert torch.equal(weights["relu"][0], weights["tanh"][0])
    ratio = nl.gain("tanh") / nl.gain("relu")
    torch.testing.assert_close(weights["tanh"][2], weights["relu"][2] * ratio)
    # ... and max(x, 0), though another formula than relu, goes through the very same batches
    found = nl.compare(["relu", "0.5*(x + abs(x))"], TASK, seeds=2, nulls=False)
    one, two = (scores(found, arm.label, "loss") for arm in found.config.arms)
    assert one == pytest.approx(two, rel=1e-4)


def test_test_data_are_seen_by_final_runs_alone():
    found = nl.compare(["relu", "tanh"], TASK, seeds=2, rates=(0.5, 1, 2), nulls=False)
    tuning = [run for run in found.runs() if run.phase == "tuning"]
    final = [run for run in found.runs() if run.phase == "final"]
    assert len(tuning) == 2 * 3 * 3
    assert len(final) == 2 * 2
    assert all(math.isnan(run.test_score) and math.isnan(run.test_loss) for run in tuning)
    assert all(math.isfinite(run.test_score) for run in final)
    assert not {run.seed for run in tuning} & {run.seed for run in final}


def test_each_function_gets_the_rate_that_validation_data_prefer():
    found = nl.compare(["relu", "tanh"], TASK, seeds=1, rates=(0.01, 1.0), nulls=False)
    for arm in found.config.arms:
        tuning = [run for run in found.runs() if run.phase == "tuning" and run.arm == arm.label]
        losses = {
            rate: np.median([run.loss for run in tuning if run.rate == rate]) for rate in {run.rate for run in tuning}
        }
        assert {run.rate for run in found.runs() if run.phase == "final" and run.arm == arm.label} == {
            min(losses, key=losses.get)
        }


class StopAfter:
    """Interrupts after so many runs, as Ctrl-C does."""

    def __init__(self, count):
        self.count = count

    def planned(self, done, total):
        self.done_before = done

    def trained(self, run, done, total):
        self.count -= 1
        if self.count == 0:
            raise KeyboardInterrupt


def results(comparison):
    ignored = ("seconds", "seconds_per_epoch")
    rows = {run.key: {k: v for k, v in dict(run).items() if k not in ignored} for run in comparison.runs()}
    return {key: repr(row) for key, row in sorted(rows.items())}


@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupted_comparison_goes_on_to_the_same_result(tmp_path, workers):
    arguments = {"seeds": 3, "rates": (1, 2), "workers": workers}
    second = dataclasses.replace(TASK, name="second", budget=nl.Budget(epochs=2, batch_size=50))
    whole = nl.compare(["relu", "tanh"], [TASK, second], **arguments)
    path = tmp_path / "a.db"
    with pytest.raises(KeyboardInterrupt):
        nl.compare(["relu", "tanh"], [TASK, second], store=path, watcher=StopAfter(17), **arguments)
    assert len(Comparison.open(path).runs()) == 17
    assert not Comparison.open(path).finished
    watcher = StopAfter(10**9)
    again = nl.compare(["relu", "tanh"], [TASK, second], store=path, watcher=watcher, **arguments)
    assert watcher.done_before == 17
    assert again.finished
    assert results(again) == results(whole)
    assert nl.compare(["relu", "tanh"], [TASK, second], store=path, **arguments).id == again.id
    with pytest.raises(ComparisonError, match=r"several tasks; name one of small, second"):
        again.table()
    assert {row.label for row in again.table("second")} >= {"relu", "tanh"}


def test_a_stored_comparison_of_an_own_task_says_how_to_go_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        nl.compare(["relu"], TASK, seeds=2, store=tmp_path / "a.db", watcher=StopAfter(1))
    with pytest.raises(ComparisonError, match=r"own task 'small'.*same arguments and this store"):
        Comparison.open(tmp_path / "a.db").run()


def test_nulls_are_spoken_of_with_few_seeds_too():
    found = nl.compare(["sigmoid"], TASK, seeds=2, epochs=1)
    said = " ".join(found.verdict())
    assert "2 seeds cannot show that the nulls are worse" in said
    best = next(row for row in found.table() if row.role == "given")
    for row in found.table():
        if row.role == "null" and row.rank < best.rank:
            assert row.label in said


def test_a_rate_at_the_end_of_those_tried_is_named():
    found = nl.compare(["relu"], TASK, seeds=1, rates=(0.001, 0.002), nulls=False)
    assert "At an end of the learning rates tried, a better one may lie beyond: relu" in str(found)


def test_random_nulls_are_no_known_functions():
    from nonlin.run.loop import random_functions
    from nonlin.strategies import space
    from nonlin.zoo.recognise import recognise

    for formula in random_functions(space("core-1"), 0, 30, []):
        act = nl.activation(formula)
        assert not recognise(act.expr)
        if act.parameters:
            moved = [act(np.linspace(-3, 3, 25), **dict.fromkeys(act.parameters, value)) for value in (0.3, 1.7)]
            assert not np.allclose(*moved, equal_nan=True), formula


def test_a_build_that_raises_is_named():
    def broken(act):
        raise RuntimeError("no such layer")

    with pytest.raises(TaskError, match="task 'raising': its build failed with swish: RuntimeError: no such layer"):
        nl.compare(["relu"], nl.Task("raising", broken, data, nl.Budget(epochs=1)), seeds=1)


def test_one_that_diverges_or_fails_is_last_and_named():
    found = nl.compare(["relu", "exp(exp(exp(x)))"], TASK, seeds=6, nulls=False, normalise=False)
    last = found.table()[-1]
    assert last.diverged + last.failed > 0
    assert "counted as worst: exp(exp(exp(x)))" in " ".join(found.verdict())
    assert found.table()[0].label == "relu"


def test_clipping_and_epochs_replace_the_tasks_own():
    found = nl.compare(["relu"], TASK, seeds=1, epochs=2, clip_norm=0.1, nulls=False)
    assert found.config.tasks[0].training["clip_norm"] == 0.1
    assert all(run.epochs == 2 for run in found.runs())
    assert scores(found, "relu", "loss") != scores(
        nl.compare(["relu"], TASK, seeds=1, epochs=2, nulls=False), "relu", "loss"
    )


def test_the_core_and_the_reference_agree():
    found = {engine: nl.compare(["gelu"], TASK, seeds=2, nulls=False, engine=engine) for engine in ("torch", "auto")}
    assert scores(found["auto"], "gelu", "test_loss") == pytest.approx(
        scores(found["torch"], "gelu", "test_loss"), rel=2e-3
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activations": []}, "no activation is given"),
        ({"seeds": 0}, "seeds must be a number above 0.*got 0"),
        ({"seeds": [1, 1]}, "different whole numbers"),
        ({"rates": (0, 1)}, "factors on the task's learning rate.*got"),
        ({"rates": ()}, "factors on the task's learning rate"),
        ({"task": []}, "no task is given"),
        ({"task": [TASK, TASK]}, "named twice: small, small"),
        ({"per": "layer"}, "per must be 'channel' or 'tensor'; got 'layer'"),
        ({"engine": "gpu"}, "engine must be .* got 'gpu'"),
        ({"clip_value": -1.0}, "clip_value must be a finite number above 0"),
        ({"activations": ["reluu"]}, "reluu.*Did you mean"),
    ],
)
def test_bad_input_says_what_was_expected(arguments, message):
    given = {"activations": ["relu"], "task": TASK, "seeds": 1} | arguments
    with pytest.raises(NonlinError, match=message):
        nl.compare(**given)


def test_a_task_that_cannot_be_trained_is_an_error_and_not_a_table():
    def broken(act):
        model = build(act)
        model[2] = torch.nn.Linear(5, 2)
        return model

    with pytest.raises((ComparisonError, TaskError), match="task 'broken' cannot be trained"):
        nl.compare(["relu", "tanh"], nl.Task("broken", broken, data, nl.Budget(epochs=1)), seeds=1)


def test_normalisation_without_a_scale_is_called_doubtful():
    def normalised(act):
        return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8, affine=affine), act(8), nn.Linear(8, 2))

    for affine in (True, False):
        task = nl.Task("normalised", normalised, data, nl.Budget(epochs=1, batch_size=64))
        found = nl.compare(["relu"], task, seeds=1, nulls=False)
        assert ("1 normalises without a trained scale" in str(found)) == (not affine)


def test_a_store_of_version_1_is_read_and_extended(tmp_path):
    path = tmp_path / "old.db"
    id = Store(path).add_study({}, {})
    with sqlite3.connect(path) as db:
        db.executescript("DROP TABLE runs; DROP TABLE comparisons; UPDATE meta SET value = '1';")
    db.close()
    with pytest.raises(StoreError, match="no comparison yet"):
        Comparison.open(path)
    nl.compare(["relu"], TASK, seeds=1, store=path)
    assert Store(path).study_ids() == [id]
    assert Comparison.open(path).finished


def planted(effect, seeds, generator):
    """Final runs of two arms whose paired differences have this mean, in units of their deviation."""
    base = generator.normal(size=seeds)
    runs = []
    for label, shift in (("a", 0.0), ("b", effect)):
        noise = generator.normal(size=seeds) if shift else np.zeros(seeds)
        for seed in range(seeds):
            loss = float(base[seed] + shift + noise[seed] * bool(shift))
            runs.append(Run("final", "t", label, 0.1, seed, "ok", test_loss=loss, test_score=-loss))
    return Standings([Arm("a", "a", "x", {}), Arm("b", "b", "x", {})], runs, "loss")


def test_a_planted_difference_is_found_at_the_stated_power():
    generator = np.random.default_rng(0)
    needed = np.median([planted(0.9, 40, generator).seeds_for_first_two for _ in range(25)])
    found = np.mean([not planted(0.9, int(needed), generator).rows()[1].tied for _ in range(150)])
    assert 0.68 <= found <= 0.93  # 0.8 is asked for


def test_a_run_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    """Interrupted in the middle of a run, which has four epochs: the second process trains what is left of it."""
    from nonlin.train.checkpoint import Checkpoint
    from nonlin.train.loop import Loop

    whole = nl.compare(["relu"], TASK, seeds=1, engine="torch", nulls=False)
    trained, original = [], Loop._train_epoch

    def counted(loop):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(loop.outcome.epochs)
        original(loop)

    monkeypatch.setattr(Loop, "_train_epoch", counted)
    monkeypatch.setattr(Checkpoint, "due", True)  # and not once a minute
    given = {
        "seeds": 1,
        "engine": "torch",
        "nulls": False,
        "store": tmp_path / "a.db",
        "checkpoints": tmp_path / "kept",
    }
    with pytest.raises(KeyboardInterrupt):
        nl.compare(["relu"], TASK, **given)
    assert trained == [0, 1]
    assert len(list((tmp_path / "kept").rglob("*.checkpoint"))) == 1
    trained.append(-1)  # three entries: nothing is raised again
    found = nl.compare(["relu"], TASK, **given)
    assert trained == [0, 1, -1, 2, 3]
    assert found.runs()[0].test_loss == whole.runs()[0].test_loss
    assert found.runs()[0].curves == whole.runs()[0].curves
    assert not list((tmp_path / "kept").rglob("*"))  # in the store, and no longer needed
