// What the Hermite terms' forward and backward passes share.

// z = (x - m)/s held to +-reach, exp(-z*z/2), and sums of their products, for four vectors at a time, so that one
// need not wait for the other.
template <class T>
struct HermiteTerms {
  typedef Wide<T> W;
  typedef Lanes<T> L;
  typedef typename W::type vector;
  static constexpr int64_t TOGETHER = 4;

  const T mean, inverse, reach;

  NONLIN_INLINE_MEMBER void at(const T* x, vector* z, vector* bell) const {
    NONLIN_UNROLL
    for (int v = 0; v < TOGETHER; ++v) {
      z[v] = (W::load(x + v * W::lanes) - mean) * inverse;
      z[v] = L::at_least(L::at_most(z[v], reach), -reach);
      bell[v] = L::bell(z[v] * z[v]);
    }
  }

  // sums[k] += weight*z^k for k below `order`, of element i of a block and those after it; weight is lost.
  static NONLIN_INLINE_MEMBER void add_powers(T* const* sums, int64_t order, bool varying, int64_t i, vector* weight,
                                              const vector* z) {
    for (int64_t k = 0; k < order; ++k) {
      if (varying) {
        NONLIN_UNROLL
        for (int v = 0; v < TOGETHER; ++v) {
          T* to = sums[k] + i + v * W::lanes;
          W::store(to, W::load(to) + weight[v]);
        }
      } else {  // few stores, which are what this waits for
        W::store(sums[k], W::load(sums[k]) + ((weight[0] + weight[1]) + (weight[2] + weight[3])));
      }
      NONLIN_UNROLL
      for (int v = 0; v < TOGETHER; ++v) weight[v] *= z[v];
    }
  }
};
