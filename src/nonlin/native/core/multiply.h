// Small matrix products, register-tiled: a tile of rows x two vectors of the result, or of half the rows x four,
// stays in registers while the inner dimension runs. Matrices are row-major; a row of b and c is padded to whole vectors.

constexpr int64_t LINE = 64;  // bytes: leading dimensions are multiples of a cache line

template <class T>
constexpr int64_t padded(int64_t n) {
  constexpr int64_t unit = LINE / int64_t(sizeof(T));
  return (n + unit - 1) / unit * unit;
}

template <class T>
struct Vector {
  typedef T type __attribute__((vector_size(NONLIN_VECTOR_BYTES), aligned(sizeof(T)), may_alias));
  static constexpr int64_t lanes = NONLIN_VECTOR_BYTES / int64_t(sizeof(T));
};

// The left factor's element (m, k). Plain: data[m*step + k]. Transposed: data[m + k*step].
template <class T>
struct Left {
  const T* data;
  int64_t step;
};

// What a product is added to and multiplied with.
template <class T>
struct Finish {
  const T* start;   // a row that every row of the result starts from (a bias), or null for 0
  const T* factor;  // a matrix the result is multiplied with elementwise (a derivative), or null
  int64_t factor_step;
};

// One panel: some columns of the result, all of whose rows use the same columns of b.
template <class T>
struct Panel {
  int64_t inner;
  const T* b;
  int64_t b_step;
  const T* start;  // null, or what row r starts from, at start + r*start_step
  int64_t start_step;
  const T* factor;  // null, or as in Finish
  int64_t factor_step;
  T* c;
  int64_t c_step;
};

template <class T, int ROWS, int VECTORS, bool TRANSPOSED>
void multiply_tile(const T* a, int64_t a_step, const Panel<T>& panel, int64_t first_row) {
  typedef typename Vector<T>::type vector;
  constexpr int64_t LANES = Vector<T>::lanes;
  vector sum[ROWS][VECTORS];
  NONLIN_UNROLL
  for (int r = 0; r < ROWS; ++r)
    NONLIN_UNROLL
    for (int v = 0; v < VECTORS; ++v) {
      vector first = {};
      if (panel.start)
        first = *reinterpret_cast<const vector*>(panel.start + (first_row + r) * panel.start_step + v * LANES);
      sum[r][v] = first;
    }
  const T* row[ROWS];
  NONLIN_UNROLL
  for (int r = 0; r < ROWS; ++r) row[r] = a + (TRANSPOSED ? r : r * a_step);
  const T* b = panel.b;
  const int64_t inner = panel.inner, b_step = panel.b_step;
  for (int64_t k = 0; k < inner; ++k) {
    vector right[VECTORS];
    NONLIN_UNROLL
    for (int v = 0; v < VECTORS; ++v) right[v] = *reinterpret_cast<const vector*>(b + v * LANES);
    NONLIN_UNROLL
    for (int r = 0; r < ROWS; ++r) {
      const T left = TRANSPOSED ? a[r] : row[r][k];
      NONLIN_UNROLL
      for (int v = 0; v < VECTORS; ++v) sum[r][v] += left * right[v];
    }
    if (TRANSPOSED) a += a_step;
    b += b_step;
  }
  NONLIN_UNROLL
  for (int r = 0; r < ROWS; ++r)
    NONLIN_UNROLL
    for (int v = 0; v < VECTORS; ++v) {
      vector value = sum[r][v];
      if (panel.factor)
        value *= *reinterpret_cast<const vector*>(panel.factor + (first_row + r) * panel.factor_step + v * LANES);
      *reinterpret_cast<vector*>(panel.c + (first_row + r) * panel.c_step + v * LANES) = value;
    }
}

// The last rows, fewer than a tile's.
template <class T, int ROWS, int VECTORS, bool TRANSPOSED>
void multiply_rest(int64_t rows, const T* a, int64_t a_step, const Panel<T>& panel, int64_t first_row) {
  if constexpr (ROWS > 0) {
    if (rows == ROWS)
      multiply_tile<T, ROWS, VECTORS, TRANSPOSED>(a, a_step, panel, first_row);
    else
      multiply_rest<T, ROWS - 1, VECTORS, TRANSPOSED>(rows, a, a_step, panel, first_row);
  }
}

constexpr int TILE_VECTORS = 2 * NONLIN_TILE_ROWS;
constexpr int WIDEST = TILE_VECTORS < 16 ? 2 : 4;  // vectors of a panel; four need 21 registers

// Vectors of the next panel, with so many columns left.
template <class T>
int64_t panel_vectors(int64_t columns) {
  const int64_t vectors = columns / Vector<T>::lanes;
  return vectors >= WIDEST ? WIDEST : vectors >= 2 ? 2 : 1;
}

template <class T, int VECTORS, bool TRANSPOSED>
void multiply_panel(int64_t rows, Left<T> a, const Panel<T>& panel) {
  constexpr int ROWS = VECTORS == WIDEST ? TILE_VECTORS / WIDEST : NONLIN_TILE_ROWS;
  const int64_t stride = TRANSPOSED ? 1 : a.step;
  int64_t row = 0;
  for (; row + ROWS <= rows; row += ROWS)
    multiply_tile<T, ROWS, VECTORS, TRANSPOSED>(a.data + row * stride, a.step, panel, row);
  multiply_rest<T, ROWS - 1, VECTORS, TRANSPOSED>(rows - row, a.data + row * stride, a.step, panel, row);
}

// A panel of some `panel_vectors`.
template <class T, bool TRANSPOSED>
void multiply_panel(int64_t vectors, int64_t rows, Left<T> a, const Panel<T>& panel) {
  if (vectors == WIDEST)
    multiply_panel<T, WIDEST, TRANSPOSED>(rows, a, panel);
  else if (vectors == 2)
    multiply_panel<T, 2, TRANSPOSED>(rows, a, panel);
  else
    multiply_panel<T, 1, TRANSPOSED>(rows, a, panel);
}

constexpr int64_t WIDE_ROW = 2048;    // bytes: rows of b further apart are gathered, they would share cache sets
constexpr int64_t INNER_BLOCK = 512;  // vectors of b at a time: they fit in L1

// Scratch that multiply_matrices needs.
template <class T>
constexpr int64_t panel_size() {
  return INNER_BLOCK * 3 / 2 * Vector<T>::lanes;
}

// c = (start + a*b) * factor. `columns` is a multiple of the padding; scratch: panel_size elements.
template <class T, bool TRANSPOSED>
void multiply_matrices(int64_t rows, int64_t columns, int64_t inner, Left<T> a, const T* b, int64_t b_step, T* c,
                       int64_t c_step, const Finish<T>& finish, T* scratch) {
  constexpr int64_t LANES = Vector<T>::lanes;
  const bool gather = b_step * int64_t(sizeof(T)) >= WIDE_ROW && rows > 4 * NONLIN_TILE_ROWS;
  for (int64_t column = 0, width; column < columns; column += width) {
    const int64_t vectors = panel_vectors<T>(columns - column);
    width = vectors * LANES;
    const int64_t most = INNER_BLOCK / vectors, block = inner > most * 3 / 2 ? most : inner > 0 ? inner : 1;
    for (int64_t k = 0; k == 0 || k < inner; k += block) {  // once even if there is nothing to sum
      const int64_t depth = inner - k < block ? inner - k : block;
      const bool last = k + depth == inner;
      Panel<T> panel = {depth, b + k * b_step + column, b_step, nullptr, 0, nullptr, finish.factor_step,
                        c + column, c_step};
      if (k > 0)
        panel.start = panel.c, panel.start_step = c_step;  // go on from what is there
      else if (finish.start)
        panel.start = finish.start + column;
      if (last && finish.factor) panel.factor = finish.factor + column;
      if (gather) {
        for (int64_t i = 0; i < depth; ++i)
          memcpy(scratch + i * width, panel.b + i * b_step, size_t(width) * sizeof(T));
        panel.b = scratch, panel.b_step = width;
      }
      const Left<T> left = {a.data + (TRANSPOSED ? k * a.step : k), a.step};
      multiply_panel<T, TRANSPOSED>(vectors, rows, left, panel);
    }
  }
}

// c += a'*b, a being (inner, rows). `columns` is a multiple of the padding, and b's rows lie close together.
template <class T>
void add_product(int64_t rows, int64_t columns, int64_t inner, Left<T> a, const T* b, int64_t b_step, T* c,
                 int64_t c_step) {
  constexpr int64_t LANES = Vector<T>::lanes;
  for (int64_t column = 0, width; column < columns; column += width) {
    const int64_t vectors = panel_vectors<T>(columns - column);
    width = vectors * LANES;
    const Panel<T> panel = {inner, b + column, b_step, c + column, c_step, nullptr, 0, c + column, c_step};
    multiply_panel<T, true>(vectors, rows, a, panel);
  }
}

constexpr int64_t SIDE = 8;  // of the blocks in which matrices are transposed

#if defined(__clang__)
template <class T>
NONLIN_INLINE void transpose_block(const T* from, int64_t from_step, T* to, int64_t to_step) {
  T block[SIDE][SIDE];
  for (int64_t i = 0; i < SIDE; ++i)
    for (int64_t j = 0; j < SIDE; ++j) block[j][i] = from[i * from_step + j];
  for (int64_t j = 0; j < SIDE; ++j)
    for (int64_t i = 0; i < SIDE; ++i) to[j * to_step + i] = block[j][i];
}
#else
// Three times the first half of the rows interleaved with the second: the block is transposed.
template <class T>
NONLIN_INLINE void transpose_block(const T* from, int64_t from_step, T* to, int64_t to_step) {
  typedef T eight __attribute__((vector_size(SIDE * sizeof(T)), aligned(sizeof(T)), may_alias));
  typedef typename std::conditional<sizeof(T) == 4, int32_t, int64_t>::type index;
  typedef index indices __attribute__((vector_size(SIDE * sizeof(T))));
  constexpr indices low = {0, 8, 1, 9, 2, 10, 3, 11}, high = {4, 12, 5, 13, 6, 14, 7, 15};
  eight rows[SIDE], mixed[SIDE];
  NONLIN_UNROLL
  for (int64_t i = 0; i < SIDE; ++i) rows[i] = *reinterpret_cast<const eight*>(from + i * from_step);
  NONLIN_UNROLL
  for (int round = 0; round < 3; ++round) {
    NONLIN_UNROLL
    for (int64_t i = 0; i < SIDE / 2; ++i) {
      mixed[2 * i] = __builtin_shuffle(rows[i], rows[i + SIDE / 2], low);
      mixed[2 * i + 1] = __builtin_shuffle(rows[i], rows[i + SIDE / 2], high);
    }
    NONLIN_UNROLL
    for (int64_t i = 0; i < SIDE; ++i) rows[i] = mixed[i];
  }
  NONLIN_UNROLL
  for (int64_t i = 0; i < SIDE; ++i) *reinterpret_cast<eight*>(to + i * to_step) = rows[i];
}
#endif

// to (columns, rows) = transposed from (rows, columns)
template <class T>
void transpose(int64_t rows, int64_t columns, const T* from, int64_t from_step, T* to, int64_t to_step) {
  for (int64_t r = 0; r < rows; r += SIDE)
    for (int64_t c = 0; c < columns; c += SIDE) {
      const int64_t height = rows - r < SIDE ? rows - r : SIDE, width = columns - c < SIDE ? columns - c : SIDE;
      const T* source = from + r * from_step + c;
      T* target = to + c * to_step + r;
      if (height == SIDE && width == SIDE) {
        transpose_block(source, from_step, target, to_step);
      } else {
        for (int64_t j = 0; j < width; ++j)
          for (int64_t i = 0; i < height; ++i) target[j * to_step + i] = source[i * from_step + j];
      }
    }
}

// One of the products of nl_multiply. The caller's rows are not padded: the last vector of columns overlaps the
// one before it, or, where there is none, goes through scratch.
template <class T>
void multiply_one(const nl_product& p, int64_t child) {
  constexpr int64_t LANES = Vector<T>::lanes;
  const T* a = static_cast<const T*>(p.a) + child * p.a_stride;
  const T* b = static_cast<const T*>(p.b) + child * p.b_stride;
  const T* start = p.start ? static_cast<const T*>(p.start) + child * p.start_stride : nullptr;
  T* c = static_cast<T*>(p.c) + child * p.rows * p.columns;
  Memory memory;
  T* scratch = memory.take_unset<T>(panel_size<T>());
  const Left<T> left = {a, p.a_transposed ? p.rows : p.inner};
  const auto run = [&](int64_t columns, const T* right, int64_t right_step, T* to, int64_t to_step, const T* from) {
    const Finish<T> finish = {from, nullptr, 0};
    if (p.a_transposed)
      multiply_matrices<T, true>(p.rows, columns, p.inner, left, right, right_step, to, to_step, finish, scratch);
    else
      multiply_matrices<T, false>(p.rows, columns, p.inner, left, right, right_step, to, to_step, finish, scratch);
  };
  int64_t b_step = p.columns;
  if (p.b_transposed) {  // (columns, inner): turned once
    b_step = padded<T>(p.columns);
    T* turned = memory.take_unset<T>(p.inner * b_step);
    transpose(p.columns, p.inner, b, p.inner, turned, b_step);
    b = turned;
  }
  if (p.columns >= LANES) {
    const int64_t whole = p.columns / LANES * LANES, last = p.columns - LANES;
    run(whole, b, b_step, c, p.columns, start);
    if (whole < p.columns) run(LANES, b + last, b_step, c + last, p.columns, start ? start + last : nullptr);
    return;
  }
  const size_t width = size_t(p.columns) * sizeof(T);
  T *right = memory.take<T>(p.inner * LANES), *result = memory.take_unset<T>(p.rows * LANES);
  T* from = memory.take<T>(LANES);
  for (int64_t k = 0; k < p.inner; ++k) memcpy(right + k * LANES, b + k * b_step, width);
  if (start) memcpy(from, start, width);
  run(LANES, right, LANES, result, LANES, start ? from : nullptr);
  for (int64_t m = 0; m < p.rows; ++m) memcpy(c + m * p.columns, result + m * LANES, width);
}

static void multiply(const nl_product& product) {
  const auto work = [](void* raw, int64_t child) {
    const nl_product& p = *static_cast<const nl_product*>(raw);
    const FlushSubnormals flush;
    if (p.dtype == NL_FLOAT64)
      multiply_one<double>(p, child);
    else
      multiply_one<float>(p, child);
  };
  run_parallel(product.threads, product.children, work, const_cast<nl_product*>(&product));
}
