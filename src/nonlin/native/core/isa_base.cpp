// What every machine of the platform has: SSE2 on x86-64, NEON on 64-bit ARM.
#include "common.h"

#define NONLIN_ISA base
#define NONLIN_VECTOR_BYTES 16
#define NONLIN_TILE_ROWS 4
#if defined(__aarch64__) || defined(__FMA__)
#define NONLIN_FMA 1
#else
#define NONLIN_FMA 0
#endif
#include "isa.h"

namespace nonlin {
const Core core_base = {
    "base", base::activate, base::train_mlp, base::multiply, base::table_step, base::hermite_step, base::adapt,
    base::adapt_backward, base::normalise, base::convolve, base::take_step, base::attend, base::decide, base::pool};
}
