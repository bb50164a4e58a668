"""The core's elementary functions against float64, in units in the last place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nonlin import native
from nonlin.expr import parse, special
from nonlin.native import library


def _sigmoid(a: torch.Tensor) -> torch.Tensor:
    decay = torch.exp(-a.abs())
    return torch.where(a < 0, decay, torch.ones_like(a)) / (1 + decay)


REFERENCE = {
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "sigmoid": _sigmoid,
    "softplus": special.softplus,
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "asin": torch.asin,
    "acos": torch.acos,
    "atan": torch.atan,
    "sinc": lambda a: torch.where(a == 0, torch.ones_like(a), torch.sin(a) / a),
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "tanh": torch.tanh,
    "sech": special.sech,
    "asinh": torch.asinh,
    "acosh": torch.acosh,
    "atanh": torch.atanh,
    "erf": torch.erf,
    "erfc": torch.special.erfc,
    "Phi": special.normal_cdf,
    "phi": special.normal_pdf,
}


def _inputs() -> np.ndarray:
    """Every size of float32, the usual range more densely, and the special ones."""
    generator = np.random.default_rng(0)
    patterns = generator.integers(0, 2**32, 60_000, dtype=np.uint32).view(np.float32)
    ranges = [generator.uniform(-a, a, 30_000) for a in (1e-3, 0.5, 2, 8, 110)]
    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 1e-45, -1e-45, 88.72, -87.5, -103, 300, -300]
    with np.errstate(all="ignore"):
        return np.concatenate([patterns, *ranges, edges]).astype(np.float32)


@pytest.mark.parametrize("name", REFERENCE)
def test_float32_is_accurate(name, every_path):
    x = _inputs()
    with np.errstate(all="ignore"):
        got = native.forward(native.function(parse(f"{name}(x)")), x)
        exact = REFERENCE[name](torch.from_numpy(x.astype(np.float64))).numpy()
        rounded = exact.astype(np.float32)
    assert got.dtype == np.float32
    finite = np.isfinite(rounded) & np.isfinite(got)
    if every_path == "torch":  # torch's own accuracy is not ours to bound closely
        usual = finite & (np.abs(x) < 1e4)
        np.testing.assert_allclose(got[usual], rounded[usual], rtol=1e-4, atol=1e-30)
        return
    np.testing.assert_array_equal(np.isnan(got), np.isnan(exact))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(rounded))
    unit = np.spacing(np.abs(rounded[finite])).astype(np.float64)
    error = np.abs(got[finite].astype(np.float64) - exact[finite]) / unit
    worst = int(np.argmax(error))
    assert error[worst] <= 4, f"{name}({x[finite][worst]!r}): {error[worst]:.2f} ulp"


@pytest.mark.parametrize("name", REFERENCE)
def test_float64_is_accurate(name, every_path):
    x = np.concatenate([np.linspace(-20, 20, 4001), np.geomspace(1e-300, 1e5, 500), -np.geomspace(1e-300, 1e5, 500)])
    got = native.forward(native.function(parse(f"{name}(x)")), x)
    with np.errstate(all="ignore"):
        exact = REFERENCE[name](torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(got, exact, rtol=4e-15, atol=1e-300)


def test_every_instruction_set_is_known():
    core = library.load()
    if core is None:
        assert library.reason()
        return
    assert core.isa in ("avx512", "avx2", "base")
    with pytest.raises(library.NonlinError, match="instruction set"):
        core.use_isa("sse9")


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_sine_next_to_its_zeros(name, every_path):
    """Floats next to multiples of pi/2, as far as the fused reduction goes and beyond, where the result is tiny."""
    if every_path == "torch":
        pytest.skip("torch's own accuracy is not ours to bound closely")
    places = (np.arange(1, 9000) * (np.pi / 2)).astype(np.float32)
    x = np.concatenate([places, np.nextafter(places, np.float32(0)), -np.nextafter(places, np.float32(1e9))])
    got = native.forward(native.function(parse(f"{name}(x)")), x)
    exact = getattr(np, name)(x.astype(np.float64))
    assert (np.abs(got - exact) / np.spacing(np.abs(exact).astype(np.float32))).max() <= 2


@pytest.mark.parametrize("exponent", [3, 4])
def test_small_powers(exponent, every_path):
    generator = np.random.default_rng(0)
    x = (np.exp(generator.uniform(-18, 18, 50_000)) * generator.choice([-1, 1], 50_000)).astype(np.float32)
    got = native.forward(native.function(parse(f"x**{exponent}")), x)
    exact = x.astype(np.float64) ** exponent
    assert (np.abs(got - exact) / np.spacing(np.abs(exact).astype(np.float32))).max() <= 3
