"""Attention, decisions between classes and pooling of K stacked children by the compiled core."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from nonlin.native.library import FLOAT32, FLOAT64, Library, load
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


def pool(x: Tensor, tall: int, wide: int) -> Tensor:
    """Means over windows side by side, of the last two dimensions, which they fill."""
    x = x.contiguous()
    height, width = x.shape[-2:]
    out = x.new_empty(*x.shape[:-2], height // tall, width // wide)
    return _pool(x, out, 0, height, width, tall, wide)


def pool_backward(gradient: Tensor, tall: int, wide: int) -> Tensor:
    """Its backward pass."""
    gradient = gradient.contiguous()
    height, width = gradient.shape[-2] * tall, gradient.shape[-1] * wide
    out = gradient.new_empty(*gradient.shape[:-2], height, width)
    return _pool(gradient, out, 1, height, width, tall, wide)


def _pool(x: Tensor, out: Tensor, backward: int, height: int, width: int, tall: int, wide: int) -> Tensor:
    planes = max(x.numel(), out.numel()) // (height * width)
    call = CWindows(_DTYPES[x.dtype], backward, planes, height, width, tall, wide, x.data_ptr(), out.data_ptr())
    _core().call("nl_pool", ctypes.byref(call))
    return out
