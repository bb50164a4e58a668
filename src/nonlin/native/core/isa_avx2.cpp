// System headers come before the target is set: their inline functions are shared with other files.
#include "common.h"

#ifdef NONLIN_X86
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,bmi2,f16c,popcnt"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,bmi2,f16c,popcnt")
#endif

#define NONLIN_ISA avx2
#define NONLIN_VECTOR_BYTES 32
#define NONLIN_FMA 1
#define NONLIN_TILE_ROWS 6
#include "isa.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif

namespace nonlin {
const Core core_avx2 = {
    "avx2", avx2::activate, avx2::train_mlp, avx2::multiply, avx2::table_step, avx2::hermite_step, avx2::adapt,
    avx2::adapt_backward, avx2::normalise, avx2::convolve, avx2::take_step, avx2::attend, avx2::decide, avx2::pool};
}
#endif
