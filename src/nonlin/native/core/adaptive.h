// The corrections of nonlin.nn.Adaptive over arrays: y + rho*T(y) with T straight lines over positions, and
// y + s*sum a_k z^k exp(-z*z/2) with z = (x - m)/s. Values, or the products of their derivatives with a gradient.
//
// Their trained numbers are one for all elements, or one per channel. In the second case with few elements to a
// channel side by side, the numbers are spread over a stretch of whole periods, so that loops stay long.

// BLOCK elements: pointers to the first of them in each array, and where their numbers stand.
template <class T>
struct Block {
  const T *x, *y;     // null where the step does not read them
  const T* gradient;  // null for values
  T* out;
  const T* const* numbers;  // numbers[p][i], or numbers[p][0] where they are the same everywhere
  T* const* sums;           // where sums by the numbers are added, of each element or of a vector's lanes; or null
  bool varying;
};

// The intercepts and slopes of a block's positions; each index is in 0 ... segments - 1.
template <class T>
NONLIN_INLINE void look_up(const T* lines, int64_t segments, const int32_t* index, T* intercepts, T* slopes) {
  for (int64_t i = 0; i < BLOCK; ++i) intercepts[i] = lines[index[i]], slopes[i] = lines[segments + index[i]];
}

#if NONLIN_VECTOR_BYTES == 64  // AVX-512
constexpr int64_t IN_REGISTERS = 129;  // segments: 8 registers' worth and one

// values[index] for 16 indices below 128, from eight registers.
NONLIN_INLINE __m512 permuted(const float* values, __m512i index) {
  const __mmask16 fifth = _mm512_test_epi32_mask(index, _mm512_set1_epi32(32));
  const __mmask16 sixth = _mm512_test_epi32_mask(index, _mm512_set1_epi32(64));
  __m512 quarter[4];
  for (int k = 0; k < 4; ++k)
    quarter[k] = _mm512_permutex2var_ps(_mm512_loadu_ps(values + 32 * k), index, _mm512_loadu_ps(values + 32 * k + 16));
  const __m512 lower = _mm512_mask_blend_ps(fifth, quarter[0], quarter[1]);
  const __m512 upper = _mm512_mask_blend_ps(fifth, quarter[2], quarter[3]);
  return _mm512_mask_blend_ps(sixth, lower, upper);
}

// Half the time of as many loads.
NONLIN_INLINE void look_up(const float* lines, int64_t segments, const int32_t* index, float* intercepts,
                           float* slopes) {
  if (segments != IN_REGISTERS) return look_up<float>(lines, segments, index, intercepts, slopes);
  const __m512 last[2] = {_mm512_set1_ps(lines[segments - 1]), _mm512_set1_ps(lines[2 * segments - 1])};
  for (int64_t i = 0; i < BLOCK; i += 16) {
    const __m512i at = _mm512_loadu_si512(index + i);
    const __mmask16 beyond = _mm512_test_epi32_mask(at, _mm512_set1_epi32(128));
    _mm512_storeu_ps(intercepts + i, _mm512_mask_blend_ps(beyond, permuted(lines, at), last[0]));
    _mm512_storeu_ps(slopes + i, _mm512_mask_blend_ps(beyond, permuted(lines + segments, at), last[1]));
  }
}
#endif

template <class T>
class TableStep {
 public:
  TableStep(const nl_table_call& call, Memory&)
      : call_(call),
        lines_(static_cast<const T*>(call.lines)),
        stretch_(T(call.stretch)),
        shift_(T(call.shift)),
        top_(T(call.segments) - T(0.5)) {}

  const T* values() const { return static_cast<const T*>(call_.rho); }
  int64_t numbers() const { return 1; }
  int64_t sums() const { return call_.gradient_rho ? 1 : 0; }
  double scale() const { return 1; }
  const void* x() const { return nullptr; }
  const void* y() const { return call_.y; }

  NONLIN_INLINE_MEMBER void run(const Block<T>& block) const {
    const T* const y = block.y;
    T* const out = block.out;
    T place[BLOCK], move[BLOCK], slope[BLOCK];
    int32_t index[BLOCK];
    for (int64_t i = 0; i < BLOCK; ++i) {
      T p = y[i] * stretch_ + shift_;
      p = p > top_ ? top_ : p;
      const T known = p > T(0) ? p : T(0);  // 0 for NaN, which has no whole number
      place[i] = p < T(0) ? T(0) : p;
      index[i] = int32_t(known);
    }
    look_up(lines_, call_.segments, index, move, slope);
    for (int64_t i = 0; i < BLOCK; ++i) move[i] += slope[i] * place[i];
    if (!block.gradient) {
      multiply_by(move, block);
      NONLIN_INDEPENDENT
      for (int64_t i = 0; i < BLOCK; ++i) out[i] = y[i] + move[i];
      return;
    }
    const T* const g = block.gradient;
    multiply_by(slope, block);
    NONLIN_INDEPENDENT
    for (int64_t i = 0; i < BLOCK; ++i) out[i] = g[i] * (T(1) + slope[i] * stretch_);
    if (!block.sums) return;
    T* const to = block.sums[0];
    NONLIN_INDEPENDENT
    for (int64_t i = 0; i < BLOCK; ++i) to[i] += g[i] * move[i];
  }

 private:
  static NONLIN_INLINE_MEMBER void multiply_by(T* values, const Block<T>& block) {
    const T* const rho = block.numbers[0];
    if (block.varying)
      for (int64_t i = 0; i < BLOCK; ++i) values[i] *= rho[i];
    else
      for (int64_t i = 0; i < BLOCK; ++i) values[i] *= rho[0];
  }

  const nl_table_call& call_;
  const T* const lines_;
  const T stretch_, shift_, top_;
};

// Its numbers are the coefficients a_k; for gradients followed by those of the derivative,
// d/dz (sum a_k z^k e^{-z*z/2}) = (sum b_k z^k) e^{-z*z/2} with b_k = (k + 1)*a_{k+1} - a_{k-1}.
template <class T>
class HermiteStep {
 public:
  HermiteStep(const nl_hermite_call& call, Memory& memory)
      : call_(call),
        terms_{T(call.mean), T(1) / T(call.deviation), T(call.reach)},
        deviation_(T(call.deviation)),
        order_(call.order),
        values_(static_cast<const T*>(call.coefficients)) {
    if (!call.gradient) return;
    const int64_t channels = call.channels;
    T* both = memory.take_unset<T>(numbers() * channels);
    memcpy(both, values_, size_t(order_ * channels) * sizeof(T));
    for (int64_t k = 0; k <= order_; ++k)
      for (int64_t c = 0; c < channels; ++c) {
        const T above = k + 1 < order_ ? values_[(k + 1) * channels + c] : T(0);
        const T below = k > 0 ? values_[(k - 1) * channels + c] : T(0);
        both[(order_ + k) * channels + c] = T(k + 1) * above - below;
      }
    values_ = both;
  }

  const T* values() const { return values_; }
  int64_t numbers() const { return call_.gradient ? 2 * order_ + 1 : order_; }
  int64_t sums() const { return call_.gradient_coefficients ? order_ : 0; }
  double scale() const { return double(deviation_); }
  const void* x() const { return call_.x; }
  const void* y() const { return call_.y; }

  NONLIN_INLINE_MEMBER void run(const Block<T>& block) const {
    for (int64_t i = 0; i < BLOCK; i += TOGETHER * W::lanes) {
      vector z[TOGETHER], bell[TOGETHER], sum[TOGETHER];
      terms_.at(block.x + i, z, bell);
      if (!block.gradient) {
        horner(sum, z, block, i, 0, order_);
        NONLIN_UNROLL
        for (int v = 0; v < TOGETHER; ++v) {
          const int64_t at = i + v * W::lanes;
          W::store(block.out + at, sum[v] * (bell[v] * deviation_) + W::load(block.y + at));
        }
        continue;
      }
      horner(sum, z, block, i, order_, order_ + 1);
      NONLIN_UNROLL
      for (int v = 0; v < TOGETHER; ++v) {
        const int64_t at = i + v * W::lanes;
        const vector g = W::load(block.gradient + at), reach = vector{} + terms_.reach;
        bell[v] *= g;
        W::store(block.out + at, sum[v] * (L::size_of(z[v]) >= reach ? vector{} : bell[v]));
      }
      if (block.sums) Terms::add_powers(block.sums, order_, block.varying, i, bell, z);
    }
  }

 private:
  typedef HermiteTerms<T> Terms;
  typedef Wide<T> W;
  typedef Lanes<T> L;
  typedef typename W::type vector;
  static constexpr int64_t TOGETHER = Terms::TOGETHER;

  // sum = sum_k numbers[first + k]*z^k
  NONLIN_INLINE_MEMBER void horner(vector* sum, const vector* z, const Block<T>& block, int64_t i, int64_t first,
                                   int64_t count) const {
    NONLIN_UNROLL
    for (int v = 0; v < TOGETHER; ++v) sum[v] = vector{};
    for (int64_t k = first + count - 1; k >= first; --k) {
      NONLIN_UNROLL
      for (int v = 0; v < TOGETHER; ++v)
        sum[v] = sum[v] * z[v] + W::number(block.numbers[k], i + v * W::lanes, block.varying);
    }
  }

  const nl_hermite_call& call_;
  const Terms terms_;
  const T deviation_;
  const int64_t order_;
  const T* values_;
};

// One stretch of elements: a whole number of periods if numbers vary.
template <class T, class Step>
class StepJob {
 public:
  template <class Call>
  StepJob(const Step& step, const Call& call, double* totals)
      : step_(step),
        x_(static_cast<const T*>(step.x())),
        y_(static_cast<const T*>(step.y())),
        gradient_(static_cast<const T*>(call.gradient)),
        out_(static_cast<T*>(call.out)),
        shape_{call.channels, call.inner},
        totals_(totals),
        count_(step.numbers()),
        summed_(step.sums()),
        spread_(shape_.channels > 1 && shape_.inner < BLOCK),
        width_(spread_ ? spread_width(shape_) : BLOCK),
        numbers_(memory_.take<const T*>(count_)),
        lanes_(memory_.take<T*>(summed_ + 1)) {
    for (int64_t p = 0; p < summed_; ++p) lanes_[p] = memory_.take<T>(width_ + BLOCK);
  }

  // How many elements have numbers of their own where they are spread: whole periods, at least a block if
  // that is possible.
  static int64_t spread_width(const Shape& shape) {
    const int64_t period = shape.channels * shape.inner;
    return period < BLOCK ? BLOCK / period * period : period;
  }

  void run(int64_t begin, int64_t end) {
    if (spread_)
      run_spread(begin, end);
    else if (shape_.channels == 1)
      run_same(begin, 0, end - begin);
    else
      Machine<T>::for_each_run(shape_, begin, end - begin, [&](int64_t at, int64_t channel, int64_t length) {
        run_same(begin + at, channel, length);
      });
  }

 private:
  static constexpr int64_t FLUSH = 256;  // so many blocks or periods are summed in the arrays' own precision

  void run_same(int64_t at, int64_t channel, int64_t length) {
    for (int64_t p = 0; p < count_; ++p) numbers_[p] = step_.values() + p * shape_.channels + channel;
    for (int64_t start = 0; start < length; start += BLOCK) {
      const int64_t n = length - start < BLOCK ? length - start : BLOCK;
      run_block(at + start, n, lanes_, false);
      if (start / BLOCK % FLUSH == FLUSH - 1) flush_same(channel);
    }
    flush_same(channel);
  }

  void flush_same(int64_t channel) {
    for (int64_t p = 0; p < summed_; ++p) {
      double total = 0;
      for (int64_t i = 0; i < BLOCK; ++i) total += double(lanes_[p][i]);
      totals_[p * shape_.channels + channel] += total;
      fill(lanes_[p], T(0), BLOCK);
    }
  }

  void run_spread(int64_t begin, int64_t end) {
    T** spread = memory_.take<T*>(count_);
    T** lanes = memory_.take<T*>(summed_ + 1);
    for (int64_t p = 0; p < count_; ++p) {
      spread[p] = memory_.take<T>(width_ + BLOCK);  // a block may reach beyond the last element
      const T* values = step_.values() + p * shape_.channels;
      for_each_place([&](int64_t i, int64_t channel) { spread[p][i] = values[channel]; });
    }
    int64_t periods = 0;
    for (int64_t start = begin; start < end; start += width_) {
      const int64_t whole = end - start < width_ ? end - start : width_;
      for (int64_t inside = 0; inside < whole; inside += BLOCK) {
        const int64_t n = whole - inside < BLOCK ? whole - inside : BLOCK;
        for (int64_t p = 0; p < count_; ++p) numbers_[p] = spread[p] + inside;
        for (int64_t p = 0; p < summed_; ++p) lanes[p] = lanes_[p] + inside;
        run_block(start + inside, n, lanes, true);
      }
      if (++periods % FLUSH == 0) flush_spread();
    }
    flush_spread();
  }

  void flush_spread() {
    for (int64_t p = 0; p < summed_; ++p) {
      double* totals = totals_ + p * shape_.channels;
      for_each_place([&](int64_t i, int64_t channel) { totals[channel] += double(lanes_[p][i]); });
      fill(lanes_[p], T(0), width_ + BLOCK);
    }
  }

  // visit(i, channel) for every element of a spread.
  template <class Visit>
  void for_each_place(Visit visit) const {
    for (int64_t i = 0; i < width_;)
      for (int64_t channel = 0; channel < shape_.channels; ++channel)
        for (int64_t inside = 0; inside < shape_.inner; ++inside) visit(i++, channel);
  }

  void run_block(int64_t at, int64_t n, T* const* sums, bool varying) {
    const Block<T> block = {x_ ? x_ + at : nullptr, y_ ? y_ + at : nullptr, gradient_ ? gradient_ + at : nullptr, out_ + at, numbers_,
                            summed_ ? sums : nullptr, varying};
    if (n == BLOCK)
      step_.run(block);
    else
      run_padded(block, n);
  }

  // A block that the arrays end in: with zeros behind its elements, which add nothing to sums of gradients.
  void run_padded(Block<T> block, int64_t n) const {
    T padded[3][BLOCK] = {}, out[BLOCK];
    const T** const from[] = {&block.x, &block.y, &block.gradient};
    for (int k = 0; k < 3; ++k)
      if (*from[k]) memcpy(padded[k], *from[k], size_t(n) * sizeof(T)), *from[k] = padded[k];
    T* const to = block.out;
    block.out = out;
    step_.run(block);
    memcpy(to, out, size_t(n) * sizeof(T));
  }

  Memory memory_;
  const Step& step_;
  const T *const x_, *const y_, *const gradient_;
  T* const out_;
  const Shape shape_;
  double* const totals_;  // (sums, channels)
  const int64_t count_, summed_;
  const bool spread_;
  const int64_t width_;
  const T** const numbers_;
  T** const lanes_;
};

// All elements, in as many stretches as there are threads; the sums times the step's scale go to `gradients`.
template <class T, class Step, class Call>
void correct(const Call& call, void* gradients) {
  struct Context {
    const Step& step;
    const Call& call;
    int64_t elements, stretch, sum_count;
    double* totals;  // (stretches, sum_count)
  };
  Memory memory;
  const Step step(call, memory);
  const Shape shape{call.channels, call.inner};
  const int64_t elements = call.rows * call.channels * call.inner;
  if (!elements) {
    if (gradients) fill(static_cast<T*>(gradients), T(0), step.sums() * call.channels);
    return;
  }
  const int64_t unit = call.channels > 1 ? StepJob<T, Step>::spread_width(shape) : BLOCK;
  const int64_t threads = call.threads > 1 ? call.threads : 1, units = (elements + unit - 1) / unit;
  const int64_t stretch = (units + threads - 1) / threads * unit, stretches = (elements + stretch - 1) / stretch;
  const int64_t sum_count = step.sums() * call.channels;
  Context context{step, call, elements, stretch, sum_count, memory.take<double>(stretches * sum_count + 1)};
  const auto work = [](void* raw, int64_t item) {
    const Context& c = *static_cast<const Context*>(raw);
    const int64_t begin = item * c.stretch, end = begin + c.stretch < c.elements ? begin + c.stretch : c.elements;
    StepJob<T, Step>(c.step, c.call, c.totals + item * c.sum_count).run(begin, end);
  };
  run_parallel(int(threads), stretches, work, &context);
  for (int64_t j = 0; j < sum_count; ++j) {
    double total = 0;
    for (int64_t s = 0; s < stretches; ++s) total += context.totals[s * sum_count + j];
    static_cast<T*>(gradients)[j] = T(total * step.scale());
  }
}

static void table_step(const nl_table_call& call) {
  if (call.dtype == NL_FLOAT64)
    correct<double, TableStep<double>>(call, call.gradient_rho);
  else
    correct<float, TableStep<float>>(call, call.gradient_rho);
}

static void hermite_step(const nl_hermite_call& call) {
  if (call.dtype == NL_FLOAT64)
    correct<double, HermiteStep<double>>(call, call.gradient_coefficients);
  else
    correct<float, HermiteStep<float>>(call, call.gradient_coefficients);
}
