"""Downloading, with a stand-in for OpenML that answers in its real shapes and types."""

from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
from local_images import digits_28

import nonlin as nl
from nonlin.errors import TaskError, UnknownNameError
from nonlin.tasks import SOURCES, TASKS, data_title, download, is_there
from nonlin.tasks.pictures import openml as module
from nonlin.tasks.pictures.openml import Source

TRAIN, TEST = 40, 10


@pytest.fixture
def answer(tmp_path, monkeypatch):
    """What OpenML will send, to be changed by a test; and where it goes."""
    images, labels = digits_28(TRAIN + TEST)
    table = SimpleNamespace(data=images.reshape(-1, 784).astype(np.int64), target=labels.astype(str).astype(object))
    asked = []

    def fetch(name, **options):
        asked.append((name, options))
        if isinstance(table.data, Exception):
            raise table.data
        return table

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    monkeypatch.setenv("NONLIN_DATA", str(tmp_path / "data"))
    first = (tuple(labels[:5].tolist()), tuple(labels[TRAIN : TRAIN + 5].tolist()))
    for name, source in SOURCES.items():
        monkeypatch.setitem(SOURCES, name, Source(source.name, TRAIN, TEST, first))
    return SimpleNamespace(table=table, asked=asked, folder=tmp_path / "data", images=images, labels=labels)


@pytest.mark.parametrize(
    ("name", "dataset", "folder"),
    [("mnist-cnn", "mnist_784", "mnist"), ("fashion-cnn", "Fashion-MNIST", "fashion-mnist")],
)
@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_download(answer, name, dataset, folder, dtype):
    answer.table.data = answer.table.data.astype(dtype)
    assert not is_there(TASKS[name])
    assert download(name) == answer.folder / folder
    assert answer.asked[0][0] == dataset
    assert answer.asked[0][1]["version"] == 1
    assert not answer.asked[0][1]["as_frame"]
    assert is_there(TASKS[name])
    data = TASKS[name].data()
    parts = (data.train, data.validation, data.test)
    assert [len(y) for _, y in parts] == [32, 8, 10]
    assert np.concatenate([y for _, y in parts]).tolist() == answer.labels.tolist()
    assert np.allclose(np.concatenate([x[:, 0] for x, _ in parts]) * 255, answer.images, atol=1e-4)
    assert nl.tasks.download(TASKS[name]) == answer.folder / folder  # there already: nobody is asked
    assert len(answer.asked) == 1


def spoil(values, index, value):
    values = values.copy()
    values[index] = value
    return values


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("data", lambda x: x[:-1], r"\(49, 784\) pixels"),
        ("target", lambda y: y[:-1], r"\(49,\) labels"),
        ("target", lambda y: spoil(y, 0, "five"), "labels such as 'five'"),
        ("target", lambda y: spoil(y, 20, "10"), "labels that are no whole numbers from 0 to 9"),
        ("data", lambda x: spoil(x, (3, 3), 256), "pixels that are no whole numbers from 0 to 255"),
        ("data", lambda x: spoil(x.astype(float), (3, 3), np.nan), "pixels that are no whole numbers"),
        ("target", lambda y: y[::-1], "rows in another order"),
        ("data", lambda x: URLError("no route to host"), "could not be downloaded from OpenML: .*no route to host"),
        ("data", lambda x: ValueError("Dataset not found"), "Dataset not found"),
    ],
)
def test_what_is_not_the_data_set_is_refused(answer, field, change, message):
    setattr(answer.table, field, change(getattr(answer.table, field)))
    with pytest.raises(TaskError, match=message) as caught:
        download("mnist-cnn")
    assert "MNIST" in str(caught.value)
    assert str(answer.folder / "mnist") in str(caught.value)
    assert not answer.folder.exists()


def test_other_tasks_have_their_data(answer):
    with pytest.raises(UnknownNameError, match="All other tasks have their data already"):
        download("digits-mlp")
    assert all(is_there(task) == (not data_title(task)) for task in TASKS.values() if task.name not in SOURCES)


def test_a_folder_that_cannot_be_made(answer):
    answer.folder.write_text("a file")
    with pytest.raises(TaskError, match="cannot make the folder"):
        download("mnist-cnn")


def test_the_real_sizes():
    assert {(source.train, source.test) for source in module.SOURCES.values()} == {(60_000, 10_000)}
    assert SOURCES["mnist-cnn"].first == ((5, 0, 4, 1, 9), (7, 2, 1, 0, 4))


@pytest.mark.parametrize("pandas", [True, False])
def test_pandas_is_used_where_it_is(answer, monkeypatch, pandas):
    monkeypatch.setattr(module, "find_spec", lambda name: pandas or None)
    download("mnist-cnn")
    assert answer.asked[0][1]["parser"] == ("pandas" if pandas else "liac-arff")
