// The whole core for one instruction set. Included by isa_*.cpp, after the system's headers, with NONLIN_ISA
// (the namespace), NONLIN_VECTOR_BYTES, NONLIN_TILE_ROWS (of a matrix product's register tile) and NONLIN_FMA
// (whether there is a fused multiply-add) set.

namespace nonlin {
namespace NONLIN_ISA {

#include "wide_math.h"
#include "vector_math.h"

template <class T>
NONLIN_INLINE void fill(T* to, T value, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = value;
}

// clang-format off: each file builds on those above it
#include "operations.h"
#include "spherical.h"
#include "machine.h"
#include "activation.h"
#include "multiply.h"
#include "lanes.h"
#include "hermite.h"
#include "adaptive.h"
#include "adapted.h"
#include "adapted_gradient.h"
#include "loss.h"
#include "optimiser.h"
#include "mlp.h"
#include "stacked.h"
#include "winograd.h"
#include "convolution.h"
#include "attention.h"
#include "decisions.h"
// clang-format on

}  // namespace NONLIN_ISA
}  // namespace nonlin
