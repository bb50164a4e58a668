// Convolutions of step 1 of K stacked children: each child is computed by itself, as in stacked.h.

// Convolution of step 1 as a product without unfolding. An image stands in memory with its border of zeros, rows of
// `row` elements; then what the kernel's element (c, y, x) meets is the same memory, shifted. The results of a row
// are as many as the bordered image is wide; those beyond the last true one are dropped.
template <class T>
struct Bordered {
  int64_t channels, height, width;  // of the image
  int64_t top, left, row, plane;    // zeros above and to the left; elements per bordered row and image
  bool last;                        // whether channels come last in the caller's memory

  int64_t size() const { return channels * plane + 2 * Vector<T>::lanes; }  // vectors may read a little further

  // The image into `to`, whose border is zero already.
  void place(const T* image, T* to) const {
    for (int64_t y = 0; last && y < height; ++y)
      transpose(width, channels, image + y * width * channels, channels, to + (y + top) * row + left, plane);
    for (int64_t c = 0; !last && c < channels; ++c)
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

// Results of one row of pixels with channels last, from pixel x on: out[r][f] = bias[f] + sum over k of
// image[shift[k] + r] * weight[k][f], f running over some vectors.
template <class T, int ROWS, int VECTORS>
void pixels_tile(const T* image, const int64_t* shift, int64_t inner, const T* weight, int64_t across, const T* bias,
                 T* out) {
  typedef typename Vector<T>::type vector;
  constexpr int64_t LANES = Vector<T>::lanes;
  vector sum[ROWS][VECTORS];
  NONLIN_UNROLL
  for (int r = 0; r < ROWS; ++r)
    NONLIN_UNROLL
    for (int v = 0; v < VECTORS; ++v) sum[r][v] = load_vector(bias + v * LANES);
  for (int64_t k = 0; k < inner; ++k, weight += across) {
    const T* left = image + shift[k];
    NONLIN_UNROLL
    for (int v = 0; v < VECTORS; ++v) {
      const vector right = load_vector(weight + v * LANES);
      NONLIN_UNROLL
      for (int r = 0; r < ROWS; ++r) sum[r][v] += left[r] * right;
    }
  }
  NONLIN_UNROLL
  for (int r = 0; r < ROWS; ++r)
    NONLIN_UNROLL
    for (int v = 0; v < VECTORS; ++v) *reinterpret_cast<vector*>(out + r * across + v * LANES) = sum[r][v];
}

template <class T, int VECTORS>
void pixels_row(int64_t pixels, const T* image, const int64_t* shift, int64_t inner, const T* weight, int64_t across,
                const T* bias, T* out) {
  constexpr int ROWS = NONLIN_TILE_ROWS;
  int64_t x = 0;
  for (; x + ROWS <= pixels; x += ROWS)
    pixels_tile<T, ROWS, VECTORS>(image + x, shift, inner, weight, across, bias, out + x * across);
  for (; x < pixels; ++x)
    pixels_tile<T, 1, VECTORS>(image + x, shift, inner, weight, across, bias, out + x * across);
}

// One bordered image, kernels (inner, rows up to whole lines): out (out_height, out_width, rows). `line` is scratch.
template <class T>
void convolve_pixels(const Bordered<T>& shape, const T* image, const int64_t* shift, int64_t inner, const T* weight,
                     const T* bias, int64_t rows, int64_t out_height, int64_t out_width, T* line, T* out) {
  constexpr int64_t LANES = Vector<T>::lanes;
  const int64_t across = padded<T>(rows);
  for (int64_t y = 0; y < out_height; ++y, out += out_width * rows) {
    T* to = across == rows ? out : line;
    int64_t f = 0;
    for (; f + 2 * LANES <= across; f += 2 * LANES)
      pixels_row<T, 2>(out_width, image + y * shape.row, shift, inner, weight + f, across, bias + f, to + f);
    for (; f < across; f += LANES)
      pixels_row<T, 1>(out_width, image + y * shape.row, shift, inner, weight + f, across, bias + f, to + f);
    if (across != rows) copy_rows(out_width, rows, line, across, out, rows);
  }
}

// Images (count, channels, height, width) and kernels (rows, channels, tall, wide) into (count, rows, out_height,
// out_width). `weight` has whole kernels as rows.
template <class T>
void convolve_images(const T* images, int64_t count, const Bordered<T>& shape, const T* weight, const T* bias,
                     int64_t rows, int64_t tall, int64_t wide, int64_t spread_y, int64_t spread_x, int64_t out_height,
                     int64_t out_width, bool out_last, T* out) {
  constexpr int64_t LANES = Vector<T>::lanes;
  Memory memory;
  const int64_t inner = shape.channels * tall * wide, columns = padded<T>(out_height * shape.row);
  int64_t* shift = memory.take<int64_t>(inner + 1);
  for (int64_t c = 0, k = 0; c < shape.channels; ++c)
    for (int64_t y = 0; y < tall; ++y)
      for (int64_t x = 0; x < wide; ++x, ++k) shift[k] = c * shape.plane + y * spread_y * shape.row + x * spread_x;
  T *bordered = memory.take<T>(shape.size() + columns), *wide_out = memory.take_unset<T>(rows * columns);
  const int64_t across = padded<T>(rows);
  T *packed = nullptr, *starts = nullptr, *line = nullptr;  // for channels that come last
  if (out_last) {
    packed = memory.take<T>(inner * across), starts = memory.take<T>(across), line = memory.take<T>(out_width * across);
    transpose(rows, inner, weight, inner, packed, across);
    if (bias) memcpy(starts, bias, size_t(rows) * sizeof(T));
  }
  for (int64_t n = 0; n < count; ++n) {
    shape.place(images + n * shape.channels * shape.height * shape.width, bordered);
    if (out_last) {
      convolve_pixels(shape, bordered, shift, inner, packed, starts, rows, out_height, out_width, line, out);
      out += out_height * out_width * rows;
      continue;
    }
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
Bordered<T> bordered(int64_t channels, int64_t height, int64_t width, int64_t top, int64_t left, bool last) {
  const int64_t row = width + 2 * left;
  return {channels, height, width, top, left, row, (height + 2 * top) * row, last};
}

template <class T>
void convolve_forward(const nl_convolution& c, int64_t child) {
  const Bordered<T> shape = bordered<T>(c.channels, c.height, c.width, c.pad_y, c.pad_x, c.x_last != 0);
  convolve_images<T>(static_cast<const T*>(c.x) + child * c.x_stride, c.images, shape,
                     static_cast<const T*>(c.weight) + child * c.filters * c.channels * c.tall * c.wide,
                     c.bias ? static_cast<const T*>(c.bias) + child * c.filters : nullptr, c.filters, c.tall, c.wide,
                     c.spread_y, c.spread_x, c.out_height, c.out_width, c.out_last != 0,
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
  const Bordered<T> shape = bordered<T>(c.filters, c.out_height, c.out_width, top, left, c.out_last != 0);
  convolve_images<T>(static_cast<const T*>(c.gradient) + child * c.images * c.filters * c.out_height * c.out_width,
                     c.images, shape, turned, nullptr, c.channels, c.tall, c.wide, c.spread_y, c.spread_x, c.height,
                     c.width, c.x_last != 0,
                     static_cast<T*>(c.gradient_x) + child * c.images * c.channels * c.height * c.width);
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
  const Bordered<T> shape = bordered<T>(c.channels, c.height, c.width, c.pad_y, c.pad_x, c.x_last != 0);
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
    for (int64_t y = 0; y < c.out_height; ++y) {
      T* to = turned + y * shape.row * across;
      if (c.out_last)
        copy_rows(c.out_width, c.filters, g + y * c.out_width * c.filters, c.filters, to, across);
      else
        transpose(c.filters, c.out_width, g + y * c.out_width, area, to, across);
    }
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
bool all_finite(const T* at, int64_t n) {
  typedef typename std::conditional<sizeof(T) == 8, uint64_t, uint32_t>::type bits;
  const T infinity = T(INFINITY);
  bits limit, largest = 0;
  memcpy(&limit, &infinity, sizeof(T));
  for (int64_t i = 0; i < n; ++i) {
    bits found;
    memcpy(&found, at + i, sizeof(T));
    found &= ~bits(0) >> 1;  // without its sign
    largest = found > largest ? found : largest;
  }
  return largest < limit;
}

// Winograd's sums take differences of pixels, so that one that is infinite, or a sum that is too large, would spread
// as NaN to its neighbours. What is not finite is computed again directly: it may be bounded later, by an activation
// or by clipping, and then a child would diverge here alone.
template <class T>
bool by_winograd(const nl_convolution& c, int64_t child) {
  if (!suits_winograd(c)) return false;
  const int64_t result = c.images * c.filters * c.out_height * c.out_width;
  const int64_t image = c.images * c.channels * c.height * c.width, kernels = c.filters * c.channels * 9;
  bool finite = true;
  if (c.out) {
    winograd_forward<T>(c, child);
    finite &= all_finite(static_cast<const T*>(c.out) + child * result, result);
  }
  if (c.gradient && c.gradient_x) {
    winograd_by_input<T>(c, child);
    finite &= all_finite(static_cast<const T*>(c.gradient_x) + child * image, image);
  }
  if (c.gradient && (c.gradient_weight || c.gradient_bias)) {
    winograd_by_weight<T>(c, child);
    if (c.gradient_weight) finite &= all_finite(static_cast<const T*>(c.gradient_weight) + child * kernels, kernels);
  }
  return finite;
}

template <class T>
void convolve_one(const nl_convolution& c, int64_t child) {
  if (by_winograd<T>(c, child)) return;
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
