"""Image tasks on scikit-learn's digits (see `nonlin.tasks.pictures.digits`, whose split they share).

`digits-vit` is a weak judge of activations: attention and LayerNorm are non-linear enough for the digits, and
the identity does as well there as ReLU. It is for checking that what was found elsewhere does no harm.

References
----------
[Dosovitskiy2020] A. Dosovitskiy et al., "An image is worth 16x16 words", 2020 (arXiv:2010.11929)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nonlin.nn.gains import gain
from nonlin.tasks.data import Data, Part
from nonlin.tasks.networks.transformer import Block
from nonlin.tasks.pictures.digits import digits_data
from nonlin.tasks.task import ActivationFactory, Budget, Task
from nonlin.tasks.weights import he_for_relu, scale_by_inputs, weighted_layers
from nonlin.zoo import activation as activation_by_name


def digits_images() -> Data:
    """The digits as images: x of shape (rows, 1, 8, 8), scaled together to mean 0 and deviation 1."""
    rows = digits_data()

    def images(part: Part) -> Part:
        return part[0].reshape(-1, 1, 8, 8), part[1]

    return Data(images(rows.train), images(rows.validation), images(rows.test))


def build_cnn(activation: ActivationFactory) -> nn.Module:
    """Convolutions of 16 and 32 channels, pooling, a dense layer of 64, ten classes; He-initialised.

    Pooling is by the mean, so that the activation is the only non-linearity: with the maximum a network
    without activations does as well as one with ReLU (loss 0.08 and 0.07; with the mean 0.26 and 0.07).
    """
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        activation(16),
        nn.Conv2d(16, 32, 3, padding=1),
        activation(32),
        nn.AvgPool2d(2),  # (batch, 32, 4, 4)
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 64),
        activation(64),
        nn.Linear(64, 10),
    )
    he_for_relu(model)
    return model


class VisionTransformer(nn.Module):
    """A small [Dosovitskiy2020]: patches, learned positions, blocks, the mean over positions, classes.

    The mean takes the place of a class token: on sixteen patches it is as good and one position cheaper.
    """

    def __init__(
        self, activation: ActivationFactory, size: int, patch: int, width: int, heads: int, ratio: int, blocks: int
    ):
        super().__init__()
        self.patch = patch
        self.embed = nn.Linear(patch * patch, width)
        self.positions = nn.Parameter(torch.zeros((size // patch) ** 2, width))
        self.blocks = nn.Sequential(*(Block(activation, width, heads, ratio, causal=False) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        """images (batch, 1, size, size); logits (batch, 10) out."""
        tokens = self.embed(self.patches(images)) + self.positions  # (batch, patches, width)
        return self.head(self.norm(self.blocks(tokens)).mean(dim=1))

    def patches(self, images: Tensor) -> Tensor:
        """(batch, 1, size, size) to (batch, patches, patch²), row by row."""
        batch, _, size, _ = images.shape
        count = size // self.patch
        tiles = images.reshape(batch, count, self.patch, count, self.patch).transpose(2, 3)
        return tiles.reshape(batch, count * count, self.patch * self.patch)


def build_vit(activation: ActivationFactory) -> nn.Module:
    """Patches of 2×2, width 32, four heads, three blocks with 64 hidden units each.

    Weights have variance 1/fan_in, so that after LayerNorm the activation receives N(0, 1), under which
    gains are measured; the layer after it makes up for GELU's gain. Positions are as large as what the
    patches bring: at the customary deviation 0.02 the mean over positions hardly learns where a stroke is
    (validation accuracy 92% instead of 97%).
    """
    model = VisionTransformer(activation, size=8, patch=2, width=32, heads=4, ratio=2, blocks=3)
    after = [name for name, _ in weighted_layers(model) if name.endswith(".project")]
    scale_by_inputs(model, after, gain(activation_by_name("gelu")))
    nn.init.normal_(model.positions, std=1.0)
    return model


# Budgets: learning rates up to 0.004 and batches of 64 and 128 were tried on two or three seeds of ReLU and
# GELU, and those with the least mean validation loss taken, at about 1.3 s (CNN) and 4 s (transformer) a
# child. The transformer's shape was chosen likewise: three blocks of ratio 2 beat two of ratio 3 or 4.

DIGITS_CNN = Task(
    name="digits-cnn",
    build=build_cnn,
    data=digits_images,
    budget=Budget(epochs=15, batch_size=64, optimizer="adam", learning_rate=4e-3, device="cpu"),
    remark="convolutional network 16-32-pool-64-10 on scikit-learn's digits as 8x8 images",
    parameters=38_282,
)

DIGITS_VIT = Task(
    name="digits-vit",
    build=build_vit,
    data=digits_images,
    budget=Budget(epochs=20, batch_size=64, optimizer="adamw", learning_rate=4e-3, weight_decay=0.01, device="cpu"),
    designed_for="gelu",
    remark="vision transformer, 2x2 patches, width 32, three blocks, on scikit-learn's digits",
    parameters=26_698,
)
