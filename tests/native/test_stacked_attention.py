"""Attention and layer normalisation of K children at once, against torch in float64, on every instruction set."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from nonlin.native import library, stacked
from nonlin.native import stacked_attention as core

# (K, batch, heads, positions, features): one vector of queries, several, and parts of one; features that fill
# vectors and that do not; heads that fit into registers, in float32 and in float64.
SHAPES = ((2, 3, 2, 16, 8), (2, 1, 2, 64, 16), (1, 2, 1, 5, 3), (2, 1, 2, 33, 16), (1, 1, 1, 1, 4), (1, 2, 1, 100, 7),
          (1, 2, 3, 16, 16), (2, 1, 2, 8, 8), (1, 2, 1, 8, 16))  # fmt: skip


@pytest.fixture
def compiled(every_path):
    if library.load() is None:
        pytest.skip("the compiled core is not there")


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    tolerance = 2e-5 if found.dtype == torch.float32 else 1e-12
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("causal", [False, True])
def test_attention(causal, dtype, compiled):
    generator = torch.Generator().manual_seed(0)
    for shape in SHAPES:
        count, batch, heads, positions, features = shape
        packed = torch.randn(count, batch, positions, 3, heads, features, generator=generator, dtype=torch.float64)
        given = packed.to(dtype)
        q, k, v = (given[:, :, :, i].transpose(2, 3) for i in range(3))  # parts of one tensor, as models have them
        leaves = [t.double().requires_grad_() for t in (q, k, v)]
        want = F.scaled_dot_product_attention(*leaves, is_causal=causal, scale=0.3)
        gradient = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        slopes = torch.autograd.grad(want, leaves, gradient.double())
        found, shares = core.attend(q, k, v, causal, 0.3)
        close(found, want.detach())
        for mine, theirs in zip(core.attend_backward(gradient, q, k, v, shares, causal, 0.3), slopes, strict=True):
            close(mine, theirs)


def test_attention_to_what_is_not_finite_is_no_number(compiled):
    q, k, v = torch.ones(3, 1, 1, 1, 20, 4)
    k[0, 0, 0, 7] = torch.inf
    found, _ = core.attend(q, k, v, True, 1.0)
    seen = found[0, 0, 0].isnan().all(dim=1).tolist()
    assert seen == [position >= 7 for position in range(20)]  # those before do not see it


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [1, 5, 16, 37, 64])
def test_layer_norm(width, dtype, compiled):
    generator = torch.Generator().manual_seed(1)
    x, weight, bias, gradient = (
        torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)
        for size in ((2, 6, width), (2, width), (2, width), (2, 6, width))
    )
    out, mean, inverse = stacked.normalise(x, weight, bias, width, 1e-2)
    by = stacked.normalise_backward(gradient, x, mean, inverse, weight, width)
    for child in range(2):
        leaves = [t[child].double().requires_grad_() for t in (x, weight, bias)]
        want = F.layer_norm(leaves[0], (width,), leaves[1], leaves[2], 1e-2)
        close(out[child], want.detach())
        for mine, theirs in zip(by, torch.autograd.grad(want, leaves, gradient[child].double()), strict=True):
            close(mine[child], theirs)
