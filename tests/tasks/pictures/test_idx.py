"""IDX files: read back byte by byte, plain and gzipped, and every way in which they can be broken."""

import gzip

import numpy as np
import pytest

from nonlin.errors import TaskError
from nonlin.tasks.pictures.idx import read_idx, write_idx

# Two images of 2x3 pixels, written out: magic 00 00 08 03, sizes 2, 2, 3, then the pixels.
RAW = bytes.fromhex("00000803 00000002 00000002 00000003") + bytes(range(12))
ARRAY = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)


@pytest.mark.parametrize("content", [RAW, gzip.compress(RAW)], ids=["plain", "gzipped"])
@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_read(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    assert np.array_equal(read_idx(path, 3), ARRAY)


def test_write(tmp_path):
    write_idx(tmp_path / "a", ARRAY)
    assert (tmp_path / "a").read_bytes() == RAW
    write_idx(tmp_path / "a.gz", ARRAY)
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == RAW
    labels = np.array([7, 0, 9], dtype=np.uint8)
    write_idx(tmp_path / "b", labels)
    assert (tmp_path / "b").read_bytes().hex() == "00000801" + "00000003" + "070009"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.gz", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00\x00\x0d\x03" + RAW[4:], "begins with 00 00 0d 03, expected 00 00 08 03"),  # floats
        (b"\x00\x00\x08\x01" + RAW[4:], "begins with 00 00 08 01, expected 00 00 08 03"),  # labels
        (b"", "begins with nothing"),
        (RAW[:9], "ends inside its header, after 9 bytes"),
        (RAW[:-1], "says that it holds 2x2x3 = 12 bytes, but it holds 11"),
        (RAW + b"\x00", "but it holds 13"),
        (gzip.compress(RAW)[:-9], "cannot be unpacked"),
        (gzip.compress(RAW)[:14] + b"\xff" * 30, "cannot be unpacked"),
        (b"<html>Not found</html>", "begins with 3c 68 74 6d"),
    ],
    ids=range(9),
)
def test_broken(tmp_path, content, message):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(TaskError, match=message) as caught:
        read_idx(path, 3)
    assert str(path) in str(caught.value)


def test_places_that_cannot_be_used(tmp_path):
    with pytest.raises(TaskError, match="cannot read"):
        read_idx(tmp_path / "none", 1)
    with pytest.raises(TaskError, match="cannot write"):
        write_idx(tmp_path / "none" / "a", ARRAY)
    with pytest.raises(TaskError, match="unsigned bytes here; got float64"):
        write_idx(tmp_path / "a", ARRAY * 1.0)
