"""Vision transformers: ViT-Tiny and DeiT-Tiny.

Both are the same network: width 192, 12 blocks, 3 heads, a class token, learned positions; 5.7M parameters on
ImageNet. ViT-Tiny scales [Dosovitskiy2020] down as [Touvron2020] did. What makes DeiT another name is how it is
trained: with stochastic depth and label smoothing (and, in the original, stronger augmentation than is here),
with or without a distillation token; with it the network has 5.9M parameters and a second head.

Images of 224×224 are cut into patches of 16×16, as in the papers; CIFAR's of 32×32 into patches of 4×4: 64 of
them, which is our choice, as [Sun2024] does not say.

References
----------
[Dosovitskiy2020] A. Dosovitskiy et al., "An image is worth 16x16 words", 2020 (arXiv:2010.11929)
[Touvron2020] H. Touvron et al., "Training data-efficient image transformers & distillation through
    attention", 2020 (arXiv:2012.12877), table 1
[Huang2016b] G. Huang et al., "Deep networks with stochastic depth", 2016 (arXiv:1603.09382)
[Sun2024] H. Sun et al., "A method on searching better activation functions", 2024 (arXiv:2405.12954)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nonlin.tasks.networks.transformer import Block
from nonlin.tasks.task import ActivationFactory

DEVIATION = 0.02  # of initial weights, tokens and positions [Touvron2020]
EPSILON = 1e-6  # of LayerNorm, as in the code of both papers; torch's 1e-5 tells where the stream is still small


class Skipped(Block):
    """A transformer block whose two parts are left out at random in training, for each image [Huang2016b].

    What is kept is divided by the chance of keeping it, so that the mean is the same.
    """

    def __init__(self, activation: ActivationFactory, width: int, heads: int, ratio: int, drop: float):
        super().__init__(activation, width, heads, ratio, causal=False)
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        """(batch, positions, width) to the same."""
        x = x + self._kept(self.attention(self.attention_norm(x)))
        return x + self._kept(self.project(self.activation(self.expand(self.norm(x)))))

    def _kept(self, change: Tensor) -> Tensor:
        if not self.training or not self.drop:
            return change
        keep = torch.rand(len(change), 1, 1, device=change.device, dtype=change.dtype) >= self.drop
        return change * keep / (1 - self.drop)


class VisionTransformer(nn.Module):
    """Patches, a class token (and a distillation token), blocks, classes."""

    def __init__(
        self,
        activation: ActivationFactory,
        size: int,
        patch: int,
        classes: int,
        width: int = 192,
        heads: int = 3,
        blocks: int = 12,
        ratio: int = 4,
        drop: float = 0.0,
        distilled: bool = False,
    ):
        super().__init__()
        tokens = 2 if distilled else 1
        self.embed = nn.Conv2d(3, width, patch, stride=patch)
        self.tokens = nn.Parameter(torch.empty(1, tokens, width))
        self.positions = nn.Parameter(torch.empty(1, (size // patch) ** 2 + tokens, width))
        rates = [drop * index / max(1, blocks - 1) for index in range(blocks)]  # the deeper, the more often left out
        self.blocks = nn.Sequential(*(Skipped(activation, width, heads, ratio, rate) for rate in rates))
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleList(nn.Linear(width, classes) for _ in range(tokens))
        for part in self.modules():
            if isinstance(part, nn.LayerNorm):
                part.eps = EPSILON
        start_small(self)

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, 3, size, size) to logits (batch, classes), the mean of both heads if there are two."""
        patches = self.embed(images).flatten(2).transpose(1, 2)  # (batch, patches, width)
        x = torch.cat([self.tokens.expand(len(images), -1, -1), patches], dim=1) + self.positions
        x = self.norm(self.blocks(x))
        return torch.stack([head(x[:, index]) for index, head in enumerate(self.heads)]).mean(dim=0)


def start_small(model: nn.Module) -> None:
    """Weights, tokens and positions from a normal of deviation 0.02 cut at ±2; biases 0 [Touvron2020]."""
    for part in model.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(part.weight, std=DEVIATION)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        for name, value in part.named_parameters(recurse=False):
            if name in ("tokens", "positions", "word_positions"):
                nn.init.trunc_normal_(value, std=DEVIATION)


def build_vit_tiny(activation: ActivationFactory, classes: int = 10, size: int = 32, patch: int = 4) -> nn.Module:
    """Images (batch, 3, size, size) to logits; 5.7M parameters at 224, patch 16, 1,000 classes."""
    return VisionTransformer(activation, size, patch, classes)


def build_deit_tiny(
    activation: ActivationFactory, classes: int = 10, size: int = 32, patch: int = 4, distilled: bool = False
) -> nn.Module:
    """ViT-Tiny with stochastic depth 0.1; `distilled` adds the second token and head (no teacher is used)."""
    return VisionTransformer(activation, size, patch, classes, drop=0.1, distilled=distilled)
