// The layers of K stacked children, beside their products (multiply.h) and convolutions (convolution.h): normalisation
// over the last dimension, and the optimiser's step. Each child is computed by itself and always in the same order:
// its results do not depend, to the last bit, on how many others there are.

// The lanes of a vector joined in pairs, those half a vector apart first.
#if defined(__clang__)
template <class T, class Join>
NONLIN_INLINE T fold_lanes(typename Vector<T>::type vector, Join join) {
  constexpr int64_t LANES = Vector<T>::lanes;
  T lanes[LANES];
  memcpy(lanes, &vector, sizeof lanes);
  for (int64_t half = LANES / 2; half > 0; half /= 2)
    for (int64_t j = 0; j < half; ++j) lanes[j] = join(lanes[j], lanes[j + half]);
  return lanes[0];
}
#else
typedef int32_t Indices4 __attribute__((vector_size(NONLIN_VECTOR_BYTES)));
typedef int64_t Indices8 __attribute__((vector_size(NONLIN_VECTOR_BYTES)));

template <class Vector, class Indices, int64_t HALF, class Join, int64_t... J>
NONLIN_INLINE Vector join_halves(Vector vector, Join join, std::integer_sequence<int64_t, J...>) {
  constexpr int64_t LANES = sizeof...(J);
  if constexpr (HALF == 0) {
    return vector;
  } else {
    constexpr Indices other = {((J + HALF) % LANES)...};
    return join_halves<Vector, Indices, HALF / 2>(join(vector, __builtin_shuffle(vector, other)), join,
                                                  std::integer_sequence<int64_t, J...>());
  }
}

template <class T, class Join>
NONLIN_INLINE T fold_lanes(typename Vector<T>::type vector, Join join) {
  constexpr int64_t LANES = Vector<T>::lanes;
  typedef typename std::conditional<sizeof(T) == 4, Indices4, Indices8>::type Indices;
  return join_halves<typename Vector<T>::type, Indices, LANES / 2>(
      vector, join, std::make_integer_sequence<int64_t, LANES>())[0];
}
#endif

// Sum of n terms, term(i) being a vector of terms i ... i + lanes - 1 and last(i) the single term i.
template <class T, class Term, class Last>
NONLIN_INLINE T sum_of(int64_t n, Term term, Last last) {
  typedef typename Vector<T>::type vector;
  constexpr int64_t LANES = Vector<T>::lanes;
  vector sum = {};
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) sum += term(i);
  T total = fold_lanes<T>(sum, [](auto a, auto b) { return a + b; });
  for (; i < n; ++i) total += last(i);
  return total;
}

template <class T>
NONLIN_INLINE typename Vector<T>::type load_vector(const T* from) {
  return *reinterpret_cast<const typename Vector<T>::type*>(from);
}

template <class T>
void normalise_forward(const nl_normalisation& call, int64_t child) {
  const int64_t n = call.width;
  const T* x = static_cast<const T*>(call.x) + child * call.rows * n;
  const T* weight = call.weight ? static_cast<const T*>(call.weight) + child * n : nullptr;
  const T* bias = call.bias ? static_cast<const T*>(call.bias) + child * n : nullptr;
  T* out = static_cast<T*>(call.out) + child * call.rows * n;
  T* means = static_cast<T*>(call.mean) + child * call.rows;
  T* inverses = static_cast<T*>(call.inverse) + child * call.rows;
  for (int64_t r = 0; r < call.rows; ++r, x += n, out += n) {
    const T mean = sum_of<T>(n, [&](int64_t i) { return load_vector(x + i); }, [&](int64_t i) { return x[i]; }) / T(n);
    const T variance = sum_of<T>(
        n,
        [&](int64_t i) {
          const auto d = load_vector(x + i) - mean;
          return d * d;
        },
        [&](int64_t i) { return (x[i] - mean) * (x[i] - mean); }) / T(n);
    const T inverse = T(1) / T(sqrt(variance + T(call.eps)));
    means[r] = mean, inverses[r] = inverse;
    if (weight && bias) {
      NONLIN_INDEPENDENT
      for (int64_t i = 0; i < n; ++i) out[i] = (x[i] - mean) * inverse * weight[i] + bias[i];
      continue;
    }
    for (int64_t i = 0; i < n; ++i)
      out[i] = (x[i] - mean) * inverse * (weight ? weight[i] : T(1)) + (bias ? bias[i] : T(0));
  }
}

template <class T>
void normalise_backward(const nl_normalisation& call, int64_t child) {
  const int64_t n = call.width;
  const T* x = static_cast<const T*>(call.x) + child * call.rows * n;
  const T* g = static_cast<const T*>(call.gradient) + child * call.rows * n;
  const T* given = call.weight ? static_cast<const T*>(call.weight) + child * n : nullptr;
  const T* means = static_cast<const T*>(call.mean) + child * call.rows;
  const T* inverses = static_cast<const T*>(call.inverse) + child * call.rows;
  T* out = static_cast<T*>(call.out) + child * call.rows * n;
  Memory memory;
  T *weight = memory.take<T>(n), *by_weight = memory.take<T>(n), *by_bias = memory.take<T>(n);
  T *scaled = memory.take<T>(n), *standard = memory.take<T>(n);
  for (int64_t i = 0; i < n; ++i) weight[i] = given ? given[i] : T(1);
  for (int64_t r = 0; r < call.rows; ++r, x += n, g += n, out += n) {
    const T mean = means[r], inverse = inverses[r];
    NONLIN_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) {
      standard[i] = (x[i] - mean) * inverse;
      scaled[i] = g[i] * weight[i];
      by_weight[i] += g[i] * standard[i];
      by_bias[i] += g[i];
    }
    const T first = sum_of<T>(n, [&](int64_t i) { return load_vector(scaled + i); },
                              [&](int64_t i) { return scaled[i]; }) / T(n);
    const T second = sum_of<T>(n, [&](int64_t i) { return load_vector(scaled + i) * load_vector(standard + i); },
                               [&](int64_t i) { return scaled[i] * standard[i]; }) / T(n);
    NONLIN_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) out[i] = inverse * (scaled[i] - first - standard[i] * second);
  }
  if (call.gradient_weight) memcpy(static_cast<T*>(call.gradient_weight) + child * n, by_weight, size_t(n) * sizeof(T));
  if (call.gradient_bias) memcpy(static_cast<T*>(call.gradient_bias) + child * n, by_bias, size_t(n) * sizeof(T));
}

static void normalise(const nl_normalisation& call) {
  const auto work = [](void* raw, int64_t child) {
    const nl_normalisation& c = *static_cast<const nl_normalisation*>(raw);
    const FlushSubnormals flush;
    if (c.dtype == NL_FLOAT64)
      c.gradient ? normalise_backward<double>(c, child) : normalise_forward<double>(c, child);
    else
      c.gradient ? normalise_backward<float>(c, child) : normalise_forward<float>(c, child);
  };
  run_parallel(call.threads, call.children, work, const_cast<nl_normalisation*>(&call));
}

// One step of the optimiser for every child: its parameters lie in `segments` pieces, piece s of child k at
// k*sizes[s] of parameters[s].
template <class T>
void step_one(const nl_step& call, int64_t child) {
  const FlushSubnormals flush;
  double squares = 0;
  for (int64_t s = 0; s < call.segments; ++s) {
    const int64_t n = call.sizes[s];
    T* g = static_cast<T*>(call.gradients[s]) + child * n;
    if (call.clip_value > 0) {
      const T most = T(call.clip_value);
      for (int64_t i = 0; i < n; ++i) g[i] = g[i] > most ? most : g[i] < -most ? -most : g[i];  // keeps NaN
    }
    if (call.clip_norm > 0) squares += dot(g, g, n);
  }
  const double factor = call.clip_norm > 0 ? call.clip_norm / (sqrt(squares) + 1e-6) : 1;
  nl_mlp rule = {};
  rule.optimiser = call.optimiser;
  rule.beta1 = call.beta1, rule.beta2 = call.beta2, rule.eps = call.eps;
  rule.momentum = call.momentum, rule.nesterov = call.nesterov;
  for (int64_t s = 0; s < call.segments; ++s) {
    const int64_t n = call.sizes[s];
    T* g = static_cast<T*>(call.gradients[s]) + child * n;
    if (!(factor >= 1))
      for (int64_t i = 0; i < n; ++i) g[i] *= T(factor);
    rule.weight_decay = call.weight_decays[s];
    optimiser_step<T>(rule, n, static_cast<T*>(call.parameters[s]) + child * n, g,
                      static_cast<T*>(call.first[s]) + child * n, static_cast<T*>(call.second[s]) + child * n,
                      call.learning_rates[child], call.step);
  }
}

static void take_step(const nl_step& call) {
  const auto work = [](void* raw, int64_t child) {
    const nl_step& c = *static_cast<const nl_step*>(raw);
    c.dtype == NL_FLOAT64 ? step_one<double>(c, child) : step_one<float>(c, child);
  };
  run_parallel(call.threads, call.children, work, const_cast<nl_step*>(&call));
}
