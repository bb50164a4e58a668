"""mnist-cnn and fashion-cnn on small files in the real format: split, network, training, what can be missing."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from local_images import digits_28, write_folder
from torch import nn

import nonlin as nl
from nonlin.errors import TaskError
from nonlin.native.module import ActivationModule
from nonlin.nn.initialise import layers_after_activations
from nonlin.tasks import TASKS, Factory, is_there, task
from nonlin.tasks.folder import data_folder
from nonlin.tasks.pictures import mnist
from nonlin.tasks.pictures.idx import write_idx
from nonlin.train import fit

ARTICLE = ["sigmoid", "relu", "elu", "max(0.2*x, x)", "selu", "gelu_tanh"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the tasks look for data; empty at first."""
    monkeypatch.setenv("NONLIN_DATA", str(tmp_path))
    return tmp_path


def read(name="mnist-cnn"):
    return task(name).data()  # `load` would keep it


@pytest.mark.parametrize(("suffix", "join"), [("", "-"), (".gz", "-"), ("", "."), (".gz", ".")])
def test_the_last_fifth_of_the_training_files_is_for_validation(folder, suffix, join):
    images, labels = write_folder(folder / "mnist", 53, 11, suffix, join)
    assert is_there(task("mnist-cnn"))
    assert not is_there(task("fashion-cnn"))
    data = read()
    rows = {"train": slice(42), "validation": slice(42, 53), "test": slice(53, 64)}
    for name, part in rows.items():
        x, y = getattr(data, name)
        assert x.shape == (len(y), 1, 28, 28)
        assert np.allclose(x[:, 0].numpy() * 255, images[part], atol=1e-4)
        assert y.tolist() == labels[part].tolist()
    assert float(data.train[0].max()) == 1


def test_sizes_of_the_real_files(folder):
    """Empty images of the real number: 48,000, 12,000 and 10,000."""
    (folder / "fashion-mnist").mkdir()
    for part, rows in (("train", 60_000), ("t10k", 10_000)):
        write_idx(folder / "fashion-mnist" / f"{part}-images-idx3-ubyte", np.zeros((rows, 28, 28), np.uint8))
        write_idx(folder / "fashion-mnist" / f"{part}-labels-idx1-ubyte", np.arange(rows).astype(np.uint8) % 10)
    data = read("fashion-cnn")
    assert [len(y) for _, y in (data.train, data.validation, data.test)] == [48_000, 12_000, 10_000]


@pytest.mark.parametrize("name", ["mnist-cnn", "fashion-cnn"])
def test_missing_files_are_named_with_both_remedies(folder, name):
    place = folder / name.replace("-cnn", "").replace("fashion", "fashion-mnist")
    with pytest.raises(TaskError, match=f"nonlin tasks --download {name}") as caught:
        task(name).load()
    assert "set NONLIN_DATA to a folder" in str(caught.value)
    assert str(place) in str(caught.value)
    write_folder(place, 20, 5)
    (place / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(TaskError, match=r"\(missing: t10k-labels-idx1-ubyte\)"):
        task(name).load()
    with pytest.raises(TaskError, match="missing"):
        fit(task(name), "relu")


def test_files_that_do_not_fit_together(folder):
    place = folder / "mnist"
    images, labels = write_folder(place, 30, 10)
    write_idx(place / "train-labels-idx1-ubyte", labels[:29])
    with pytest.raises(TaskError, match="holds 30 images and train-labels-idx1-ubyte 29 labels"):
        read()
    write_idx(place / "train-labels-idx1-ubyte", labels[:30] + np.uint8(1))
    with pytest.raises(TaskError, match="holds the label 10; labels go from 0 to 9"):
        read()
    write_idx(place / "train-images-idx3-ubyte", images[:30, :27])
    with pytest.raises(TaskError, match="images of 27x28 pixels, expected 28x28"):
        read()
    (place / "train-images-idx3-ubyte").write_bytes((place / "train-labels-idx1-ubyte").read_bytes())
    with pytest.raises(TaskError, match="expected 00 00 08 03"):
        read()


def test_where_data_lies(monkeypatch):
    monkeypatch.delenv("NONLIN_DATA", raising=False)
    assert data_folder() == Path.home() / ".cache" / "nonlin"
    monkeypatch.setenv("NONLIN_DATA", "~/data")
    assert data_folder() == Path.home() / "data"


def test_the_network():
    torch.manual_seed(0)
    model = task("mnist-cnn").model(Factory(nl.activation("relu")))
    names = [type(part).__name__ for part in model]
    assert names == [
        "Conv2d", "ActivationModule", "Conv2d", "ActivationModule", "MaxPool2d", "Dropout", "Flatten", "Linear",
        "ActivationModule", "Dropout", "Linear",
    ]  # fmt: skip
    assert sum(part.numel() for part in model.parameters()) == 320 + 18_496 + 1_179_776 + 1_290
    assert [part.p for part in model if isinstance(part, nn.Dropout)] == [0.25, 0.5]
    assert [part.padding for part in model if isinstance(part, nn.Conv2d)] == [(0, 0), (0, 0)]
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    assert layers_after_activations(model, torch.rand(2, 1, 28, 28)) == ["2", "7", "10"]
    swish = task("fashion-cnn").model(Factory(nl.activation("swish")))
    assert [part.beta.shape for part in swish if isinstance(part, ActivationModule)] == [(32,), (64,), (128,)]


def test_weights_are_glorots():
    """Uniform in ±√(6/(fan_in + fan_out)); a convolution's fans count its nine places."""
    torch.manual_seed(0)
    model = task("mnist-cnn").model(Factory(nl.activation("relu"))).requires_grad_(False)
    fans = {"0": (9, 32 * 9), "2": (32 * 9, 64 * 9), "7": (9216, 128), "10": (128, 10)}
    for name, (fan_in, fan_out) in fans.items():
        layer, bound = model.get_submodule(name), math.sqrt(6 / (fan_in + fan_out))
        assert bound * 0.97 < float(layer.weight.abs().max()) <= bound
        assert float(layer.weight.var()) == pytest.approx(bound**2 / 3, rel=0.15)
        assert not layer.bias.any()


def test_the_budget():
    assert task("mnist-cnn").budget.as_dict() == {
        "epochs": 12, "batch_size": 128, "optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0,
        "clip_value": 0.5,
    }  # fmt: skip
    assert task("fashion-cnn").budget == task("mnist-cnn").budget
    assert task("fashion-cnn").build is task("mnist-cnn").build


@pytest.mark.parametrize("spec", ARTICLE)
def test_the_article_s_activations_have_names(spec):
    x = torch.linspace(-3, 3, 41, dtype=torch.float64)
    expected = {
        "sigmoid": x.sigmoid(), "relu": x.relu(), "elu": nn.functional.elu(x), "selu": nn.functional.selu(x),
        "max(0.2*x, x)": nn.functional.leaky_relu(x, 0.2), "gelu_tanh": nn.functional.gelu(x, approximate="tanh"),
    }[spec]  # fmt: skip
    assert torch.allclose(nl.activation(spec).module().double()(x), expected, atol=1e-12)
    assert all(name in (mnist.__doc__ or "") for name in ARTICLE)


def test_leaky_relu_by_name_with_the_article_s_slope():
    assert nl.activation("leaky_relu", alpha=0.2).same_as("max(0.2*x, x)")
    assert not nl.activation("leaky_relu").same_as("max(0.2*x, x)")


def test_training(folder):
    write_folder(folder / "mnist", 400, 60, ".gz")
    short = dataclasses.replace(TASKS["mnist-cnn"], name="mnist-test", data=read())
    short = dataclasses.replace(short, budget=dataclasses.replace(short.budget, epochs=2))
    outcome = fit(short, "selu", normalise=False, final=True)
    assert outcome.status == "ok"
    assert outcome.curves["train_loss"][1] < outcome.curves["train_loss"][0]
    assert outcome.test_score > 0.5
    assert outcome.saved_bytes > 128 * 4 * (28**2 + 32 * 26**2 + 64 * 24**2)


def test_a_subset(folder):
    write_folder(folder / "mnist", 400, 60)
    whole = dataclasses.replace(TASKS["mnist-cnn"], name="mnist-whole")
    small = whole.subset(64, epochs=1)
    assert (small.name, small.budget) == ("mnist-whole:64", dataclasses.replace(whole.budget, epochs=1))
    data = small.load()
    assert [len(y) for _, y in (data.train, data.validation, data.test)] == [64, 16, 12]
    for name in ("train", "validation", "test"):
        x, y = getattr(data, name)
        assert torch.equal(x, getattr(whole.load(), name)[0][: len(y)])
    assert whole.subset(10_000).load().train[0].shape == whole.load().train[0].shape
    assert len(whole.subset(1).load().test[1]) == 1
    assert fit(small, "relu").epochs == 1
    for rows in (0, 1.5, True):
        with pytest.raises(TaskError, match=f"whole number of rows above 0, got {rows!r}"):
            whole.subset(rows)


def test_small_images_are_the_digits():
    images, labels = digits_28(5)
    assert images.shape == (5, 28, 28)
    assert labels.tolist() == [0, 1, 2, 3, 4]
