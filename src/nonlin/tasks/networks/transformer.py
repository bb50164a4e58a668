"""The transformer block that the vision transformer and the character model share.

Pre-LayerNorm [Xiong2020]: x + attention(norm(x)), then x + mlp(norm(x)). The activation stands in the
multilayer perceptron, between `expand` and `project`. Plain tensor operations throughout, none in place
and none that looks at values, so that a block runs under ``torch.func`` transforms. torch's fused attention
has no batching rule: under ``vmap`` choose ``torch.nn.attention.SDPBackend.MATH``, or it falls back to a
loop with a warning.

References
----------
[Xiong2020] R. Xiong et al., "On layer normalization in the transformer architecture", 2020
    (arXiv:2002.04745)
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from nonlin.tasks.task import ActivationFactory

WRITERS = ("merge", "project")  # the layers of a block that write into the residual stream


class Attention(nn.Module):
    """Self-attention; with `causal` no position sees a later one; `bias` in queries, keys and values."""

    def __init__(self, width: int, heads: int, causal: bool, bias: bool = True):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.split = nn.Linear(width, 3 * width, bias=bias)  # queries, keys and values side by side
        self.merge = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, positions, width) to the same."""
        batch, positions, width = x.shape
        parts = self.split(x).reshape(batch, positions, 3, self.heads, width // self.heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind(0)  # each (batch, heads, positions, width/heads)
        seen = F.scaled_dot_product_attention(queries, keys, values, is_causal=self.causal)
        return self.merge(seen.transpose(1, 2).reshape(batch, positions, width))


class Block(nn.Module):
    """One block: `width` in the residual stream, `ratio`·`width` where the activation stands."""

    def __init__(
        self, activation: ActivationFactory, width: int, heads: int, ratio: int, causal: bool, bias: bool = True
    ):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal, bias)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, ratio * width)
        self.activation = activation(ratio * width, dim=-1)
        self.project = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, positions, width) to the same."""
        x = x + self.attention(self.attention_norm(x))
        return x + self.project(self.activation(self.expand(self.norm(x))))
