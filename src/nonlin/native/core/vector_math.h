// Elementary functions, branch-free so that the compiler vectorises the loops that call them.
//
// Included once per instruction set, inside that set's namespace. float: own approximations, at most 4 ulp
// (measured by tests/native/test_accuracy.py); the rarer ones are computed in double and rounded once.
// double: the C library's.
//
// Coefficients: exp after Cephes (Moshier), log, log1p, erf and erfc after N. Juffa's published
// approximations; atan, asin and tanh are Chebyshev fits of our own.

// ---- float --------------------------------------------------------------------------------------------

// 1/d for 1 <= d <= 2, where that is four times as fast as a division: the best cubic, 1 - d*r within 1/577,
// then two steps of Newton's.
NONLIN_INLINE float reciprocal(float d) {
#if NONLIN_FMA
  float r = -128.0f / 577;
  r = r * d + 768.0f / 577;
  r = r * d - 1696.0f / 577;
  r = r * d + 1632.0f / 577;
  r = r + r * (1.0f - d * r);
  return r + r * (1.0f - d * r);
#else
  return 1.0f / d;
#endif
}

// exp(r) - 1 for |r| <= log(2)/2; F is float or a vector of them
template <class F>
NONLIN_INLINE F exponential_kernel(F r) {
  F p = F{} + 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return p * (r * r) + r;
}

NONLIN_INLINE float exponential(float x) {
  x = x > 89.0f ? 89.0f : x;
  x = x < -104.0f ? -104.0f : x;
  const float shifted = x * float(LOG2_E) + ROUNDER_F, n = shifted - ROUNDER_F;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  const float p = exponential_kernel(r) + 1.0f;
  const uint32_t whole = bits(shifted) - bits(ROUNDER_F);
  const uint32_t half = uint32_t(int32_t(whole) >> 1);  // two steps: the result may be subnormal or infinite
  return p * from_bits((half + 127) << 23) * from_bits((whole - half + 127) << 23);
}

// exp(x + correction) for x <= 0 and a correction of x's own last digits: with fewer steps than the above, since
// only the small end needs care.
NONLIN_INLINE float exponential_below(float x, float correction = -0.0f) {
  x = x < -104.0f ? -104.0f : x;
  const float shifted = x * float(LOG2_E) + ROUNDER_F, n = shifted - ROUNDER_F;
  const float r = (x - n * 0.693359375f) + (n * 2.12194440e-4f + correction);
  const float p = exponential_kernel(r) + 1.0f;
  // 2^(n + 64) is a normal number; the last product may be a subnormal one
  return p * from_bits((bits(shifted) - (bits(ROUNDER_F) - 191)) << 23) * 5.42101086242752217e-20f;
}

NONLIN_INLINE float logarithm(float x) {
  const bool tiny = x < 1.17549435e-38f;
  const float a = tiny ? x * 8388608.0f : x;
  const uint32_t e = (bits(a) - 0x3f2aaaabu) & 0xff800000u;
  const float m = from_bits(bits(a) - e) - 1.0f, s = m * m;
  const float i = float(int32_t(e)) * 1.19209290e-7f + (tiny ? -23.0f : 0.0f);
  float r = -0.130310059f, t = 0.140869141f;
  r = r * s - 0.121483512f;
  t = t * s + 0.139814854f;
  r = r * s - 0.166846126f;
  t = t * s + 0.200120345f;
  r = r * s - 0.249996200f;
  r = t * m + r;
  r = r * m + 0.333331972f;
  r = r * m - 0.500000000f;
  r = r * s + m;
  r = i * float(LN_2) + r;
  r = x < float(INFINITE) ? r : x;  // infinity and NaN are their own logarithm
  r = x == 0.0f ? -float(INFINITE) : r;
  return x < 0.0f ? from_bits(0x7fc00000u) : r;
}

NONLIN_INLINE float logarithm_1p(float x) {
  const float u = 1.0f + x;
  const uint32_t e = (bits(u) - 0x3f400000u) & 0xff800000u;
  const float scale = from_bits(bits(4.0f) - e);  // 4 / 2^e
  const float m = from_bits(bits(x) - e) + (0.25f * scale - 1.0f), s = m * m;
  const float i = float(int32_t(e)) * 1.19209290e-7f;
  float r = -4.54559326e-2f, t = 1.05529785e-1f;
  r = r * s - 1.32279143e-1f;
  t = t * s + 1.44911006e-1f;
  r = r * s - 1.66416913e-1f;
  t = t * s + 1.99886635e-1f;
  r = r * s - 2.50001878e-1f;
  r = t * m + r;
  r = r * m + 3.33335280e-1f;
  r = r * m - 5.00000000e-1f;
  r = r * s + m;
  r = i * float(LN_2) + r;
  r = x == 0.0f ? x : r;
  r = x < float(INFINITE) ? r : x;
  r = x == -1.0f ? -float(INFINITE) : r;
  return x < -1.0f ? from_bits(0x7fc00000u) : r;
}

NONLIN_INLINE float exponential_m1(float x) {
  float a = x > 89.0f ? 89.0f : x;
  a = a < -18.0f ? -18.0f : a;  // exp(x) - 1 is -1 to the last digit there
  const float shifted = a * float(LOG2_E) + ROUNDER_F, n = shifted - ROUNDER_F;
  const float q = exponential_kernel((a - n * 0.693359375f) + n * 2.12194440e-4f);
  const float half = from_bits((bits(shifted) - (bits(ROUNDER_F) - 126)) << 23);  // 2^n/2, which does not overflow
  const float r = half * q + (half - 0.5f);
  return n == 0.0f ? q : r + r;  // q itself: its half might be too small, and keeps the sign of 0
}

// exp(a)/2 for a >= 0, which overflows only where sinh and cosh do
NONLIN_INLINE float half_exponential(float a) {
  a = a > 90.0f ? 90.0f : a;
  const float shifted = a * float(LOG2_E) + ROUNDER_F, n = shifted - ROUNDER_F;
  const float p = exponential_kernel((a - n * 0.693359375f) + n * 2.12194440e-4f) + 1.0f;
  return p * from_bits((bits(shifted) - (bits(ROUNDER_F) - 125)) << 23) * 2.0f;
}

// from h = exp(|x|)/2 and its inverse over 4
NONLIN_INLINE float hyperbolic_sine_from(float x, float h, float inverse) {
  const float z = x * x;
  float p = 2.75573192e-6f;
  p = p * z + 1.98412698e-4f;
  p = p * z + 8.33333333e-3f;
  p = p * z + 1.66666667e-1f;
  return absolute(x) < 1.0f ? x + x * z * p : with_sign_of(h - inverse, x);
}

NONLIN_INLINE void hyperbolic_both(float x, float& sine, float& cosine) {
  const float h = half_exponential(absolute(x)), inverse = 0.25f / h;
  sine = hyperbolic_sine_from(x, h, inverse);
  cosine = h + inverse;
}
NONLIN_INLINE float hyperbolic_sine(float x) {
  const float h = half_exponential(absolute(x));
  return hyperbolic_sine_from(x, h, 0.25f / h);
}
NONLIN_INLINE float hyperbolic_cosine(float x) {
  const float h = half_exponential(absolute(x));
  return h + 0.25f / h;
}

// e*e, 0 where that could not be told from 0 when it is added to 1: a product below the normal numbers costs
// a hundred others.
NONLIN_INLINE float small_square(float e) {
  const float kept = e < 1e-10f ? 0.0f : e;
  return kept * kept;
}

// tanh from e = exp(-|x|)
NONLIN_INLINE float hyperbolic_tangent(float x, float e) {
  const float z = x * x, square = small_square(e);
  float p = 2.214699512e-03f;
  p = p * z - 8.248303329e-03f;
  p = p * z + 2.172618500e-02f;
  p = p * z - 5.395074757e-02f;
  p = p * z + 1.333323042e-01f;
  p = p * z - 3.333333105e-01f;
  const float near = x + x * z * p;
  const float far = with_sign_of((1.0f - square) * reciprocal(1.0f + square), x);
  return absolute(x) < 0.6f ? near : (x == x ? far : x);
}

NONLIN_INLINE float log1p_of_decay(float e) { return logarithm_1p(e); }

// sin and cos for |x| up to TRIGONOMETRIC_NEAR, where a fused reduction in three parts loses nothing: its first step
// is exact. Coefficients after Cephes.
#if NONLIN_FMA
constexpr float TRIGONOMETRIC_NEAR = 8192.0f;
#else
constexpr float TRIGONOMETRIC_NEAR = -1.0f;  // nowhere
#endif

struct ShortTurn {
  float r;            // in [-pi/4, pi/4]
  uint32_t quadrant;  // x = r + quadrant*pi/2, modulo 4
};

NONLIN_INLINE ShortTurn reduce_near(float x) {
  const float shifted = x * float(1.0 / HALF_PI) + ROUNDER_F, n = shifted - ROUNDER_F;
  float r = __builtin_fmaf(n, -1.570796371e+00f, x);
  r = __builtin_fmaf(n, 4.371138829e-08f, r);
  r = __builtin_fmaf(n, 1.715124510e-15f, r);
  return {r, bits(shifted)};
}

NONLIN_INLINE float sine_kernel_near(float r) {
  const float z = r * r;
  float p = -1.9515295891e-4f;
  p = p * z + 8.3321608736e-3f;
  p = p * z - 1.6666654611e-1f;
  return r + r * z * p;
}

NONLIN_INLINE float cosine_kernel_near(float r) {
  const float z = r * r;
  float p = 2.443315711809948e-5f;
  p = p * z - 1.388731625493765e-3f;
  p = p * z + 4.166664568298827e-2f;
  return (1.0f - 0.5f * z) + z * z * p;
}

NONLIN_INLINE float turned_near(float sine, float cosine, uint32_t quadrant) {
  const float value = (quadrant & 1) ? cosine : sine;
  return from_bits(bits(value) ^ ((quadrant & 2) << 30));
}

NONLIN_INLINE float sine_near(float x) {
  const ShortTurn t = reduce_near(x);
  return turned_near(sine_kernel_near(t.r), cosine_kernel_near(t.r), t.quadrant);
}
NONLIN_INLINE float cosine_near(float x) {
  const ShortTurn t = reduce_near(x);
  return turned_near(sine_kernel_near(t.r), cosine_kernel_near(t.r), t.quadrant + 1);
}
NONLIN_INLINE double sine_near(double x) { return __builtin_sin(x); }
NONLIN_INLINE double cosine_near(double x) { return __builtin_cos(x); }

NONLIN_INLINE float sine(float x) { return float(sin_wide(x)); }
NONLIN_INLINE float cosine(float x) { return float(cos_wide(x)); }
NONLIN_INLINE float tangent(float x) {
  const Turn t = reduce(x);
  const double s = sine_kernel(t.r), c = cosine_kernel(t.r);
  return float((t.quadrant & 1) ? -c / s : s / c);
}

NONLIN_INLINE float arc_tangent(float x) {
  const float size = absolute(x);
  const bool large = size > 1.0f;
  const float a = large ? 1.0f / size : size, z = a * a;
  float p = 1.084492774e-03f;
  p = p * z - 7.166165012e-03f;
  p = p * z + 2.220345516e-02f;
  p = p * z - 4.427366856e-02f;
  p = p * z + 6.710114009e-02f;
  p = p * z - 8.796117566e-02f;
  p = p * z + 1.105378476e-01f;
  p = p * z - 1.427904842e-01f;
  p = p * z + 1.999959585e-01f;
  p = p * z - 3.333332367e-01f;
  const float r = a + a * z * p;
  return with_sign_of(large ? float(HALF_PI) - r : r, x);
}

// asin(a) for 0 <= a <= 1/2
NONLIN_INLINE float arc_sine_kernel(float a) {
  const float z = a * a;
  float p = 3.780636190e-02f;
  p = p * z + 1.419882770e-02f;
  p = p * z + 3.188414304e-02f;
  p = p * z + 4.450524201e-02f;
  p = p * z + 7.500591502e-02f;
  p = p * z + 1.666665721e-01f;
  return a + a * z * p;
}

NONLIN_INLINE float arc_sine(float x) {
  const float size = absolute(x);
  const bool large = size > 0.5f;
  const float r = arc_sine_kernel(large ? square_root(0.5f - 0.5f * size) : size);
  return with_sign_of(large ? float(HALF_PI) - 2.0f * r : r, x);
}

NONLIN_INLINE float arc_cosine(float x) {
  const float size = absolute(x);
  const bool large = size > 0.5f;
  const float r = arc_sine_kernel(large ? square_root(0.5f - 0.5f * size) : size);
  const float outer = x > 0.0f ? 2.0f * r : float(2 * HALF_PI - 2.0 * double(r));
  return large ? outer : float(HALF_PI - double(with_sign_of(r, x)));
}

// log(a + sqrt(a*a + 1)) as log1p, which loses nothing near 0; log(2a) where the square might overflow
NONLIN_INLINE float inverse_hyperbolic_sine(float x) {
  const float a = absolute(x), z = a * a;
  const bool large = a > 1e9f;
  const float r = logarithm_1p(large ? a : a + z / (1.0f + square_root(z + 1.0f)));
  return with_sign_of(large ? r + float(LN_2) : r, x);
}

NONLIN_INLINE float inverse_hyperbolic_cosine(float x) {
  const double a = x;
  const double r = log_wide(a + square_root(a * a - 1.0));
  return a >= 1.0 ? float(a < INFINITE ? r : a) : from_bits(0x7fc00000u);
}

NONLIN_INLINE float inverse_hyperbolic_tangent(float x) {
  const double a = absolute(double(x));
  const double near = a + a * a * a * (1.0 / 3);
  double r = 0.5 * log_wide((1.0 + a) / (1.0 - a));
  r = a < 1e-3 ? near : r;
  r = a == 1.0 ? INFINITE : r;
  return a <= 1.0 ? with_sign_of(float(r), x) : from_bits(0x7fc00000u);
}

constexpr float ERROR_FUNCTION_NEAR = 0.927734375f;

// erf(x) for |x| up to that number
NONLIN_INLINE float error_function_near(float x) {
  const float s = x * x;
  float r = -5.96761703e-4f;
  r = r * s + 4.99119423e-3f;
  r = r * s - 2.67681349e-2f;
  r = r * s + 1.12819925e-1f;
  r = r * s - 3.76125336e-1f;
  r = r * s + 1.28379166e-1f;
  return r * x + x;
}

NONLIN_INLINE float error_function(float x) {
  const float t = absolute(x), s = x * x;
  float r = -1.72853470e-5f * t + 3.83197126e-4f;
  const float u = -3.88396438e-3f * t + 2.42546219e-2f;
  r = r * s + u;
  r = r * t - 1.06777877e-1f;
  r = r * t - 6.34846687e-1f;
  r = r * t - 1.28717512e-1f;
  r = r * t - t;
  const float far = with_sign_of(1.0f - exponential_below(t > 10.0f ? -104.0f : r), x);
  return t > ERROR_FUNCTION_NEAR ? far : (x == x ? error_function_near(x) : x);
}

// x*x - (the float nearest to x*x), exactly
NONLIN_INLINE float square_error(float x, float square) {
#if NONLIN_FMA
  return __builtin_fmaf(x, x, -square);
#else
  return float(double(x) * double(x) - double(square));
#endif
}

// exp(a*a)*erfc(a) for a >= 0, from a rational function of q = (a - 2)/(a + 2)
NONLIN_INLINE float scaled_erfc(float a) {
  const float q = (a - 2.0f) / (a + 2.0f);
  float p = -4.01139259e-4f;
  p = p * q - 1.23075210e-3f;
  p = p * q + 1.31355342e-3f;
  p = p * q + 8.63227434e-3f;
  p = p * q - 8.05991981e-3f;
  p = p * q - 5.42046614e-2f;
  p = p * q + 1.64055392e-1f;
  p = p * q - 1.66031361e-1f;
  p = p * q - 9.27639827e-2f;
  p = p * q + 2.76978403e-1f;
  // (1 + p)/(1 + 2a), with its last bits right: they count in the tail
#if NONLIN_FMA
  const float inverse = 1.0f / (2.0f * a + 1.0f), r = (p + 1.0f) * inverse;
  const float rest = __builtin_fmaf(__builtin_fmaf(r, -a, 0.5f), 2.0f, p - r);  // 1 + p - r*(1 + 2a)
  return __builtin_fmaf(rest, inverse, r);
#else
  return float((p + 1.0) / (2.0 * a + 1.0));
#endif
}

NONLIN_INLINE float complementary_error_function(float x) {
  float a = absolute(x);
  a = a > 11.0f ? 11.0f : a;
  const float s = a * a;
  const float tail = scaled_erfc(a) * exponential_below(-s, -square_error(a, s));
  const float r = x < 0.0f ? 2.0f - tail : tail;
  return a < 0.4f ? 1.0f - error_function_near(x) : r;
}

NONLIN_INLINE float gaussian(float x) {  // exp(-x*x/2)
  float a = absolute(x);
  a = a > 16.0f ? 16.0f : a;
  const float s = a * a;
  return exponential_below(-0.5f * s, -0.5f * square_error(a, s));
}

NONLIN_INLINE float normal_cdf(float x, float g) {  // g = gaussian(x)
  float a = absolute(x) * float(ROOT_HALF);
  a = a > 12.0f ? 12.0f : a;
  const float tail = 0.5f * scaled_erfc(a) * g;
  return x > 0.0f ? 1.0f - tail : tail;
}

NONLIN_INLINE float power_general(float a, float b) { return __builtin_powf(a, b); }
// for a positive and finite, b finite
NONLIN_INLINE float power_positive(float a, float b) { return float(exp_wide(double(b) * log_wide(double(a)))); }

// ---- double: the C library's --------------------------------------------------------------------------

NONLIN_INLINE double reciprocal(double d) { return 1.0 / d; }
NONLIN_INLINE double exponential(double x) { return __builtin_exp(x); }
NONLIN_INLINE double exponential_below(double x) { return __builtin_exp(x); }
NONLIN_INLINE double exponential_m1(double x) { return __builtin_expm1(x); }
NONLIN_INLINE double logarithm(double x) { return __builtin_log(x); }
NONLIN_INLINE double logarithm_1p(double x) { return __builtin_log1p(x); }
NONLIN_INLINE double log1p_of_decay(double e) { return __builtin_log1p(e); }
NONLIN_INLINE double hyperbolic_sine(double x) { return __builtin_sinh(x); }
NONLIN_INLINE double hyperbolic_cosine(double x) { return __builtin_cosh(x); }
NONLIN_INLINE void hyperbolic_both(double x, double& sine, double& cosine) {
  sine = __builtin_sinh(x);
  cosine = __builtin_cosh(x);
}
NONLIN_INLINE double small_square(double e) { return e * e; }
NONLIN_INLINE double hyperbolic_tangent(double x, double) { return __builtin_tanh(x); }
NONLIN_INLINE double sine(double x) { return __builtin_sin(x); }
NONLIN_INLINE double cosine(double x) { return __builtin_cos(x); }
NONLIN_INLINE double tangent(double x) { return __builtin_tan(x); }
NONLIN_INLINE double arc_sine(double x) { return __builtin_asin(x); }
NONLIN_INLINE double arc_cosine(double x) { return __builtin_acos(x); }
NONLIN_INLINE double arc_tangent(double x) { return __builtin_atan(x); }
NONLIN_INLINE double inverse_hyperbolic_sine(double x) { return __builtin_asinh(x); }
NONLIN_INLINE double inverse_hyperbolic_cosine(double x) { return __builtin_acosh(x); }
NONLIN_INLINE double inverse_hyperbolic_tangent(double x) { return __builtin_atanh(x); }
NONLIN_INLINE double error_function(double x) { return __builtin_erf(x); }
NONLIN_INLINE double complementary_error_function(double x) { return __builtin_erfc(x); }
NONLIN_INLINE double gaussian(double x) { return __builtin_exp(-0.5 * x * x); }
NONLIN_INLINE double normal_cdf(double x, double) { return 0.5 * __builtin_erfc(x * -ROOT_HALF); }
NONLIN_INLINE double power_general(double a, double b) { return __builtin_pow(a, b); }
