"""Convolution and pooling of K children at once, against torch in float64, on every instruction set and layout."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from nonlin.native import library
from nonlin.native import stacked_attention as core
from nonlin.native.stacked import Convolution, channels_last

# (K, images, channels, height, width, filters, border): the first few by Winograd's filtering, with whole tiles and
# parts of them, several images to a batch of tiles and several batches to an image; then sizes that are too small.
THREES = (
    (2, 5, 16, 8, 8, 32, 1), (1, 3, 8, 7, 9, 8, 1), (2, 2, 9, 5, 6, 19, 0), (1, 1, 17, 19, 31, 40, 2),
    (1, 9, 8, 4, 5, 24, 2), (1, 2, 8, 20, 34, 8, 1), (1, 1, 8, 4, 140, 8, 0), (2, 3, 1, 8, 8, 16, 1),
    (1, 2, 3, 5, 7, 9, 1),
)  # fmt: skip


@pytest.fixture
def compiled(every_path):
    if library.load() is None:
        pytest.skip("the compiled core is not there")


def laid(t: torch.Tensor, last: bool) -> torch.Tensor:
    """The same images, their channels last in memory or not."""
    return t.movedim(-3, -1).contiguous().movedim(-1, -3) if last else t.contiguous()


def close(found: torch.Tensor, expected: torch.Tensor, terms: int) -> None:
    """The error of float32 sums grows as the root of their number."""
    tolerance = (1e-6 if found.dtype == torch.float32 else 2e-15) * max(4.0, terms**0.5)
    scale = float(expected.abs().max())
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_convolution(dtype, compiled):
    generator = torch.Generator().manual_seed(0)
    orders = itertools.cycle(itertools.product((False, True), (False, True)))
    for count, images, channels, height, width, filters, pad in (*THREES, *THREES[:4], *THREES[-2:]):
        x_last, out_last = next(orders)
        layer, shape = Convolution((pad, pad), (1, 1)), (count, images, channels, height, width)
        x, weight, bias = (
            torch.randn(size, generator=generator, dtype=dtype)
            for size in (shape, (count, filters, channels, 3, 3), (count, filters))
        )
        x = laid(x, x_last)
        out = layer.forward(x, weight, bias, out_last)
        assert channels_last(out) == out_last
        gradient = laid(torch.randn(out.shape, generator=generator, dtype=dtype), out_last)
        by = layer.backward(gradient, x, weight, (True, True, True))
        assert by[0].stride() == x.stride()
        for child in range(count):
            leaves = [t[child].double().requires_grad_() for t in (x, weight, bias)]
            want = F.conv2d(leaves[0], leaves[1], leaves[2], padding=pad)
            close(out[child], want.detach(), 9 * channels)
            slopes = torch.autograd.grad(want, leaves, gradient[child].double())
            positions = want[:, 0].numel()
            for mine, theirs, terms in zip(by, slopes, (9 * filters, positions, positions), strict=True):
                close(mine[child], theirs, terms)


def test_what_is_infinite_does_not_spread(compiled):
    """An activation such as tanh bounds it again: the neighbours of an infinite pixel must stay finite."""
    generator = torch.Generator().manual_seed(2)
    x, weight = (torch.randn(size, generator=generator) for size in ((2, 2, 8, 8, 8), (2, 8, 8, 3, 3)))
    gradient = torch.randn((2, 2, 8, 8, 8), generator=generator)
    x[1, 0, 3, 4, 5], gradient[1, 1, 2, 0, 7] = torch.inf, -torch.inf
    layer = Convolution((1, 1), (1, 1))
    found = layer.forward(x, weight, None), *layer.backward(gradient, x, weight, (True, True, False))[:2]
    for child in range(2):
        leaves = [t[child].double().requires_grad_() for t in (x, weight)]
        out = F.conv2d(*leaves, padding=1)
        wanted = out.detach(), *torch.autograd.grad(out, leaves, gradient[child].double())
        for mine, theirs in zip(found, wanted, strict=True):
            assert torch.equal(mine[child].isfinite(), theirs.isfinite())
    assert not found[0][1].isfinite().all()


def test_a_child_does_not_depend_on_its_companions(compiled):
    generator = torch.Generator().manual_seed(1)
    x, weight = (torch.randn(size, generator=generator) for size in ((3, 7, 8, 8, 8), (3, 8, 8, 3, 3)))
    layer = Convolution((1, 1), (1, 1))
    together = layer.forward(x, weight, None)
    for child in range(3):
        assert torch.equal(layer.forward(x[child : child + 1], weight[child : child + 1], None)[0], together[child])


@pytest.mark.parametrize("window", [(2, 2), (3, 1), (1, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pool(dtype, window, compiled):
    generator = torch.Generator().manual_seed(2)
    for channels, small_last in itertools.product((1, 5, 16, 33), (False, True)):
        shape = (2, 3, channels, 4 * window[0], 3 * window[1])
        x = laid(torch.randn(shape, generator=generator, dtype=dtype), True)
        leaf = x.flatten(0, 1).double().requires_grad_()
        want = F.avg_pool2d(leaf, window)
        found = core.pool(x, *window, small_last)
        close(found.flatten(0, 1), want.detach(), 1)
        gradient = laid(torch.randn(found.shape, generator=generator, dtype=dtype), small_last)
        by = core.pool_backward(gradient, *window, x)
        assert channels_last(by) == channels_last(x)
        close(by.flatten(0, 1), torch.autograd.grad(want, leaf, gradient.flatten(0, 1).double())[0], 1)


def test_a_mean_of_what_is_not_finite_stays_in_its_window(compiled):
    x = laid(torch.ones(1, 1, 8, 4, 4), True)
    x[0, 0, 3, 0, 1] = torch.inf
    found = core.pool(x, 2, 2, True)
    assert found[0, 0, 3, 0, 0] == torch.inf
    assert found.isfinite().sum() == found.numel() - 1
