"""Tasks on scikit-learn's digits: 1,797 images of 8×8 pixels, ten classes [Alpaydin1998].

Split by a fixed seed into 1,077 for training, 360 for validation and 360 for test, each class in
proportion. ``digits.csv.gz`` holds the images, split: the import of scikit-learn, which gives the same, would take a
second before every first child.

References
----------
[Alpaydin1998] E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
    1998, doi:10.24432/C50P49, CC BY 4.0; the copy that scikit-learn ships
"""

from __future__ import annotations

import gzip
from importlib.resources import files

import numpy as np
import torch
from torch import nn

from nonlin.tasks.data import Data
from nonlin.tasks.task import ActivationFactory, Budget, Task
from nonlin.tasks.weights import he_for_relu

SPLIT = [1_077, 360, 360]  # rows for training, validation and test, in this order


def digits_data() -> Data:
    """The digits as rows of 64 pixels, scaled together to mean 0 and deviation 1."""
    packed = files(__package__).joinpath("digits.csv.gz").read_bytes()
    table = np.loadtxt(gzip.decompress(packed).decode("ascii").splitlines(), delimiter=",", dtype=np.int64)
    pixels, classes = table[:, :-1], table[:, -1]
    scaled = ((pixels - pixels.mean()) / pixels.std()).astype(np.float32)
    rows, targets = torch.from_numpy(scaled).split(SPLIT), torch.from_numpy(classes).split(SPLIT)
    train, validation, test = zip(rows, targets, strict=True)
    return Data(train, validation, test)


def build_mlp(activation: ActivationFactory) -> nn.Module:
    """64-64-64-10, He-initialised for ReLU: variance 1/fan_in first, then 2/fan_in; biases 0."""
    model = nn.Sequential(
        nn.Linear(64, 64), activation(64), nn.Linear(64, 64), activation(64), nn.Linear(64, 10)
    )  # fmt: skip
    he_for_relu(model)
    return model


DIGITS_MLP = Task(
    name="digits-mlp",
    build=build_mlp,
    data=digits_data,
    budget=Budget(epochs=20, batch_size=128, optimizer="adam", learning_rate=2e-3, device="cpu"),
    remark="multilayer perceptron 64-64-64-10 on scikit-learn's digits (8x8 pixels, ten classes)",
    parameters=8_970,
)
