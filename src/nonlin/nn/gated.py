"""Gated units: one half of the features, passed through an activation, multiplies the other half.

    Gated(f):        (a, b) = halves of x,   a·f(b)
    GatedLinear(f):  f(x W) ⊙ (x V)                     two matrices
    GatedFeedForward(f):  (f(x W) ⊙ (x V)) W2            the feed-forward block of a transformer

GLU takes f = sigmoid [Dauphin2016]; ReGLU, GEGLU, SwiGLU and Bilinear take relu, gelu, swish and the identity
[Shazeer2020, equations 4 to 6]. Any activation of the language will do.

References
----------
[Dauphin2016] Y. Dauphin, A. Fan, M. Auli, D. Grangier, "Language modeling with gated convolutional networks",
    2016 (arXiv:1612.08083)
[Shazeer2020] N. Shazeer, "GLU variants improve transformer", 2020 (arXiv:2002.05202)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nonlin.errors import NonlinError
from nonlin.zoo import Activation, activation

# The published names and the function on the gate.
GATES = {"glu": "sigmoid", "reglu": "relu", "geglu": "gelu", "swiglu": "silu", "bilinear": "linear"}


def gate_activation(f: Activation | str) -> Activation:
    """The function of a gate, by the name of the unit ("SwiGLU") or as any activation."""
    return activation(GATES.get(f.lower(), f) if isinstance(f, str) else f)


class Gated(nn.Module):
    """Feature-splitting gate: the first half of `dim` times f of the second half, as in `torch.nn.GLU`.

    Parameters
    ----------
    f : name, formula or activation; or one of "glu", "reglu", "geglu", "swiglu", "bilinear"
    dim : the dimension to split; its size must be even
    """

    def __init__(self, f: Activation | str = "sigmoid", dim: int = -1):
        super().__init__()
        self.gate = gate_activation(f).module()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., 2·features, ...) along `dim`; result: (..., features, ...)."""
        if x.shape[self.dim] % 2:
            raise NonlinError(
                f"a gated unit splits its features into halves, but dimension {self.dim} of its input, of shape "
                f"{tuple(x.shape)}, has {x.shape[self.dim]} of them; give the layer before it twice as many outputs."
            )
        value, gate = x.chunk(2, dim=self.dim)
        return value * self.gate(gate)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class GatedLinear(nn.Module):
    """f(x W + b) ⊙ (x V + c), both products from one matrix of twice the width.

    Parameters
    ----------
    in_features, out_features : sizes of the input and of the result
    f : as for `Gated`
    bias : whether there are b and c
    """

    def __init__(self, in_features: int, out_features: int, f: Activation | str = "silu", bias: bool = True):
        super().__init__()
        self.linear = nn.Linear(in_features, 2 * out_features, bias=bias)
        self.gated = Gated(f)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in_features); result: (..., out_features)."""
        return self.gated(self.linear(x))


class GatedFeedForward(nn.Module):
    """The feed-forward block of a transformer with a gate: (f(x W) ⊙ (x V)) W2 [Shazeer2020, equation 6].

    Parameters
    ----------
    features : size of the input and of the result
    hidden : size between; default: two thirds of 4·features, which keeps the number of weights of the usual
        block with two matrices and 4·features, rounded up to a multiple of 8
    f : as for `Gated`
    bias : False in the paper
    dropout : share of the hidden features dropped in training
    """

    def __init__(
        self,
        features: int,
        hidden: int | None = None,
        f: Activation | str = "swiglu",
        bias: bool = False,
        dropout: float = 0.0,
    ):
        super().__init__()
        hidden = -(-8 * features // 24) * 8 if hidden is None else hidden
        self.inner = GatedLinear(features, hidden, f, bias)
        self.dropout = nn.Dropout(dropout)
        self.outer = nn.Linear(hidden, features, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., features); same shape out."""
        return self.outer(self.dropout(self.inner(x)))


class Maxout(nn.Module):
    """The largest of several linear maps [Goodfellow2013]: max_j (x W_j + b_j).

    [Goodfellow2013] I. Goodfellow et al., "Maxout networks", 2013 (arXiv:1302.4389)
    """

    def __init__(self, in_features: int, out_features: int, pieces: int = 2, bias: bool = True):
        super().__init__()
        if pieces < 1:
            raise NonlinError(f"pieces={pieces!r} must be a whole number above 0.")
        self.pieces, self.linear = pieces, nn.Linear(in_features, pieces * out_features, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in_features); result: (..., out_features)."""
        return self.linear(x).unflatten(-1, (-1, self.pieces)).amax(dim=-1)

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}"


class CReLU(nn.Module):
    """relu(x) and relu(-x) side by side, which doubles the features along `dim` [Shang2016].

    [Shang2016] W. Shang et al., "Understanding and improving convolutional neural networks via concatenated
    rectified linear units", 2016 (arXiv:1603.05201)
    """

    def __init__(self, dim: int = 1):
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., channels, ...) along `dim`; result: (..., 2·channels, ...)."""
        return torch.cat([torch.relu(x), torch.relu(-x)], dim=self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
