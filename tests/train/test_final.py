"""What a final run adds: the test part, looked at once, and the memory of a batch; and the running score."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

import nonlin as nl
from nonlin.tasks import Factory, task
from nonlin.train import fit, fit_in_core
from nonlin.train.memory import saved_bytes

DIGITS = task("digits-mlp")
SHORT = dataclasses.replace(DIGITS, budget=nl.Budget(epochs=3, learning_rate=2e-3))
RELU = nl.activation("relu")
TRAIN = [fit, fit_in_core]


class Guarded(nl.Data):
    """Counts how often the inputs of the test part are looked at."""

    looks = 0

    def __getattribute__(self, name):
        if name == "test":
            Guarded.looks += 1
        return super().__getattribute__(name)


def test_the_test_part_is_looked_at_once_and_only_when_asked(monkeypatch):
    data = DIGITS.load()
    guarded = dataclasses.replace(SHORT, name="guarded", data=Guarded(data.train, data.validation, data.test))
    Guarded.looks = 0
    outcome = fit(guarded, RELU)
    assert Guarded.looks == 0
    assert math.isnan(outcome.test_score)
    assert math.isnan(outcome.test_loss)
    assert outcome.saved_bytes is None
    final = fit(guarded, RELU, final=True)
    assert Guarded.looks == 1
    assert (final.curves, final.loss) == (outcome.curves, outcome.loss)  # measuring changes nothing


@pytest.mark.parametrize("train", TRAIN)
def test_test_inputs_have_no_part_in_training(train):
    """NaN in them is met by a final run alone."""
    data = nl.Data(*(tuple(tensor.clone() for tensor in part) for part in
                     (DIGITS.load().train, DIGITS.load().validation, DIGITS.load().test)))  # fmt: skip
    data.test[0].fill_(math.nan)
    poisoned = dataclasses.replace(SHORT, name="poisoned", data=data)
    assert train(poisoned, RELU).curves == train(SHORT, RELU).curves
    assert math.isnan(train(poisoned, RELU, final=True).test_loss)
    assert math.isfinite(train(SHORT, RELU, final=True).test_loss)


@pytest.mark.parametrize("train", TRAIN)
def test_test_score(train):
    """The test part put in the validation part's place gives the same numbers there."""
    data = DIGITS.load()
    swapped = dataclasses.replace(SHORT, name="swapped", data=nl.Data(data.train, data.test, data.validation))
    first, second = train(SHORT, RELU, final=True), train(swapped, RELU, final=True)
    assert first.test_score == pytest.approx(second.score, abs=1e-6)
    assert first.test_loss == pytest.approx(second.loss, rel=1e-4)
    assert second.test_loss == pytest.approx(first.loss, rel=1e-4)


@pytest.mark.parametrize("train", TRAIN)
def test_only_trainings_to_the_end_are_tested(train):
    stopped = train(SHORT, nl.activation("sigmoid"), rungs={2: 0.01}, final=True)
    diverged = train(SHORT, nl.activation("sqrt(x)"), final=True)
    assert [stopped.status, diverged.status] == ["stopped", "diverged"]
    assert math.isnan(stopped.test_score)
    assert math.isnan(diverged.test_score)
    assert stopped.seconds_per_epoch > 0
    assert math.isnan(diverged.seconds_per_epoch)


@pytest.mark.parametrize("train", TRAIN)
def test_seconds(train):
    outcome = train(SHORT, RELU)
    assert 0 < 3 * outcome.seconds_per_epoch < 3 * outcome.seconds


def test_running_score_is_that_of_the_batches_as_they_passed():
    """A loop of its own, in which each batch's decisions are counted before its step."""
    torch.manual_seed(7)
    model = SHORT.model(Factory(RELU))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    x, y = SHORT.load().train
    order = torch.Generator().manual_seed(7)
    expected = []
    for _ in range(3):
        right = 0
        for rows in torch.randperm(len(x), generator=order).split(128):
            output = model(x[rows])
            right += sum(int(row.argmax()) == int(label) for row, label in zip(output, y[rows], strict=True))
            optimizer.zero_grad()
            nn.functional.cross_entropy(output, y[rows]).backward()
            optimizer.step()
        expected.append(right / len(x))
    assert fit(SHORT, RELU, seed=7).curves["train_score"] == pytest.approx(expected, abs=1e-6)
    found = fit_in_core(SHORT, RELU, seed=7).curves["train_score"]
    assert found == pytest.approx(expected, abs=2.5 / len(x))  # sums in another order may turn a decision


def test_running_score_counts_positions_and_long_outputs(monkeypatch):
    monkeypatch.setattr("nonlin.train.score._PENDING", 100)
    x = torch.randint(0, 5, (30, 4))
    data = nl.Data((x, x), (x, x), (x, x))

    class Echo(nn.Module):
        def __init__(self, act):
            super().__init__()
            self.table, self.act = nn.Embedding(5, 5), act()
            nn.init.eye_(self.table.weight)

        def forward(self, rows):
            logits = self.act(self.table(rows))
            logits[:, 0] = logits[:, 0].roll(1, dims=-1)  # the first of four positions is always wrong
            return logits

    echo = nl.Task("echo", Echo, data, nl.Budget(epochs=1, batch_size=7, optimizer="sgd", learning_rate=1e-9))
    assert fit(echo, RELU).curves["train_score"] == [0.75]


def test_running_r_squared():
    x = np.linspace(-1, 1, 60)[:, None]
    data = nl.Data.from_arrays(x, x[:, 0] * 1.5 + 0.3 * np.sin(9 * x[:, 0]))
    budget = nl.Budget(epochs=2, batch_size=8, learning_rate=0.01)
    line = nl.Task("line", lambda act: nn.Sequential(nn.Linear(1, 8), act(8), nn.Linear(8, 1)), data, budget)
    for train in TRAIN:
        curves = train(line, nl.activation("tanh")).curves
        variance = float(np.var(data.train[1].numpy()))
        assert curves["train_score"] == pytest.approx([1 - loss / variance for loss in curves["train_loss"]], rel=1e-5)


@pytest.mark.parametrize("rows", [3, 50])
def test_saved_bytes_by_hand(rows):
    """torch's own ReLU keeps its output, which the next layer keeps too: one storage."""
    model = nn.Sequential(nn.Linear(6, 11), nn.ReLU(), nn.Linear(11, 4))
    x, y = torch.randn(rows, 6), torch.randint(0, 4, (rows,))
    floats = rows * 6 + rows * 11 + rows * 4 + 1  # input, hidden, log-probabilities, the sum of class weights
    assert saved_bytes(model, x, y) == 4 * floats + 8 * rows  # and the targets
    # with squared error: input, hidden, and prediction and target for their difference
    wide = nn.Sequential(nn.Linear(6, 11), nn.ReLU(), nn.Linear(11, 2))
    assert saved_bytes(wide, x, torch.randn(rows, 2)) == 4 * rows * (6 + 11 + 2 + 2)


def test_an_activation_of_more_operations_keeps_more():
    class Written(nn.Module):
        def forward(self, x):
            return x * torch.tanh(nn.functional.softplus(x))  # keeps x and tanh beside the product

    def measured(act):
        model = nn.Sequential(nn.Linear(6, 11), act, nn.Linear(11, 4))
        return saved_bytes(model, torch.randn(20, 6), torch.randint(0, 4, (20,)))

    assert measured(Written()) - measured(nn.ReLU()) == 4 * 20 * 11 * 2
    assert measured(nl.activation("mish").module()) < measured(Written())


def test_measuring_leaves_no_trace():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 4)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(5)
    torch.manual_seed(3)
    assert saved_bytes(model, torch.randn(9, 6, generator=torch.Generator()), torch.randint(0, 4, (9,),
                       generator=torch.Generator())) > 0  # fmt: skip
    assert torch.equal(torch.rand(5), expected)
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(RuntimeError, match="shapes"):
        saved_bytes(model, torch.randn(9, 7), torch.randint(0, 4, (9,)))
    assert not model.training


def test_the_core_measures_the_same_model():
    assert (
        fit(SHORT, "swish", final=True).saved_bytes
        == fit_in_core(SHORT, nl.activation("swish"), final=True).saved_bytes
    )
