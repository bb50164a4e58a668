// Bits, and the double-precision kernels that the float functions of vector_math.h are made of. They cover what
// a float can be: finite arguments within the limits given, no subnormal doubles.
//
// Coefficients of log, sin and cos: FreeBSD msun.

NONLIN_INLINE uint32_t bits(float x) { return __builtin_bit_cast(uint32_t, x); }
NONLIN_INLINE uint64_t bits(double x) { return __builtin_bit_cast(uint64_t, x); }
NONLIN_INLINE float from_bits(uint32_t x) { return __builtin_bit_cast(float, x); }
NONLIN_INLINE double from_bits(uint64_t x) { return __builtin_bit_cast(double, x); }

NONLIN_INLINE float absolute(float x) { return __builtin_fabsf(x); }
NONLIN_INLINE double absolute(double x) { return __builtin_fabs(x); }
NONLIN_INLINE float with_sign_of(float size, float sign) { return __builtin_copysignf(size, sign); }
NONLIN_INLINE double with_sign_of(double size, double sign) { return __builtin_copysign(size, sign); }
NONLIN_INLINE float square_root(float x) { return __builtin_sqrtf(x); }
NONLIN_INLINE double square_root(double x) { return __builtin_sqrt(x); }
NONLIN_INLINE float round_down(float x) { return __builtin_floorf(x); }
NONLIN_INLINE double round_down(double x) { return __builtin_floor(x); }

constexpr double INFINITE = __builtin_inf();
constexpr double LOG2_E = 1.44269504088896340736, LN_2 = 0.69314718055994530942;
constexpr double HALF_PI = 1.57079632679489661923, INVERSE_ROOT_2PI = 0.39894228040143267794;
constexpr double ROOT_HALF = 0.70710678118654752440;

// Adding this number rounds to the nearest whole one, which then stands in the lowest bits.
constexpr double ROUNDER = 6755399441055744.0;  // 1.5 * 2^52
constexpr float ROUNDER_F = 12582912.0f;        // 1.5 * 2^23

// exp for |x| < 708; beyond, the nearest of the two ends. NaN passes.
NONLIN_INLINE double exp_wide(double x) {
  x = x > 708.0 ? 708.0 : x;
  x = x < -708.0 ? -708.0 : x;
  const double shifted = x * LOG2_E + ROUNDER;
  const double n = shifted - ROUNDER;
  const double r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
  double p = 1.0 / 39916800;
  p = p * r + 1.0 / 3628800;
  p = p * r + 1.0 / 362880;
  p = p * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r * r + r + 1.0;
  return p * from_bits((bits(shifted) - bits(ROUNDER) + 1023) << 52);
}

// log for positive normal x.
NONLIN_INLINE double log_wide(double x) {
  constexpr uint64_t one = 0x3ff0000000000000, root_half = 0x3fe6a09e667f3bcd;
  const uint64_t scaled = bits(x) + (one - root_half);
  const double e = from_bits((scaled >> 52) | 0x4330000000000000) - 4503599627371519.0;  // 2^52 + 1023
  const double f = from_bits((scaled & 0x000fffffffffffff) + root_half) - 1.0;
  const double s = f / (2.0 + f), z = s * s;
  double p = 1.479819860511658591e-01;
  p = p * z + 1.531383769920937332e-01;
  p = p * z + 1.818357216161805012e-01;
  p = p * z + 2.222219843214978396e-01;
  p = p * z + 2.857142874366239149e-01;
  p = p * z + 3.999999999940941908e-01;
  p = p * z + 6.666666666666735130e-01;
  const double half_square = 0.5 * f * f;
  return e * 6.93147180369123816490e-01 -
         ((half_square - (s * (half_square + p * z) + e * 1.90821492927058770002e-10)) - f);
}

constexpr double TRIGONOMETRIC_LIMIT = 1e6;  // beyond, the reduction below loses digits: the C library's

struct Turn {
  double r;           // in [-pi/4, pi/4]
  uint64_t quadrant;  // x = r + quadrant*pi/2, modulo 4
};

// Three-part reduction modulo pi/2 [Cody & Waite].
NONLIN_INLINE Turn reduce(double x) {
  const double shifted = x * (1.0 / HALF_PI) + ROUNDER, n = shifted - ROUNDER;
  double r = x - n * 1.57079632673412561417e+00;
  r = r - n * 6.07710050630396597660e-11;
  r = r - n * 2.02226624879595063154e-21;
  return {r, bits(shifted)};
}

NONLIN_INLINE double sine_kernel(double r) {
  const double z = r * r;
  double p = 1.58969099521155010221e-10;
  p = p * z - 2.50507602534068634195e-08;
  p = p * z + 2.75573137070700676789e-06;
  p = p * z - 1.98412698298579493134e-04;
  p = p * z + 8.33333333332248946124e-03;
  p = p * z - 1.66666666666666324348e-01;
  return r + r * z * p;
}

NONLIN_INLINE double cosine_kernel(double r) {
  const double z = r * r;
  double p = -1.13596475577881948265e-11;
  p = p * z + 2.08757232129817482790e-09;
  p = p * z - 2.75573143513906633035e-07;
  p = p * z + 2.48015872894767294178e-05;
  p = p * z - 1.38888888888741095749e-03;
  p = p * z + 4.16666666666666019037e-02;
  return 1.0 - 0.5 * z + z * z * p;
}

// sin(r + q*pi/2): the cosine in odd quadrants, minus in the upper two.
NONLIN_INLINE double turned_sine(double sine, double cosine, uint64_t quadrant) {
  const double value = (quadrant & 1) ? cosine : sine;
  return from_bits(bits(value) ^ ((quadrant & 2) << 62));
}

NONLIN_INLINE double sin_wide(double x) {
  const Turn t = reduce(x);
  return turned_sine(sine_kernel(t.r), cosine_kernel(t.r), t.quadrant);
}

NONLIN_INLINE double cos_wide(double x) {
  const Turn t = reduce(x);
  return turned_sine(sine_kernel(t.r), cosine_kernel(t.r), t.quadrant + 1);
}
