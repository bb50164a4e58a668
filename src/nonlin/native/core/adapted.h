// An activation f0 with its adaptive correction in one pass over x: the value, and the factors by which the backward
// pass multiplies gradients, so that it evaluates neither again.

// f0 and its derivative over a tile, by x*Phi(x) itself or by a program.
template <class T>
class GeluBase {
 public:
  GeluBase(const nl_program*, Memory& memory)
      : value_(memory.take_unset<T>(TILE)), slope_(memory.take_unset<T>(TILE)) {}
  const T* value() const { return value_; }
  const T* slope() const { return slope_; }
  // x has whole blocks
  void run(const T* x, int64_t n) const {
    typedef Wide<T> W;
    constexpr int TOGETHER = 4;
    for (int64_t i = 0; i < n; i += TOGETHER * W::lanes) {
      NONLIN_UNROLL
      for (int v = 0; v < TOGETHER; ++v) {
        const int64_t at = i + v * W::lanes;
        typename W::type value, slope;
        gelu_of(W::load(x + at), value, slope);
        W::store(value_ + at, value);
        W::store(slope_ + at, slope);
      }
    }
  }

 private:
  T *const value_, *const slope_;
};

template <class T>
class ProgramBase {
 public:
  ProgramBase(const nl_program* program, Memory& memory) : machine_(*program, memory) {}
  const T* value() const { return machine_.output(0); }
  const T* slope() const { return machine_.output(1); }
  void run(const T* x, int64_t n) { machine_.run(x, n); }

 private:
  Machine<T> machine_;
};

// A block of BLOCK elements: x, the base and its derivative; the results.
template <class T>
struct Adapted {
  const T *x, *base, *slope;
  T *out, *by_x, *by_rho;  // by_rho: of a table alone
  const T* const* numbers;  // numbers[p][i], or numbers[p][0] where they are the same everywhere
};

// The intercepts and slopes of a block's positions. `lines` has 64 numbers more behind either row.
template <class T>
NONLIN_INLINE void look_up_near(const T* lines, int64_t step, int64_t segments, const int32_t* index, T* intercepts,
                                T* slopes) {
  for (int64_t i = 0; i < BLOCK; ++i) intercepts[i] = lines[index[i]], slopes[i] = lines[step + index[i]];
}

#if NONLIN_VECTOR_BYTES == 64
// values[index] for 16 indices below 64, from four registers.
NONLIN_INLINE __m512 permuted_near(const __m512* values, __m512i index, __mmask16 upper) {
  return _mm512_mask_blend_ps(upper, _mm512_permutex2var_ps(values[0], index, values[1]),
                              _mm512_permutex2var_ps(values[2], index, values[3]));
}

// Most blocks' positions are within 64 segments of each other.
NONLIN_INLINE void look_up_near(const float* lines, int64_t step, int64_t segments, const int32_t* index,
                                float* intercepts, float* slopes) {
  __m512i at[4];
  for (int v = 0; v < 4; ++v) at[v] = _mm512_loadu_si512(index + 16 * v);
  const __m512i least = _mm512_min_epi32(_mm512_min_epi32(at[0], at[1]), _mm512_min_epi32(at[2], at[3]));
  const __m512i most = _mm512_max_epi32(_mm512_max_epi32(at[0], at[1]), _mm512_max_epi32(at[2], at[3]));
  const int32_t first = _mm512_reduce_min_epi32(least), last = _mm512_reduce_max_epi32(most);
  if (last - first >= 64) return look_up_near<float>(lines, step, segments, index, intercepts, slopes);
  __m512 a[4], b[4];
  for (int v = 0; v < 4; ++v) {
    a[v] = _mm512_loadu_ps(lines + first + 16 * v);
    b[v] = _mm512_loadu_ps(lines + step + first + 16 * v);
  }
  for (int v = 0; v < 4; ++v) {
    const __m512i place = _mm512_sub_epi32(at[v], _mm512_set1_epi32(first));
    const __mmask16 upper = _mm512_test_epi32_mask(place, _mm512_set1_epi32(32));
    _mm512_storeu_ps(intercepts + 16 * v, permuted_near(a, place, upper));
    _mm512_storeu_ps(slopes + 16 * v, permuted_near(b, place, upper));
  }
}
#endif

template <class T>
class AdaptedTable {
 public:
  AdaptedTable(const nl_adapted_call& call, Memory& memory)
      : segments_(call.segments), step_(call.segments + 64), top_(T(call.segments) - T(0.5)) {
    const T deviation = T(*call.deviation), *lines = static_cast<const T*>(call.lines);
    T* scaled = memory.take<T>(2 * step_);
    for (int row = 0; row < 2; ++row)
      for (int64_t k = 0; k < segments_; ++k) scaled[row * step_ + k] = lines[row * segments_ + k] * deviation;
    lines_ = scaled;
    stretch_ = T(1.0f / (*call.deviation * float(call.width)));
    shift_ = T(float(call.offset) - *call.mean * float(stretch_));
  }
  static int64_t numbers(const nl_adapted_call&) { return 1; }

  template <bool VARYING>
  NONLIN_INLINE_MEMBER void run(const Adapted<T>& block) const {
    T place[BLOCK], move[BLOCK], slope[BLOCK];
    int32_t index[BLOCK];
    const T* const y = block.base;
    for (int64_t i = 0; i < BLOCK; ++i) {
      T p = y[i] * stretch_ + shift_;
      p = p > top_ ? top_ : p;
      const T known = p > T(0) ? p : T(0);  // 0 for NaN, which has no whole number
      place[i] = p < T(0) ? T(0) : p;
      index[i] = int32_t(known);
    }
    look_up_near(lines_, step_, segments_, index, move, slope);
    const T* const rho = block.numbers[0];
    T *const out = block.out, *const by_x = block.by_x, *const by_rho = block.by_rho;
    const T* const base_slope = block.slope;
    NONLIN_INDEPENDENT
    for (int64_t i = 0; i < BLOCK; ++i) {
      const T r = rho[VARYING ? i : 0], moved = move[i] + slope[i] * place[i];
      by_rho[i] = moved;
      out[i] = y[i] + r * moved;
      by_x[i] = base_slope[i] * (T(1) + r * slope[i] * stretch_);
    }
  }

 private:
  const int64_t segments_, step_;
  const T* lines_;
  T stretch_, shift_;
  const T top_;
};

template <class T>
class AdaptedHermite {
 public:
  AdaptedHermite(const nl_adapted_call& call, Memory&)
      : terms_{T(*call.mean), T(1) / T(*call.deviation), T(call.reach)},
        deviation_(T(*call.deviation)),
        order_(call.order) {}
  static int64_t numbers(const nl_adapted_call& call) { return call.order; }

  template <bool VARYING>
  NONLIN_INLINE_MEMBER void run(const Adapted<T>& block) const {
    for (int64_t i = 0; i < BLOCK; i += TOGETHER * W::lanes) {
      vector z[TOGETHER], bell[TOGETHER], sum[TOGETHER], slope[TOGETHER];
      terms_.at(block.x + i, z, bell);
      NONLIN_UNROLL
      for (int v = 0; v < TOGETHER; ++v) {
        sum[v] = W::number(block.numbers[order_ - 1], i + v * W::lanes, VARYING);
        slope[v] = vector{};
      }
      for (int64_t k = order_ - 2; k >= 0; --k) {  // the polynomial and its derivative
        NONLIN_UNROLL
        for (int v = 0; v < TOGETHER; ++v) {
          slope[v] = slope[v] * z[v] + sum[v];
          sum[v] = sum[v] * z[v] + W::number(block.numbers[k], i + v * W::lanes, VARYING);
        }
      }
      NONLIN_UNROLL
      for (int v = 0; v < TOGETHER; ++v) {
        const int64_t at = i + v * W::lanes;
        const vector reach = vector{} + terms_.reach, term = sum[v] * bell[v], base_slope = W::load(block.slope + at);
        W::store(block.out + at, term * deviation_ + W::load(block.base + at));
        const vector by_x = slope[v] * bell[v] - z[v] * term + base_slope;
        W::store(block.by_x + at, L::size_of(z[v]) >= reach ? base_slope : by_x);
      }
    }
  }

 private:
  typedef HermiteTerms<T> Terms;
  typedef Wide<T> W;
  typedef Lanes<T> L;
  typedef typename W::type vector;
  static constexpr int64_t TOGETHER = Terms::TOGETHER;

  const Terms terms_;
  const T deviation_;
  const int64_t order_;
};

// One stretch of elements.
template <class T, class Base, class Step>
class AdaptedJob {
 public:
  explicit AdaptedJob(const nl_adapted_call& call)
      : call_(call),
        base_(call.base, memory_),
        step_(call, memory_),
        shape_{call.channels, call.inner},
        count_(Step::numbers(call)),
        spread_(memory_.take<T*>(count_)),
        numbers_(memory_.take<const T*>(count_)) {
    for (int64_t p = 0; p < count_; ++p)
      if (shape_.channels > 1)
        spread_[p] = memory_.take<T>(TILE);
      else
        numbers_[p] = values(p);
  }

  // How many elements a tile has: whole periods if they fit in.
  static int64_t width(const Shape& shape) {
    const int64_t period = shape.channels * shape.inner;
    return shape.channels > 1 && period <= TILE ? TILE / period * period : TILE;
  }

  void run(int64_t begin, int64_t end) {
    const int64_t step = width(shape_);
    const bool varying = shape_.channels > 1, repeats = step % (shape_.channels * shape_.inner) == 0;
    if (varying && repeats) spread(begin, step);
    for (int64_t start = begin; start < end; start += step) {
      const int64_t n = end - start < step ? end - start : step;
      if (varying && !repeats) spread(start, n);
      tile(start, n, varying);
    }
  }

 private:
  // The numbers of n elements from `start` on.
  void spread(int64_t start, int64_t n) {
    for (int64_t p = 0; p < count_; ++p)
      Machine<T>::for_each_run(shape_, start, n, [&](int64_t at, int64_t channel, int64_t length) {
        if (shape_.inner == 1)
          memcpy(spread_[p] + at, values(p) + channel, size_t(length) * sizeof(T));
        else
          fill(spread_[p] + at, values(p)[channel], length);
      });
  }

  void tile(int64_t start, int64_t n, bool varying) {
    const T* x = static_cast<const T*>(call_.x) + start;
    T* const out[] = {to(call_.out, start), to(call_.by_x, start), to(call_.by_rho, start)};
    if (n % BLOCK == 0) return whole(x, n, out, varying);
    T padded[TILE] = {}, results[3][TILE];
    T* const all[] = {results[0], results[1], results[2]};
    memcpy(padded, x, size_t(n) * sizeof(T));
    whole(padded, (n + BLOCK - 1) / BLOCK * BLOCK, all, varying);
    for (int k = 0; k < 3; ++k)
      if (out[k]) memcpy(out[k], results[k], size_t(n) * sizeof(T));
  }

  void whole(const T* x, int64_t n, T* const* out, bool varying) {
    base_.run(x, n);
    for (int64_t i = 0; i < n; i += BLOCK) {
      if (varying)
        for (int64_t p = 0; p < count_; ++p) numbers_[p] = spread_[p] + i;
      const Adapted<T> block = {x + i,      base_.value() + i, base_.slope() + i, out[0] + i,
                                out[1] + i, out[2] ? out[2] + i : nullptr, numbers_};
      if (varying)
        step_.template run<true>(block);
      else
        step_.template run<false>(block);
    }
  }

  // One number's values by channel.
  const T* values(int64_t p) const { return static_cast<const T*>(call_.numbers) + p * shape_.channels; }
  static T* to(void* array, int64_t start) { return array ? static_cast<T*>(array) + start : nullptr; }

  Memory memory_;
  const nl_adapted_call& call_;
  Base base_;
  const Step step_;
  const Shape shape_;
  const int64_t count_;
  T** const spread_;          // a tile's numbers where they vary
  const T** const numbers_;   // a block's
};

// What the call says of samples.
template <class T, class Base>
void take_sample(const nl_adapted_call& call, int64_t elements) {
  Memory memory;
  Base base(call.base, memory);
  T* x = memory.take<T>(TILE);
  for (int64_t start = 0; start < call.samples; start += TILE) {
    const int64_t n = call.samples - start < TILE ? call.samples - start : TILE;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t number = start + i, part = (number + 1) * call.spread & 0x7fffffff;
      const int64_t size = elements < int64_t(1) << 32 ? elements : int64_t(1) << 32;
      x[i] = static_cast<const T*>(call.x)[elements > call.samples ? part * size >> 31 : number];
    }
    base.run(x, (n + BLOCK - 1) / BLOCK * BLOCK);
    float* to = call.sample + start;
    if (!call.lines) {
      for (int64_t i = 0; i < n; ++i) to[i] = float(x[i]);
      to += call.samples;
    }
    for (int64_t i = 0; i < n; ++i) to[i] = float(base.value()[i]);
  }
}

template <class T, class Base, class Step>
void adapt_with(const nl_adapted_call& call) {
  struct Context {
    const nl_adapted_call& call;
    int64_t elements, stretch;
  };
  const int64_t elements = call.rows * call.channels * call.inner;
  const int64_t unit = AdaptedJob<T, Base, Step>::width({call.channels, call.inner});
  const int64_t units = (elements + unit - 1) / unit, threads = call.threads > 1 ? call.threads : 1;
  const int64_t stretch = (units + threads - 1) / threads * unit;
  if (!elements) return;
  if (call.samples && *call.due) take_sample<T, Base>(call, elements);
  Context context{call, elements, stretch};
  const auto work = [](void* raw, int64_t item) {
    const Context& c = *static_cast<const Context*>(raw);
    const int64_t begin = item * c.stretch, end = begin + c.stretch < c.elements ? begin + c.stretch : c.elements;
    AdaptedJob<T, Base, Step>(c.call).run(begin, end);
  };
  run_parallel(int(threads), (elements + stretch - 1) / stretch, work, &context);
}

template <class T>
void adapt_typed(const nl_adapted_call& call) {
  if (call.lines)
    call.base ? adapt_with<T, ProgramBase<T>, AdaptedTable<T>>(call) : adapt_with<T, GeluBase<T>, AdaptedTable<T>>(call);
  else
    call.base ? adapt_with<T, ProgramBase<T>, AdaptedHermite<T>>(call)
              : adapt_with<T, GeluBase<T>, AdaptedHermite<T>>(call);
}

static void adapt(const nl_adapted_call& call) {
  if (call.dtype == NL_FLOAT64)
    adapt_typed<double>(call);
  else
    adapt_typed<float>(call);
}
