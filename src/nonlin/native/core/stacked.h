// The layers of K stacked children, beside their products (multiply.h): normalisation over the last dimension,
// convolution of step 1, and the optimiser's step. Each child is computed by itself and always in the same order:
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

// Convolution of step 1 as a product without unfolding. An image stands in memory with its border of zeros, rows of
// `row` elements; then what the kernel's element (c, y, x) meets is the same memory, shifted. The results of a row
// are as many as the bordered image is wide; those beyond the last true one are dropped.
template <class T>
struct Bordered {
  int64_t channels, height, width;  // of the image
  int64_t top, left, row, plane;    // zeros above and to the left; elements per bordered row and image

  int64_t size() const { return channels * plane + 2 * Vector<T>::lanes; }  // vectors may read a little further

  // The image into `to`, whose border is zero already.
  void place(const T* image, T* to) const {
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t y = 0; y < height; ++y, image += width) {
        T* line = to + c * plane + (y + top) * row + left;
        for (int64_t i = 0; i < width; ++i) line[i] = image[i];
      }
  }
};

template <class T, int ROWS, int VECTORS>
void convolve_tile(const T* weight, int64_t inner, const T* image, const int64_t* shift, T* c, int64_t c_step) {
  typedef typename Vector<T>::type vector;
  constexpr int64_t LANES = Vector<T>::lanes;
  vector sum[ROWS][VECTORS] = {};
  for (int64_t k = 0; k < inner; ++k) {
    const T* b = image + shift[k];
    vector right[VECTORS];
    NONLIN_UNROLL
    for (int v = 0; v < VECTORS; ++v) right[v] = load_vector(b + v * LANES);
    NONLIN_UNROLL
    for (int r = 0; r < ROWS; ++r) {
      const T left = weight[r * inner + k];
      NONLIN_UNROLL
      for (int v = 0; v < VECTORS; ++v) sum[r][v] += left * right[v];
    }
  }
  NONLIN_UNROLL
  for (int r = 0; r < ROWS; ++r)
    NONLIN_UNROLL
    for (int v = 0; v < VECTORS; ++v) *reinterpret_cast<vector*>(c + r * c_step + v * LANES) = sum[r][v];
}

template <class T, int ROWS, int VECTORS>
void convolve_rest(int64_t rows, const T* weight, int64_t inner, const T* image, const int64_t* shift, T* c,
                   int64_t c_step) {
  if constexpr (ROWS > 0) {
    if (rows == ROWS)
      convolve_tile<T, ROWS, VECTORS>(weight, inner, image, shift, c, c_step);
    else
      convolve_rest<T, ROWS - 1, VECTORS>(rows, weight, inner, image, shift, c, c_step);
  }
}

template <class T, int VECTORS>
void convolve_columns(int64_t rows, const T* weight, int64_t inner, const T* image, const int64_t* shift, T* c,
                      int64_t c_step) {
  constexpr int ROWS = NONLIN_TILE_ROWS;
  int64_t r = 0;
  for (; r + ROWS <= rows; r += ROWS)
    convolve_tile<T, ROWS, VECTORS>(weight + r * inner, inner, image, shift, c + r * c_step, c_step);
  convolve_rest<T, ROWS - 1, VECTORS>(rows - r, weight + r * inner, inner, image, shift, c + r * c_step, c_step);
}

// Images (count, channels, height, width) and kernels (rows, channels, tall, wide) into (count, rows, out_height,
// out_width). `weight` has whole kernels as rows.
template <class T>
void convolve_images(const T* images, int64_t count, const Bordered<T>& shape, const T* weight, const T* bias,
                     int64_t rows, int64_t tall, int64_t wide, int64_t spread_y, int64_t spread_x, int64_t out_height,
                     int64_t out_width, T* out) {
  constexpr int64_t LANES = Vector<T>::lanes;
  Memory memory;
  const int64_t inner = shape.channels * tall * wide, columns = padded<T>(out_height * shape.row);
  int64_t* shift = memory.take<int64_t>(inner + 1);
  for (int64_t c = 0, k = 0; c < shape.channels; ++c)
    for (int64_t y = 0; y < tall; ++y)
      for (int64_t x = 0; x < wide; ++x, ++k) shift[k] = c * shape.plane + y * spread_y * shape.row + x * spread_x;
  T *bordered = memory.take<T>(shape.size() + columns), *wide_out = memory.take_unset<T>(rows * columns);
  for (int64_t n = 0; n < count; ++n) {
    shape.place(images + n * shape.channels * shape.height * shape.width, bordered);
    int64_t column = 0;
    for (; column + 2 * LANES <= columns; column += 2 * LANES)
      convolve_columns<T, 2>(rows, weight, inner, bordered + column, shift, wide_out + column, columns);
    for (; column < columns; column += LANES)
      convolve_columns<T, 1>(rows, weight, inner, bordered + column, shift, wide_out + column, columns);
    for (int64_t r = 0; r < rows; ++r) {
      const T start = bias ? bias[r] : T(0);
      for (int64_t y = 0; y < out_height; ++y, out += out_width) {
        const T* line = wide_out + r * columns + y * shape.row;
        for (int64_t x = 0; x < out_width; ++x) out[x] = line[x] + start;
      }
    }
  }
}

template <class T>
Bordered<T> bordered(int64_t channels, int64_t height, int64_t width, int64_t top, int64_t left) {
  const int64_t row = width + 2 * left;
  return {channels, height, width, top, left, row, (height + 2 * top) * row};
}

template <class T>
void convolve_forward(const nl_convolution& c, int64_t child) {
  const Bordered<T> shape = bordered<T>(c.channels, c.height, c.width, c.pad_y, c.pad_x);
  convolve_images<T>(static_cast<const T*>(c.x) + child * c.x_stride, c.images, shape,
                     static_cast<const T*>(c.weight) + child * c.filters * c.channels * c.tall * c.wide,
                     c.bias ? static_cast<const T*>(c.bias) + child * c.filters : nullptr, c.filters, c.tall, c.wide,
                     c.spread_y, c.spread_x, c.out_height, c.out_width,
                     static_cast<T*>(c.out) + child * c.images * c.filters * c.out_height * c.out_width);
}

// The gradient by x: the gradient by the result, convolved with the kernels turned round.
template <class T>
void convolve_by_input(const nl_convolution& c, int64_t child) {
  const int64_t elements = c.tall * c.wide;
  const T* weight = static_cast<const T*>(c.weight) + child * c.filters * c.channels * elements;
  Memory memory;
  T* turned = memory.take_unset<T>(c.filters * c.channels * elements);
  for (int64_t f = 0; f < c.filters; ++f)
    for (int64_t h = 0; h < c.channels; ++h)
      for (int64_t e = 0; e < elements; ++e)
        turned[(h * c.filters + f) * elements + elements - 1 - e] = weight[(f * c.channels + h) * elements + e];
  const int64_t top = c.spread_y * (c.tall - 1) - c.pad_y, left = c.spread_x * (c.wide - 1) - c.pad_x;
  const Bordered<T> shape = bordered<T>(c.filters, c.out_height, c.out_width, top, left);
  convolve_images<T>(static_cast<const T*>(c.gradient) + child * c.images * c.filters * c.out_height * c.out_width,
                     c.images, shape, turned, nullptr, c.channels, c.tall, c.wide, c.spread_y, c.spread_x, c.height,
                     c.width, static_cast<T*>(c.gradient_x) + child * c.images * c.channels * c.height * c.width);
}

// sum[r][v] += image[shift[r] + p] * g[p][v] over the positions p of a bordered row space.
template <class T, int ROWS, int VECTORS>
void correlate_tile(const T* image, const int64_t* shift, int64_t positions, const T* g, int64_t g_step, T* sum_at,
                    int64_t sum_step) {
  typedef typename Vector<T>::type vector;
  constexpr int64_t LANES = Vector<T>::lanes;
  vector sum[ROWS][VECTORS];
  const T* row[ROWS];
  NONLIN_UNROLL
  for (int r = 0; r < ROWS; ++r) {
    row[r] = image + shift[r];
    NONLIN_UNROLL
    for (int v = 0; v < VECTORS; ++v) sum[r][v] = load_vector(sum_at + r * sum_step + v * LANES);
  }
  for (int64_t p = 0; p < positions; ++p, g += g_step) {
    vector right[VECTORS];
    NONLIN_UNROLL
    for (int v = 0; v < VECTORS; ++v) right[v] = load_vector(g + v * LANES);
    NONLIN_UNROLL
    for (int r = 0; r < ROWS; ++r)
      NONLIN_UNROLL
      for (int v = 0; v < VECTORS; ++v) sum[r][v] += row[r][p] * right[v];
  }
  NONLIN_UNROLL
  for (int r = 0; r < ROWS; ++r)
    NONLIN_UNROLL
    for (int v = 0; v < VECTORS; ++v) *reinterpret_cast<vector*>(sum_at + r * sum_step + v * LANES) = sum[r][v];
}

template <class T, int VECTORS>
void correlate_columns(int64_t rows, const T* image, const int64_t* shift, int64_t positions, const T* g,
                       int64_t g_step, T* sum, int64_t sum_step) {
  constexpr int ROWS = NONLIN_TILE_ROWS;
  int64_t r = 0;
  for (; r + ROWS <= rows; r += ROWS)
    correlate_tile<T, ROWS, VECTORS>(image, shift + r, positions, g, g_step, sum + r * sum_step, sum_step);
  for (; r < rows; ++r)
    correlate_tile<T, 1, VECTORS>(image, shift + r, positions, g, g_step, sum + r * sum_step, sum_step);
}

template <class T>
void convolve_by_weight(const nl_convolution& c, int64_t child) {
  constexpr int64_t LANES = Vector<T>::lanes;
  const Bordered<T> shape = bordered<T>(c.channels, c.height, c.width, c.pad_y, c.pad_x);
  const int64_t inner = c.channels * c.tall * c.wide, across = padded<T>(c.filters);
  const int64_t positions = (c.out_height - 1) * shape.row + c.out_width, area = c.out_height * c.out_width;
  Memory memory;
  int64_t* shift = memory.take<int64_t>(inner + 1);
  for (int64_t h = 0, k = 0; h < c.channels; ++h)
    for (int64_t y = 0; y < c.tall; ++y)
      for (int64_t x = 0; x < c.wide; ++x, ++k) shift[k] = h * shape.plane + y * c.spread_y * shape.row + x * c.spread_x;
  T* image = memory.take<T>(shape.size());
  T* turned = memory.take<T>(positions * across);  // the gradient as (position, filter), zero between the rows
  T* sums = memory.take<T>(inner * across);
  T* by_bias = memory.take<T>(across);
  const T* x = static_cast<const T*>(c.x) + child * c.x_stride;
  const T* g = static_cast<const T*>(c.gradient) + child * c.images * c.filters * area;
  for (int64_t n = 0; n < c.images; ++n, x += c.channels * c.height * c.width, g += c.filters * area) {
    shape.place(x, image);
    for (int64_t y = 0; y < c.out_height; ++y)
      transpose(c.filters, c.out_width, g + y * c.out_width, area, turned + y * shape.row * across, across);
    for (int64_t y = 0; y < c.out_height; ++y)
      for (int64_t i = 0; i < c.out_width; ++i) {
        const T* from = turned + (y * shape.row + i) * across;
        NONLIN_INDEPENDENT
        for (int64_t f = 0; f < across; ++f) by_bias[f] += from[f];
      }
    int64_t f = 0;
    for (; f + 2 * LANES <= across; f += 2 * LANES)
      correlate_columns<T, 2>(inner, image, shift, positions, turned + f, across, sums + f, across);
    for (; f < across; f += LANES)
      correlate_columns<T, 1>(inner, image, shift, positions, turned + f, across, sums + f, across);
  }
  if (c.gradient_weight)
    transpose(inner, c.filters, sums, across, static_cast<T*>(c.gradient_weight) + child * c.filters * inner, inner);
  if (c.gradient_bias)
    memcpy(static_cast<T*>(c.gradient_bias) + child * c.filters, by_bias, size_t(c.filters) * sizeof(T));
}

template <class T>
void convolve_one(const nl_convolution& c, int64_t child) {
  if (c.out) convolve_forward<T>(c, child);
  if (c.gradient && c.gradient_x) convolve_by_input<T>(c, child);
  if (c.gradient && (c.gradient_weight || c.gradient_bias)) convolve_by_weight<T>(c, child);
}

static void convolve(const nl_convolution& call) {
  const auto work = [](void* raw, int64_t child) {
    const nl_convolution& c = *static_cast<const nl_convolution*>(raw);
    const FlushSubnormals flush;
    c.dtype == NL_FLOAT64 ? convolve_one<double>(c, child) : convolve_one<float>(c, child);
  };
  run_parallel(call.threads, call.children, work, const_cast<nl_convolution*>(&call));
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
