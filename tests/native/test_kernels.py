"""The Python face over tensors: shapes, channels, several functions, threads, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nonlin import native
from nonlin.errors import NonlinError
from nonlin.expr import parse
from nonlin.native.module import apply
from nonlin.native.module import program as torch_program

SWISH = native.function(parse("x*sigmoid(beta*x)"))
TWO = native.function(parse("alpha*x + (1 - alpha)*tanh(beta*x)"))


def _autograd(f: native.Function, x, gradient, parameters):
    """Value and gradients by the module's own operation."""
    leaves = [t.detach().clone().requires_grad_() for t in (x, *parameters)]
    value = apply(torch_program(f.expr, f.parameters), *leaves)
    value.backward(gradient)
    return value.detach(), leaves[0].grad, [leaf.grad for leaf in leaves[1:]]


@pytest.mark.parametrize("n", [0, 1, 2, 15, 16, 17, 511, 512, 513, 1025, 4000])
@pytest.mark.parametrize("threads", [1, 3])
def test_tails_of_tiles(n, threads, every_path):
    x = torch.linspace(-4, 4, n, dtype=torch.float64)
    got = native.forward_with_derivatives(SWISH, x, [1.5], threads=threads)
    s = torch.sigmoid(1.5 * x)
    for one, want in zip(got, (x * s, s + 1.5 * x * s * (1 - s), x * x * s * (1 - s)), strict=True):
        torch.testing.assert_close(one, want, rtol=1e-12, atol=1e-14)
    by_x, (by_beta,) = native.backward(SWISH, x, torch.ones_like(x), [1.5], threads=threads)
    torch.testing.assert_close(by_x, got[1], rtol=1e-12, atol=0)
    torch.testing.assert_close(by_beta, got[2].sum(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("shape", "dim"),
    [((7, 3), 1), ((7, 3), -1), ((2, 5, 4, 4), 1), ((3, 700), 1), ((2, 3, 40, 40), 1), ((4, 1), 0), ((130, 512), 1),
     ((0, 3), 1), ((9, 64, 7), 1), ((5, 2, 3), 0)],
)  # fmt: skip
def test_channels(shape, dim, threads, path):
    generator = torch.Generator().manual_seed(1)
    x, gradient = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    channels = shape[dim]
    alpha, beta = (torch.rand(channels, generator=generator, dtype=torch.float64) + 0.5 for _ in range(2))
    wide = [1] * len(shape)
    wide[dim] = channels
    value, by_x, sums = _autograd(TWO, x, gradient, (alpha.reshape(wide), beta.reshape(wide)))
    got = native.forward(TWO, x, (alpha, beta), dim=dim, threads=threads)
    torch.testing.assert_close(got, value, rtol=1e-12, atol=1e-14)
    got_x, got_sums = native.backward(TWO, x, gradient, (alpha, beta), dim=dim, threads=threads)
    torch.testing.assert_close(got_x, by_x, rtol=1e-11, atol=1e-13)
    for one, want in zip(got_sums, sums, strict=True):
        torch.testing.assert_close(one, want.reshape(-1), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_several_functions(threads, dtype, path):
    functions = [native.function(parse("relu(x)")), SWISH, TWO, native.function(parse("sin(x)*x"))]
    parameters = [(), (1.5,), (0.3, 2.0), ()]
    generator = torch.Generator().manual_seed(2)
    x, gradient = (torch.randn((4, 9, 130), generator=generator, dtype=dtype) for _ in range(2))
    together = native.forward_with_derivatives(functions, x, parameters, threads=threads)
    assert len(together) == 4
    by_x, sums = native.backward(functions, x, gradient, parameters, threads=threads)
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-11, "atol": 1e-13}
    for k, (one, values) in enumerate(zip(functions, parameters, strict=True)):
        tensors = [torch.tensor(v, dtype=dtype) for v in values]
        value, want_x, want_sums = _autograd(one, x[k], gradient[k], tensors)
        torch.testing.assert_close(together[0][k], value, **tolerance)
        torch.testing.assert_close(by_x[k], want_x, **tolerance)
        assert len(sums[k]) == len(want_sums)
        for got, want in zip(sums[k], want_sums, strict=True):
            torch.testing.assert_close(got, want, **tolerance)
        for spare in together[2 + len(values) :]:
            assert not spare[k].any()


def test_kinds_of_input(path):
    x = torch.randn(6, 8)
    want = torch.relu(x)
    relu = native.function(parse("relu(x)"))
    assert torch.equal(native.forward(relu, x), want)
    assert torch.equal(native.forward(relu, x.t()), want.t())  # not contiguous
    assert torch.equal(native.forward(relu, x[0, 0]), want[0, 0])  # 0-d
    assert torch.equal(native.forward(relu, x[:, ::2]), want[:, ::2])
    got = native.forward(relu, x.numpy())
    assert isinstance(got, np.ndarray)
    np.testing.assert_array_equal(got, want.numpy())
    half = native.forward(SWISH, x.bfloat16(), [torch.tensor(1.0)])
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half, torch.nn.functional.silu(x.bfloat16()), rtol=1e-2, atol=1e-2)
    before = x.clone()
    native.forward(relu, x)
    assert torch.equal(x, before)


def test_results_into_given_memory(path):
    x = torch.randn(5, 7)
    buffers = [torch.full((5, 7), 9.0) for _ in range(3)]
    got = native.forward_with_derivatives(SWISH, x, [1.0], out=buffers)
    torch.testing.assert_close(buffers[0], torch.nn.functional.silu(x))
    for one, buffer in zip(got, buffers, strict=True):
        assert one.data_ptr() == buffer.data_ptr()
    assert native.forward(SWISH, x, [1.0], out=buffers[1]).data_ptr() == buffers[1].data_ptr()
    with pytest.raises(NonlinError, match="out holds 3 tensors; expected 2"):
        native.forward_with_derivatives(native.function(parse("relu(x)")), x, out=buffers)
    with pytest.raises(NonlinError, match="expected contiguous"):
        native.forward(SWISH, x, [1.0], out=torch.empty(7, 5).t())
    with pytest.raises(NonlinError, match="x itself"):
        native.forward(SWISH, x, [1.0], out=x)


def test_clear_errors(path):
    x = torch.zeros(3, 4)
    with pytest.raises(NonlinError, match=r"has the parameters \['beta'\]; got 0"):
        native.forward(SWISH, x)
    with pytest.raises(NonlinError, match="give dim= for channels"):
        native.forward(SWISH, x, [torch.ones(4)])
    with pytest.raises(NonlinError, match="expected 1 or 4, one per channel"):
        native.forward(SWISH, x, [torch.ones(3)], dim=1)
    with pytest.raises(NonlinError, match="dim=2 is no dimension"):
        native.forward(SWISH, x, [torch.ones(3)], dim=2)
    with pytest.raises(NonlinError, match=r"2 functions need x of shape \(2, ...\)"):
        native.forward([SWISH, SWISH], x, [[1.0], [1.0]])
    with pytest.raises(NonlinError, match="2 groups of parameters; got 1"):
        native.forward([SWISH, SWISH], x[:2], [[1.0]])
    with pytest.raises(NonlinError, match="expected that of x"):
        native.backward(SWISH, x, torch.zeros(4, 3), [1.0])
    with pytest.raises(NonlinError, match=r"got a tensor of torch\.int64"):
        native.forward(SWISH, torch.arange(3), [1.0])
    with pytest.raises(NonlinError, match="not among"):
        native.function(parse("beta*x"), ("alpha",))


def test_the_core_can_be_switched_off(monkeypatch):
    from nonlin.native import library

    library._find.cache_clear()
    monkeypatch.setenv("NONLIN_NATIVE", "0")
    try:
        assert not native.available()
        assert "NONLIN_NATIVE" in native.reason()
        monkeypatch.setenv("NONLIN_NATIVE", "/no/such/library.so")
        library._find.cache_clear()
        assert "no compiled core at /no/such/library.so" in native.reason()
        torch.testing.assert_close(native.forward(SWISH, torch.ones(2), [1.0]), torch.sigmoid(torch.ones(2)))
    finally:
        monkeypatch.undo()
        library._find.cache_clear()


def test_what_is_no_core_is_refused(tmp_path):
    from nonlin.native import library

    broken = tmp_path / "broken.so"
    broken.write_bytes(b"not a library")
    found, why = library._open(broken)
    assert found is None
    assert "does not load" in why
