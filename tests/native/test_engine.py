"""The engine against a plain PyTorch loop: same weights, same batches, same formulas."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector

from nonlin import native
from nonlin.errors import NonlinError
from nonlin.expr import parse
from nonlin.native.module import ActivationModule
from nonlin.native.reference import build_model

# Not chaotic: float64 runs of these agree to the last digits.
CALM = (
    "relu(x)", "tanh(x)", "x*sigmoid(x)", "x*Phi(x)", "x*tanh(softplus(x))", "sin(x)", "min(x, sin(x))",
    "x*sigmoid(beta*x)", "max(x, alpha*x)", "where(x > 0, x, expm1(x))", "softplus(x)", "atan(x)", "erf(x)",
    "x/(1 + abs(x))", "asinh(x)", "x*exp(-x**2)", "cos(x)", "abs(x)", "alpha*x + (1 - alpha)*tanh(beta*x)",
    "exp(-beta*(x - sin(x))**2)", "sinc(x)", "x",
)  # fmt: skip


def _data(loss: str, dtype=np.float64, inputs: int = 9, outputs: int = 5, train: int = 70, valid: int = 33):
    generator = np.random.default_rng(3)
    x = generator.standard_normal((train + valid, inputs)).astype(dtype)
    if loss == "mse":
        y = np.tanh(x @ generator.standard_normal((inputs, outputs))).astype(dtype)
    else:
        y = (x @ generator.standard_normal((inputs, outputs))).argmax(1).astype(np.int64)
    return native.Data(x[:train], y[:train], x[train:].copy(), y[train:].copy())


def _order(epochs: int, rows: int) -> np.ndarray:
    generator = np.random.default_rng(4)
    return np.stack([generator.permutation(rows) for _ in range(epochs)])


def _child(network, formula: str, order, rate: float = 3e-3, dtype=np.float64, seed: int = 0) -> native.Child:
    f = native.function(parse(formula))
    torch.manual_seed(seed)
    weights = parameters_to_vector(build_model(network, f, torch.float64).parameters())
    return native.Child(f, weights.detach().numpy().astype(dtype), order, rate)


def _plain_loop(network, child: native.Child, data, batch: int, epochs: int):
    """Independent of the package's own reference: modules, autograd and optimisers of torch, by the book."""
    f = child.function
    layers: list[nn.Module] = []
    for width, following in zip(network.widths, network.widths[1:], strict=False):
        if layers:
            initial = dict.fromkeys(f.parameters, 1.0)
            layers.append(ActivationModule(f.expr, initial, network.per, width, dim=1))
        layers.append(nn.Linear(width, following, bias=network.bias))
    model = nn.Sequential(*layers).double()
    nn.utils.vector_to_parameters(torch.from_numpy(child.weights.copy()), model.parameters())
    rules = {
        "sgd": lambda p: torch.optim.SGD(
            p, child.learning_rate, network.momentum, weight_decay=network.weight_decay, nesterov=network.nesterov
        ),
        "adam": lambda p: torch.optim.Adam(p, child.learning_rate, weight_decay=network.weight_decay),
        "adamw": lambda p: torch.optim.AdamW(p, child.learning_rate, weight_decay=network.weight_decay),
    }
    optimiser = rules[network.optimiser](model.parameters())
    criterion = nn.CrossEntropyLoss() if network.loss == "cross-entropy" else nn.MSELoss()
    x, y, valid_x, valid_y = (torch.from_numpy(a) for a in (data.train_x, data.train_y, data.valid_x, data.valid_y))
    losses, hits, valid, accuracy = [], [], [], []
    for epoch in range(epochs):
        total, right = 0.0, 0
        for rows in torch.from_numpy(child.order[epoch]).split(batch):
            outputs = model(x[rows])
            loss = criterion(outputs, y[rows])
            if not torch.isfinite(loss):
                return "diverged", epoch, losses, hits, valid, accuracy, None
            total += loss.item() * len(rows)
            if network.loss == "cross-entropy":
                right += int((outputs.argmax(1) == y[rows]).sum())
            optimiser.zero_grad()
            loss.backward()
            if network.clip:
                nn.utils.clip_grad_norm_(model.parameters(), network.clip)
            optimiser.step()
        losses.append(total / child.order.shape[1])
        hits.append(right / child.order.shape[1] if network.loss == "cross-entropy" else math.nan)
        with torch.no_grad():
            outputs = model(valid_x)
            valid.append(criterion(outputs, valid_y).item())
            if network.loss == "cross-entropy":
                accuracy.append((outputs.argmax(1) == valid_y).double().mean().item())
        if not math.isfinite(valid[-1]):
            return "diverged", epoch, losses, hits, valid, accuracy, None
    return "running", -1, losses, hits, valid, accuracy, parameters_to_vector(model.parameters()).detach().numpy()


def _compare(network, formula: str, batch: int = 16, epochs: int = 5, rate: float = 3e-3, tolerance: float = 1e-9):
    data, order = _data(network.loss), _order(epochs, 70)
    child = _child(network, formula, order, rate)
    status, epoch, losses, hits, valid, accuracy, weights = _plain_loop(
        network, copy.deepcopy(child), data, batch, epochs
    )
    native.train_mlp(network, [child], data, batch=batch)
    assert (child.status, child.diverged_epoch) == (status, epoch), formula
    finished = len(losses)
    assert (child.train_seconds[:finished] > 0).all()
    curves = (child.train_loss, child.train_accuracy, child.valid_loss, child.valid_accuracy)
    for got, want in zip(curves, (losses, hits, valid, accuracy), strict=True):
        np.testing.assert_allclose(
            got[:finished][: len(want)], want[:finished], rtol=tolerance, atol=tolerance, err_msg=formula
        )
    if weights is not None:
        np.testing.assert_allclose(child.weights, weights, rtol=tolerance, atol=tolerance, err_msg=formula)
        assert child.steps == epochs * math.ceil(70 / batch)


@pytest.mark.parametrize("formula", CALM)
def test_equals_plain_pytorch(formula, path):
    _compare(native.Network((9, 13, 13, 5)), formula)


@pytest.mark.parametrize("formula", ["x*sigmoid(beta*x)", "alpha*x + (1 - alpha)*tanh(beta*x)", "tanh(x)"])
def test_parameters_per_channel(formula, every_path):
    _compare(native.Network((9, 16, 5, 5), per="channel"), formula)


def test_a_hidden_layer_wider_than_a_tile(path):
    _compare(native.Network((9, 700, 5), per="channel"), "x*sigmoid(beta*x)", epochs=2)


@pytest.mark.parametrize(
    "options",
    [
        {"optimiser": "sgd"},
        {"optimiser": "sgd", "momentum": 0.9},
        {"optimiser": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
        {"optimiser": "adam", "weight_decay": 0.01},
        {"optimiser": "adamw", "weight_decay": 0.1},
        {"optimiser": "adam", "clip": 0.3},
        {"optimiser": "sgd", "clip": 100.0},
        {"loss": "mse"},
        {"loss": "mse", "optimiser": "sgd", "momentum": 0.5},
        {"bias": False},
        {"bias": False, "per": "channel"},
    ],
    ids=str,
)
def test_rules_and_losses(options, path):
    _compare(native.Network((9, 12, 7, 5), **options), "x*sigmoid(beta*x)", rate=0.02)


@pytest.mark.parametrize("widths", [(9, 5), (9, 1, 5), (9, 8, 8, 8, 8, 5), (9, 64, 5), (9, 17, 33, 5)], ids=str)
def test_depths_and_widths(widths, every_path):
    _compare(native.Network(widths), "tanh(x)")


@pytest.mark.parametrize("batch", [1, 7, 70, 100])
def test_batch_sizes(batch, path):
    _compare(native.Network((9, 6, 5)), "x*sigmoid(x)", batch=batch, epochs=3)


@pytest.mark.parametrize(
    "formula", ["exp(x*x*x*x)", "sqrt(x)", "1/relu(x)", "log(x)", "x*beta**40*1e30", "exp(exp(x))"]
)
def test_divergence_is_the_same(formula, path):
    _compare(native.Network((9, 8, 8, 5)), formula, rate=0.5, tolerance=1e-6)


def test_poles_in_the_padding_do_no_harm(path):
    # 5 channels are padded with zeros, where 1/x and its derivative are infinite; the norm must not see it
    network = native.Network((9, 5, 5, 5), clip=1.0)
    _compare(network, "x + 0.001/(x + 1e-300)", epochs=2, rate=1e-4, tolerance=1e-6)


def test_training_in_stages(path):
    """Halving: epochs 0-2, then 2-5, is the same as 0-5, for each optimiser."""
    data, order = _data("cross-entropy"), _order(5, 70)
    for options in ({"optimiser": "adam"}, {"optimiser": "sgd", "momentum": 0.9}):
        network = native.Network((9, 11, 5), **options)
        whole, staged = (_child(network, "x*sigmoid(beta*x)", order) for _ in range(2))
        native.train_mlp(network, [whole], data, batch=16)
        native.train_mlp(network, [staged], data, batch=16, last_epoch=2)
        assert np.isnan(staged.train_loss[2:]).all()
        native.train_mlp(network, [staged], data, batch=16, first_epoch=2, last_epoch=5)
        for name in ("weights", "train_loss", "valid_loss", "valid_accuracy", "first", "second"):
            np.testing.assert_allclose(getattr(staged, name), getattr(whole, name), rtol=1e-11, atol=1e-13)


def test_many_children_and_threads(path):
    data, order = _data("cross-entropy"), _order(3, 70)
    network = native.Network((9, 8, 5))
    formulas = [*CALM, "sqrt(x)", "log(x)"]
    alone = [_child(network, formula, order, rate=1e-3 * (k + 1)) for k, formula in enumerate(formulas)]
    together = copy.deepcopy(alone)
    for child in alone:
        native.train_mlp(network, [child], data, batch=16)
    native.train_mlp(network, together, data, batch=16, threads=2)
    for one, other in zip(alone, together, strict=True):
        assert one.status == other.status
        np.testing.assert_array_equal(one.weights, other.weights)
        np.testing.assert_array_equal(one.valid_loss, other.valid_loss)
    assert [c.status for c in together[-2:]] == ["diverged", "diverged"]
    before = together[-1].weights.copy()
    native.train_mlp(network, together[-1:], data, batch=16)  # what has diverged is left alone
    np.testing.assert_array_equal(together[-1].weights, before)


def test_float32_within_the_noise_of_permuted_batches(path):
    """The engine differs from PyTorch by no more than PyTorch from itself with rows permuted in a batch."""
    data64 = _data("cross-entropy")
    data = native.Data(
        data64.train_x.astype(np.float32), data64.train_y, data64.valid_x.astype(np.float32), data64.valid_y
    )
    network, order, batch = native.Network((9, 32, 32, 5)), _order(10, 70), 16
    permuted = order.copy()
    generator = np.random.default_rng(0)
    for row in permuted:
        for start in range(0, 70, batch):
            generator.shuffle(row[start : start + batch])
    from nonlin.native.reference import train_one

    for formula in ("relu(x)", "x*Phi(x)", "x*sigmoid(beta*x)", "sin(x)"):
        first, other, engine = (_child(network, formula, one, dtype=np.float32) for one in (order, permuted, order))
        native.train_mlp(network, [engine], data, batch=batch)
        for child in (first, other):
            train_one(network, child, data, batch, 0, 10, None)
        noise = np.abs(first.valid_loss - other.valid_loss).max()
        assert np.abs(first.valid_loss - engine.valid_loss).max() <= 4 * noise + 1e-5, formula


def test_schedule(path):
    data, order = _data("cross-entropy"), _order(4, 70)
    network = native.Network((9, 8, 5), optimiser="sgd", momentum=0.9)
    factors = np.linspace(1, 0, 20).reshape(4, 5)
    child = _child(network, "tanh(x)", order, rate=0.1)
    start = child.weights.copy()
    native.train_mlp(network, [child], data, batch=16, schedule=factors)
    model = build_model(network, child.function, torch.float64)
    nn.utils.vector_to_parameters(torch.from_numpy(start), model.parameters())
    optimiser = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: float(factors.flat[min(k, 19)]))
    x, y = torch.from_numpy(data.train_x), torch.from_numpy(data.train_y)
    for epoch in range(4):
        for rows in torch.from_numpy(order[epoch]).split(16):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimiser.step()
            schedule.step()
    want = parameters_to_vector(model.parameters()).detach().numpy()
    np.testing.assert_allclose(child.weights, want, rtol=1e-9, atol=1e-11)


def test_no_validation_rows(path):
    data, order = _data("cross-entropy", valid=0), _order(2, 70)
    child = _child(native.Network((9, 8, 5)), "relu(x)", order)
    native.train_mlp(native.Network((9, 8, 5)), [child], data, batch=16)
    assert np.isfinite(child.train_loss).all()
    assert np.isnan(child.valid_loss).all()
    native.train_mlp(native.Network((9, 8, 5)), [], data, batch=16)


def test_clear_errors(path):
    network, data, order = native.Network((9, 8, 5)), _data("cross-entropy"), _order(2, 70)

    def train(child=None, batch=16, last_epoch=None, network=network, data=data, schedule=None):
        native.train_mlp(
            network, [child or _child(network, "relu(x)", order)], data, batch=batch, last_epoch=last_epoch,
            schedule=schedule,
        )  # fmt: skip

    with pytest.raises(NonlinError, match="is no network"):
        native.Network((9,))
    with pytest.raises(NonlinError, match="'rmsprop' is not known; use one of sgd, adam, adamw"):
        native.Network((9, 5), optimiser="rmsprop")
    with pytest.raises(NonlinError, match=r"expected C-contiguous float64 \(125,\)"):
        train(native.Child(native.function(parse("relu(x)")), np.zeros(3), order))
    with pytest.raises(NonlinError, match="row numbers below 70"):
        train(_child(network, "relu(x)", order + 1))
    with pytest.raises(NonlinError, match="for 2 epochs"):
        train(last_epoch=3)
    with pytest.raises(NonlinError, match="batch=0"):
        train(batch=0)
    with pytest.raises(NonlinError, match="train_x is"):
        train(network=native.Network((8, 8, 5)))
    with pytest.raises(NonlinError, match="classes outside 0"):
        train(network=native.Network((9, 8, 3)))
    with pytest.raises(NonlinError, match="schedule has 3 factors"):
        train(schedule=np.ones(3))
    half = native.Data(data.train_x.astype(np.float16), data.train_y, data.valid_x, data.valid_y)
    with pytest.raises(NonlinError, match="float16"):
        train(data=half)
