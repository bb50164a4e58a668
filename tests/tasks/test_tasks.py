"""Tasks and data: fixed splits, a user's own arrays and CSV, and what is wrong with bad ones."""

import numpy as np
import pytest
import torch
from torch import nn

import nonlin as nl
from nonlin.errors import TaskError, UnknownNameError
from nonlin.tasks import TASKS, Data, Factory, task


def test_digits_split_is_fixed_and_whole():
    data = task("digits-mlp").load()
    sizes = [len(part[0]) for part in (data.train, data.validation, data.test)]
    assert sizes == [1077, 360, 360]
    assert data.classes == 10
    every = torch.cat([part[0] for part in (data.train, data.validation, data.test)])
    assert float(every.mean()) == pytest.approx(0, abs=1e-5)
    # a known image of each part, so that the split can never move unnoticed
    assert [int(part[1][0]) for part in (data.train, data.validation, data.test)] == [7, 5, 7]
    assert len({tuple(row.tolist()) for row in every}) == len(every)  # no image in two parts


def test_classes_of_sequences_as_wide_as_each_part_needs():
    parts = [(torch.zeros(2, width), torch.full((2, width), top)) for width, top in ((5, 3), (6, 7), (4, 1))]
    assert Data(*parts).classes == 8


def test_every_class_is_split_in_proportion():
    data = task("digits-mlp").load()
    for _, y in (data.train, data.validation, data.test):
        shares = torch.bincount(y, minlength=10) / len(y)
        assert float(shares.min()) > 0.085
        assert float(shares.max()) < 0.115


def test_mlp_shape():
    model = TASKS["digits-mlp"].model(Factory(nl.activation("swish")))
    assert sum(p.numel() for p in model.parameters()) == 64 * 64 + 64 + 64 * 64 + 64 + 64 * 10 + 10 + 2 * 64
    assert model(torch.randn(5, 64)).shape == (5, 10)


def test_factory():
    make = Factory(nl.activation("swish"), per="channel")
    assert make(7).beta.shape == (7,)
    assert make().beta.shape == ()
    assert Factory(nl.activation("swish"), per="tensor")(7).beta.shape == ()


def test_from_arrays_is_standardised_on_the_training_part():
    generator = np.random.default_rng(0)
    data = nl.Data.from_arrays(generator.normal(5, 3, (100, 4)), generator.integers(0, 2, 100))
    x = data.train[0]
    assert torch.allclose(x.mean(dim=0), torch.zeros(4), atol=1e-5)
    assert torch.allclose(x.std(dim=0, unbiased=False), torch.ones(4), atol=1e-5)
    again = nl.Data.from_arrays(np.random.default_rng(0).normal(5, 3, (100, 4)), [0, 1] * 50)
    assert torch.equal(
        again.test[0], nl.Data.from_arrays(np.random.default_rng(0).normal(5, 3, (100, 4)), [0, 1] * 50).test[0]
    )


def test_labels_of_any_kind():
    x = np.arange(40.0).reshape(20, 2)
    assert nl.Data.from_arrays(x, ["a", "b"] * 10).classes == 2
    assert nl.Data.from_arrays(x, [False, True] * 10).classes == 2
    assert nl.Data.from_arrays(x, np.linspace(0, 1, 20)).classes is None


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, 2, 3], [1, 2, 3], "shape"),
        ([["a"]], [1], "numbers"),
        (np.ones((5, 2)), [1, 2], "5 rows and y has 2"),
        (np.ones((3, 2)), [0, 1, 2], "cannot be split"),
        (np.full((20, 2), np.nan), [0, 1] * 10, "NaN"),
        (np.ones((20, 2)), np.full(20, np.inf), "infinite"),
        (np.empty((0, 2)), [], "shape"),
    ],
)
def test_bad_arrays(x, y, message):
    with pytest.raises(TaskError, match=message):
        nl.Data.from_arrays(x, y)


def test_csv(tmp_path):
    path = tmp_path / "data.csv"
    rows = "\n".join(f"{i},{i * i},{'yes' if i % 2 else 'no'}" for i in range(30))
    path.write_text(f"a, b ,kind\n{rows}\n\n")
    data = nl.Data.from_csv(path, target="kind")
    assert data.classes == 2
    assert data.train[0].shape[1] == 2
    with pytest.raises(TaskError, match="line 2: could not convert string to float: 'no'"):
        nl.Data.from_csv(path, target="a")
    regression = tmp_path / "r.csv"
    regression.write_text("a,y\n" + "\n".join(f"{i},{i / 7}" for i in range(30)))
    assert nl.Data.from_csv(regression, target="y").classes is None


def test_whole_numbers_as_amounts(tmp_path):
    path = tmp_path / "counts.csv"
    path.write_text("a,y\n" + "\n".join(f"{i},{i}" for i in range(30)))
    with pytest.raises(TaskError, match="kind='regression' reads numbers as amounts"):
        nl.Data.from_csv(path, target="y")
    assert nl.Data.from_csv(path, target="y", kind="regression").classes is None
    with pytest.raises(TaskError, match="'amounts'"):
        nl.Data.from_csv(path, target="y", kind="amounts")
    with pytest.raises(TaskError, match="nothing to learn"):
        nl.Data.from_arrays(np.ones((20, 2)), [1] * 20)


def test_a_model_without_the_activation_is_an_error():
    with pytest.raises(TaskError, match="no activation of the search"):
        nl.Task("mine", lambda act: nn.Linear(2, 2), DATA).model(Factory(nl.activation("relu")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,a,y\n1,2,3\n", "two columns called 'a'"),
        ("", "0 lines"),
        ("a,b\n", "1 lines"),
        ("a,b\n1,2\n3,x\n", "line 3: could not convert"),
        ("a,b,y\n1,2\n", "line 2: 2 cells"),
        ("a,b\n1,2\n", "no column 'y'; its columns: a, b"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(TaskError, match=message):
        nl.Data.from_csv(path, target="y" if "no column" in message else "a")
    with pytest.raises(TaskError, match="cannot read"):
        nl.Data.from_csv(tmp_path / "none.csv", target="a")


def build(act):
    return nn.Sequential(nn.Linear(2, 4), act(4), nn.Linear(4, 2))


DATA = nl.Data.from_arrays(np.arange(80.0).reshape(40, 2) % 7, [0, 1] * 20)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "needs a name"),
        ({"build": "model"}, "build must be a function"),
        ({"data": [1, 2]}, "Data.from_arrays"),
        ({"budget": 3}, "nonlin.Budget"),
    ],
)
def test_bad_tasks(arguments, message):
    with pytest.raises(TaskError, match=message):
        nl.Task(**({"name": "mine", "build": build, "data": DATA} | arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        {"epochs": 0},
        {"epochs": 1.5},
        {"batch_size": 0},
        {"optimizer": "lion"},
        {"learning_rate": 0},
        {"weight_decay": -1},
    ],
)
def test_bad_budgets(arguments):
    with pytest.raises(TaskError, match="budget"):
        nl.Budget(**arguments)


def test_build_must_return_a_module():
    with pytest.raises(TaskError, match="returned int, not an"):
        nl.Task("mine", lambda act: 3, DATA).model(Factory(nl.activation("relu")))
    with pytest.raises(TaskError, match=r"returned int, not a nonlin.Data"):
        nl.Task("mine", build, lambda: 3).load()


def test_unknown_task():
    with pytest.raises(UnknownNameError, match="Did you mean 'digits-mlp'"):
        task("digit-mlp")
