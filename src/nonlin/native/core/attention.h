// Attention of K stacked children: softmax(q*k'*scale)*v of small sequences. As in stacked.h, each child is computed by
// itself.

// Rows of n numbers, `step` apart, into rows of `to_step`, the rest of which stays as it is.
template <class T>
NONLIN_INLINE void gather_rows(int64_t rows, int64_t n, const T* from, int64_t step, T* to, int64_t to_step) {
  struct Piece {
    T items[32 / sizeof(T)];
  };
  constexpr int64_t size = sizeof(Piece) / sizeof(T);
  if (n % size) {
    for (int64_t r = 0; r < rows; ++r) memcpy(to + r * to_step, from + r * step, size_t(n) * sizeof(T));
    return;
  }
  for (int64_t r = 0; r < rows; ++r)  // pieces of a known size need no call
    for (int64_t i = 0; i < n; i += size) memcpy(to + r * to_step + i, from + r * step + i, sizeof(Piece));
}

// Where a head's numbers lie.
template <class T>
struct Head {
  Head(const nl_attention& c, int64_t child, int64_t batch, int64_t head) {
    const int64_t in = child * c.child + batch * c.batch + head * c.head;
    const int64_t outside = child * c.out_child + batch * c.out_batch + head * c.out_head;
    const int64_t by = child * c.by_child + batch * c.by_batch + head * c.by_head;
    const int64_t number = (child * c.batches + batch) * c.heads + head;
    q = static_cast<const T*>(c.q) + in, k = static_cast<const T*>(c.k) + in, v = static_cast<const T*>(c.v) + in;
    shares = static_cast<T*>(c.shares) + number * c.positions * padded<T>(c.positions);
    if (c.gradient) {
      gradient = static_cast<const T*>(c.gradient) + outside;
      by_q = static_cast<T*>(c.by_q) + by, by_k = static_cast<T*>(c.by_k) + by, by_v = static_cast<T*>(c.by_v) + by;
    } else {
      out = static_cast<T*>(c.out) + outside;
    }
  }
  const T *q, *k, *v, *gradient = nullptr;
  T *shares, *out = nullptr, *by_q = nullptr, *by_k = nullptr, *by_v = nullptr;
};

// One head after another. Shares lie as (key, query): what a softmax runs over is then the same lane of many vectors,
// and no sum runs across lanes. With causality the blocks of keys that a block of queries does not see are left out.
template <class T>
class AttentionJob {
 public:
  explicit AttentionJob(const nl_attention& c)
      : c_(c), n_(c.positions), d_(c.features), wide_(padded<T>(n_)), deep_(padded<T>(d_)) {
    turned_ = memory_.take<T>(d_ * wide_);  // a factor, transposed
    copy_ = memory_.take<T>(n_ * deep_);
    scores_ = memory_.take<T>(n_ * wide_);
    result_ = memory_.take<T>(n_ * deep_ + d_ * wide_);
    scratch_ = memory_.take_unset<T>(panel_size<T>());
  }

  void forward(const Head<T>& head) {
    transpose(n_, d_, head.q, c_.position, turned_, wide_);
    by_key_and_query(head.k, c_.position, head.shares);
    softmax(head.shares);
    sum_over_keys(head.shares, head.v, c_.position, head.out, c_.out_position);
  }

  void backward(const Head<T>& head) {
    sum_over_queries(head.shares, rows_of(head.gradient, c_.out_position), head.by_v);
    transpose(n_, d_, head.gradient, c_.out_position, turned_, wide_);
    by_key_and_query(head.v, c_.position, scores_);
    through_softmax(head.shares);
    sum_over_keys(scores_, head.k, c_.position, head.by_q, c_.by_position);
    sum_over_queries(scores_, rows_of(head.q, c_.position), head.by_k);
  }

 private:
  static constexpr int64_t UNIT = LINE / int64_t(sizeof(T));  // queries in a block, and keys
  struct Rows {  // (n, deep) with any distance between rows
    const T* data;
    int64_t step;
  };

  // The right factor of a product: where it lies, if its rows are whole vectors, or a copy padded with zeros.
  Rows rows_of(const T* from, int64_t step) const {
    if (d_ == deep_) return {from, step};
    gather_rows(n_, d_, from, step, copy_, deep_);
    return {copy_, deep_};
  }

  int64_t block() const { return c_.causal ? UNIT : n_; }
  int64_t end_of(int64_t begin) const { return begin + block() < n_ ? begin + block() : n_; }
  int64_t seen_from(int64_t key) const { return c_.causal ? key / UNIT * UNIT : 0; }  // the first query, rounded down

  template <bool TRANSPOSED>
  void product(int64_t rows, int64_t columns, int64_t inner, const T* a, int64_t a_step, const T* b, int64_t b_step,
               T* c, int64_t c_step) {
    multiply_matrices<T, TRANSPOSED>(rows, columns, inner, Left<T>{a, a_step}, b, b_step, c, c_step,
                                     Finish<T>{nullptr, nullptr, 0}, scratch_);
  }

  // s (key, query) = rows (key, feature) * turned_ (feature, query)
  void by_key_and_query(const T* rows, int64_t step, T* s) {
    for (int64_t key = 0; key < n_; key += block()) {
      const int64_t first = seen_from(key);
      product<false>(end_of(key) - key, wide_ - first, d_, rows + key * step, step, turned_ + first, wide_,
                     s + key * wide_ + first, wide_);
    }
  }

  // to (query, feature) = sum over keys of s (key, query) * rows (key, feature), which lie in the caller's memory
  void sum_over_keys(const T* s, const T* rows, int64_t step, T* to, int64_t to_step) {
    for (int64_t query = 0; query < n_; query += block()) {
      const int64_t end = end_of(query), keys = c_.causal ? end : n_;
      if (d_ == deep_) {
        product<true>(end - query, deep_, keys, s + query, wide_, rows, step, to + query * to_step, to_step);
        continue;
      }
      const int64_t width = padded<T>(end - query);  // few features: queries fill the vectors better
      product<true>(d_, width, keys, rows, step, s + query, wide_, result_, width);
      transpose(d_, end - query, result_, width, to + query * to_step, to_step);
    }
  }

  // to (key, feature) = sum over queries of s (key, query) * rows (query, feature)
  void sum_over_queries(const T* s, Rows rows, T* to) {
    const int64_t to_step = c_.by_position;
    const bool whole = d_ == deep_;
    for (int64_t key = 0; key < n_; key += block()) {
      const int64_t end = end_of(key), first = seen_from(key);
      T* place = to + key * to_step;
      product<false>(end - key, deep_, n_ - first, s + key * wide_ + first, wide_, rows.data + first * rows.step,
                     rows.step, whole ? place : result_, whole ? to_step : deep_);
      if (!whole) gather_rows(end - key, d_, result_, deep_, place, to_step);
    }
  }

  // A block of queries in a row of shares: one vector.
  typedef typename Line<T>::type line;
  static line& line_at(T* x) { return *reinterpret_cast<line*>(x); }
  static const line& line_at(const T* x) { return *reinterpret_cast<const line*>(x); }
  int64_t keys_seen(int64_t query) const { return c_.causal ? end_of(query) : n_; }  // by that block of queries

  // Scores to shares, over the keys; of a key that a query does not see the share is 0.
  void softmax(T* s) const {
    const T scale = T(c_.scale);  // above 0
    for (int64_t query = 0; query < wide_; query += UNIT) {
      const int64_t keys = keys_seen(query);
      for (int64_t key = query + 1; c_.causal && key < keys; ++key)
        for (int64_t i = query; i < key; ++i) s[key * wide_ + i] = -T(INFINITE);
      line most = line_at(s + query), sum = {};
      for (int64_t key = 1; key < keys; ++key) {
        const line& x = line_at(s + key * wide_ + query);
        most = x > most ? x : most;
      }
      T top[UNIT];
      memcpy(top, &most, sizeof top);
      for (int64_t key = 0; key < keys; ++key) {
        T* x = s + key * wide_ + query;
        NONLIN_INDEPENDENT
        for (int64_t i = 0; i < UNIT; ++i) x[i] = exponential((x[i] - top[i]) * scale);
        sum += line_at(x);
      }
      const line factor = T(1) / sum;
      for (int64_t key = 0; key < keys; ++key) line_at(s + key * wide_ + query) *= factor;
    }
  }

  // The gradient by the scores, in place of that by the shares p.
  void through_softmax(const T* p) {
    const T scale = T(c_.scale);
    for (int64_t query = 0; query < wide_; query += UNIT) {
      const int64_t keys = keys_seen(query);
      line sum = {};
      for (int64_t at = query; at < keys * wide_; at += wide_) sum += line_at(scores_ + at) * line_at(p + at);
      for (int64_t at = query; at < keys * wide_; at += wide_)
        line_at(scores_ + at) = line_at(p + at) * (line_at(scores_ + at) - sum) * scale;
    }
  }

  const nl_attention& c_;
  const int64_t n_, d_, wide_, deep_;
  Memory memory_;
  T *turned_, *copy_, *scores_, *result_, *scratch_;
};

// The same where the positions are a line's lanes and D is the number of features: a head in registers.
template <class T, int D>
class SmallAttentionJob {
 public:
  explicit SmallAttentionJob(const nl_attention& c) : c_(c) {}

  void forward(const Head<T>& head) const {
    line s[N];
    by_key_and_query(head.q, c_.position, head.k, s);
    softmax(s);
    memcpy(head.shares, s, sizeof s);
    row rows[N];
    load(head.v, c_.position, rows);
    combine(head.shares, 1, N, rows, head.out, c_.out_position);
  }

  void backward(const Head<T>& head) const {
    row rows[N];
    load(head.gradient, c_.out_position, rows);
    combine(head.shares, N, 1, rows, head.by_v, c_.by_position);
    line s[N];
    by_key_and_query(head.gradient, c_.out_position, head.v, s);
    through_softmax(head.shares, s);
    const T* weights = reinterpret_cast<const T*>(s);
    load(head.k, c_.position, rows);
    combine(weights, 1, N, rows, head.by_q, c_.by_position);
    load(head.q, c_.position, rows);
    combine(weights, N, 1, rows, head.by_k, c_.by_position);
  }

 private:
  static constexpr int64_t N = Line<T>::lanes;
  typedef typename Line<T>::type line;  // a number of each query
  typedef T row __attribute__((vector_size(D * sizeof(T)), aligned(sizeof(T)), may_alias));

  static NONLIN_INLINE_MEMBER void load(const T* from, int64_t step, row* rows) {
    NONLIN_UNROLL
    for (int64_t i = 0; i < N; ++i) rows[i] = *reinterpret_cast<const row*>(from + i * step);
  }

  // s[key] = sum over features of the queries' (query, feature) * rows (key, feature), both of the caller's layout
  NONLIN_INLINE_MEMBER void by_key_and_query(const T* queries, int64_t step, const T* rows, line* s) const {
    line turned[D];
    transpose(N, int64_t(D), queries, step, reinterpret_cast<T*>(turned), N);
    for (int64_t key = 0; key < N; ++key) {
      const T* number = rows + key * c_.position;
      line sum = turned[0] * number[0];
      NONLIN_UNROLL
      for (int f = 1; f < D; ++f) sum += turned[f] * number[f];
      s[key] = sum;
    }
  }

  // to[i] = sum over j of weights[i*across + j*along] * rows[j]
  static NONLIN_INLINE_MEMBER void combine(const T* weights, int64_t across, int64_t along, const row* rows, T* to,
                                           int64_t step) {
    for (int64_t i = 0; i < N; ++i) {
      const T* weight = weights + i * across;
      row sum = rows[0] * weight[0];
      NONLIN_UNROLL
      for (int64_t j = 1; j < N; ++j) sum += rows[j] * weight[j * along];
      *reinterpret_cast<row*>(to + i * step) = sum;
    }
  }

  void softmax(line* s) const {
    T* const numbers = reinterpret_cast<T*>(s);
    for (int64_t key = 1; c_.causal && key < N; ++key)
      for (int64_t query = 0; query < key; ++query) numbers[key * N + query] = -T(INFINITE);
    line most = s[0], sum = {};
    for (int64_t key = 1; key < N; ++key) most = s[key] > most ? s[key] : most;
    const T scale = T(c_.scale);  // above 0
    for (int64_t key = 0; key < N; ++key) s[key] = (s[key] - most) * scale;
    NONLIN_INDEPENDENT
    for (int64_t i = 0; i < N * N; ++i) numbers[i] = exponential(numbers[i]);
    for (int64_t key = 0; key < N; ++key) sum += s[key];
    const line factor = T(1) / sum;
    for (int64_t key = 0; key < N; ++key) s[key] *= factor;
  }

  // The gradient by the scores, in place of that by the shares.
  void through_softmax(const T* shares, line* s) const {
    const line* const p = reinterpret_cast<const line*>(shares);
    const T scale = T(c_.scale);
    line sum = {};
    for (int64_t key = 0; key < N; ++key) sum += s[key] * p[key];
    for (int64_t key = 0; key < N; ++key) s[key] = p[key] * (s[key] - sum) * scale;
  }

  const nl_attention& c_;
};

template <class Job, class T>
void attend_with(const nl_attention& call, int64_t child) {
  Job job(call);
  for (int64_t b = 0; b < call.batches; ++b)
    for (int64_t h = 0; h < call.heads; ++h) {
      const Head<T> head(call, child, b, h);
      if (call.gradient)
        job.backward(head);
      else
        job.forward(head);
    }
}

template <class T>
void attend_one(const nl_attention& call, int64_t child) {
  if (call.positions == Line<T>::lanes && call.features == 8)
    attend_with<SmallAttentionJob<T, 8>, T>(call, child);
  else if (call.positions == Line<T>::lanes && call.features == 16)
    attend_with<SmallAttentionJob<T, 16>, T>(call, child);
  else
    attend_with<AttentionJob<T>, T>(call, child);
}

static void attend(const nl_attention& call) {
  const auto work = [](void* raw, int64_t child) {
    const nl_attention& c = *static_cast<const nl_attention*>(raw);
    const FlushSubnormals flush;
    c.dtype == NL_FLOAT64 ? attend_one<double>(c, child) : attend_one<float>(c, child);
  };
  run_parallel(call.threads, call.children, work, const_cast<nl_attention*>(&call));
}
