"""Cohorts against the reference, child by child."""

import dataclasses
import math
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nonlin as nl
from nonlin.native import library
from nonlin.tasks import task
from nonlin.train import cohort, fit
from nonlin.train.cohort import fit_cohort, obstacle

ACTS = ["x*sigmoid(beta*x)", "relu", "x*Phi(x)", "sqrt(x)", "tanh(x)"]


def same(found, expected, tolerance):
    assert (found.status, found.epochs) == (expected.status, expected.epochs)
    assert found.status != "failed", found.error
    for name, curve in expected.curves.items():
        # the reference adds up training losses in float32, whatever the model's numbers are
        assert found.curves[name] == pytest.approx(curve, rel=max(tolerance, 1e-6 * (name == "train_loss"))), name
    assert found.parameters == pytest.approx(expected.parameters, rel=tolerance)
    assert found.loss == pytest.approx(expected.loss, rel=tolerance, nan_ok=True)


@pytest.mark.parametrize("name", ["digits-mlp", "digits-cnn", "digits-vit", "chars-gpt"])
def test_built_in_tasks_equal_the_reference(name):
    small = task(name).subset(72, epochs=1)
    small = dataclasses.replace(small, budget=dataclasses.replace(small.budget, batch_size=24))
    assert obstacle(small) == ""
    found = fit_cohort(small, ACTS, seed=0)
    assert [one.status for one in found].count("diverged") == 1
    for act, one in zip(ACTS, found, strict=True):
        same(one, fit(small, act, seed=0), 2e-3)


class Net(nn.Module):
    """What users have: convolutions, BatchNorm, pooling, dropout, a skip, LayerNorm; in float64."""

    def __init__(self, act):
        super().__init__()
        self.one, self.norm, self.first = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), act(3)
        self.two, self.second = nn.Conv2d(3, 3, 3, padding=1, stride=2), act(3)
        self.dense, self.third = nn.Linear(12, 6), act(6)
        self.layer, self.out = nn.LayerNorm(6), nn.Linear(6, 3)
        self.double()

    def forward(self, x):
        x = F.max_pool2d(self.first(self.norm(self.one(x.double()))), 2)
        x = F.dropout(self.second(self.two(x)).flatten(1), 0.2, self.training)
        x = self.third(self.dense(x))
        return self.out(self.layer(x + x.mean(1, keepdim=True)))


def images() -> nl.Data:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 1, 8, 8, generator=generator)
    y = torch.randint(0, 3, (60,), generator=generator)
    return nl.Data((x[:36], y[:36]), (x[36:48], y[36:48]), (x[48:], y[48:]))


def of(build, **budget) -> nl.Task:
    return nl.Task("own", build, images(), nl.Budget(**{"epochs": 3, "batch_size": 10, **budget}))


@pytest.mark.parametrize("per", ["channel", "tensor"])
def test_a_users_network_in_float64(per):
    own = of(Net, learning_rate=0.01)
    assert obstacle(own, per) == ""
    for act, one in zip(ACTS, fit_cohort(own, ACTS, per=per, final=True), strict=True):
        expected = fit(own, act, per=per, final=True)
        same(one, expected, 1e-9)
        assert one.test_loss == pytest.approx(expected.test_loss, rel=1e-9, nan_ok=True)
        assert one.saved_bytes == expected.saved_bytes


class Doubles(nn.Module):
    def forward(self, x):
        return x.flatten(1).double()


def dense(act):
    layers = Doubles(), nn.Linear(64, 5), act(5), nn.Linear(5, 5, bias=False), act(), nn.Linear(5, 3)
    return nn.Sequential(*layers).double()


@pytest.mark.parametrize(
    "budget",
    [
        {"optimizer": "sgd", "nesterov": True, "weight_decay": 0.1, "schedule": "cosine"},
        {"optimizer": "adamw", "weight_decay": 0.1, "clip_norm": 0.1, "betas": (0.8, 0.99)},
        {"optimizer": "adam", "weight_decay": 0.1, "clip_value": 0.01, "steps": 7, "warmup": 3},
        {"optimizer": "sgd", "label_smoothing": 0.1, "schedule": "step", "milestones": (0.5,)},
    ],
    ids=["sgd", "adamw", "adam", "smoothed"],
)
@pytest.mark.parametrize("core", [True, False], ids=["core", "torch"])
def test_budgets(budget, core, monkeypatch):
    if not core:
        monkeypatch.setattr(library, "_find", lambda: (None, "off"))
    own = of(dense, learning_rate=0.05, **budget)
    assert obstacle(own) == ""
    for act, one in zip(ACTS, fit_cohort(own, ACTS), strict=True):
        same(one, fit(own, act), 1e-9)


def test_each_child_has_its_own_rate():
    rates = [0.001, 0.01, 0.03]
    for rate, one in zip(rates, fit_cohort(of(dense), ["gelu"] * 3, learning_rates=rates), strict=True):
        same(one, fit(of(dense, learning_rate=rate), "gelu"), 1e-9)


def test_rungs_stop_where_the_reference_stops():
    limits = [{1: 0.01}, {1: 9.0, 2: 0.01}, {3: 0.0}, None, {}]
    found = fit_cohort(of(dense), ACTS, rungs=limits)
    for act, limit, one in zip(ACTS, limits, found, strict=True):
        same(one, fit(of(dense), act, rungs=limit), 1e-9)
    assert [one.status for one in found] == ["stopped", "stopped", "ok", "diverged", "ok"]
    assert obstacle(of(dense)) == ""


@pytest.mark.skipif(library.load() is None, reason="torch adds up as it likes")
def test_a_child_does_not_depend_on_its_companions():
    own = task("digits-mlp").subset(200, epochs=2)
    together = fit_cohort(own, ACTS)
    for act, one in zip(ACTS, together, strict=True):
        (alone,) = fit_cohort(own, [act])
        assert (alone.curves, alone.parameters) == (one.curves, one.parameters)


def test_targets_that_do_not_count_and_shared_codes():
    class Words(nn.Module):
        def __init__(self, act):
            super().__init__()
            self.embed, self.act, self.out = nn.Embedding(7, 4), act(4, dim=-1), nn.Linear(4, 7)
            self.double()

        def forward(self, codes):
            return self.out(self.act(self.embed(codes)))

    codes = torch.randint(0, 7, (40, 6), generator=torch.Generator().manual_seed(0))
    targets = codes.roll(1, 1).masked_fill(codes == 3, -100)
    own = nl.Task("words", Words, nl.Data(*[(codes, targets)] * 3), nl.Budget(epochs=2, batch_size=16))
    assert obstacle(own) == ""
    for act, one in zip(ACTS, fit_cohort(own, ACTS), strict=True):
        same(one, fit(own, act), 1e-9)


def looks(act):
    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = dense(act)

        def forward(self, x):
            return self.net(x) * (2 if x.sum() > 0 else 1)

    return Looks()


def rolls(act):
    class Rolls(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = dense(act)

        def forward(self, x):
            return self.net(x) * (2 if random.random() > 0.5 else 1)

    return Rolls()


@pytest.mark.parametrize(
    ("build", "budget", "reason"),
    [
        (looks, {}, "cannot be recorded"),
        (rolls, {}, "random numbers outside torch"),
        (
            lambda act: dense(lambda *a: nn.Sequential(act(*a), nn.Tanh())) if act.activation else 0,
            {},
            "build function",
        ),
        (dense, {"accumulate": 2}, "pass in parts"),
    ],
    ids=["control-flow", "random", "looks-at-the-activation", "accumulate"],
)
def test_what_cannot_be_stacked_is_trained_one_by_one(build, budget, reason):
    own = of(build, epochs=1, **budget)
    assert reason in obstacle(own)
    random.seed(0)
    found = fit_cohort(own, ["tanh"])
    random.seed(0)
    assert found[0].curves == fit(own, "tanh").curves


def test_a_planted_fault_is_found(monkeypatch):
    """A rule that computes something else is refused when the plan is tried."""
    from nonlin.train import layer_rules

    monkeypatch.setitem(layer_rules.RULES, "aten.mm.default", lambda o: lambda a, b: 1.01 * torch.matmul(a, b))
    assert "something else" in obstacle(dataclasses.replace(of(dense), name="faulty"))


def test_a_batch_size_of_one_layer_decides_the_cohorts_size():
    assert cohort.cohort_size(of(dense)) == cohort.LARGEST
    assert 2 <= cohort.cohort_size(task("digits-cnn")) < cohort.LARGEST


def test_a_search_in_cohorts_finds_what_the_reference_finds():
    small = dataclasses.replace(task("digits-cnn").subset(64, epochs=1), name="small")
    found = {engine: nl.search(small, budget=2, engine=engine) for engine in ("cohort", "torch")}
    assert found["cohort"].config.engine == "cohort"
    for one, other in zip(found["cohort"].trials(), found["torch"].trials(), strict=True):
        assert (one.formula, one.status) == (other.formula, other.status)
        assert math.isnan(other.loss) or one.loss == pytest.approx(other.loss, rel=2e-3)
    with pytest.raises(nl.errors.SearchError, match=r"cannot be trained as one: its model cannot be recorded"):
        nl.search(of(looks), budget=1, engine="cohort")


def test_float32_differs_by_no_more_than_rows_in_another_order():
    """Noise is what the reference differs by from itself, if the rows inside each batch change places."""
    small = task("digits-mlp").subset(256, epochs=2)
    acts = ["relu", "gelu", "tanh", "swish"]
    order = np.random.default_rng(0)
    differences, noise = [], []
    for act, one in zip(acts, fit_cohort(small, acts), strict=True):
        expected = fit(small, act)
        differences.append(abs(one.loss - expected.loss))
        noise.append(abs(_permuted(small, act, order) - expected.loss))
    assert max(differences) <= 4 * max(noise) + 1e-6


def _permuted(small, act, order):
    """The reference's loss with the rows of each batch shuffled."""
    from nonlin.train import batches

    usual = batches.pieces

    def shuffled(*arguments, **settings):
        for piece in usual(*arguments, **settings):
            rows = torch.from_numpy(order.permutation(len(piece.x)))
            yield dataclasses.replace(piece, x=piece.x[rows], y=piece.y[rows])

    from nonlin.train import loop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "pieces", shuffled)
        return fit(small, act).loss
