"""A small MNIST in the real format: scikit-learn's digits, made 28x28."""

import numpy as np
from sklearn.datasets import load_digits

from nonlin.tasks.pictures.idx import write_idx


def digits_28(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (rows, 28, 28) and labels (rows,), uint8: every pixel three times, a frame of two."""
    digits = load_digits()
    large = np.kron(digits.images[:rows] * (255 / 16), np.ones((3, 3)))
    return np.pad(large, ((0, 0), (2, 2), (2, 2))).astype(np.uint8), digits.target[:rows].astype(np.uint8)


def write_folder(folder, train: int, test: int, suffix: str = "", join: str = "-"):
    """The four files; `test` images follow the `train` ones."""
    images, labels = digits_28(train + test)
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in (("train", slice(train)), ("t10k", slice(train, None))):
        write_idx(folder / f"{part}-images{join}idx3-ubyte{suffix}", images[rows])
        write_idx(folder / f"{part}-labels{join}idx1-ubyte{suffix}", labels[rows])
    return images, labels
