// The last layer of K stacked children: the losses of decisions, and means over windows. As in stacked.h, each child is
// computed by itself.

// The largest of n numbers, or any of them if some are NaN.
template <class T>
NONLIN_INLINE T largest_of(const T* x, int64_t n) {
  constexpr int64_t LANES = Vector<T>::lanes;
  if (n < LANES) {
    T most = x[0];
    for (int64_t i = 1; i < n; ++i) most = x[i] > most ? x[i] : most;
    return most;
  }
  auto most = load_vector(x);
  for (int64_t i = LANES; i < n; i += LANES) {
    const auto next = load_vector(x + (i + LANES <= n ? i : n - LANES));  // the last one overlaps
    most = next > most ? next : most;
  }
  return fold_lanes<T>(most, [](auto a, auto b) { return b > a ? b : a; });
}

// Decisions between classes: logarithms of the probabilities, their mean negative at the targets, its gradient.
template <class T>
void decide_one(const nl_decisions& c, int64_t child) {
  const int64_t n = c.classes, size = c.rows * n;
  T* logarithms = static_cast<T*>(c.logarithms) + child * size;
  Memory memory;
  T* e = memory.take<T>(n + BLOCK);
  if (c.x) {
    const T* x = static_cast<const T*>(c.x) + child * size;
    for (int64_t r = 0; r < c.rows; ++r, x += n, logarithms += n) {
      const T most = largest_of(x, n);
      NONLIN_INDEPENDENT
      for (int64_t j = 0; j < n; ++j) e[j] = exponential(x[j] - most);
      const T sum = sum_of<T>(n, [&](int64_t j) { return load_vector(e + j); }, [&](int64_t j) { return e[j]; });
      const T offset = most + logarithm(sum);
      NONLIN_INDEPENDENT
      for (int64_t j = 0; j < n; ++j) logarithms[j] = x[j] - offset;
    }
    logarithms = static_cast<T*>(c.logarithms) + child * size;
  }
  if (!c.targets) return;
  int64_t counted = 0;
  for (int64_t r = 0; r < c.rows; ++r) counted += c.targets[r] != c.ignored;
  if (c.loss) {
    double total = 0;
    for (int64_t r = 0; r < c.rows; ++r)
      if (c.targets[r] != c.ignored) total -= double(logarithms[r * n + c.targets[r]]);
    static_cast<T*>(c.loss)[child] = T(total / double(counted));
  }
  if (!c.gradient) return;
  T* g = static_cast<T*>(c.gradient) + child * size;
  const T share = T(c.scale / double(counted));
  NONLIN_INDEPENDENT
  for (int64_t i = 0; i < size; ++i) g[i] = exponential(logarithms[i]) * share;
  for (int64_t r = 0; r < c.rows; ++r)
    if (c.targets[r] != c.ignored)
      g[r * n + c.targets[r]] -= share;
    else
      for (int64_t j = 0; j < n; ++j) g[r * n + j] = T(0);
}

static void decide(const nl_decisions& call) {
  const auto work = [](void* raw, int64_t child) {
    const nl_decisions& c = *static_cast<const nl_decisions*>(raw);
    c.dtype == NL_FLOAT64 ? decide_one<double>(c, child) : decide_one<float>(c, child);
  };
  run_parallel(call.threads, call.children, work, const_cast<nl_decisions*>(&call));
}

// Means over windows side by side, of planes (height, width); backward spreads each over its window. Rows are short, so
// that sums and copies along them run over many rows at once.
template <class T, int WIDE>
void pool_planes(const nl_windows& c) {
  const int64_t wide = WIDE ? WIDE : c.wide, out_width = c.width / wide, out_height = c.height / c.tall;
  const int64_t lines = c.planes * out_height, block = 64, across = c.tall * out_width;
  const T share = T(1) / T(c.tall * wide);
  const T* from = static_cast<const T*>(c.from);
  T* to = static_cast<T*>(c.to);
  Memory memory;
  T* sums = memory.take_unset<T>(block * (c.backward ? c.width : across));
  for (int64_t line = 0; line < lines; line += block) {
    const int64_t count = lines - line < block ? lines - line : block;
    if (c.backward) {
      NONLIN_INDEPENDENT
      for (int64_t i = 0; i < count * out_width; ++i)
        for (int64_t x = 0; x < wide; ++x) sums[i * wide + x] = from[i] * share;
      for (int64_t r = 0; r < count; ++r)
        for (int64_t y = 0; y < c.tall; ++y, to += c.width)
          for (int64_t i = 0; i < c.width; ++i) to[i] = sums[r * c.width + i];
      from += count * out_width;
      continue;
    }
    NONLIN_INDEPENDENT
    for (int64_t i = 0; i < count * across; ++i) {
      T sum = from[i * wide];
      for (int64_t x = 1; x < wide; ++x) sum += from[i * wide + x];
      sums[i] = sum * share;
    }
    for (int64_t r = 0; r < count; ++r, to += out_width)
      for (int64_t j = 0; j < out_width; ++j) {
        T sum = sums[r * across + j];
        for (int64_t y = 1; y < c.tall; ++y) sum += sums[r * across + y * out_width + j];
        to[j] = sum;
      }
    from += count * across * wide;
  }
}

// The same with channels last in the tensor with windows: an image's means are computed as (height, width, channels).
// Called with pieces of a pixel's channels: as(T*) is where they lie, a vector or a number.
template <class T, class Piece>
NONLIN_INLINE void pool_window(const nl_windows& c, T* large, T* small, T share, Piece as) {
  const int64_t n = c.channels, row = c.width * n, tall = c.tall, wide = c.wide;
  if (c.backward) {
    const auto value = as(small) * share;
    for (int64_t i = 0; i < tall; ++i)
      for (int64_t j = 0; j < wide; ++j) as(large + i * row + j * n) = value;
    return;
  }
  auto sum = as(large);
  for (int64_t i = 0; i < tall; ++i)
    for (int64_t j = i == 0; j < wide; ++j) sum += as(large + i * row + j * n);
  as(small) = sum * share;
}

template <class T>
void pool_pixels(const nl_windows& c) {
  typedef typename Vector<T>::type vector;
  const int64_t n = c.channels, out_width = c.width / c.wide, out_height = c.height / c.tall;
  const int64_t area = c.height * c.width * n, means = out_height * out_width;
  const T share = T(1) / T(c.tall * c.wide);
  T* large = static_cast<T*>(c.backward ? c.to : const_cast<void*>(c.from));  // only what `to` is gets written
  T* small = static_cast<T*>(c.backward ? const_cast<void*>(c.from) : c.to);
  Memory memory;
  T* turned = memory.take_unset<T>(means * n);
  for (int64_t image = 0; image < c.planes / n; ++image, large += area, small += means * n) {
    if (!c.small_last && c.backward) transpose(n, means, small, means, turned, n);
    T* mean = c.small_last ? small : turned;
    for (int64_t y = 0; y < out_height; ++y)
      for (int64_t x = 0; x < out_width; ++x, mean += n) {
        T* window = large + (y * c.tall * c.width + x * c.wide) * n;
        int64_t k = 0;
        for (; k + Vector<T>::lanes <= n; k += Vector<T>::lanes)
          pool_window(c, window + k, mean + k, share, [](T* at) -> vector& { return *reinterpret_cast<vector*>(at); });
        for (; k < n; ++k) pool_window(c, window + k, mean + k, share, [](T* at) -> T& { return *at; });
      }
    if (!c.small_last && !c.backward) transpose(means, n, turned, n, small, means);
  }
}

template <class T>
void pool_typed(const nl_windows& c) {
  if (c.large_last) return pool_pixels<T>(c);
  c.wide == 2 ? pool_planes<T, 2>(c) : pool_planes<T, 0>(c);
}

static void pool(const nl_windows& c) { c.dtype == NL_FLOAT64 ? pool_typed<double>(c) : pool_typed<float>(c); }
