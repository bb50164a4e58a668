"""Elementary functions of float32 tensors in Triton, for `triton_kernel`.

The arithmetic is written out, so that the interpreter on a CPU and the compiler for a GPU do the same, but for fused
multiply-adds: the approximations of core/vector_math.h (see there for where they come from), without its double
precision. Triton's own are log, sin, cos (accurate on a GPU, by libdevice), floor and the correctly rounded division
and square root; its exp is not used, since that of a GPU loses digits with the size of the argument.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)
LN_2: tl.constexpr = tl.constexpr(0.6931471805599453)
HALF_PI: tl.constexpr = tl.constexpr(1.5707963267948966)
PI: tl.constexpr = tl.constexpr(3.141592653589793)
ROOT_HALF: tl.constexpr = tl.constexpr(0.7071067811865476)
INFINITE: tl.constexpr = tl.constexpr(float("inf"))
NOT_A_NUMBER: tl.constexpr = tl.constexpr(float("nan"))


@triton.jit
def bits(x):
    return x.to(tl.int32, bitcast=True)


@triton.jit
def from_bits(x):
    return x.to(tl.float32, bitcast=True)


@triton.jit
def with_sign_of(size, x):
    """size >= 0 with the sign of x, which may be that of -0."""
    return from_bits(bits(size) | ((bits(x) >> 31) << 31))


@triton.jit
def exponential_kernel(r):
    """exp(r) - 1 for |r| <= log(2)/2."""
    p = 1.9875691500e-4 * r + 1.3981999507e-3
    p = p * r + 8.3334519073e-3
    p = p * r + 4.1665795894e-2
    p = p * r + 1.6666665459e-1
    p = p * r + 5.0000001201e-1
    return p * (r * r) + r


@triton.jit
def nearest_power(x):
    """The whole number nearest to x/log(2), for a finite x or NaN (0 then)."""
    return tl.floor(tl.where(x == x, x, 0.0) * LOG2_E + 0.5)


@triton.jit
def exponential(x, power):
    """2^power·exp(x)."""
    x = tl.where(x > 90.0, 90.0, x)
    x = tl.where(x < -105.0, -105.0, x)
    n = nearest_power(x)
    r = (x - n * 0.693359375) + n * 2.12194440e-4
    whole = n.to(tl.int32) + power
    half = whole >> 1  # two steps: the result may be subnormal or infinite
    p = exponential_kernel(r) + 1.0
    return p * from_bits((half + 127) << 23) * from_bits((whole - half + 127) << 23)


@triton.jit
def exponential_below(x, correction):
    """exp(x + correction) for x <= 0 and a correction of x's own last digits."""
    x = tl.where(x < -105.0, -105.0, x)
    n = nearest_power(x)
    r = (x - n * 0.693359375) + (n * 2.12194440e-4 + correction)
    # 2^(n + 64) is a normal number; the last product may be a subnormal one
    return (exponential_kernel(r) + 1.0) * from_bits((n.to(tl.int32) + 191) << 23) * 5.42101086242752217e-20


@triton.jit
def exponential_m1(x):
    a = tl.where(x > 90.0, 90.0, x)
    a = tl.where(a < -18.0, -18.0, a)  # exp(x) - 1 is -1 to the last digit there
    n = nearest_power(a)
    q = exponential_kernel((a - n * 0.693359375) + n * 2.12194440e-4)
    half = from_bits((n.to(tl.int32) + 126) << 23)  # 2^n/2, which does not overflow
    r = half * q + (half - 0.5)
    return tl.where(n == 0.0, q, r + r)


@triton.jit
def logarithm_1p(x):
    u = 1.0 + x
    e = ((bits(u) - 0x3F400000) >> 23) << 23
    scale = from_bits(0x40800000 - e)  # 4 / 2^e
    m = from_bits(bits(x) - e) + (0.25 * scale - 1.0)
    s = m * m
    r = -4.54559326e-2 * s - 1.32279143e-1
    t = 1.05529785e-1 * s + 1.44911006e-1
    r = r * s - 1.66416913e-1
    t = t * s + 1.99886635e-1
    r = r * s - 2.50001878e-1
    r = t * m + r
    r = r * m + 3.33335280e-1
    r = r * m - 5.00000000e-1
    r = r * s + m
    r = (e >> 23).to(tl.float32) * LN_2 + r
    r = tl.where(x == 0.0, x, r)
    r = tl.where(x < INFINITE, r, x)  # infinity and NaN are their own
    r = tl.where(x == -1.0, -INFINITE, r)
    return tl.where(x < -1.0, NOT_A_NUMBER, r)


@triton.jit
def hyperbolic_sine(x):
    a = tl.abs(x)
    half = exponential(a, -1)  # exp(a)/2 is finite where sinh is
    z = a * a
    p = 2.7557319e-6 * z + 1.9841270e-4
    p = p * z + 8.3333333e-3
    p = p * z + 1.6666667e-1
    return with_sign_of(tl.where(a < 1.0, a + a * z * p, half - 0.25 / half), x)


@triton.jit
def hyperbolic_cosine(x):
    half = exponential(tl.abs(x), -1)
    return half + 0.25 / half


@triton.jit
def hyperbolic_tangent(x, e):
    """tanh(x) from e = exp(-|x|)."""
    z = x * x
    square = e * e
    p = 2.214699512e-03 * z - 8.248303329e-03
    p = p * z + 2.172618500e-02
    p = p * z - 5.395074757e-02
    p = p * z + 1.333323042e-01
    p = p * z - 3.333333105e-01
    far = with_sign_of((1.0 - square) / (1.0 + square), x)
    return tl.where(tl.abs(x) < 0.6, x + x * z * p, tl.where(x == x, far, x))


@triton.jit
def tangent(x):
    return tl.div_rn(tl.sin(x), tl.cos(x))


@triton.jit
def arc_tangent(x):
    size = tl.abs(x)
    large = size > 1.0
    a = tl.where(large, tl.div_rn(1.0, tl.where(large, size, 1.0)), size)
    z = a * a
    p = 1.084492774e-03 * z - 7.166165012e-03
    p = p * z + 2.220345516e-02
    p = p * z - 4.427366856e-02
    p = p * z + 6.710114009e-02
    p = p * z - 8.796117566e-02
    p = p * z + 1.105378476e-01
    p = p * z - 1.427904842e-01
    p = p * z + 1.999959585e-01
    p = p * z - 3.333332367e-01
    r = a + a * z * p
    return with_sign_of(tl.where(large, HALF_PI - r, r), x)


@triton.jit
def arc_sine_kernel(size):
    """asin of size up to 1/2, of sqrt((1 - size)/2) beyond; NaN beyond 1."""
    a = tl.where(size > 0.5, tl.sqrt_rn(0.5 - 0.5 * size), size)
    z = a * a
    p = 3.780636190e-02 * z + 1.419882770e-02
    p = p * z + 3.188414304e-02
    p = p * z + 4.450524201e-02
    p = p * z + 7.500591502e-02
    p = p * z + 1.666665721e-01
    return a + a * z * p


@triton.jit
def arc_sine(x):
    size = tl.abs(x)
    r = arc_sine_kernel(size)
    return with_sign_of(tl.where(size > 0.5, HALF_PI - 2.0 * r, r), x)


@triton.jit
def arc_cosine(x):
    size = tl.abs(x)
    r = arc_sine_kernel(size)
    inner = HALF_PI - with_sign_of(r, x)
    return tl.where(size > 0.5, tl.where(x > 0.0, 2.0 * r, PI - 2.0 * r), inner)


@triton.jit
def inverse_hyperbolic_sine(x):
    a = tl.abs(x)
    s = tl.where(a < 1e4, a, 1e4)
    near = logarithm_1p(s + s * tl.div_rn(s, 1.0 + tl.sqrt_rn(1.0 + s * s)))
    return with_sign_of(tl.where(a < 1e4, near, tl.log(a) + LN_2), x)


@triton.jit
def inverse_hyperbolic_cosine(x):
    t = tl.where(x < 1e4, x, 1e4) - 1.0
    near = logarithm_1p(t + tl.sqrt_rn(t * (t + 2.0)))
    far = tl.log(tl.where(x > 1.0, x, 1.0)) + LN_2
    return tl.where(x >= 1.0, tl.where(x < 1e4, near, far), NOT_A_NUMBER)


@triton.jit
def inverse_hyperbolic_tangent(x):
    a = tl.abs(x)
    return with_sign_of(0.5 * logarithm_1p(tl.div_rn(a + a, 1.0 - a)), x)


@triton.jit
def error_function_near(x):
    """erf(x) for |x| < 0.9277."""
    s = x * x
    r = -5.96761703e-4 * s + 4.99119423e-3
    r = r * s - 2.67681349e-2
    r = r * s + 1.12819925e-1
    r = r * s - 3.76125336e-1
    r = r * s + 1.28379166e-1
    return r * x + x


@triton.jit
def error_function(x):
    t = tl.abs(x)
    t = tl.where(t > 10.0, 10.0, t)
    s = t * t
    r = -1.72853470e-5 * t + 3.83197126e-4
    u = -3.88396438e-3 * t + 2.42546219e-2
    r = r * s + u
    r = r * t - 1.06777877e-1
    r = r * t - 6.34846687e-1
    r = r * t - 1.28717512e-1
    r = r * t - t
    far = with_sign_of(1.0 - exponential_below(r, 0.0), x)
    return tl.where(t > 0.927734375, far, tl.where(x == x, error_function_near(x), x))


@triton.jit
def square_error(x, square):
    """x·x - square, exactly where |x| < 2^60: the product of x's halves [Dekker 1971], fused or not."""
    high = from_bits((bits(x) >> 12) << 12)
    low = x - high
    return ((high * high - square) + 2.0 * high * low) + low * low


@triton.jit
def scaled_erfc(a):
    """exp(a·a)·erfc(a) for a >= 0, from a rational function of q = (a - 2)/(a + 2)."""
    q = tl.div_rn(a - 2.0, a + 2.0)
    p = -4.01139259e-4 * q - 1.23075210e-3
    p = p * q + 1.31355342e-3
    p = p * q + 8.63227434e-3
    p = p * q - 8.05991981e-3
    p = p * q - 5.42046614e-2
    p = p * q + 1.64055392e-1
    p = p * q - 1.66031361e-1
    p = p * q - 9.27639827e-2
    p = p * q + 2.76978403e-1
    return tl.div_rn(p + 1.0, 2.0 * a + 1.0)


@triton.jit
def complementary_error_function(x):
    a = tl.abs(x)
    a = tl.where(a > 11.0, 11.0, a)
    s = a * a
    tail = scaled_erfc(a) * exponential_below(-s, -square_error(a, s))
    return tl.where(a < 0.4, 1.0 - error_function_near(x), tl.where(x < 0.0, 2.0 - tail, tail))


@triton.jit
def bell(x):
    """exp(-x·x/2)."""
    a = tl.abs(x)
    a = tl.where(a > 16.0, 16.0, a)
    s = a * a
    return exponential_below(-0.5 * s, -0.5 * square_error(a, s))


@triton.jit
def normal_cdf(x, g):
    """Phi(x) from g = bell(x)."""
    a = tl.abs(x) * ROOT_HALF
    a = tl.where(a > 12.0, 12.0, a)
    tail = 0.5 * scaled_erfc(a) * g
    return tl.where(x > 0.0, 1.0 - tail, tail)


@triton.jit
def power_whole(x, exponent):
    """x to a whole number between -64 and 64, by squaring; in double beyond 4, so that no digits are lost."""
    size = exponent
    if exponent < 0:
        size = -exponent
    if size <= 4:
        square = x * x
        r = tl.full(x.shape, 1.0, tl.float32)
        if size == 1:
            r = x
        elif size == 2:
            r = square
        elif size == 3:
            r = square * x
        elif size == 4:
            r = square * square
        if exponent < 0:
            r = tl.div_rn(1.0, r)
    else:
        base = x.to(tl.float64)
        product = tl.full(x.shape, 1.0, tl.float64)
        for _ in range(7):
            product = tl.where((size & 1) == 1, product * base, product)
            base = base * base
            size = size >> 1
        if exponent < 0:
            product = 1.0 / product
        r = product.to(tl.float32)
    return r


@triton.jit
def power(a, b):
    """a^b as C's pow, by way of exp(b·log|a|) in double."""
    size = tl.abs(a).to(tl.float64)
    wide = b.to(tl.float64)
    r = tl.exp(wide * tl.log(size)).to(tl.float32)
    r = tl.where(size == 1.0, tl.where(b == b, 1.0, b), r)
    whole = tl.floor(b) == b
    half = 0.5 * b
    odd = whole & (tl.floor(half) != half)
    negative = bits(a) < 0
    r = tl.where(negative & odd, -r, r)
    r = tl.where((a < 0.0) & (a > -INFINITE) & (whole == 0), NOT_A_NUMBER, r)
    return tl.where((b == 0.0) | (a == 1.0), 1.0, r)


@triton.jit
def sine_quotient(a):
    """sin(a)/a."""
    safe = tl.where(a == 0.0, 1.0, a)
    return tl.where(a == 0.0, 1.0, tl.div_rn(tl.sin(safe), safe))


@triton.jit
def spherical_bessel(x, order):
    """j_order(x): power series for |x| < order + 1, upward recurrence beyond [DLMF 10.53.1 and 10.51.1]; in double."""
    a = x.to(tl.float64)
    n = order.to(tl.float64)
    border = n + 1.0
    inside = tl.abs(a) < border
    small = tl.where(inside, a, 0.0)
    large = tl.where(inside, border, a)
    term = tl.full(x.shape, 1.0, tl.float64)
    for k in range(order):
        term = term * small / (2.0 * k + 3.0)
    half_square = 0.5 * small * small
    near = term
    for k in range(1, 14 + order):
        term = term * half_square * (-1.0 / (k * (2.0 * n + 2.0 * k + 1.0)))
        near = near + term
    lower = tl.cos(large) / large
    current = tl.sin(large) / large
    for k in range(order):
        upper = (2.0 * k + 1.0) / large * current - lower
        lower = current
        current = upper
    return tl.where(inside, near, current).to(tl.float32)
