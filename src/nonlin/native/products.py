"""Small matrix products, K at once: the linear layers of K stacked children.

For x (K, batch, in), weight (K, out, in) and the gradient g (K, batch, out) by the layer's result:

    multiply(x, weight, transpose_b=True, bias=bias)   # (K, batch, out)
    multiply(g, weight)                                # (K, batch, in), the gradient by x
    multiply(g, x, transpose_a=True)                   # (K, out, in), the gradient by the weight
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from nonlin.errors import NonlinError
from nonlin.native.library import FLOAT32, FLOAT64, load
from nonlin.native.structures import CProduct

_DTYPES = {torch.float32: FLOAT32, torch.float64: FLOAT64}


def multiply(
    a: Tensor,
    b: Tensor,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    bias: Tensor | None = None,
    out: Tensor | None = None,
    threads: int = 1,
) -> Tensor:
    """The K products of a and b, plus a bias for each row.

    Parameters
    ----------
    a : (K, rows, inner), or (K, inner, rows) with `transpose_a`; without K: shared by all
    b : (K, inner, columns), or (K, columns, inner) with `transpose_b`; without K: shared by all
    bias : (K, columns), or (columns,) shared by all
    out : a contiguous (K, rows, columns) tensor for the result
    threads : how many to use

    Returns
    -------
    (K, rows, columns); K is 1 where neither a nor b has it. The gradient does not flow through it.
    """
    rows, inner = (a.shape[-1], a.shape[-2]) if transpose_a else (a.shape[-2], a.shape[-1])
    columns, inner_b = (b.shape[-2], b.shape[-1]) if transpose_b else (b.shape[-1], b.shape[-2])
    children = {t.shape[0] for t, dims in ((a, 3), (b, 3), (bias, 2)) if t is not None and t.dim() == dims}
    same = len({t.dtype for t in (a, b, bias, out) if t is not None}) == 1
    fits = bias is None or bias.shape[-1] == columns
    if inner != inner_b or len(children) > 1 or not same or not fits:
        shapes = ", ".join(
            f"{name} {tuple(t.shape)} {t.dtype}" for name, t in (("a", a), ("b", b), ("bias", bias)) if t is not None
        )
        raise NonlinError(
            f"these do not multiply: {shapes}, transpose_a={transpose_a}, transpose_b={transpose_b}. Expected "
            "(K, rows, inner), (K, inner, columns) and (K, columns) of one dtype."
        )
    count = children.pop() if children else 1
    if out is None:
        out = a.new_empty(count, rows, columns)
    elif out.shape != (count, rows, columns) or not out.is_contiguous():
        raise NonlinError(f"out is {tuple(out.shape)}; expected a contiguous {(count, rows, columns)}.")
    library = load()
    if library is None or a.dtype not in _DTYPES or a.device.type != "cpu":
        with torch.no_grad():
            left, right = (a.mT if transpose_a else a), (b.mT if transpose_b else b)
            product = torch.matmul(left, right)
            out.copy_(product if bias is None else product + bias.unsqueeze(-2))
        return out
    a, b = a.detach().contiguous(), b.detach().contiguous()
    bias = None if bias is None else bias.detach().contiguous()
    call = CProduct(
        dtype=_DTYPES[a.dtype], threads=threads, a_transposed=transpose_a, b_transposed=transpose_b,
        children=count, rows=rows, columns=columns, inner=inner,
        a=a.data_ptr(), b=b.data_ptr(), start=None if bias is None else bias.data_ptr(),
        a_stride=rows * inner if a.dim() == 3 else 0,
        b_stride=inner * columns if b.dim() == 3 else 0,
        start_stride=columns if bias is not None and bias.dim() == 2 else 0,
        c=out.data_ptr(),
    )  # fmt: skip
    library.call("nl_multiply", ctypes.byref(call))
    return out
