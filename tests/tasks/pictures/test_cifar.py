"""CIFAR in all its forms, small but real: every form gives the same data; what can be missing or wrong is told."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch
from cifar_files import packed, picture, python2_pickle, random_images, write_cifar, write_class_folders

from nonlin.errors import MissingExtraError, TaskError
from nonlin.tasks import TASKS, download, is_there, task
from nonlin.tasks.pictures import cifar
from nonlin.tasks.pictures.cifar import VERSIONS, CifarFiles

NAMES = {10: "cifar10-resnet20", 100: "cifar100-resnet164"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the tasks look for data; empty at first."""
    monkeypatch.setenv("NONLIN_DATA", str(tmp_path))
    return tmp_path


def read(classes: int = 10):
    return task(NAMES[classes]).data()  # `load` would keep it


def check(data, images, labels, train: int = 18, validation: int = 2):
    """The parts are these images, in this order, scaled by the training part's channels."""
    plain = torch.from_numpy(images).float()
    mean = plain[:train].mean(dim=(0, 2, 3), keepdim=True)
    deviation = plain[:train].std(dim=(0, 2, 3), keepdim=True)
    expected, begin = (plain - mean) / deviation, 0
    for x, y in (data.train, data.validation, data.test):
        assert torch.allclose(x[:], expected[begin : begin + len(y)], atol=1e-3)
        assert y.tolist() == labels[begin : begin + len(y)].tolist()
        begin += len(y)
    assert begin == len(images)
    assert (len(data.train[1]), len(data.validation[1])) == (train, validation)


def allow(monkeypatch, classes: int, content: bytes, binary: bool = False) -> None:
    """Let this be the archive's published content."""
    versions = list(VERSIONS[classes])
    archive = versions[binary].archive
    algorithm, size = archive.algorithm, len(content) if archive.size else 0
    changed = dataclasses.replace(archive, size=size, checksum=hashlib.new(algorithm, content).hexdigest())
    versions[binary] = dataclasses.replace(versions[binary], archive=changed)
    monkeypatch.setitem(VERSIONS, classes, tuple(versions))


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("classes", [10, 100])
def test_unpacked(folder, classes, binary, inside):
    assert not is_there(task(NAMES[classes]))
    images, labels = write_cifar(folder, classes, 20, 4, binary, inside)
    assert is_there(task(NAMES[classes]))
    check(read(classes), images, labels)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("classes", [10, 100])
def test_packed(folder, classes, binary, monkeypatch):
    content, images, labels = packed(classes, 20, 4, binary)
    place = folder / f"cifar{classes}"
    place.mkdir()
    archive = place / VERSIONS[classes][binary].archive.name
    archive.write_bytes(content)
    with pytest.raises(TaskError, match=r"wrong checksum: (md5|sha256) .* expected"):
        read(classes)
    allow(monkeypatch, classes, content, binary)
    check(read(classes), images, labels)
    assert [file.name for file in place.iterdir()] == [archive.name]  # nothing is unpacked
    broken = content[: len(content) // 2]
    archive.write_bytes(broken)
    allow(monkeypatch, classes, broken, binary)
    with pytest.raises(TaskError, match="cannot be unpacked"):
        read(classes)


def test_an_archive_without_a_file(folder, monkeypatch):
    content, _, _ = packed(100, 20, 4)
    (folder / "cifar10").mkdir()
    (folder / "cifar10" / "cifar-10-python.tar.gz").write_bytes(content)
    allow(monkeypatch, 10, content)
    with pytest.raises(TaskError, match="lacks data_batch_1, data_batch_2"):
        read()


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("layout", ["parquet", "arrow"])
def test_hugging_face_files(folder, classes, layout):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    images, labels = random_images(24, classes)
    image, label = ("img", "label") if classes == 10 else ("img", "fine_label")
    place = folder / f"cifar{classes}" / "plain_text"
    for part, rows in (("train", range(20)), ("test", range(20, 24))):
        columns = {image: [{"bytes": picture(images[row]), "path": None} for row in rows]}
        columns |= {label: labels[rows].tolist(), "coarse_label": [0] * len(rows)}
        table = pyarrow.table(columns)
        if layout == "parquet":
            place.mkdir(parents=True, exist_ok=True)
            parquet.write_table(table, place / f"{part}-00000-of-00001.parquet")
        else:  # as Dataset.save_to_disk lays them out
            (place / part).mkdir(parents=True, exist_ok=True)
            path = place / part / "data-00000-of-00001.arrow"
            with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as writer:
                writer.write_table(table)
    assert is_there(task(NAMES[classes]))
    check(read(classes), images, labels)


def test_hugging_face_files_without_pyarrow(folder, monkeypatch):
    (folder / "cifar10").mkdir()
    for part in ("train", "test"):
        (folder / "cifar10" / f"{part}-00000-of-00001.parquet").write_bytes(b"PAR1")
    assert is_there(task("cifar10-resnet20"))
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"train-00000-of-00001\.parquet needs .*pip install 'nonlin\[hf\]'"):
        read()


def test_damaged_hugging_face_files(folder):
    pytest.importorskip("pyarrow")
    (folder / "cifar10").mkdir()
    for part in ("train", "test"):
        (folder / "cifar10" / f"{part}.parquet").write_bytes(b"PAR1 and so on")
    with pytest.raises(TaskError, match=r"cannot read .*train\.parquet.*get it again"):
        read()


def test_class_folders(folder):
    names = ["airplane", "cat"]
    write_class_folders(folder / "cifar10", {"train": 10, "test": 2}, names, size=(32, 32), kind="PNG")
    data = read()
    assert data.train[1].tolist() == [0] * 10 + [1] * 8  # alphabetical; the last tenth is for validation
    assert data.test[1].tolist() == [0, 0, 1, 1]
    draw = np.random.default_rng(0)
    first = draw.integers(0, 256, (3, 32, 32), dtype=np.uint8)
    scale = data.train[0].deviation[:, None, None]
    assert torch.allclose(data.train[0][0] * scale + data.train[0].mean[:, None, None], torch.from_numpy(first).float())
    bad = folder / "cifar10" / "test" / "cat" / "cat_0.png"
    bad.write_bytes(picture(np.zeros((3, 32, 31), np.uint8)))
    with pytest.raises(TaskError, match=r"cat_0\.png has 31x32 pixels, expected 32x32"):
        read()


@pytest.mark.parametrize("name", [name for name, one in TASKS.items() if isinstance(one.data, CifarFiles)])
def test_missing_data_is_one_error_with_the_remedies(folder, name):
    with pytest.raises(TaskError, match=f"nonlin tasks --download {name}") as caught:
        task(name).load()
    message = str(caught.value)
    assert "set NONLIN_DATA to a folder" in message
    assert str(folder / name.split("-")[0]) in message


def test_a_missing_batch_is_named(folder):
    write_cifar(folder)
    place = folder / "cifar10" / "cifar-10-batches-py"
    (place / "data_batch_3").unlink()
    assert not is_there(task("cifar10-resnet20"))
    with pytest.raises(TaskError, match="cifar-10-batches-py lacks data_batch_3"):
        read()


def test_a_damaged_batch(folder):
    write_cifar(folder)
    path = folder / "cifar10" / "cifar-10-batches-py" / "data_batch_2"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TaskError, match=r"data_batch_2 is no batch of CIFAR's python version: .*get it again"):
        read()


def test_files_of_the_other_cifar(folder):
    write_cifar(folder, 10)
    wrong = python2_pickle(*random_images(4, 100), b"fine_labels")
    (folder / "cifar10" / "cifar-10-batches-py" / "data_batch_1").write_bytes(wrong)
    with pytest.raises(TaskError, match="the other CIFAR"):
        read()


def test_the_checksum_of_a_complete_file(folder, monkeypatch):
    """A file with as many images as the original must be the original; one with fewer may be anything."""
    write_cifar(folder, 100, train=20, test=4)
    monkeypatch.setattr(cifar, "TRAIN_ROWS", 20)
    path = folder / "cifar100" / "cifar-100-python" / "train"
    with pytest.raises(TaskError, match=r"cifar-100-python/train has the wrong checksum: md5 .* expected 16019d7e"):
        read(100)
    version = VERSIONS[100][0]
    right = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(VERSIONS, 100, (dataclasses.replace(version, train={"train": right}),))
    assert len(read(100).train[1]) == 18


def test_one_image_is_too_few(folder):
    write_cifar(folder, 100, train=1, test=1)
    with pytest.raises(TaskError, match="holds one training image"):
        read(100)


def test_download(folder, monkeypatch):
    content, images, labels = packed(10, 20, 4)
    allow(monkeypatch, 10, content)
    asked = []

    def fetch(archive, place, watcher):
        asked.append((archive.url, watcher))
        place.mkdir(parents=True)
        (place / archive.name).write_bytes(content)

    monkeypatch.setattr(cifar, "fetch", fetch)
    assert download("cifar10-vit-tiny", print) == folder / "cifar10"
    assert asked == [("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", print)]
    check(read(), images, labels)
    assert is_there(task("cifar10-resnet164"))
    download("cifar10-wrn28x10")
    assert len(asked) == 1  # there already


def test_a_subset_keeps_its_form(folder):
    write_cifar(folder, train=20, test=10)
    whole = dataclasses.replace(TASKS["cifar10-resnet20"], name="cifar-whole")
    data = whole.subset(9).load()
    assert [len(y) for _, y in (data.train, data.validation, data.test)] == [9, 1, 5]
    rows = torch.arange(9)
    assert torch.equal(data.train[0].augmented(rows, 0, 1), whole.load().train[0].augmented(rows, 0, 1))
