// Convolution with kernels of 3x3, step 1, by Winograd's minimal filtering F(2x2, 3x3) (A. Lavin and S. Gray, "Fast
// algorithms for convolutional neural networks", 2016): 16 multiplications for four results in place of 36. A tile of
// 4x4 pixels d and a kernel g become B'dB and GgG', their elementwise products are summed over the channels, and
// A'(...)A is a tile of 2x2 results. The sums over the channels are 16 matrix products. The gradient by the kernels is
// the derivative of just this: G'(sum over tiles of (B'dB)(AyA'))G, y being the gradient by a tile of results.
//
// Inside, channels come last: every transform is the same arithmetic on vectors of channels.

constexpr int64_t ELEMENTS = 16;       // of a transformed tile
constexpr int64_t TILES_AT_ONCE = 64;  // about: what they become fits in the second cache

// Rows of n numbers, `step` apart, into rows of `to_step`.
template <class T>
void copy_rows(int64_t rows, int64_t n, const T* from, int64_t step, T* to, int64_t to_step) {
  if (step == n && to_step == n) {
    memcpy(to, from, size_t(rows * n) * sizeof(T));
    return;
  }
  for (int64_t r = 0; r < rows; ++r) memcpy(to + r * to_step, from + r * step, size_t(n) * sizeof(T));
}

// An image cut into tiles: with its border of zeros, channels last, in memory of its own.
template <class T>
struct TiledImage {
  int64_t channels, height, width, top, left;  // of the image; zeros above it and to its left
  int64_t down, along;                         // tiles
  bool last;                                   // whether channels come last in the caller's memory

  int64_t deep() const { return padded<T>(channels); }
  int64_t row() const { return (2 * along + 2) * deep(); }
  int64_t size() const { return (2 * down + 2) * row(); }

  // The image into `to`, whose border is zero already.
  void place(const T* image, T* to) const {
    for (int64_t y = 0; y < height; ++y) {
      T* line = to + (y + top) * row() + left * deep();
      if (last)
        copy_rows(width, channels, image + y * width * channels, channels, line, deep());
      else
        transpose(channels, width, image + y * width, height * width, line, deep());
    }
  }
};

// Tiles that are transformed together: `count` images, or some rows of tiles of one image. Element e of tile t of a
// tensor with rows of n begins at e*step(n) + t*n.
struct Batch {
  int64_t images, rows, tiles;

  template <class T>
  static int64_t step(int64_t tiles, int64_t n) {
    return tiles * n + LINE / int64_t(sizeof(T));  // one line more, or all elements share a cache set
  }
};

static Batch batch_of(int64_t images, int64_t down, int64_t along) {
  const int64_t tiles = down * along;
  if (tiles < TILES_AT_ONCE) {
    int64_t count = TILES_AT_ONCE / tiles;
    if (count > images) count = images > 0 ? images : 1;
    return {count, down, count * tiles};
  }
  int64_t rows = TILES_AT_ONCE / along;
  if (rows < 1) rows = 1;
  return {1, rows, rows * along};
}

// B'dB of tile rows `first` ... `end` - 1 of an image; `to` is where its first tile goes.
template <class T>
void transform_pixels(const TiledImage<T>& shape, const T* image, int64_t first, int64_t end, T* to, int64_t step) {
  typedef typename Vector<T>::type vector;
  const int64_t deep = shape.deep(), row = shape.row();
  for (int64_t y = first; y < end; ++y)
    for (int64_t x = 0; x < shape.along; ++x, to += deep)
      for (int64_t c = 0; c < deep; c += Vector<T>::lanes) {
        const T* from = image + 2 * y * row + 2 * x * deep + c;
        vector half[4][4];
        NONLIN_UNROLL
        for (int j = 0; j < 4; ++j) {
          vector d[4];
          NONLIN_UNROLL
          for (int i = 0; i < 4; ++i) d[i] = *reinterpret_cast<const vector*>(from + i * row + j * deep);
          half[0][j] = d[0] - d[2], half[1][j] = d[1] + d[2], half[2][j] = d[2] - d[1], half[3][j] = d[1] - d[3];
        }
        NONLIN_UNROLL
        for (int i = 0; i < 4; ++i) {
          const vector* h = half[i];
          const vector whole[4] = {h[0] - h[2], h[1] + h[2], h[2] - h[1], h[1] - h[3]};
          NONLIN_UNROLL
          for (int j = 0; j < 4; ++j) *reinterpret_cast<vector*>(to + (4 * i + j) * step + c) = whole[j];
        }
      }
}

// A'mA plus a bias into the rows of results (2*tile rows, 2*along, width) of tile rows 0 ... `rows` - 1.
template <class T>
void results_of_tiles(const T* from, int64_t step, int64_t rows, int64_t along, int64_t width, const T* bias, T* to) {
  typedef typename Vector<T>::type vector;
  for (int64_t y = 0; y < rows; ++y)
    for (int64_t x = 0; x < along; ++x, from += width)
      for (int64_t f = 0; f < width; f += Vector<T>::lanes) {
        vector half[2][4];
        NONLIN_UNROLL
        for (int j = 0; j < 4; ++j) {
          vector m[4];
          NONLIN_UNROLL
          for (int i = 0; i < 4; ++i) m[i] = *reinterpret_cast<const vector*>(from + (4 * i + j) * step + f);
          half[0][j] = m[0] + m[1] + m[2], half[1][j] = m[1] - m[2] - m[3];
        }
        const vector start = *reinterpret_cast<const vector*>(bias + f);
        NONLIN_UNROLL
        for (int i = 0; i < 2; ++i) {
          T* place = to + ((2 * y + i) * 2 * along + 2 * x) * width + f;
          const vector* h = half[i];
          *reinterpret_cast<vector*>(place) = h[0] + h[1] + h[2] + start;
          *reinterpret_cast<vector*>(place + width) = h[1] - h[2] - h[3] + start;
        }
      }
}

// AyA' of tile rows 0 ... `rows` - 1 of gradients `from` (2*rows, 2*along, width).
template <class T>
void tiles_of_gradients(const T* from, int64_t rows, int64_t along, int64_t width, T* to, int64_t step) {
  typedef typename Vector<T>::type vector;
  for (int64_t y = 0; y < rows; ++y)
    for (int64_t x = 0; x < along; ++x, to += width)
      for (int64_t f = 0; f < width; f += Vector<T>::lanes) {
        const T* place = from + (2 * y * 2 * along + 2 * x) * width + f;
        vector half[4][2];
        NONLIN_UNROLL
        for (int j = 0; j < 2; ++j) {
          const vector above = *reinterpret_cast<const vector*>(place + j * width);
          const vector below = *reinterpret_cast<const vector*>(place + (2 * along + j) * width);
          half[0][j] = above, half[1][j] = above + below, half[2][j] = above - below, half[3][j] = -below;
        }
        NONLIN_UNROLL
        for (int i = 0; i < 4; ++i) {
          const vector* h = half[i];
          const vector whole[4] = {h[0], h[0] + h[1], h[0] - h[1], -h[1]};
          NONLIN_UNROLL
          for (int j = 0; j < 4; ++j) *reinterpret_cast<vector*>(to + (4 * i + j) * step + f) = whole[j];
        }
      }
}

// GgG' of kernels (inner, 9, width) as 16 matrices (inner, width).
template <class T>
void transform_kernels(const T* kernels, int64_t inner, int64_t width, T* to) {
  typedef typename Vector<T>::type vector;
  for (int64_t c = 0; c < inner; ++c)
    for (int64_t f = 0; f < width; f += Vector<T>::lanes) {
      const T* from = kernels + c * 9 * width + f;
      vector half[4][3];
      NONLIN_UNROLL
      for (int j = 0; j < 3; ++j) {
        vector g[3];
        NONLIN_UNROLL
        for (int i = 0; i < 3; ++i) g[i] = *reinterpret_cast<const vector*>(from + (3 * i + j) * width);
        const vector even = T(0.5) * (g[0] + g[2]), odd = T(0.5) * g[1];
        half[0][j] = g[0], half[1][j] = even + odd, half[2][j] = even - odd, half[3][j] = g[2];
      }
      NONLIN_UNROLL
      for (int i = 0; i < 4; ++i) {
        const vector* h = half[i];
        const vector even = T(0.5) * (h[0] + h[2]), odd = T(0.5) * h[1];
        const vector whole[4] = {h[0], even + odd, even - odd, h[2]};
        NONLIN_UNROLL
        for (int j = 0; j < 4; ++j)
          *reinterpret_cast<vector*>(to + ((4 * i + j) * inner + c) * width + f) = whole[j];
      }
    }
}

// G'sG of 16 matrices (inner, width), as kernels (inner, 9, width).
template <class T>
void kernels_of_sums(const T* sums, int64_t inner, int64_t width, T* to) {
  typedef typename Vector<T>::type vector;
  for (int64_t c = 0; c < inner; ++c)
    for (int64_t f = 0; f < width; f += Vector<T>::lanes) {
      vector half[3][4];
      NONLIN_UNROLL
      for (int j = 0; j < 4; ++j) {
        vector s[4];
        NONLIN_UNROLL
        for (int i = 0; i < 4; ++i)
          s[i] = *reinterpret_cast<const vector*>(sums + ((4 * i + j) * inner + c) * width + f);
        const vector both = T(0.5) * (s[1] + s[2]);
        half[0][j] = s[0] + both, half[1][j] = T(0.5) * (s[1] - s[2]), half[2][j] = both + s[3];
      }
      NONLIN_UNROLL
      for (int i = 0; i < 3; ++i) {
        const vector* h = half[i];
        const vector both = T(0.5) * (h[1] + h[2]);
        const vector whole[3] = {h[0] + both, T(0.5) * (h[1] - h[2]), both + h[3]};
        NONLIN_UNROLL
        for (int j = 0; j < 3; ++j)
          *reinterpret_cast<vector*>(to + (c * 9 + 3 * i + j) * width + f) = whole[j];
      }
    }
}

// Whether it pays: too few channels, and the transforms take longer than the products; too few results, and most of a
// tile's are not wanted.
static bool suits_winograd(const nl_convolution& c) {
  const bool threes = c.tall == 3 && c.wide == 3 && c.spread_y == 1 && c.spread_x == 1;
  const int64_t tiles = (c.out_height + 1) / 2 * ((c.out_width + 1) / 2);
  return threes && c.channels >= 8 && c.filters >= 8 && 90 * c.out_height * c.out_width >= 208 * tiles;
}

// Images convolved with kernels (shape.channels, 9, padded rows); `bias` is padded. Results (rows, height, width).
template <class T>
void winograd_images(const T* images, int64_t count, const TiledImage<T>& shape, const T* kernels, const T* bias,
                     int64_t rows, int64_t out_height, int64_t out_width, bool out_last, T* out) {
  Memory memory;
  const int64_t deep = shape.deep(), across = padded<T>(rows), inner = shape.channels, along = shape.along;
  const int64_t area = shape.height * shape.width, out_area = out_height * out_width;
  const Batch batch = batch_of(count, shape.down, along);
  const int64_t step = Batch::step<T>(batch.tiles, deep), out_step = Batch::step<T>(batch.tiles, across);
  T* factors = memory.take_unset<T>(ELEMENTS * inner * across);
  transform_kernels(kernels, inner, across, factors);
  T *placed = memory.take<T>(batch.images * shape.size()), *pixels = memory.take_unset<T>(ELEMENTS * step);
  T *sums = memory.take_unset<T>(ELEMENTS * out_step), *results = memory.take_unset<T>(batch.rows * 4 * along * across);
  T* scratch = memory.take_unset<T>(panel_size<T>());
  for (int64_t n = 0; n < count; n += batch.images) {
    const int64_t some = count - n < batch.images ? count - n : batch.images;
    for (int64_t i = 0; i < some; ++i) shape.place(images + (n + i) * inner * area, placed + i * shape.size());
    for (int64_t first = 0; first < shape.down; first += batch.rows) {
      const int64_t end = first + batch.rows < shape.down ? first + batch.rows : shape.down;
      const int64_t tiles = (end - first) * along;  // of an image
      for (int64_t i = 0; i < some; ++i)
        transform_pixels(shape, placed + i * shape.size(), first, end, pixels + i * tiles * deep, step);
      for (int64_t e = 0; e < ELEMENTS; ++e)
        multiply_matrices<T, false>(some * tiles, across, inner, Left<T>{pixels + e * step, deep},
                                    factors + e * inner * across, across, sums + e * out_step, across,
                                    Finish<T>{nullptr, nullptr, 0}, scratch);
      for (int64_t i = 0; i < some; ++i) {
        T* to = out + (n + i) * rows * out_area + 2 * first * out_width * (out_last ? rows : 1);
        const int64_t lines = 2 * end < out_height ? 2 * (end - first) : out_height - 2 * first;
        const bool whole = out_last && across == rows && out_width == 2 * along && lines == 2 * (end - first);
        results_of_tiles(sums + i * tiles * across, out_step, end - first, along, across, bias, whole ? to : results);
        if (whole) continue;
        if (out_last) {
          for (int64_t y = 0; y < lines; ++y)
            copy_rows(out_width, rows, results + y * 2 * along * across, across, to + y * out_width * rows, rows);
          continue;
        }
        if (out_width == 2 * along) {
          transpose(lines * out_width, rows, results, across, to, out_area);
          continue;
        }
        for (int64_t y = 0; y < lines; ++y)
          transpose(out_width, rows, results + y * 2 * along * across, across, to + y * out_width, out_area);
      }
    }
  }
}

template <class T>
void winograd_forward(const nl_convolution& c, int64_t child) {
  const int64_t across = padded<T>(c.filters);
  const T* weight = static_cast<const T*>(c.weight) + child * c.filters * c.channels * 9;
  Memory memory;
  T *kernels = memory.take<T>(c.channels * 9 * across), *bias = memory.take<T>(across);
  for (int64_t f = 0; f < c.filters; ++f)
    for (int64_t k = 0; k < c.channels * 9; ++k) kernels[k * across + f] = weight[f * c.channels * 9 + k];
  if (c.bias) memcpy(bias, static_cast<const T*>(c.bias) + child * c.filters, size_t(c.filters) * sizeof(T));
  const TiledImage<T> shape = {c.channels, c.height, c.width, c.pad_y, c.pad_x,
                               (c.out_height + 1) / 2, (c.out_width + 1) / 2, c.x_last != 0};
  winograd_images<T>(static_cast<const T*>(c.x) + child * c.x_stride, c.images, shape, kernels, bias, c.filters,
                     c.out_height, c.out_width, c.out_last != 0,
                     static_cast<T*>(c.out) + child * c.images * c.filters * c.out_height * c.out_width);
}

// The gradient by x: the gradient by the result, convolved with the kernels turned round.
template <class T>
void winograd_by_input(const nl_convolution& c, int64_t child) {
  const int64_t across = padded<T>(c.channels);
  const T* weight = static_cast<const T*>(c.weight) + child * c.filters * c.channels * 9;
  Memory memory;
  T *kernels = memory.take<T>(c.filters * 9 * across), *nothing = memory.take<T>(across);
  for (int64_t f = 0; f < c.filters; ++f)
    for (int64_t h = 0; h < c.channels; ++h, weight += 9)
      for (int64_t e = 0; e < 9; ++e) kernels[(f * 9 + 8 - e) * across + h] = weight[e];
  const TiledImage<T> shape = {c.filters, c.out_height, c.out_width, 2 - c.pad_y, 2 - c.pad_x,
                               (c.height + 1) / 2, (c.width + 1) / 2, c.out_last != 0};
  winograd_images<T>(static_cast<const T*>(c.gradient) + child * c.images * c.filters * c.out_height * c.out_width,
                     c.images, shape, kernels, nothing, c.channels, c.height, c.width, c.x_last != 0,
                     static_cast<T*>(c.gradient_x) + child * c.images * c.channels * c.height * c.width);
}

template <class T>
void winograd_by_weight(const nl_convolution& c, int64_t child) {
  Memory memory;
  const TiledImage<T> shape = {c.channels, c.height, c.width, c.pad_y, c.pad_x,
                               (c.out_height + 1) / 2, (c.out_width + 1) / 2, c.x_last != 0};
  const TiledImage<T> results = {c.filters, c.out_height, c.out_width, 0, 0, shape.down, shape.along - 1,
                                 c.out_last != 0};  // no border
  const int64_t deep = shape.deep(), across = results.deep(), along = shape.along, line = 2 * along * across;
  const int64_t area = c.height * c.width, out_area = c.out_height * c.out_width;
  const Batch batch = batch_of(c.images, shape.down, along);
  const int64_t step = Batch::step<T>(batch.tiles, deep), out_step = Batch::step<T>(batch.tiles, across);
  T *placed = memory.take<T>(shape.size()), *placed_gradient = memory.take<T>(2 * shape.down * line);
  T *pixels = memory.take_unset<T>(ELEMENTS * step), *gradients = memory.take_unset<T>(ELEMENTS * out_step);
  T *sums = memory.take<T>(ELEMENTS * c.channels * across), *kernels = memory.take_unset<T>(c.channels * 9 * across);
  T* by_bias = memory.take<T>(across);
  const T* x = static_cast<const T*>(c.x) + child * c.x_stride;
  const T* g = static_cast<const T*>(c.gradient) + child * c.images * c.filters * out_area;
  const auto add_products = [&](int64_t tiles) {
    for (int64_t e = 0; e < ELEMENTS; ++e)
      add_product<T>(c.channels, across, tiles, Left<T>{pixels + e * step, deep}, gradients + e * out_step, across,
                     sums + e * c.channels * across, across);
  };
  int64_t waiting = 0;  // tiles
  for (int64_t n = 0; n < c.images; ++n) {
    shape.place(x + n * c.channels * area, placed);
    results.place(g + n * c.filters * out_area, placed_gradient);
    for (int64_t y = 0; y < c.out_height; ++y)
      for (int64_t i = 0; i < c.out_width; ++i) {
        const T* from = placed_gradient + y * line + i * across;
        NONLIN_INDEPENDENT
        for (int64_t f = 0; f < across; ++f) by_bias[f] += from[f];
      }
    for (int64_t first = 0; first < shape.down; first += batch.rows) {
      const int64_t end = first + batch.rows < shape.down ? first + batch.rows : shape.down;
      transform_pixels(shape, placed, first, end, pixels + waiting * deep, step);
      tiles_of_gradients(placed_gradient + 2 * first * line, end - first, along, across,
                         gradients + waiting * across, out_step);
      waiting += (end - first) * along;
      if (waiting + batch.rows * along > batch.tiles) add_products(waiting), waiting = 0;
    }
  }
  if (waiting) add_products(waiting);
  if (c.gradient_weight) {
    kernels_of_sums(sums, c.channels, across, kernels);
    T* to = static_cast<T*>(c.gradient_weight) + child * c.filters * c.channels * 9;
    for (int64_t f = 0; f < c.filters; ++f)
      for (int64_t k = 0; k < c.channels * 9; ++k) *to++ = kernels[k * across + f];
  }
  if (c.gradient_bias)
    memcpy(static_cast<T*>(c.gradient_bias) + child * c.filters, by_bias, size_t(c.filters) * sizeof(T));
}
