"""Values that torch lacks, or has but not accurately enough. Names used by the table's torch column.

All take and return float tensors of one shape; some arguments may be Python numbers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Value = Tensor | float


def power(base: Value, exponent: Value) -> Tensor:
    """base**exponent; 0**0 = 1. One of the two is a tensor."""
    return torch.pow(base, exponent)  # type: ignore[arg-type]


def maximum(a: Value, b: Value) -> Tensor:
    """The larger of two; NaN if either is NaN."""
    if not isinstance(a, Tensor):
        a, b = b, a
    return torch.maximum(a, b) if isinstance(b, Tensor) else torch.clamp(a, min=b)  # type: ignore[arg-type]


def minimum(a: Value, b: Value) -> Tensor:
    """The smaller of two; NaN if either is NaN."""
    if not isinstance(a, Tensor):
        a, b = b, a
    return torch.minimum(a, b) if isinstance(b, Tensor) else torch.clamp(a, max=b)  # type: ignore[arg-type]


def choose(condition: Value, a: Value, b: Value) -> Value:
    """a where the condition holds (is not 0), b elsewhere."""
    if not isinstance(condition, Tensor):
        return a if condition else b
    return torch.where(condition if condition.dtype == torch.bool else condition != 0, a, b)


def heaviside(a: Tensor, at_zero: Value) -> Tensor:
    """1 for positive a, 0 for negative a, `at_zero` at 0."""
    return (a > 0).to(a.dtype) + at_zero * (a == 0).to(a.dtype)


def guarded_product(a: Tensor, b: Tensor) -> Tensor:
    """a·b with 0·inf = 0.

    In a chain rule a factor that underflowed to 0 meets one that overflowed, as in the derivative
    of tanh(exp(x)) at x = 300; the mathematical product is 0.
    """
    a, b = (value if isinstance(value, Tensor) else torch.tensor(value) for value in (a, b))
    product = a * b
    vanishes = ((a == 0) & torch.isinf(b)) | ((b == 0) & torch.isinf(a))
    return torch.where(vanishes, torch.zeros_like(product), product)


def softplus(a: Tensor) -> Tensor:
    """ln(1 + e^a), exact to rounding everywhere (torch's own switches to a at 20)."""
    return torch.clamp(a, min=0) + torch.log1p(torch.exp(-torch.abs(a)))


def sech(a: Tensor) -> Tensor:
    """1/cosh(a), without overflow."""
    decay = torch.exp(-torch.abs(a))
    return 2 * decay / (1 + decay * decay)


def asinh(a: Tensor) -> Tensor:
    """Inverse hyperbolic sine, odd and accurate near 0 and for large arguments."""
    size = torch.abs(a)
    # asinh(s) = log1p(s + s²/(1 + sqrt(1 + s²))); beyond 1e4, ln(2s) + 1/(4s²)
    small = torch.clamp(size, max=1e4)
    near = torch.log1p(small + small * small / (1 + torch.sqrt(1 + small * small)))
    safe = torch.clamp(size, min=1e4)
    far = torch.log(safe) + math.log(2.0) + 0.25 / safe / safe
    return torch.copysign(torch.where(size < 1e4, near, far), a)


def erfc(a: Tensor) -> Tensor:
    """1 - erf(a), accurate in the right tail."""
    return torch.special.erfc(a)


def normal_pdf(a: Tensor) -> Tensor:
    """Density of N(0, 1)."""
    return torch.exp(-0.5 * (a * a)) * (1 / math.sqrt(2 * math.pi))


def normal_cdf(a: Tensor) -> Tensor:
    """Distribution function of N(0, 1), accurate in the left tail."""
    fused = torch.compiler.is_compiling() and not _exporting()
    if fused and a.dtype is torch.float32 and a.device.type == "cpu":
        return _fused_normal_cdf(a)
    return 0.5 * torch.special.erfc(a * -math.sqrt(0.5))


_exporting = getattr(torch.compiler, "is_exporting", lambda: True)  # before torch 2.7: any graph might be exported

# exp(a²)·erfc(a)·(1 + 2a) - 1 by powers of q = (a - 2)/(a + 2), for a >= 0: N. Juffa's published approximation.
_SCALED_ERFC = (
    -4.01139259e-4, -1.23075210e-3, 1.31355342e-3, 8.63227434e-3, -8.05991981e-3,
    -5.42046614e-2, 1.64055392e-1, -1.66031361e-1, -9.27639827e-2, 2.76978403e-1,
)  # fmt: skip


def _fused_normal_cdf(x: Tensor) -> Tensor:
    """The same for float32 in a graph that becomes one loop, where torch's erfc is three times as slow as its erf.

    The exponential is the density's, which a derivative needs anyway. Relative error below 1e-6 for |x| < 3, and
    1e-5 in the tails.
    """
    bell = torch.exp(-0.5 * (x * x))
    a = torch.clamp(torch.abs(x) * math.sqrt(0.5), max=12.0)
    inverse = 1 / ((a + 2) * (2 * a + 1))  # one division for two
    q = (a - 2) * (2 * a + 1) * inverse
    p = torch.full_like(x, _SCALED_ERFC[0])
    for coefficient in _SCALED_ERFC[1:]:
        p = p * q + coefficient
    tail = 0.5 * bell * (p + 1) * ((a + 2) * inverse)
    return torch.where(x > 0, 1 - tail, tail)


def spherical_j(order: float, a: Tensor) -> Tensor:
    """Spherical Bessel function j_n(a): power series for |a| < n + 1, upward recurrence beyond.

    [DLMF 10.53.1 and 10.51.1]
    """
    n = int(order)
    border = float(n + 1)
    inside = torch.abs(a) < border
    small = torch.where(inside, a, torch.zeros_like(a))
    large = torch.where(inside, torch.full_like(a, border), a)

    term = torch.ones_like(a)
    series = torch.ones_like(a)
    half_square = small * small * 0.5
    for k in range(1, 14 + n):
        term = term * half_square * (-1.0 / (k * (2 * n + 2 * k + 1)))
        series = series + term
    double_factorial = math.prod(range(1, 2 * n + 2, 2))
    series = series * small**n / double_factorial if n else series

    sine, cosine = torch.sin(large), torch.cos(large)
    lower, current = cosine / large, sine / large
    for k in range(n):
        lower, current = current, (2 * k + 1) / large * current - lower
    return torch.where(inside, series, current)
