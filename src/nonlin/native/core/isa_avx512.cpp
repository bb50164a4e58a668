// System headers come before the target is set: their inline functions are shared with other files.
#include "common.h"

#ifdef NONLIN_X86
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx512cd,fma,bmi2"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx512cd,avx2,fma,bmi2,f16c,popcnt,prefer-vector-width=512")
#endif

#define NONLIN_ISA avx512
#define NONLIN_VECTOR_BYTES 64
#define NONLIN_FMA 1
#define NONLIN_TILE_ROWS 8
#include "isa.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif

namespace nonlin {
const Core core_avx512 = {
    "avx512", avx512::activate, avx512::train_mlp, avx512::multiply, avx512::table_step, avx512::hermite_step,
    avx512::adapt, avx512::adapt_backward, avx512::normalise, avx512::convolve, avx512::take_step, avx512::attend,
    avx512::decide, avx512::pool};
}
#endif
