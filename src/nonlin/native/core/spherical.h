// Spherical Bessel functions: sinc, its derivative's j_1, and those of any order.

// Spherical Bessel function: power series for |a| < order + 1, upward recurrence beyond [DLMF 10.53.1 and
// 10.51.1]. n <= BLOCK numbers; `far` asks for the C library's sine and cosine.
NONLIN_INLINE void spherical_block(const double* a, double* out, int64_t n, int order, bool far) {
  const double border = order + 1.0;
  double factorial = 1.0;
  for (int k = 3; k <= 2 * order + 1; k += 2) factorial *= k;
  double term[BLOCK], half_square[BLOCK], lower[BLOCK], current[BLOCK], large[BLOCK];
  int outside = 0, inside = 0;
  for (int64_t i = 0; i < n; ++i) {
    const bool within = absolute(a[i]) < border;
    const double small = within ? a[i] : 0.0;
    inside |= within, outside |= !within;
    large[i] = within ? border : a[i];
    half_square[i] = 0.5 * small * small;
    term[i] = 1.0 / factorial;
    current[i] = small;
  }
  for (int k = 0; k < order; ++k)
    for (int64_t i = 0; i < n; ++i) term[i] *= current[i];
  for (int64_t i = 0; i < n; ++i) out[i] = term[i];
  if (inside)
    for (int k = 1; k < 14 + order; ++k) {
      const double factor = -1.0 / (k * (2.0 * order + 2.0 * k + 1.0));
      for (int64_t i = 0; i < n; ++i) {
        term[i] *= half_square[i] * factor;
        out[i] += term[i];
      }
    }
  if (!outside) return;
  if (far)
    for (int64_t i = 0; i < n; ++i) sine_and_cosine(large[i], current[i], lower[i]);
  else
    for (int64_t i = 0; i < n; ++i) current[i] = sin_wide(large[i]), lower[i] = cos_wide(large[i]);
  for (int64_t i = 0; i < n; ++i) lower[i] /= large[i], current[i] /= large[i];
  for (int k = 0; k < order; ++k)
    for (int64_t i = 0; i < n; ++i) {
      const double next = (2 * k + 1) / large[i] * current[i] - lower[i];
      lower[i] = current[i];
      current[i] = next;
    }
  for (int64_t i = 0; i < n; ++i) out[i] = absolute(a[i]) < border ? out[i] : current[i];
}

template <class T>
NONLIN_INLINE void spherical_loop(T* out, const T* as, int64_t n, int order) {
  const bool far = sizeof(T) == 8 || far_away(as, n);
  double a[BLOCK], value[BLOCK];
  for (int64_t start = 0; start < n; start += BLOCK) {
    const int64_t length = n - start < BLOCK ? n - start : BLOCK;
    for (int64_t i = 0; i < length; ++i) a[i] = double(as[start + i]);
    spherical_block(a, value, length, order, far);
    for (int64_t i = 0; i < length; ++i) out[start + i] = T(value[i]);
  }
}

template <class T>
void operation_spherical_j(const Operands<T>& o) {
  spherical_loop(o.out, o.a, o.n, o.immediate);
}

// sinc and its derivative's j_1: for float the quotients themselves, which lose no digits of a float in double
// but for j_1 near 0.
NONLIN_INLINE double sinc_of(double a, double sine) { return a == 0.0 ? 1.0 : sine / a; }
NONLIN_INLINE double j1_of(double a, double inverse, double sinc, double cosine) {
  const double z = a * a;
  const double near = a * (1.0 / 3 - z * (1.0 / 30 - z * (1.0 / 840 - z * (1.0 / 45360))));
  return absolute(a) < 0.1 ? near : (sinc - cosine) * inverse;
}

// The same in float, for |a| <= NEAR_J1, where j_1 is far from its first zero but 0, at 4.49.
constexpr float NEAR_J1 = 4.0f;
NONLIN_INLINE float sinc_near(float a, float sine) { return a == 0.0f ? 1.0f : sine / a; }
NONLIN_INLINE float j1_near(float a, float sinc, float cosine) {
  const float z = a * a;
  float p = -1.92708526e-9f;
  p = p * z + 2.50521084e-7f;
  p = p * z - 2.20458554e-5f;
  p = p * z + 1.19047619e-3f;
  p = p * z - 3.33333333e-2f;
  p = p * z + 3.33333333e-1f;
  return absolute(a) < 1.6f ? a * p : (sinc - cosine) / a;
}

NONLIN_INLINE void sinc_loop(float* out, const float* as, int64_t n) {
  if (all_near(as, n)) {
    NONLIN_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) out[i] = sinc_near(as[i], sine_near(as[i]));
    return;
  }
  NONLIN_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) out[i] = float(sinc_of(as[i], sin_wide(as[i])));
}
NONLIN_INLINE void sinc_loop(double* out, const double* as, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = sinc_of(as[i], __builtin_sin(as[i]));
}

template <class T>
void operation_sinc(const Operands<T>& o) {
  if (far_away(o.a, o.n))
    spherical_loop(o.out, o.a, o.n, 0);
  else
    sinc_loop(o.out, o.a, o.n);
}

NONLIN_INLINE void sincs_block(float* out, float* second, const float* as, int64_t n) {
  if (all_near(as, n, NEAR_J1 < TRIGONOMETRIC_NEAR ? NEAR_J1 : TRIGONOMETRIC_NEAR)) {
    NONLIN_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) {
      const float a = as[i];
      const ShortTurn t = reduce_near(a);
      const float s = sine_kernel_near(t.r), c = cosine_kernel_near(t.r);
      const float j0 = sinc_near(a, turned_near(s, c, t.quadrant));
      out[i] = j0;
      second[i] = j1_near(a, j0, turned_near(s, c, t.quadrant + 1));
    }
    return;
  }
  NONLIN_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) {
    const double a = as[i], inverse = 1.0 / a;
    const Turn t = reduce(a);
    const double s = sine_kernel(t.r), c = cosine_kernel(t.r);
    const double j0 = a == 0.0 ? 1.0 : turned_sine(s, c, t.quadrant) * inverse;
    out[i] = float(j0);
    second[i] = float(j1_of(a, inverse, j0, turned_sine(s, c, t.quadrant + 1)));
  }
}

NONLIN_INLINE void sincs_loop(float* out, float* second, const float* as, int64_t n) {
  for (int64_t start = 0; start < n; start += BLOCK)  // a single number far away concerns its neighbours only
    sincs_block(out + start, second + start, as + start, n - start < BLOCK ? n - start : BLOCK);
}

// In double j_1 needs its series up to 2.
NONLIN_INLINE void sincs_loop(double* out, double* second, const double* as, int64_t n) {
  double a[BLOCK];
  for (int64_t start = 0; start < n; start += BLOCK) {
    const int64_t length = n - start < BLOCK ? n - start : BLOCK;
    memcpy(a, as + start, size_t(length) * sizeof(double));
    sinc_loop(out + start, a, length);
    spherical_loop(second + start, a, length, 1);
  }
}

template <class T>
void operation_sincs(const Operands<T>& o) {
  if (!far_away(o.a, o.n)) return sincs_loop(o.out, o.second, o.a, o.n);
  T a[TILE];
  memcpy(a, o.a, size_t(o.n) * sizeof(T));
  spherical_loop(o.out, a, o.n, 0);
  spherical_loop(o.second, a, o.n, 1);
}
