"""Small CIFARs in the real formats: as Python 2 pickled them, as binary records, packed, as parquet, as pictures."""

import io
import struct
import tarfile

import numpy as np

from nonlin.tasks.pictures.cifar import VERSIONS


def random_images(rows: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images (rows, 3, 32, 32) uint8, and labels; the last label is the largest there is."""
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 256, (rows, 3, 32, 32), dtype=np.uint8)
    labels = draw.integers(0, classes, rows)
    labels[-1] = classes - 1
    return images, labels


def _text(value: bytes) -> bytes:
    """Python 2's str in a pickle."""
    return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value


def _number(value: int) -> bytes:
    return b"K" + bytes([value]) if value < 256 else b"J" + struct.pack("<i", value)


def _array(rows: np.ndarray) -> bytes:
    """A numpy array of bytes, opcode by opcode as cPickle wrote it in protocol 2."""
    shape = _number(rows.shape[0]) + _number(rows.shape[1]) + b"\x86"
    kind = b"cnumpy\ndtype\n" + _text(b"u1") + b"K\x00K\x01\x87R"
    kind += b"(K\x03" + _text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    begin = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + _text(b"b") + b"\x87R"
    return begin + b"(K\x01" + shape + kind + b"\x89" + _text(rows.tobytes()) + b"tb"


def python2_pickle(images: np.ndarray, labels: np.ndarray, key: bytes = b"labels") -> bytes:
    """A batch as the authors' python version holds it."""
    names = (
        b"](" + b"".join(_text(b"leptodactylus_pentadactylus_s_%06d.png" % row) for row in range(len(labels))) + b"e"
    )
    numbers = b"](" + b"".join(_number(int(label)) for label in labels) + b"e"
    fields = {b"batch_label": _text(b"training batch 1 of 5"), key: numbers, b"data": _array(images.reshape(-1, 3072))}
    if key == b"fine_labels":
        fields[b"coarse_labels"] = b"](" + b"K\x00" * len(labels) + b"e"
    body = b"".join(_text(name) + value for name, value in (fields | {b"filenames": names}).items())
    return b"\x80\x02}(" + body + b"u."


def records(images: np.ndarray, labels: np.ndarray, classes: int) -> bytes:
    """The binary version; CIFAR-100's coarse label, which must not count, is 99."""
    before = b"" if classes == 10 else b"\x63"
    return b"".join(before + bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True))


def contents(
    classes: int, train: int, test: int, binary: bool = False
) -> tuple[dict[str, bytes], np.ndarray, np.ndarray]:
    """The files by name, and all images and labels, `train` ones first."""
    images, labels = random_images(train + test, classes)
    version = VERSIONS[classes][1 if binary else 0]
    files: dict[str, bytes] = {}
    parts = np.array_split(np.arange(train), len(version.train))
    for name, rows in [
        *zip(version.train, parts, strict=True),
        (next(iter(version.test)), np.arange(train, train + test)),
    ]:
        key = b"labels" if classes == 10 else b"fine_labels"
        some = images[rows], labels[rows]
        files[name] = records(*some, classes) if binary else python2_pickle(*some, key)
    return files, images, labels


def write_cifar(folder, classes: int = 10, train: int = 20, test: int = 4, binary: bool = False, inside: bool = True):
    """Into ``folder/cifar10`` or ``cifar100``, there in the folder that the archive would make, or not."""
    files, images, labels = contents(classes, train, test, binary)
    place = folder / f"cifar{classes}"
    if inside:
        place /= VERSIONS[classes][1 if binary else 0].folder
    place.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (place / name).write_bytes(content)
    return images, labels


def packed(classes: int, train: int, test: int, binary: bool = False) -> tuple[bytes, np.ndarray, np.ndarray]:
    """The archive."""
    files, images, labels = contents(classes, train, test, binary)
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w:gz") as archive:
        for name, content in {"readme.html": b"<html>", **files}.items():
            entry = tarfile.TarInfo(f"{VERSIONS[classes][1 if binary else 0].folder}/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return into.getvalue(), images, labels


def picture(image: np.ndarray, kind: str = "PNG") -> bytes:
    """An image (3, height, width) as the content of a file."""
    from PIL import Image

    into = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(into, kind)
    return into.getvalue()


def write_class_folders(folder, parts: dict[str, int], classes: list[str], size=(40, 48), kind: str = "JPEG") -> None:
    """`parts`: pictures per class in train, val, ..."""
    draw = np.random.default_rng(0)
    for part, count in parts.items():
        for name in classes:
            place = folder / part / name
            place.mkdir(parents=True)
            for number in range(count):
                image = draw.integers(0, 256, (3, *size), dtype=np.uint8)
                (place / f"{name}_{number}.{'JPEG' if kind == 'JPEG' else 'png'}").write_bytes(picture(image, kind))
