"""Every image task end to end on tiny data in the real format: one step of its real network, one evaluation.

The networks are the whole ones at the size of the real pictures, but for three, whose step takes seconds: these are
less deep, by the same code. Optimiser, schedule and augmentation are the tasks' own; batch, steps and data are small.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from cifar_files import write_cifar, write_class_folders

from nonlin.errors import TaskError
from nonlin.tasks import TASKS, is_there, task
from nonlin.tasks.library_models import LIBRARY_TASKS
from nonlin.tasks.pictures.cifar import VERSIONS
from nonlin.tasks.pictures.imagenet import EVERY, ImageNetFiles
from nonlin.tasks.pictures.papers import IMAGE_TASKS
from nonlin.train import fit

LESS_DEEP = {
    "cifar10-wrn28x10": {"depth": 10},
    "cifar10-densenet100x12": {"depth": 40},
    "imagenet-tnt-small": {"blocks": 3},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """CIFAR-10 as pickles, CIFAR-100 as binary records, ImageNet as two classes of JPEGs."""
    place = tmp_path_factory.mktemp("data")
    write_cifar(place, 10, train=5, test=2)
    write_cifar(place, 100, train=5, test=2, binary=True)
    write_class_folders(place / "imagenet", {"train": 2, "val": 1}, ["n01440764", "n01443537"])
    return place


@pytest.mark.parametrize("name", [one.name for one in IMAGE_TASKS if "100" not in one.name.split("-")[0]])
def test_one_step_and_one_evaluation(folder, monkeypatch, name):
    monkeypatch.setenv("NONLIN_DATA", str(folder))
    whole = TASKS[name]
    assert is_there(whole)
    budget = replace(whole.budget, epochs=1, steps=1, batch_size=2, warmup=0, accumulate=1, device="cpu")
    build = partial(whole.build, **LESS_DEEP.get(name, {}))
    outcome = fit(replace(whole, name=f"{name}-tiny", build=build, data=whole.data(), budget=budget), "swish", seed=0)
    assert outcome.status == "ok", outcome.error
    assert outcome.epochs == 1
    assert 0 <= outcome.score <= 1
    assert outcome.parameters["beta"] != 1.0  # it has learned something


@pytest.mark.parametrize("name", [one.name for one in IMAGE_TASKS if "100" in one.name.split("-")[0]])
def test_a_hundred_classes(folder, monkeypatch, name):
    """Another head, whose size stands in test_image_networks, and data in the other format."""
    monkeypatch.setenv("NONLIN_DATA", str(folder))
    data = TASKS[name].data()
    assert data.train[0][:2].shape == (2, 3, 32, 32)
    assert int(torch.cat([part[1] for part in (data.train, data.validation, data.test)]).max()) == 99
    assert TASKS[name].budget == TASKS[name.replace("cifar100", "cifar10")].budget
    assert TASKS[name].build.keywords["classes"] == 100


def test_imagenets_parts(tmp_path, monkeypatch):
    monkeypatch.setenv("NONLIN_DATA", str(tmp_path))
    write_class_folders(tmp_path / "imagenet", {"train": 20, "val": 2}, ["a", "b", "c"], size=(24, 24))
    data = ImageNetFiles("imagenet-vit-tiny", size=16)()
    assert [len(y) for _, y in (data.train, data.validation, data.test)] == [57, 3, 6]
    assert data.validation[0].rows.tolist() == [0, EVERY, 2 * EVERY]
    assert data.validation[1].tolist() == [0, 1, 2]
    both = torch.cat([data.train[0].rows, data.validation[0].rows])
    assert sorted(both.tolist()) == list(range(60))
    assert data.train[0].source is data.validation[0].source
    assert data.test[1].tolist() == [0, 0, 1, 1, 2, 2]
    assert data.train[0].shape == (57, 3, 16, 16)
    small = replace(TASKS["imagenet-vit-tiny"], name="imagenet-parts", data=data).subset(19).load()
    assert [len(y) for _, y in (small.train, small.validation, small.test)] == [19, 1, 2]


def test_imagenet_is_not_downloaded_and_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("NONLIN_DATA", str(tmp_path))
    for name in ("imagenet-tnt-small", "imagenet-inception_v3"):
        with pytest.raises(TaskError, match=f"task {name} needs ImageNet-1K, which is not in") as caught:
            task(name).load()
        for remedy in ("registered users", "hf download ILSVRC/imagenet-1k", "NONLIN_DATA", str(tmp_path / "imagenet")):
            assert remedy in str(caught.value)
        with pytest.raises(TaskError, match="registered users"):
            task(name).data.download()
    (tmp_path / "imagenet" / "val").mkdir(parents=True)
    (tmp_path / "imagenet" / "val" / "ILSVRC2012_val_00000001.JPEG").write_bytes(b"")
    with pytest.raises(TaskError, match="val has pictures that are not sorted into a folder per class"):
        task("imagenet-vit-tiny").data()
    (tmp_path / "imagenet" / "val" / "n01").mkdir()
    (tmp_path / "imagenet" / "val" / "n01" / "1.JPEG").write_bytes(b"")
    (tmp_path / "imagenet" / "train" / "n01").mkdir(parents=True)
    (tmp_path / "imagenet" / "train" / "n01" / "1.JPEG").write_bytes(b"")
    with pytest.raises(TaskError, match="holds one training picture"):
        task("imagenet-vit-tiny").data()


def test_every_task_says_where_its_training_is_from():
    assert all(one.remark and "\n" not in one.remark for one in IMAGE_TASKS)
    assert len({one.name for one in IMAGE_TASKS}) == len(IMAGE_TASKS) == 18


def test_the_page_on_tasks_has_every_figure():
    page = (Path(__file__).parents[3] / "docs" / "tasks.md").read_text(encoding="utf-8")
    for one in (*IMAGE_TASKS, *LIBRARY_TASKS):
        assert f"{one.parameters:,}" in page, one.name
        assert one.name in page or f"-{one.name.split('-', 1)[1]}`" in page, one.name
    for version in (version for versions in VERSIONS.values() for version in versions):
        assert version.archive.name in page
        assert version.archive.checksum in page
