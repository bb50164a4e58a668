"""Pictures on disk: sources, decoding, augmentation, worker processes, and every kind of bad folder."""

import pickle

import numpy as np
import pytest
import torch
from cifar_files import picture, write_class_folders

from nonlin.errors import TaskError
from nonlin.tasks.pictures import sources
from nonlin.tasks.pictures.decoded import Pictures
from nonlin.tasks.pictures.sources import FolderSource, find_pictures, has_pictures

PARTS = {"train": ("train",), "test": ("val", "validation")}
CLASSES = ["n01440764", "n01443537", "n01484850"]


@pytest.fixture
def place(tmp_path):
    write_class_folders(tmp_path, {"train": 4, "val": 2}, CLASSES)
    return tmp_path


def smooth(height: int, width: int) -> np.ndarray:
    """A picture whose red tells the row, whose green the column: what was cut out can be read off it."""
    down, across = np.mgrid[0:height, 0:width]
    return np.stack([down * 255 / (height - 1), across * 255 / (width - 1), 0 * down]).astype(np.uint8)


def test_class_folders(place):
    (place / "train" / CLASSES[0] / "notes.txt").write_text("no picture")
    (place / "train" / "README").write_text("no class")
    (place / "val" / CLASSES[1] / f"{CLASSES[1]}_0.JPEG").unlink()
    assert has_pictures(place, PARTS)
    found = find_pictures(place, PARTS, 1000)
    assert found["train"].labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert found["test"].labels.tolist() == [0, 0, 1, 2, 2]
    assert found["test"].content(2) == (place / "val" / CLASSES[1] / f"{CLASSES[1]}_1.JPEG").read_bytes()
    other = FolderSource(place / "train", [*CLASSES, "z"])
    assert other.fingerprint() == found["train"].fingerprint() != found["test"].fingerprint()


def test_a_part_may_lack_a_class(place):
    for file in (place / "val" / CLASSES[0]).iterdir():
        file.unlink()
    (place / "val" / CLASSES[0]).rmdir()
    assert find_pictures(place, PARTS, 1000)["test"].labels.tolist() == [1, 1, 2, 2]


def test_class_folders_and_other_files_do_not_mix(place):
    for file in (place / "val").rglob("*.JPEG"):
        file.unlink()
    for folder in (place / "val").iterdir():
        folder.rmdir()
    (place / "val" / "val-00000-of-00001.parquet").write_bytes(b"PAR1")
    assert not has_pictures(place, PARTS)
    with pytest.raises(TaskError, match="has no folder and no parquet or arrow files called val or validation"):
        find_pictures(place, PARTS, 1000)


def test_bad_folders(place, tmp_path_factory):
    (place / "val" / "n99").mkdir()
    with pytest.raises(TaskError, match="val has the class 'n99', which the training pictures do not have"):
        find_pictures(place, PARTS, 1000)
    (place / "val" / "n99").rmdir()
    with pytest.raises(TaskError, match=r"labels of train in .* go from 0 to 2, expected 0 to 1"):
        find_pictures(place, PARTS, 2)
    empty = tmp_path_factory.mktemp("empty")
    for part in ("train", "val"):
        (empty / part / "n01").mkdir(parents=True)
    with pytest.raises(TaskError, match=r"has 1 folders, but no picture \(\.jpeg, \.jpg"):
        find_pictures(empty, PARTS, 1000)
    nothing = tmp_path_factory.mktemp("nothing")
    assert not has_pictures(nothing, PARTS)
    with pytest.raises(TaskError, match="has no folder and no parquet or arrow files called train"):
        find_pictures(nothing, PARTS, 1000)


def one(tmp_path, image: np.ndarray, size: int, **options) -> Pictures:
    (tmp_path / "train" / "a").mkdir(parents=True)
    (tmp_path / "train" / "a" / "1.png").write_bytes(picture(image))
    plain = {"mean": (0, 0, 0), "deviation": (1, 1, 1)}
    return Pictures(FolderSource(tmp_path / "train"), torch.arange(1), size, **plain | options)


def test_evaluation_sees_the_middle(tmp_path):
    pictures = one(tmp_path, smooth(80, 160), 32, kept=0.8)
    seen = pictures[0]
    assert seen.shape == (3, 32, 32)
    down, across = seen[0].mean(dim=1), seen[1].mean(dim=0)
    # 64 of 80 rows: 8 to 72, centres of the first and last two-row step at 9 and 71; columns 48 to 112
    assert [float(down[0]), float(down[-1])] == pytest.approx([8.5 / 79, 70.5 / 79], abs=0.01)
    assert [float(across[0]), float(across[-1])] == pytest.approx([48.5 / 159, 110.5 / 159], abs=0.01)
    scaled = Pictures(pictures.source, torch.arange(1), 32, 0.8, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))[0]
    expected = (seen - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor([0.2, 0.3, 0.4])[:, None, None]
    assert torch.allclose(scaled, expected)


def test_training_sees_pieces(tmp_path):
    """Area, shape and flip of 300 pieces, read off the colours."""
    pictures = one(tmp_path, smooth(120, 160), 24)
    areas, shapes, flips = [], [], 0
    for epoch in range(300):
        seen = pictures.one(0, seed=0, epoch=epoch)
        down, across = seen[0].mean(dim=1), seen[1].mean(dim=0)
        height = float(down[-1] - down[0]) * 119 * 24 / 23
        width = float(across[-1] - across[0]) * 159 * 24 / 23
        assert height > 0
        flips += width < 0
        areas.append(height * abs(width) / (120 * 160))
        shapes.append(abs(width) / height)
    assert 0.06 < min(areas) < 0.13
    assert 0.85 < max(areas) < 1.03
    assert 0.70 < min(shapes) < 0.78
    assert 1.28 < max(shapes) < 1.42
    assert 110 < flips < 190


def test_a_very_long_picture(tmp_path):
    pictures = one(tmp_path, smooth(8, 400), 16)
    for epoch in range(20):
        assert pictures.one(0, seed=0, epoch=epoch).shape == (3, 16, 16)


def test_draws_belong_to_seed_epoch_and_row(place):
    source = find_pictures(place, PARTS, 1000)["train"]
    pictures = Pictures(source, torch.arange(12), 16)
    rows = torch.tensor([7, 2])
    first = pictures.augmented(rows, 1, 2)
    assert torch.equal(first, pictures.augmented(rows, 1, 2))
    assert torch.equal(first[1:], pictures.augmented(rows[1:], 1, 2))
    assert torch.equal(first[1:], pictures.first(3).augmented(rows[1:], 1, 2))
    for seed, epoch in ((1, 3), (2, 2)):
        assert not torch.equal(first, pictures.augmented(rows, seed, epoch))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches(place, workers):
    source = find_pictures(place, PARTS, 1000)["train"]
    pictures = Pictures(source, torch.arange(1, 12), 16, workers=workers)
    wanted = torch.randperm(11).split(4)
    state = torch.get_rng_state()
    for (seed, epoch), expected in (((None, 0), pictures.read), ((5, 1), lambda rows: pictures.augmented(rows, 5, 1))):
        for batch, rows in zip(pictures.batches(wanted, seed, epoch), wanted, strict=True):
            assert torch.equal(batch, expected(rows))
    assert torch.equal(state, torch.get_rng_state())  # a run that is resumed would differ
    (place / "train" / CLASSES[2] / f"{CLASSES[2]}_3.JPEG").write_bytes(b"no picture")
    with pytest.raises(TaskError, match=r"^cannot read the picture .*n01484850_3.JPEG: its 10 bytes are in no format"):
        list(pictures.batches(wanted, 0, 0))


def test_a_truncated_picture(place):
    path = place / "train" / CLASSES[0] / f"{CLASSES[0]}_1.JPEG"
    path.write_bytes(path.read_bytes()[:-200])
    pictures = Pictures(find_pictures(place, PARTS, 1000)["train"], torch.arange(12), 16)
    with pytest.raises(TaskError, match=rf"{CLASSES[0]}_1\.JPEG: .*truncated.*get it again, or take it out"):
        pictures[0:4]
    path.unlink()
    with pytest.raises(TaskError, match="cannot read the picture"):
        pictures[1]


def write_shards(place, part: str, count: int, classes: int, shards: int = 2):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    draw = np.random.default_rng(1)
    images = [picture(draw.integers(0, 256, (3, 20, 24), dtype=np.uint8), "JPEG") for _ in range(count)]
    labels = draw.integers(0, classes, count).tolist()
    place.mkdir(parents=True, exist_ok=True)
    for shard, rows in enumerate(np.array_split(np.arange(count), shards)):
        cells = [{"bytes": images[row], "path": f"{row}.JPEG"} for row in rows]
        table = pyarrow.table({"image": cells, "label": [labels[row] for row in rows]})
        parquet.write_table(table, place / f"{part}-{shard:05}-of-{shards:05}.parquet", row_group_size=3)
    return images, labels


@pytest.mark.parametrize("limit", [2**30, 0], ids=["in memory", "converted"])
def test_parquet_shards(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(sources, "_IN_MEMORY", limit)
    images, labels = write_shards(tmp_path / "data", "train", 11, 5)
    write_shards(tmp_path / "data", "validation", 4, 5)
    write_shards(tmp_path / "data", "test", 4, 5)  # ImageNet's own test part: must not be taken
    assert has_pictures(tmp_path, PARTS)
    for _ in range(2):  # the second time from what was converted
        found = find_pictures(tmp_path, PARTS, 1000)
        assert found["train"].labels.tolist() == labels
        assert [found["train"].content(row) for row in (0, 10, 5)] == [images[row] for row in (0, 10, 5)]
        assert len(found["test"]) == 4
    sent = pickle.loads(pickle.dumps(found["train"]))
    assert sent.content(7) == images[7]
    assert sent.fingerprint() == found["train"].fingerprint()
    kept = tmp_path / "data" / sources.CONVERTED
    assert kept.is_dir() == (limit == 0)
    assert Pictures(sent, torch.arange(11), 8)[3:5].shape == (2, 3, 8, 8)


def test_unlabelled_and_strange_columns(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"image": [b"x"], "label": [-1]}), tmp_path / "train.parquet")
    with pytest.raises(TaskError, match="whose labels are not published"):
        find_pictures(tmp_path, {"train": ("train",)}, 10)
    parquet.write_table(pyarrow.table({"image": [b"x"], "name": ["a"]}), tmp_path / "train.parquet")
    with pytest.raises(TaskError, match="has the columns image, name, but none called label or fine_label"):
        find_pictures(tmp_path, {"train": ("train",)}, 10)
    parquet.write_table(pyarrow.table({"image": ["text"], "label": [1]}), tmp_path / "train.parquet")
    with pytest.raises(TaskError, match=r"row 0 of .* holds no picture, but str"):
        find_pictures(tmp_path, {"train": ("train",)}, 10)["train"].content(0)
