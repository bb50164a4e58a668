"""CIFAR's two formats: what is read is what was written, nothing in a file is ever run, and damage is told."""

import os
import pickle
import struct
import warnings

import numpy as np
import pytest
from cifar_files import python2_pickle, random_images, records

from nonlin.errors import TaskError
from nonlin.tasks.pictures.cifar_formats import read_batch, read_records

KEY = {10: b"labels", 100: b"fine_labels"}


@pytest.mark.parametrize("classes", [10, 100])
def test_a_batch_of_python_2(classes):
    images, labels = random_images(7, classes)
    found, numbers = read_batch(python2_pickle(images, labels, KEY[classes]), "data_batch_1", classes)
    assert found.dtype == np.uint8
    assert np.array_equal(found, images)
    assert numbers.tolist() == labels.tolist()


def test_our_writer_writes_what_python_2_wrote():
    """numpy itself reads the bytes, so they are a real pickle of a real array."""
    images, labels = random_images(3, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the module has another name by now
        batch = pickle.loads(python2_pickle(images, labels), encoding="latin-1")
    assert np.array_equal(batch["data"].reshape(images.shape), images)
    assert batch["labels"] == labels.tolist()


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_batch_saved_again_by_python_3(protocol):
    images, labels = random_images(5, 10)
    batch = {b"data": images.reshape(5, -1), b"labels": labels.tolist(), "batch_label": "testing"}
    found, numbers = read_batch(pickle.dumps(batch, protocol), "test_batch", 10)
    assert np.array_equal(found, images)
    assert numbers.tolist() == labels.tolist()


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_no_code_of_a_file_is_run(tmp_path, protocol):
    target = tmp_path / "written"
    content = pickle.dumps({"data": Bomb(str(target)), "labels": [1]}, protocol)
    with pytest.raises(TaskError, match=r"asks for \w+\.mkdir, which is no part of images"):
        read_batch(content, "data_batch_1", 10)
    assert not target.exists()
    pickle.loads(content)  # an ordinary reader would have run it
    assert target.exists()


@pytest.mark.parametrize(
    "name", ["os\nsystem", "builtins\neval", "numpy\nload", "numpy.core.multiarray\nscalar", "__builtin__\neval"]
)
def test_only_what_an_array_needs_is_known(name):
    content = b"\x80\x02c" + name.encode() + b"\nU\x02id\x85R."
    with pytest.raises(TaskError, match="which is no part of images"):
        read_batch(content, "f", 10)


@pytest.mark.parametrize("classes", [10, 100])
def test_cut_off_anywhere(classes):
    images, labels = random_images(2, classes)
    content = python2_pickle(images, labels, KEY[classes])
    for length in (0, 1, 3, 40, 200, 3_000, len(content) - 1):
        with pytest.raises(TaskError, match=r"data_batch_1 is no batch.*get it again"):
            read_batch(content[:length], "data_batch_1", classes)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([1, 2], "holds list, expected 'data' and 'labels'"),
        ({"data": 1, "fine_labels": [1]}, "holds the keys 'data', 'fine_labels', expected 'data' and 'labels'"),
        ({"data": "text", "labels": [1]}, "no array of rows of 3072 bytes"),
        ({"data": np.zeros((1, 3071), np.uint8), "labels": [1]}, "no array of rows of 3072 bytes"),
        ({"data": np.zeros((1, 3072), np.float32), "labels": [1]}, "'f4', expected unsigned bytes"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": [1.0]}, "no list of whole numbers"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": (1,)}, "no list of whole numbers"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}, "2 images and 1 labels"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": [10]}, "the label 10; labels go from 0 to 9"),
        ({"data": np.zeros((0, 3072), np.uint8), "labels": []}, "0 images and 0 labels"),
    ],
)  # fmt: skip
def test_other_pickles(batch, message):
    with pytest.raises(TaskError, match=message):
        read_batch(pickle.dumps(batch, 3), "data_batch_1", 10)


def test_an_array_that_lies_about_its_size():
    images, labels = random_images(2, 10)
    content = python2_pickle(images, labels)
    false = content.replace(b"K\x02J" + struct.pack("<i", 3072), b"K\x04J" + struct.pack("<i", 3072))
    assert false != content
    with pytest.raises(TaskError, match=r"an array of shape \(4, 3072\) that does not hold so many bytes"):
        read_batch(false, "data_batch_1", 10)


@pytest.mark.parametrize("classes", [10, 100])
def test_records(classes):
    images, labels = random_images(6, classes)
    found, numbers = read_records(records(images, labels, classes), "train.bin", classes)
    assert np.array_equal(found, images)
    assert numbers.tolist() == labels.tolist()
    for wrong in (records(images, labels, classes)[:-1], b""):
        with pytest.raises(TaskError, match=f"{len(wrong)} bytes, which is no number of whole records"):
            read_records(wrong, "train.bin", classes)
    with pytest.raises(TaskError, match=f"the label {classes}; labels go from 0"):
        read_records(records(images, labels * 0 + classes, classes), "train.bin", classes)
