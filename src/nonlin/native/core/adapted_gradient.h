// The backward pass of adapted.h: products with the derivatives that the forward pass gave, and sums by the numbers, as
// steps of `correct` (adaptive.h) without numbers of their own.

template <class T>
class AdaptedTableGradient {
 public:
  AdaptedTableGradient(const nl_adapted_gradient_call& call, Memory&) : call_(call) {}
  const T* values() const { return nullptr; }
  int64_t numbers() const { return 0; }
  int64_t sums() const { return 1; }
  double scale() const { return 1; }
  const void* x() const { return call_.by_x; }
  const void* y() const { return call_.by_rho; }

  NONLIN_INLINE_MEMBER void run(const Block<T>& block) const {
    const T *const gradient = block.gradient, *const by_x = block.x, *const by_rho = block.y;
    T *const out = block.out, *const sums = block.sums[0];
    NONLIN_INDEPENDENT
    for (int64_t i = 0; i < BLOCK; ++i) {
      out[i] = gradient[i] * by_x[i];
      sums[i] += gradient[i] * by_rho[i];
    }
  }

 private:
  const nl_adapted_gradient_call& call_;
};

template <class T>
class AdaptedHermiteGradient {
 public:
  AdaptedHermiteGradient(const nl_adapted_gradient_call& call, Memory&)
      : call_(call), terms_{T(*call.mean), T(1) / T(*call.deviation), T(call.reach)} {}
  const T* values() const { return nullptr; }
  int64_t numbers() const { return 0; }
  int64_t sums() const { return call_.order; }
  double scale() const { return double(*call_.deviation); }
  const void* x() const { return call_.x; }
  const void* y() const { return call_.by_x; }

  NONLIN_INLINE_MEMBER void run(const Block<T>& block) const {
    for (int64_t i = 0; i < BLOCK; i += Terms::TOGETHER * W::lanes) {
      typename W::type z[Terms::TOGETHER], weight[Terms::TOGETHER];
      terms_.at(block.x + i, z, weight);
      NONLIN_UNROLL
      for (int v = 0; v < Terms::TOGETHER; ++v) {
        const int64_t at = i + v * W::lanes;
        const typename W::type gradient = W::load(block.gradient + at);
        W::store(block.out + at, gradient * W::load(block.y + at));
        weight[v] *= gradient;
      }
      Terms::add_powers(block.sums, call_.order, block.varying, i, weight, z);
    }
  }

 private:
  typedef HermiteTerms<T> Terms;
  typedef Wide<T> W;

  const nl_adapted_gradient_call& call_;
  const Terms terms_;
};

template <class T>
void adapt_backward_typed(const nl_adapted_gradient_call& call) {
  if (call.order)
    correct<T, AdaptedHermiteGradient<T>>(call, call.sums);
  else
    correct<T, AdaptedTableGradient<T>>(call, call.sums);
}

static void adapt_backward(const nl_adapted_gradient_call& call) {
  if (call.dtype == NL_FLOAT64)
    adapt_backward_typed<double>(call);
  else
    adapt_backward_typed<float>(call);
}
