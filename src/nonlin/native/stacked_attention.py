"""Attention, decisions between classes and pooling of K stacked children by the compiled core."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from nonlin.native.library import FLOAT32, FLOAT64, Library, load
from nonlin.native.stacked import channels_last, dense_images, new_images
from nonlin.native.structures import CAttention, CDecisions, CWindows

_DTYPES = {torch.float32: FLOAT32, torch.float64: FLOAT64}
_LINE = 64  # bytes: rows of shares are padded to cache lines
MOST_POSITIONS = 256  # all shares of a head are in memory at once


def _core() -> Library:
    library = load()
    assert library is not None
    return library


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    """softmax(q·k'·scale)·v, and the shares that the backward pass wants; (K, batch, heads, positions, features) each.

    The result lies in memory as (K, batch, positions, heads, features).
    """
    q, k, v = _alike(q, k, v)
    count, batches, heads, positions, features = q.shape
    width = -(-positions * q.element_size() // _LINE) * _LINE // q.element_size()
    shares = q.new_empty(count, batches, heads, positions, width)
    out = q.new_empty(count, batches, positions, heads, features).transpose(2, 3)
    call = _attention(q, k, v, out, shares, causal, scale)
    call.out = out.data_ptr()
    _core().call("nl_attend", ctypes.byref(call))
    return out, shares


def attend_backward(
    gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, shares: Tensor, causal: bool, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients by q, k and v. If these are parts of one tensor, their gradients are such parts of another one."""
    q, k, v = _alike(q, k, v)
    if gradient.stride(-1) != 1:
        gradient = gradient.contiguous()
    results = _gradients_like(q, k, v)
    call = _attention(q, k, v, gradient, shares, causal, scale)
    call.gradient = gradient.data_ptr()
    call.by_child, call.by_batch, call.by_head, call.by_position, _ = results[0].stride()
    call.by_q, call.by_k, call.by_v = (one.data_ptr() for one in results)
    _core().call("nl_attend", ctypes.byref(call))
    return results


def _attention(q: Tensor, k: Tensor, v: Tensor, out: Tensor, shares: Tensor, causal: bool, scale: float) -> CAttention:
    call = CAttention(_DTYPES[q.dtype], 1, int(causal), *q.shape, scale, *q.stride()[:4], *out.stride()[:4])
    call.q, call.k, call.v, call.shares = q.data_ptr(), k.data_ptr(), v.data_ptr(), shares.data_ptr()
    return call


def _alike(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """With one layout, features dense."""
    if q.stride() == k.stride() == v.stride() and q.stride(-1) == 1:
        return q, k, v
    return q.contiguous(), k.contiguous(), v.contiguous()


def _gradients_like(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    begin, step = q.storage_offset(), k.storage_offset() - q.storage_offset()
    one_tensor = (
        q.untyped_storage().data_ptr() == k.untyped_storage().data_ptr() == v.untyped_storage().data_ptr()
        and step > 0
        and v.storage_offset() - k.storage_offset() == step
        and begin == 0
        and q.untyped_storage().nbytes() == 3 * q.numel() * q.element_size()
    )
    if not one_tensor:
        return torch.empty_like(q), torch.empty_like(q), torch.empty_like(q)
    whole = q.new_empty(3 * q.numel())
    first, second, third = (whole.as_strided(q.shape, q.stride(), place * step) for place in range(3))
    return first, second, third


def log_softmax(x: Tensor) -> Tensor:
    """Over the last dimension of x (K, ...)."""
    x = x.contiguous()
    out = torch.empty_like(x)
    call = CDecisions(_DTYPES[x.dtype], 1, len(x), x[0].numel() // x.shape[-1], x.shape[-1], 0, x.data_ptr(),
                      out.data_ptr())  # fmt: skip
    _core().call("nl_decide", ctypes.byref(call))
    return out


def decision_loss(logarithms: Tensor, targets: Tensor, ignored: int) -> Tensor:
    """(K,): the mean negative logarithm (K, rows, classes) at the targets (rows,), those `ignored` apart."""
    logarithms, targets = logarithms.contiguous(), targets.contiguous()
    loss = logarithms.new_empty(len(logarithms))
    call = CDecisions(_DTYPES[loss.dtype], 1, *logarithms.shape, ignored, None, logarithms.data_ptr(),
                      targets.data_ptr(), loss.data_ptr())  # fmt: skip
    _core().call("nl_decide", ctypes.byref(call))
    return loss


def decision_gradient(logarithms: Tensor, targets: Tensor, ignored: int, scale: float) -> Tensor:
    """`scale` times the gradient of `decision_loss` by what the logarithms were made of."""
    logarithms, targets = logarithms.contiguous(), targets.contiguous()
    out = torch.empty_like(logarithms)
    call = CDecisions(_DTYPES[out.dtype], 1, *logarithms.shape, ignored, None, logarithms.data_ptr(),
                      targets.data_ptr(), None, out.data_ptr(), scale)  # fmt: skip
    _core().call("nl_decide", ctypes.byref(call))
    return out


def pool(x: Tensor, tall: int, wide: int, last: bool = False) -> Tensor:
    """Means over windows side by side, of the last two dimensions, which they fill.

    x (..., channels, height, width) may lie in memory with its channels last; `last` asks for that of the result too.
    """
    x, from_last = dense_images(x)
    height, width = x.shape[-2:]
    out = new_images(x, (*x.shape[:-2], height // tall, width // wide), last and from_last)
    return _pool(x, out, 0, x, out, tall, wide)


def pool_backward(gradient: Tensor, tall: int, wide: int, like: Tensor | None = None) -> Tensor:
    """Its backward pass; the result lies in memory as `like`, the pool's x, does."""
    last = like is not None and channels_last(like)
    gradient = gradient if last and channels_last(gradient) else gradient.contiguous()
    height, width = gradient.shape[-2] * tall, gradient.shape[-1] * wide
    out = new_images(gradient, (*gradient.shape[:-2], height, width), last)
    return _pool(gradient, out, 1, out, gradient, tall, wide)


def _pool(x: Tensor, out: Tensor, backward: int, large: Tensor, small: Tensor, tall: int, wide: int) -> Tensor:
    height, width = large.shape[-2:]
    call = CWindows(
        _DTYPES[x.dtype], backward, large.numel() // (height * width), height, width, tall, wide, x.data_ptr(),
        out.data_ptr(), large.shape[-3] if large.dim() > 2 else 1, channels_last(large), channels_last(small),
    )  # fmt: skip
    _core().call("nl_pool", ctypes.byref(call))
    return out
