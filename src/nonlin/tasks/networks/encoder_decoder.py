"""The Transformer for translation [Vaswani2017]: encoder and decoder, each block normalised after its addition.

The activation stands between the two linear layers of every block, where the paper has ReLU.

References
----------
[Vaswani2017] A. Vaswani et al., "Attention is all you need", 2017 (arXiv:1706.03762)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nonlin.tasks.task import ActivationFactory


class CrossAttention(nn.Module):
    """Positions of one sequence look at those of another, or of the same."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.merge = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, seen: Tensor, mask: Tensor | None, causal: bool = False) -> Tensor:
        """x (rows, positions, width) looks at seen (rows, others, width), where mask (rows, 1, 1, others) is true."""
        rows, positions, width = x.shape

        def split(values: Tensor) -> Tensor:
            return values.reshape(rows, -1, self.heads, width // self.heads).transpose(1, 2)

        found = F.scaled_dot_product_attention(
            split(self.query(x)), split(self.key(seen)), split(self.value(seen)), attn_mask=mask, is_causal=causal
        )
        return self.merge(found.transpose(1, 2).reshape(rows, positions, width))


class Layer(nn.Module):
    """One block of the encoder, or with `cross` of the decoder."""

    def __init__(self, activation: ActivationFactory, width: int, heads: int, hidden: int, dropout: float, cross: bool):
        super().__init__()
        self.attention, self.norm = CrossAttention(width, heads), nn.LayerNorm(width)
        self.cross = CrossAttention(width, heads) if cross else None
        self.cross_norm = nn.LayerNorm(width) if cross else None
        self.expand, self.activation = nn.Linear(width, hidden), activation(hidden, dim=-1)
        self.project, self.last_norm = nn.Linear(hidden, width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, memory: Tensor | None = None) -> Tensor:
        """x and `memory`, the encoder's output, (rows, positions, width); `mask` is that of the encoder's positions."""
        own = self.attention(x, x, None, causal=True) if self.cross else self.attention(x, x, mask)
        x = self.norm(x + self.dropout(own))
        if self.cross and self.cross_norm and memory is not None:
            x = self.cross_norm(x + self.dropout(self.cross(x, memory, mask)))
        return self.last_norm(x + self.dropout(self.project(self.activation(self.expand(x)))))


class EncoderDecoder(nn.Module):
    """Sentences of one language to those of another; one embedding for both, and for the output layer.

    Parameters
    ----------
    pieces : size of the vocabulary; piece 0 fills up sentences
    """

    def __init__(
        self, activation: ActivationFactory, pieces: int, width: int = 512, heads: int = 8, hidden: int = 2048,
        blocks: int = 6, dropout: float = 0.1,
    ):  # fmt: skip
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(pieces, width)

        def layers(cross: bool) -> nn.ModuleList:
            return nn.ModuleList(Layer(activation, width, heads, hidden, dropout, cross) for _ in range(blocks))

        self.encoder, self.decoder = layers(False), layers(True)
        self.dropout = nn.Dropout(dropout)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        nn.init.normal_(self.embedding.weight, std=1 / math.sqrt(width))

    def forward(self, x: Tensor) -> Tensor:
        """x (rows, 2, positions): the sentence, and what comes before each piece of its translation. Logits (rows,
        positions, pieces) out; those of filling are 0."""
        memory, mask = self.encode(x[:, 0])
        target = x[:, 1]
        longest = max(1, int((target != 0).sum(1).max()))
        logits = self.decode(target[:, :longest], memory, mask)
        return F.pad(logits, (0, 0, 0, target.shape[1] - longest))

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """source (rows, positions); the encoder's output (rows, longest, width) and where it holds a piece."""
        source = source[:, : max(1, int((source != 0).sum(1).max()))]
        mask = (source != 0)[:, None, None]
        x = self._embed(source)
        for layer in self.encoder:
            x = layer(x, mask)
        return x, mask

    def decode(self, target: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """target (rows, positions), beginning with the sentence's beginning; logits of the pieces that follow."""
        x = self._embed(target)
        for layer in self.decoder:
            x = layer(x, mask, memory)
        return F.linear(x, self.embedding.weight)

    def _embed(self, pieces: Tensor) -> Tensor:
        x = self.embedding(pieces) * math.sqrt(self.width)
        return self.dropout(x + _waves(pieces.shape[1], self.width, x))


def _waves(positions: int, width: int, like: Tensor) -> Tensor:
    """Sines and cosines of positions, (positions, width) [Vaswani2017, section 3.5]."""
    place = torch.arange(positions, device=like.device, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, device=like.device) * (-math.log(10_000.0) / width))
    return torch.stack([(place * rate).sin(), (place * rate).cos()], -1).flatten(1).to(like.dtype)


@torch.no_grad()
def translate(
    model: EncoderDecoder, source: Tensor, begin: int, end: int, beam: int = 4, alpha: float = 0.6, more: int = 50
) -> Tensor:
    """The best translations by beam search, (rows, positions), each ended by `end` and filled with 0.

    `beam` translations are kept at every step by their probability; the best of them at last is that of the largest
    log-probability over ((5 + length)/6)^alpha. They may be `more` pieces longer than their source [Vaswani2017,
    section 6.1].
    """
    memory, mask = model.encode(source)
    rows, device = len(source), source.device
    memory, mask = memory.repeat_interleave(beam, 0), mask.repeat_interleave(beam, 0)
    found = torch.full((rows * beam, 1), begin, device=device)
    scores = torch.full((rows, beam), -math.inf, device=device)
    scores[:, 0] = 0
    ended = torch.zeros(rows * beam, dtype=torch.bool, device=device)
    first = torch.arange(rows, device=device)[:, None] * beam
    for _ in range(memory.shape[1] + more):
        following = model.decode(found, memory, mask)[:, -1].float().log_softmax(-1)  # (rows·beam, pieces)
        following[:, [0, begin]] = -math.inf
        following[ended] = -math.inf
        following[ended, 0] = 0  # an ended translation stays as it is
        pieces = following.shape[1]
        scores, best = (scores.reshape(-1, 1) + following).reshape(rows, -1).topk(beam)
        kept = (first + best // pieces).flatten()
        found = torch.cat([found[kept], (best % pieces).reshape(-1, 1)], 1)
        ended = ended[kept] | (found[:, -1] == end)
        if bool(ended.all()):
            break
    lengths = (found != 0).sum(1).reshape(rows, beam) - 1
    order = scores / ((5 + lengths) / 6) ** alpha
    order[~ended.reshape(rows, beam)] -= 1e9  # cut off: taken only where no translation has ended
    return found.reshape(rows, beam, -1)[torch.arange(rows, device=device), order.argmax(1), 1:]
