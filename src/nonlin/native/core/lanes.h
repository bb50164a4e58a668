// Vectors in memory, and what an instruction set does better on them than the compiler.

template <class T>
struct Wide {
  typedef typename Vector<T>::type type;
  static constexpr int64_t lanes = Vector<T>::lanes;
  static NONLIN_INLINE_MEMBER type load(const T* from) { return *reinterpret_cast<const type*>(from); }
  static NONLIN_INLINE_MEMBER void store(T* to, type value) { *reinterpret_cast<type*>(to) = value; }
  static NONLIN_INLINE_MEMBER type number(const T* from, int64_t i, bool varying) {
    return varying ? load(from + i) : type{} + from[0];
  }
};

// exp(-square/2), for a square up to 160.
NONLIN_INLINE Wide<float>::type bell_of(Wide<float>::type square) {
  const Wide<float>::type x = square * -0.5f;
  typedef uint32_t whole __attribute__((vector_size(NONLIN_VECTOR_BYTES)));
  const Wide<float>::type shifted = x * float(LOG2_E) + ROUNDER_F, n = shifted - ROUNDER_F;
  const Wide<float>::type r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  const whole power = ((whole)shifted - (bits(ROUNDER_F) - 127)) << 23;
  return (exponential_kernel(r) + 1.0f) * (Wide<float>::type)power;
}
NONLIN_INLINE Wide<double>::type bell_of(Wide<double>::type square) {
  for (int64_t i = 0; i < Wide<double>::lanes; ++i) square[i] = exponential(square[i] * -0.5);
  return square;
}

// Elementwise, on a vector. Held to at least or at most a number, NaN stays; one_over is within two units in the last
// place; bell is exp(-square/2), for a square up to 160.
template <class T>
struct Lanes {
  typedef typename Wide<T>::type vector;
  static NONLIN_INLINE_MEMBER vector at_least(vector x, T low) { return x < low ? vector{} + low : x; }
  static NONLIN_INLINE_MEMBER vector at_most(vector x, T high) { return x > high ? vector{} + high : x; }
  static NONLIN_INLINE_MEMBER vector size_of(vector x) { return x < T(0) ? -x : x; }
  static NONLIN_INLINE_MEMBER vector one_over(vector x) { return T(1) / x; }
  static NONLIN_INLINE_MEMBER vector bell(vector square) { return bell_of(square); }
};

#if NONLIN_VECTOR_BYTES == 64
template <>
struct Lanes<float> {
  typedef Wide<float>::type vector;
  static NONLIN_INLINE_MEMBER vector at_least(vector x, float low) {
    return (vector)_mm512_max_ps(_mm512_set1_ps(low), (__m512)x);  // the second one where one is NaN
  }
  static NONLIN_INLINE_MEMBER vector at_most(vector x, float high) {
    return (vector)_mm512_min_ps(_mm512_set1_ps(high), (__m512)x);
  }
  static NONLIN_INLINE_MEMBER vector size_of(vector x) { return (vector)_mm512_abs_ps((__m512)x); }
  static NONLIN_INLINE_MEMBER vector one_over(vector x) {
    const vector r = (vector)_mm512_rcp14_ps((__m512)x);
    return r + r * (1.0f - x * r);
  }
  // The fractional part's power of 2 within 1.5 units in the last place: a polynomial of least relative error.
  static NONLIN_INLINE_MEMBER vector bell(vector square) {
    const vector power = square * float(-0.5 * LOG2_E);
    const __m512 n = _mm512_roundscale_ps((__m512)power, _MM_FROUND_TO_NEAREST_INT);
    const vector r = power - (vector)n;
    vector p = vector{} + 1.326472604e-03f;
    p = p * r + 9.671512722e-03f;
    p = p * r + 5.550733747e-02f;
    p = p * r + 2.402224208e-01f;
    p = p * r + 6.931469776e-01f;
    p = p * r + 1.0f;
    return (vector)_mm512_scalef_ps((__m512)p, n);
  }
};
#endif

// x*Phi(x) and its derivative, within a unit in the last place of 1.
NONLIN_INLINE void gelu_of(Wide<float>::type x, Wide<float>::type& value, Wide<float>::type& slope) {
  typedef Lanes<float> L;
  typedef Wide<float>::type vector;
  const vector above = L::at_least(x, -12.6f), inside = L::at_most(above, 12.6f);
  const vector square = inside * inside;
  const vector g = L::bell(square);
  const vector t = L::one_over(L::size_of(inside) * 0.35f + 1.0f);
  vector p = vector{} - 2.907062243e-02f;
  p = p * t + 1.435978942e-01f;
  p = p * t - 2.549249527e-01f;
  p = p * t + 1.582507241e-01f;
  p = p * t - 2.245711876e-02f;
  p = p * t + 1.052235288e-01f;
  p = p * t + 1.199072656e-01f;
  p = p * t + 1.398512290e-01f;
  p = p * t + 1.396220366e-01f;
  const vector tail = p * (t * g);  // Phi(-|x|)
  const vector phi = x > 0.0f ? 1.0f - tail : tail;
  value = above * phi;
  slope = phi + inside * (g * float(INVERSE_ROOT_2PI));
}
NONLIN_INLINE void gelu_of(Wide<double>::type x, Wide<double>::type& value, Wide<double>::type& slope) {
  for (int64_t i = 0; i < Wide<double>::lanes; ++i) {
    const double phi = normal_cdf(x[i], 0.0), inside = x[i] > 40 ? 40 : x[i] < -40 ? -40 : x[i];
    value[i] = phi > 0 ? x[i] * phi : x[i] == x[i] ? -0.0 : x[i];
    slope[i] = phi + inside * gaussian(inside) * INVERSE_ROOT_2PI;
  }
}
