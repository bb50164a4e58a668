"""Small matrix products, K at once, against torch."""

from __future__ import annotations

import pytest
import torch

from nonlin import native
from nonlin.errors import NonlinError

# All remainders of the register tile, an inner dimension in blocks, and rows far enough apart to be gathered.
SHAPES = (
    (1, 1, 1), (7, 5, 3), (8, 32, 16), (9, 33, 17), (13, 47, 1), (64, 10, 128), (50, 600, 40), (3, 20, 400),
    (40, 520, 900), (0, 4, 3), (4, 0, 3), (4, 3, 0),
)  # fmt: skip


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products(transpose_a, transpose_b, dtype, every_path):
    generator = torch.Generator().manual_seed(0)
    tolerance = {"rtol": 1e-4, "atol": 2e-3} if dtype == torch.float32 else {"rtol": 1e-11, "atol": 1e-11}
    for rows, columns, inner in SHAPES:
        a = torch.randn(2, rows, inner, generator=generator, dtype=dtype)
        b = torch.randn(2, inner, columns, generator=generator, dtype=dtype)
        bias = torch.randn(2, columns, generator=generator, dtype=dtype)
        given = (a.mT.contiguous() if transpose_a else a, b.mT.contiguous() if transpose_b else b)
        options = {"transpose_a": transpose_a, "transpose_b": transpose_b}
        want = a.double() @ b.double()
        torch.testing.assert_close(native.multiply(*given, **options).double(), want, **tolerance)
        got = native.multiply(*given, **options, bias=bias, threads=2)
        torch.testing.assert_close(got.double(), want + bias[:, None].double(), **tolerance)


def test_a_linear_layer_and_its_gradients(path):
    generator = torch.Generator().manual_seed(1)
    x, weight = (torch.randn(s, generator=generator, dtype=torch.float64) for s in ((3, 17, 9), (3, 21, 9)))
    bias = torch.randn(3, 21, generator=generator, dtype=torch.float64)
    leaves = [t.clone().requires_grad_() for t in (x, weight)]
    result = torch.baddbmm(bias[:, None], leaves[0], leaves[1].mT)
    gradient = torch.randn(result.shape, generator=generator, dtype=torch.float64)
    result.backward(gradient)
    torch.testing.assert_close(native.multiply(x, weight, transpose_b=True, bias=bias), result.detach())
    torch.testing.assert_close(native.multiply(gradient, weight), leaves[0].grad)
    torch.testing.assert_close(native.multiply(gradient, x, transpose_a=True), leaves[1].grad)


def test_shared_operands(path):
    x, weight, bias = torch.randn(5, 4), torch.randn(3, 6, 4), torch.randn(6)
    got = native.multiply(x, weight, transpose_b=True, bias=bias)
    torch.testing.assert_close(got, x @ weight.mT + bias)
    torch.testing.assert_close(native.multiply(x, weight[0], transpose_b=True), (x @ weight[0].T)[None])
    out = torch.empty(3, 5, 6)
    assert native.multiply(x, weight, transpose_b=True, out=out).data_ptr() == out.data_ptr()


def test_clear_errors(path):
    a, b = torch.zeros(2, 3, 4), torch.zeros(2, 4, 5)
    for bad in (torch.zeros(2, 5, 4), torch.zeros(3, 4, 5), torch.zeros(2, 4, 5).double()):
        with pytest.raises(NonlinError, match="do not multiply"):
            native.multiply(a, bad)
    with pytest.raises(NonlinError, match="do not multiply"):
        native.multiply(a, b, bias=torch.zeros(4))
    with pytest.raises(NonlinError, match=r"expected a contiguous \(2, 3, 5\)"):
        native.multiply(a, b, out=torch.zeros(2, 5, 3))
