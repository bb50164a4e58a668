"""Tasks on scikit-learn's digits: 1,797 images of 8×8 pixels, ten classes; ship with scikit-learn.

Split by a fixed seed into 1,077 for training, 360 for validation and 360 for test, each class in
proportion.
"""

from __future__ import annotations

from torch import nn

from nonlin.tasks.data import Data
from nonlin.tasks.task import ActivationFactory, Budget, Task
from nonlin.tasks.weights import he_for_relu


def digits_data() -> Data:
    """The digits as rows of 64 pixels, scaled together to mean 0 and deviation 1."""
    from sklearn.datasets import load_digits

    images = load_digits()
    pixels = (images.data - images.data.mean()) / images.data.std()
    return Data.from_arrays(pixels, images.target, fractions=(0.2, 0.2), seed=0, standardise=False)


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
