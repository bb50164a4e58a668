// Attention and the last layer of K stacked children: softmax(q*k'*scale)*v of small sequences, the losses of
// decisions, and means over windows. As in stacked.h, each child is computed by itself.

// Rows of n numbers, `step` apart, into rows of `to_step`, the rest of which stays as it is.
template <class T>
NONLIN_INLINE void gather_rows(int64_t rows, int64_t n, const T* from, int64_t step, T* to, int64_t to_step) {
  for (int64_t r = 0; r < rows; ++r) memcpy(to + r * to_step, from + r * step, size_t(n) * sizeof(T));
}

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
  T lanes[LANES];
  memcpy(lanes, &most, sizeof lanes);
  for (int64_t half = LANES / 2; half > 0; half /= 2)
    for (int64_t j = 0; j < half; ++j) lanes[j] = lanes[j + half] > lanes[j] ? lanes[j + half] : lanes[j];
  return lanes[0];
}

template <class T>
class AttentionJob {
 public:
  explicit AttentionJob(const nl_attention& c)
      : c_(c), n_(c.positions), d_(c.features), wide_(padded<T>(n_)), deep_(padded<T>(d_)) {
    turned_ = memory_.take<T>(d_ * wide_);  // a factor, transposed
    for (T*& part : parts_) part = memory_.take<T>(n_ * deep_);
    scores_ = memory_.take<T>(n_ * wide_);
    result_ = memory_.take<T>(n_ * deep_);
    scratch_ = memory_.take_unset<T>(panel_size<T>());
  }

  void forward(int64_t child, int64_t batch, int64_t head) {
    const int64_t in = child * c_.child + batch * c_.batch + head * c_.head;
    const T *q = at(c_.q, in), *k = at(c_.k, in), *v = at(c_.v, in);
    T* p = static_cast<T*>(c_.shares) + ((child * c_.batches + batch) * c_.heads + head) * n_ * wide_;
    transpose(n_, d_, k, c_.position, turned_, wide_);
    product<false>(n_, wide_, d_, q, c_.position, turned_, wide_, p, wide_);
    for (int64_t i = 0; i < n_; ++i) softmax(p + i * wide_, c_.causal ? i + 1 : n_);
    gather_rows(n_, d_, v, c_.position, parts_[0], deep_);
    product<false>(n_, deep_, n_, p, wide_, parts_[0], deep_, result_, deep_);
    gather_rows(n_, d_, result_, deep_, static_cast<T*>(c_.out) + outside(child, batch, head), c_.out_position);
  }

  void backward(int64_t child, int64_t batch, int64_t head) {
    const int64_t in = child * c_.child + batch * c_.batch + head * c_.head;
    const int64_t grad = child * c_.by_child + batch * c_.by_batch + head * c_.by_head;
    const T *g = at(c_.gradient, outside(child, batch, head)), *v = at(c_.v, in);
    const T* p = static_cast<const T*>(c_.shares) + ((child * c_.batches + batch) * c_.heads + head) * n_ * wide_;
    gather_rows(n_, d_, g, c_.out_position, parts_[0], deep_);
    gather_rows(n_, d_, at(c_.q, in), c_.position, parts_[1], deep_);
    gather_rows(n_, d_, at(c_.k, in), c_.position, parts_[2], deep_);
    product<true>(n_, deep_, n_, p, wide_, parts_[0], deep_, result_, deep_);
    gather_rows(n_, d_, result_, deep_, static_cast<T*>(c_.by_v) + grad, c_.by_position);
    transpose(n_, d_, v, c_.position, turned_, wide_);
    product<false>(n_, wide_, d_, g, c_.out_position, turned_, wide_, scores_, wide_);
    const T scale = T(c_.scale);
    for (int64_t i = 0; i < n_; ++i) {
      T* s = scores_ + i * wide_;
      const T* share = p + i * wide_;
      const T mean = sum_of<T>(wide_, [&](int64_t j) { return load_vector(s + j) * load_vector(share + j); },
                               [&](int64_t j) { return s[j] * share[j]; });
      NONLIN_INDEPENDENT
      for (int64_t j = 0; j < wide_; ++j) s[j] = share[j] * (s[j] - mean) * scale;
    }
    product<false>(n_, deep_, n_, scores_, wide_, parts_[2], deep_, result_, deep_);
    gather_rows(n_, d_, result_, deep_, static_cast<T*>(c_.by_q) + grad, c_.by_position);
    product<true>(n_, deep_, n_, scores_, wide_, parts_[1], deep_, result_, deep_);
    gather_rows(n_, d_, result_, deep_, static_cast<T*>(c_.by_k) + grad, c_.by_position);
  }

 private:
  static const T* at(const void* base, int64_t offset) { return static_cast<const T*>(base) + offset; }
  int64_t outside(int64_t child, int64_t batch, int64_t head) const {
    return child * c_.out_child + batch * c_.out_batch + head * c_.out_head;
  }

  template <bool TRANSPOSED>
  void product(int64_t rows, int64_t columns, int64_t inner, const T* a, int64_t a_step, const T* b, int64_t b_step,
               T* c, int64_t c_step) {
    multiply_matrices<T, TRANSPOSED>(rows, columns, inner, Left<T>{a, a_step}, b, b_step, c, c_step,
                                     Finish<T>{nullptr, nullptr, 0}, scratch_);
  }

  // Scores to shares: the first `seen` count, the others become 0.
  void softmax(T* s, int64_t seen) const {
    const T scale = T(c_.scale);
    const T most = largest_of(s, seen) * scale;  // scale is above 0
    NONLIN_INDEPENDENT
    for (int64_t j = 0; j < wide_; ++j) s[j] = exponential(s[j] * scale - most);
    for (int64_t j = seen; j < wide_; ++j) s[j] = T(0);
    const T sum = sum_of<T>(wide_, [&](int64_t j) { return load_vector(s + j); }, [&](int64_t j) { return s[j]; });
    const T factor = T(1) / sum;
    NONLIN_INDEPENDENT
    for (int64_t j = 0; j < wide_; ++j) s[j] *= factor;
  }

  const nl_attention& c_;
  const int64_t n_, d_, wide_, deep_;
  Memory memory_;
  T *turned_, *parts_[3], *scores_, *result_, *scratch_;
};

template <class T>
void attend_one(const nl_attention& call, int64_t child) {
  AttentionJob<T> job(call);
  for (int64_t b = 0; b < call.batches; ++b)
    for (int64_t h = 0; h < call.heads; ++h)
      if (call.gradient)
        job.backward(child, b, h);
      else
        job.forward(child, b, h);
}

static void attend(const nl_attention& call) {
  const auto work = [](void* raw, int64_t child) {
    const nl_attention& c = *static_cast<const nl_attention*>(raw);
    const FlushSubnormals flush;
    c.dtype == NL_FLOAT64 ? attend_one<double>(c, child) : attend_one<float>(c, child);
  };
  run_parallel(call.threads, call.children, work, const_cast<nl_attention*>(&call));
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

template <class T>
void pool_typed(const nl_windows& c) {
  c.wide == 2 ? pool_planes<T, 2>(c) : pool_planes<T, 0>(c);
}

static void pool(const nl_windows& c) { c.dtype == NL_FLOAT64 ? pool_typed<double>(c) : pool_typed<float>(c); }
