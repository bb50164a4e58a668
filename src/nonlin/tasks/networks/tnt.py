"""TNT, the transformer in a transformer: words inside each patch attend to each other, then patches do.

TNT-S: patches of 16×16 pixels with 16 words each, word width 24, patch width 384, 12 blocks; 23.8M parameters on
ImageNet. For CIFAR's 32×32 images a patch has 4×4 pixels and a word is one pixel: 16 words again, our choice.

References
----------
[Han2021] K. Han et al., "Transformer in transformer", 2021 (arXiv:2103.00112), section 2 and table 1
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nonlin.tasks.networks.transformer import Block
from nonlin.tasks.networks.vit import start_small
from nonlin.tasks.task import ActivationFactory

SIDE = 4  # words along a patch's side


class Pair(nn.Module):
    """A block over words, what it gives added to the patches, a block over patches [Han2021, eqs. 5 to 9]."""

    def __init__(self, activation: ActivationFactory, word: int, width: int, word_heads: int, heads: int):
        super().__init__()
        self.inner = Block(activation, word, word_heads, ratio=4, causal=False, bias=False)
        self.norm = nn.LayerNorm(word)
        self.join = nn.Linear(SIDE * SIDE * word, width)
        self.outer = Block(activation, width, heads, ratio=4, causal=False, bias=False)

    def forward(self, words: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """words (batch·patches, 16, word) and patches (batch, 1 + patches, width) to the same shapes."""
        words = self.inner(words)
        batch, count, _ = patches.shape
        joined = self.join(self.norm(words).reshape(batch, count - 1, -1))
        patches = patches + nn.functional.pad(joined, (0, 0, 1, 0))  # the class token has no words
        return words, self.outer(patches)


class TransformerInTransformer(nn.Module):
    """TNT; see the module's docstring."""

    def __init__(
        self,
        activation: ActivationFactory,
        size: int,
        patch: int,
        classes: int,
        word: int = 24,
        width: int = 384,
        word_heads: int = 4,
        heads: int = 6,
        blocks: int = 12,
    ):
        super().__init__()
        count = (size // patch) ** 2
        self.across = size // patch
        self.embed = nn.Conv2d(3, word, 7, stride=patch // SIDE, padding=3)
        self.word_positions = nn.Parameter(torch.empty(1, SIDE * SIDE, word))
        self.join = nn.Sequential(
            nn.LayerNorm(SIDE * SIDE * word), nn.Linear(SIDE * SIDE * word, width), nn.LayerNorm(width)
        )  # fmt: skip
        self.tokens = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, count + 1, width))
        self.blocks = nn.ModuleList(Pair(activation, word, width, word_heads, heads) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)
        start_small(self)

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, 3, size, size) to logits (batch, classes)."""
        words = self.words(images)
        patches = self.join(words.reshape(len(images), self.across**2, -1))
        patches = torch.cat([self.tokens.expand(len(images), -1, -1), patches], dim=1) + self.positions
        for block in self.blocks:
            words, patches = block(words, patches)
        return self.head(self.norm(patches[:, 0]))

    def words(self, images: Tensor) -> Tensor:
        """(batch, 3, size, size) to (batch·patches, 16, word), patch by patch, row by row."""
        grid = self.embed(images)  # (batch, word, 4·across, 4·across)
        batch, word = grid.shape[:2]
        tiles = grid.reshape(batch, word, self.across, SIDE, self.across, SIDE).permute(0, 2, 4, 3, 5, 1)
        return tiles.reshape(batch * self.across**2, SIDE * SIDE, word) + self.word_positions


def build_tnt_small(
    activation: ActivationFactory, classes: int = 10, size: int = 32, patch: int = 4, blocks: int = 12
) -> nn.Module:
    """Images (batch, 3, size, size) to logits; 23.8M parameters at 224, patch 16, 1,000 classes."""
    return TransformerInTransformer(activation, size, patch, classes, blocks=blocks)
