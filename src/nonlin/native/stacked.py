"""The layers of K stacked children: products, normalisation, convolution and the optimiser's step, each in one call.

Every tensor of a child has K in front. Without the compiled core torch does the same (`None` is returned where the
caller must find another way). Results of a child do not depend on its companions.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from nonlin.native.library import FLOAT32, FLOAT64, Library, load
from nonlin.native.structures import CConvolution, CNormalisation, CProduct, CStep

_DTYPES = {torch.float32: FLOAT32, torch.float64: FLOAT64}
_OPTIMISERS = ("sgd", "adam", "adamw")


def core_for(*tensors: Tensor) -> Library | None:
    """The core, if it can work on these tensors."""
    dtype = tensors[0].dtype
    fits = dtype in _DTYPES and all(t.dtype == dtype and t.device.type == "cpu" for t in tensors)
    return load() if fits else None


def _layout(t: Tensor) -> tuple[Tensor, int]:
    """The matrices (..., rows, columns) of t as the core takes them, and whether they are stored transposed."""
    (rows, columns), (step, unit) = t.shape[-2:], t.stride()[-2:]
    if (unit == 1 or columns == 1) and (step == columns or rows == 1):
        return t, 0
    if (step == 1 or rows == 1) and (unit == rows or columns == 1):
        return t, 1
    return t.contiguous(), 0


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a·b + bias of each child.

    a : (K, rows, inner), or (rows, inner) for all; b : (K, inner, columns), or (inner, columns) for all;
    bias : (K, columns), or (columns,) for all. Transposed views are taken as they are.
    """
    library = core_for(a, b)
    count = a.shape[0] if a.dim() == 3 else b.shape[0]
    if library is None:
        result = torch.matmul(a, b)
        return result if bias is None else result + bias.unsqueeze(-2)
    (a, a_transposed), (b, b_transposed) = _layout(a), _layout(b)
    bias = None if bias is None else bias.contiguous()
    rows, inner, columns = a.shape[-2], a.shape[-1], b.shape[-1]
    out = torch.empty((count, rows, columns), dtype=a.dtype)
    call = CProduct(
        _DTYPES[a.dtype], 1, a_transposed, b_transposed, count, rows, columns, inner, a.data_ptr(), b.data_ptr(),
        None if bias is None else bias.data_ptr(), a.stride(0) if a.dim() == 3 else 0,
        b.stride(0) if b.dim() == 3 else 0, columns if bias is not None and bias.dim() == 2 else 0, out.data_ptr(),
    )  # fmt: skip
    library.call("nl_multiply", ctypes.byref(call))
    return out


def normalise(x: Tensor, weight: Tensor | None, bias: Tensor | None, width: int, eps: float) -> tuple[Tensor, ...]:
    """Layer normalisation over the last `width` numbers of x (K, ...): (value, mean, 1/deviation), these (K, rows)."""
    library = load()
    assert library is not None
    x = x.contiguous()
    rows = x[0].numel() // width
    out, mean, inverse = torch.empty_like(x), x.new_empty(x.shape[0], rows), x.new_empty(x.shape[0], rows)
    call = CNormalisation(
        _DTYPES[x.dtype], 1, x.shape[0], rows, width, eps, x.data_ptr(), _place(weight), _place(bias),
        mean.data_ptr(), inverse.data_ptr(), None, out.data_ptr(), None, None,
    )  # fmt: skip
    library.call("nl_normalise", ctypes.byref(call))
    return out, mean, inverse


def normalise_backward(
    gradient: Tensor, x: Tensor, mean: Tensor, inverse: Tensor, weight: Tensor | None, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients by x, weight and bias; the latter (K, width)."""
    library = load()
    assert library is not None
    gradient, x, mean, inverse = (t.contiguous() for t in (gradient, x, mean, inverse))
    out, by_weight = torch.empty_like(x), x.new_empty(x.shape[0], width)
    by_bias = torch.empty_like(by_weight)
    call = CNormalisation(
        _DTYPES[x.dtype], 1, x.shape[0], x[0].numel() // width, width, 0.0, x.data_ptr(), _place(weight), None,
        mean.data_ptr(), inverse.data_ptr(), gradient.data_ptr(), out.data_ptr(), by_weight.data_ptr(),
        by_bias.data_ptr(),
    )  # fmt: skip
    library.call("nl_normalise", ctypes.byref(call))
    return out, by_weight, by_bias


def _place(t: Tensor | None) -> int | None:
    assert t is None or t.is_contiguous()
    return None if t is None else t.data_ptr()


def channels_last(t: Tensor) -> bool:
    """Whether images (..., channels, height, width) lie in memory as (..., height, width, channels)."""
    return t.dim() > 3 and not t.is_contiguous() and t.movedim(-3, -1).is_contiguous()


def dense_images(t: Tensor) -> tuple[Tensor, bool]:
    """Images as the core takes them, and whether their channels come last."""
    last = channels_last(t)
    return (t if last else t.contiguous()), last


def new_images(like: Tensor, shape: Sequence[int], last: bool) -> Tensor:
    """New images of this shape (..., channels, height, width)."""
    if not last:
        return like.new_empty(shape)
    return like.new_empty((*shape[:-3], *shape[-2:], shape[-3])).movedim(-1, -3)


@dataclass(frozen=True)
class Convolution:
    """A two-dimensional convolution of step 1 without groups: its border of zeros and the spread of its kernel."""

    padding: tuple[int, int]
    spread: tuple[int, int]

    def fits(self, kernel: Sequence[int]) -> bool:
        """Whether the core can compute it for kernels of shape (..., tall, wide)."""
        pairs = zip(self.padding, self.spread, kernel[-2:], strict=True)
        return all(0 <= pad <= spread * (size - 1) for pad, spread, size in pairs)

    def _call(self, x: Tensor, weight: Tensor) -> CConvolution:
        images, channels, height, width = x.shape[-4:]
        count, filters, _, tall, wide = weight.shape
        out = [size + 2 * pad - spread * (kernel - 1) for size, pad, spread, kernel
               in zip((height, width), self.padding, self.spread, (tall, wide), strict=True)]  # fmt: skip
        return CConvolution(
            _DTYPES[x.dtype], 1, count, images, channels, height, width, filters, tall, wide, *self.padding,
            *self.spread, *out, x.data_ptr(), x.stride(0) if x.dim() == 5 else 0, weight.data_ptr(),
        )  # fmt: skip

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None, last: bool = False) -> Tensor:
        """x : (K, images, channels, height, width), or without K; weight : (K, filters, channels, tall, wide).

        `last` asks for a result that lies in memory with its channels last, as x may too.
        """
        library = load()
        assert library is not None
        (x, x_last), weight = dense_images(x), weight.contiguous()
        call = self._call(x, weight)
        shape = (call.children, call.images, call.filters, call.out_height, call.out_width)
        out = new_images(x, shape, last)
        call.bias, call.out, call.x_last, call.out_last = _place(bias), out.data_ptr(), x_last, last
        library.call("nl_convolve", ctypes.byref(call))
        return out

    def backward(
        self, gradient: Tensor, x: Tensor, weight: Tensor, wanted: Sequence[bool]
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The gradients by x, weight and bias, those that are `wanted`. The first lies in memory as x does."""
        library = load()
        assert library is not None
        (gradient, out_last), (x, x_last), weight = dense_images(gradient), dense_images(x), weight.contiguous()
        call = self._call(x, weight)
        shapes = ((call.children, *x.shape[-4:]), weight.shape, weight.shape[:2])
        results = [
            new_images(x, shape, x_last and place == 0) if want else None
            for place, (shape, want) in enumerate(zip(shapes, wanted, strict=True))
        ]
        call.gradient, call.x_last, call.out_last = gradient.data_ptr(), x_last, out_last
        call.gradient_x, call.gradient_weight, call.gradient_bias = (
            None if one is None else one.data_ptr() for one in results
        )
        library.call("nl_convolve", ctypes.byref(call))
        return results[0], results[1], results[2]


@dataclass
class Optimiser:
    """SGD with momentum 0.9, Adam or AdamW over K children, with torch's formulas and each child's learning rate.

    Without the core, torch does it.

    Attributes
    ----------
    parameters : (K, ...) each, changed in place by `step`
    weight_decays : one for each of them
    learning_rates : (K,), float64
    """

    kind: str
    parameters: list[Tensor]
    weight_decays: Sequence[float]
    learning_rates: Tensor
    clip_value: float | None = None
    clip_norm: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    nesterov: bool = False
    steps: int = 0
    first: list[Tensor] = field(default_factory=list)
    second: list[Tensor] = field(default_factory=list)
    momentum, eps = 0.9, 1e-8

    def __post_init__(self) -> None:
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = self.first if self.kind == "sgd" else [torch.zeros_like(p) for p in self.parameters]
        self._bind()

    def keep(self, rows: Tensor) -> None:
        """Go on with the children `rows` alone; `parameters` are replaced by new tensors."""
        self.parameters = [p[rows] for p in self.parameters]
        self.first = [p[rows] for p in self.first]
        self.second = self.first if self.kind == "sgd" else [p[rows] for p in self.second]
        self.learning_rates = self.learning_rates[rows]
        self._bind()

    def _bind(self) -> None:
        """The addresses, which stay until the next `keep`."""
        self.count = len(self.learning_rates)
        self._sizes = np.array([p[0].numel() if self.count else 0 for p in self.parameters], dtype=np.int64)
        self._decays = np.array(self.weight_decays, dtype=np.float64)
        self._tables = [_addresses(group) for group in (self.parameters, self.first, self.second)]
        self._rates = np.ascontiguousarray(self.learning_rates.numpy())

    def step(self, gradients: Sequence[Tensor], factor: float = 1.0) -> None:
        """`gradients` are contiguous, like the parameters; they may be changed. `factor` is on the learning rates."""
        self.steps += 1
        library = core_for(*self.parameters) if self.parameters else None
        if library is None:
            self._step_by_torch(list(gradients), factor)
            return
        table, rates = _addresses(gradients), self._rates * factor
        parameters, first, second = self._tables
        call = CStep(
            _DTYPES[self.parameters[0].dtype], 1, _OPTIMISERS.index(self.kind), self.count, len(table), self.steps,
            self._sizes.ctypes.data, parameters.ctypes.data, table.ctypes.data, first.ctypes.data, second.ctypes.data,
            self._decays.ctypes.data, rates.ctypes.data, *self.betas, self.eps, self.momentum, self.nesterov,
            self.clip_value or 0.0, self.clip_norm or 0.0,
        )  # fmt: skip
        library.call("nl_take_step", ctypes.byref(call))

    def _step_by_torch(self, gradients: list[Tensor], factor: float) -> None:
        if self.clip_value is not None:
            gradients = [g.clamp(-self.clip_value, self.clip_value) for g in gradients]
        if self.clip_norm is not None:
            norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)  # (K,)
            factors = (self.clip_norm / (norms + 1e-6)).clamp(max=1.0)
            gradients = [g * _spread(factors, g) for g in gradients]
        for p, g, m, v, decay in zip(
            self.parameters, gradients, self.first, self.second, self.weight_decays, strict=True
        ):
            rate = _spread(self.learning_rates * factor, p).to(p.dtype)
            if self.kind == "adamw":
                p.mul_(1 - rate * decay)
            elif decay:
                g = g + decay * p
            if self.kind == "sgd":
                m.mul_(self.momentum if self.steps > 1 else 0.0).add_(g)
                p.sub_(rate * (g + self.momentum * m if self.nesterov else m))
                continue
            m.lerp_(g, 1 - self.betas[0])
            v.mul_(self.betas[1]).addcmul_(g, g, value=1 - self.betas[1])
            first, second = (1 - beta**self.steps for beta in self.betas)
            p.sub_(rate / first * m / (v.sqrt() / second**0.5 + self.eps))


def _spread(per_child: Tensor, like: Tensor) -> Tensor:
    return per_child.reshape(-1, *[1] * (like.dim() - 1))


def _addresses(tensors: Sequence[Tensor]) -> np.ndarray:
    assert all(t.is_contiguous() for t in tensors)
    return np.array([t.data_ptr() for t in tensors], dtype=np.uint64)
