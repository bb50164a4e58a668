// One function per instruction: a loop over a tile. A destination may be the same memory as an operand.

template <class T>
struct Operands {
  T *out, *second;
  const T *a, *b, *c;
  int64_t n;
  int32_t immediate;
};

// Defines the loop `out[i] = expression` in terms of a, b, c.
#define NONLIN_ELEMENTWISE(name, expression)                  \
  template <class T>                                          \
  void operation_##name(const Operands<T>& o) {               \
    T* const out = o.out;                                     \
    const T *const as = o.a, *const bs = o.b, *const cs = o.c; \
    const int64_t n = o.n;                                    \
    NONLIN_INDEPENDENT                                        \
    for (int64_t i = 0; i < n; ++i) out[i] = (expression);    \
  }
#define A as[i]
#define B bs[i]
#define C cs[i]

// the unused pointers of the macro
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-variable"

NONLIN_ELEMENTWISE(copy, A)
NONLIN_ELEMENTWISE(pass_nan, A == A ? B : A)
NONLIN_ELEMENTWISE(add, A + B)
NONLIN_ELEMENTWISE(sub, A - B)
NONLIN_ELEMENTWISE(mul, A* B)
NONLIN_ELEMENTWISE(div, A / B)
NONLIN_ELEMENTWISE(neg, -A)
NONLIN_ELEMENTWISE(square, A* A)
NONLIN_ELEMENTWISE(lt, A < B ? T(1) : T(0))
NONLIN_ELEMENTWISE(le, A <= B ? T(1) : T(0))
NONLIN_ELEMENTWISE(gt, A > B ? T(1) : T(0))
NONLIN_ELEMENTWISE(ge, A >= B ? T(1) : T(0))
NONLIN_ELEMENTWISE(where, A != T(0) ? B : C)
NONLIN_ELEMENTWISE(heaviside, (A > T(0) ? T(1) : T(0)) + B * (A == T(0) ? T(1) : T(0)))
NONLIN_ELEMENTWISE(relu, A < T(0) ? T(0) : A)
NONLIN_ELEMENTWISE(abs, absolute(A))
NONLIN_ELEMENTWISE(sign, (A > T(0) ? T(1) : T(0)) - (A < T(0) ? T(1) : T(0)))
NONLIN_ELEMENTWISE(floor, round_down(A))
NONLIN_ELEMENTWISE(exp, exponential(A))
NONLIN_ELEMENTWISE(expm1, exponential_m1(A))
NONLIN_ELEMENTWISE(log, logarithm(A))
NONLIN_ELEMENTWISE(log1p, logarithm_1p(A))
NONLIN_ELEMENTWISE(sqrt, square_root(A))
NONLIN_ELEMENTWISE(decay, exponential_below(-absolute(A)))
NONLIN_ELEMENTWISE(sigmoid, (A < T(0) ? B : T(1)) * reciprocal(T(1) + B))
NONLIN_ELEMENTWISE(sigmoid_neg, (A < T(0) ? T(1) : B) * reciprocal(T(1) + B))
NONLIN_ELEMENTWISE(softplus, (A < T(0) ? T(0) : A) + log1p_of_decay(B))
NONLIN_ELEMENTWISE(sech, (A + A) * reciprocal(T(1) + small_square(A)))
NONLIN_ELEMENTWISE(tanh, hyperbolic_tangent(A, B))
NONLIN_ELEMENTWISE(asin, arc_sine(A))
NONLIN_ELEMENTWISE(acos, arc_cosine(A))
NONLIN_ELEMENTWISE(atan, arc_tangent(A))
NONLIN_ELEMENTWISE(sinh, hyperbolic_sine(A))
NONLIN_ELEMENTWISE(cosh, hyperbolic_cosine(A))
NONLIN_ELEMENTWISE(asinh, inverse_hyperbolic_sine(A))
NONLIN_ELEMENTWISE(acosh, inverse_hyperbolic_cosine(A))
NONLIN_ELEMENTWISE(atanh, inverse_hyperbolic_tangent(A))
NONLIN_ELEMENTWISE(erf, error_function(A))
NONLIN_ELEMENTWISE(erfc, complementary_error_function(A))
NONLIN_ELEMENTWISE(gaussian, gaussian(A))
NONLIN_ELEMENTWISE(Phi, normal_cdf(A, B))
NONLIN_ELEMENTWISE(phi, A* T(INVERSE_ROOT_2PI))

#pragma GCC diagnostic pop
#undef A
#undef B
#undef C

template <class T>
void operation_sigmoids(const Operands<T>& o) {
  T *const out = o.out, *const second = o.second;
  const T *const as = o.a, *const bs = o.b;
  NONLIN_INDEPENDENT
  for (int64_t i = 0; i < o.n; ++i) {
    const T a = as[i], e = bs[i], large = reciprocal(T(1) + e), small = e * large;
    out[i] = a < T(0) ? small : large;
    second[i] = a < T(0) ? large : small;
  }
}

template <class T>
void operation_sinh_cosh(const Operands<T>& o) {
  T *const out = o.out, *const second = o.second;
  const T* const as = o.a;
  NONLIN_INDEPENDENT
  for (int64_t i = 0; i < o.n; ++i) {
    T sine, cosine;
    hyperbolic_both(as[i], sine, cosine);
    out[i] = sine;
    second[i] = cosine;
  }
}

template <class T>
void operation_mul0(const Operands<T>& o) {
  T* const out = o.out;
  const T *const as = o.a, *const bs = o.b;
  NONLIN_INDEPENDENT
  for (int64_t i = 0; i < o.n; ++i) {
    const T a = as[i], b = bs[i], product = a * b;
    const bool undefined = product != product;                  // 0*inf, or a NaN came in
    out[i] = (undefined & (a == a) & (b == b)) ? T(0) : product;
  }
}

template <class T>
void operation_max(const Operands<T>& o) {
  T* const out = o.out;
  const T *const as = o.a, *const bs = o.b;
  NONLIN_INDEPENDENT
  for (int64_t i = 0; i < o.n; ++i) {
    const T a = as[i], b = bs[i], larger = a > b ? a : b;  // b if either is NaN
    out[i] = a == a ? larger : a;
  }
}

template <class T>
void operation_min(const Operands<T>& o) {
  T* const out = o.out;
  const T *const as = o.a, *const bs = o.b;
  NONLIN_INDEPENDENT
  for (int64_t i = 0; i < o.n; ++i) {
    const T a = as[i], b = bs[i], smaller = a < b ? a : b;
    out[i] = a == a ? smaller : a;
  }
}

// ---- powers -------------------------------------------------------------------------------------------

// The small powers: within 3 units of the last place.
template <class T>
NONLIN_INLINE bool small_power(const Operands<T>& o) {
  T* const out = o.out;
  const T* const as = o.a;
  const int64_t n = o.n;
  switch (o.immediate) {
    case 3:
      NONLIN_INDEPENDENT
      for (int64_t i = 0; i < n; ++i) out[i] = as[i] * as[i] * as[i];
      return true;
    case 4:
      NONLIN_INDEPENDENT
      for (int64_t i = 0; i < n; ++i) out[i] = (as[i] * as[i]) * (as[i] * as[i]);
      return true;
  }
  if (sizeof(T) == 8) return false;
  switch (o.immediate) {
    case 5:
      NONLIN_INDEPENDENT
      for (int64_t i = 0; i < n; ++i) out[i] = (as[i] * as[i]) * (as[i] * as[i]) * as[i];
      return true;
    case 6:
      NONLIN_INDEPENDENT
      for (int64_t i = 0; i < n; ++i) out[i] = (as[i] * as[i] * as[i]) * (as[i] * as[i] * as[i]);
      return true;
  }
  return false;
}

// By squaring, in double, so that 64 factors cost no digits in float.
template <class T>
void operation_power_whole(const Operands<T>& o) {
  if (small_power(o)) return;
  const uint32_t exponent = o.immediate < 0 ? 0u - uint32_t(o.immediate) : uint32_t(o.immediate);
  if (sizeof(T) == 8 && (exponent > 4 || o.immediate < -2)) {  // there, squaring would lose digits of a double
    for (int64_t i = 0; i < o.n; ++i) o.out[i] = power_general(o.a[i], T(o.immediate));
    return;
  }
  double base[BLOCK], result[BLOCK];
  for (int64_t start = 0; start < o.n; start += BLOCK) {
    const int64_t n = o.n - start < BLOCK ? o.n - start : BLOCK;
    for (int64_t i = 0; i < n; ++i) base[i] = o.a[start + i], result[i] = 1.0;
    for (uint32_t rest = exponent;;) {
      if (rest & 1)
        for (int64_t i = 0; i < n; ++i) result[i] *= base[i];
      if (!(rest >>= 1)) break;
      for (int64_t i = 0; i < n; ++i) base[i] *= base[i];
    }
    if (o.immediate < 0)
      for (int64_t i = 0; i < n; ++i) result[i] = 1.0 / result[i];
    for (int64_t i = 0; i < n; ++i) o.out[start + i] = T(result[i]);
  }
}

NONLIN_INLINE void power_loop(float* out, const float* as, const float* bs, int64_t n) {
  int unusual = 0;
  for (int64_t i = 0; i < n; ++i)
    unusual |= !(as[i] > 0.0f) | !(as[i] < float(INFINITE)) | !(absolute(bs[i]) < float(INFINITE));
  if (unusual) {
    for (int64_t i = 0; i < n; ++i) out[i] = power_general(as[i], bs[i]);
    return;
  }
  NONLIN_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) out[i] = power_positive(as[i], bs[i]);
}

NONLIN_INLINE void power_loop(double* out, const double* as, const double* bs, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = power_general(as[i], bs[i]);
}

template <class T>
void operation_power(const Operands<T>& o) {
  power_loop(o.out, o.a, o.b, o.n);
}

// ---- trigonometric ------------------------------------------------------------------------------------

// Whether some argument is beyond the reach of `reduce`. NaN is not: it comes out as NaN.
NONLIN_INLINE bool far_away(const float* as, int64_t n) {
  int far = 0;
  for (int64_t i = 0; i < n; ++i) far |= absolute(as[i]) > float(TRIGONOMETRIC_LIMIT);
  return far;
}
NONLIN_INLINE bool far_away(const double*, int64_t) { return false; }  // always the C library

#define NONLIN_TRIGONOMETRIC(name, near, library)                                       \
  template <class T>                                                                    \
  void operation_##name(const Operands<T>& o) {                                         \
    T* const out = o.out;                                                               \
    const T* const as = o.a;                                                            \
    if (far_away(as, o.n)) {                                                            \
      for (int64_t i = 0; i < o.n; ++i) out[i] = T(library(double(as[i])));             \
      return;                                                                           \
    }                                                                                   \
    NONLIN_INDEPENDENT                                                                  \
    for (int64_t i = 0; i < o.n; ++i) out[i] = near(as[i]);                             \
  }
NONLIN_TRIGONOMETRIC(tan, tangent, __builtin_tan)
NONLIN_TRIGONOMETRIC(sin_far, sine, __builtin_sin)
NONLIN_TRIGONOMETRIC(cos_far, cosine, __builtin_cos)

// Whether all arguments are within the reach of `reduce_near`, or within less.
NONLIN_INLINE bool all_near(const float* as, int64_t n, float reach = TRIGONOMETRIC_NEAR) {
  int beyond = 0;
  for (int64_t i = 0; i < n; ++i) beyond |= absolute(as[i]) > reach;
  return !beyond;
}
NONLIN_INLINE bool all_near(const double*, int64_t) { return false; }

template <class T>
void operation_sin(const Operands<T>& o) {
  if (!all_near(o.a, o.n)) return operation_sin_far(o);
  T* const out = o.out;
  const T* const as = o.a;
  NONLIN_INDEPENDENT
  for (int64_t i = 0; i < o.n; ++i) out[i] = sine_near(as[i]);
}

template <class T>
void operation_cos(const Operands<T>& o) {
  if (!all_near(o.a, o.n)) return operation_cos_far(o);
  T* const out = o.out;
  const T* const as = o.a;
  NONLIN_INDEPENDENT
  for (int64_t i = 0; i < o.n; ++i) out[i] = cosine_near(as[i]);
}

NONLIN_INLINE void sine_and_cosine(double x, double& s, double& c) {
  s = __builtin_sin(x);
  c = __builtin_cos(x);
}

NONLIN_INLINE void sin_cos_loop(float* sines, float* cosines, const float* as, int64_t n) {
  if (all_near(as, n)) {
    NONLIN_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) {
      const ShortTurn t = reduce_near(as[i]);
      const float s = sine_kernel_near(t.r), c = cosine_kernel_near(t.r);
      sines[i] = turned_near(s, c, t.quadrant);
      cosines[i] = turned_near(s, c, t.quadrant + 1);
    }
    return;
  }
  NONLIN_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) {
    const Turn t = reduce(as[i]);
    const double s = sine_kernel(t.r), c = cosine_kernel(t.r);
    sines[i] = float(turned_sine(s, c, t.quadrant));
    cosines[i] = float(turned_sine(s, c, t.quadrant + 1));
  }
}
NONLIN_INLINE void sin_cos_loop(double* sines, double* cosines, const double* as, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sine_and_cosine(as[i], sines[i], cosines[i]);
}

template <class T>
void operation_sin_cos(const Operands<T>& o) {
  if (far_away(o.a, o.n)) {
    for (int64_t i = 0; i < o.n; ++i) {
      double s, c;
      sine_and_cosine(o.a[i], s, c);
      o.out[i] = T(s), o.second[i] = T(c);
    }
    return;
  }
  sin_cos_loop(o.out, o.second, o.a, o.n);
}
