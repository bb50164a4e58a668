// What every instruction set's build shares. Nothing here may be an ordinary inline function or template:
// the linker would keep one copy, perhaps the one compiled for AVX-512.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <type_traits>
#include <utility>

#include "interface.h"

#define NONLIN_INLINE static inline __attribute__((always_inline))
#define NONLIN_INLINE_MEMBER inline __attribute__((always_inline))
#if defined(__clang__)
#define NONLIN_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#define NONLIN_UNROLL _Pragma("unroll")
#else
#define NONLIN_INDEPENDENT _Pragma("GCC ivdep")
#define NONLIN_UNROLL _Pragma("GCC unroll 16")
#endif

namespace nonlin {

constexpr int64_t TILE = 512;             // elements: a register is 2 or 4 KB, a program's fit in L1
constexpr int64_t BLOCK = 64;             // elements, inside operations that need scratch
constexpr int64_t ALIGNMENT = 64;         // bytes: one cache line, one AVX-512 vector
constexpr int INSTRUCTION_WORDS = 7;

// Scratch memory, freed as one. Throws std::bad_alloc.
class Memory {
 public:
  Memory() = default;
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  // n zeros, aligned to a cache line.
  template <class T>
  NONLIN_INLINE_MEMBER T* take(int64_t n) {
    T* result = take_unset<T>(n);
    memset(static_cast<void*>(result), 0, size_t(n) * sizeof(T));
    return result;
  }
  // The same with anything in it.
  template <class T>
  NONLIN_INLINE_MEMBER T* take_unset(int64_t n) {
    return static_cast<T*>(take_bytes(size_t(n) * sizeof(T)));
  }

 private:
  void* take_bytes(size_t size);
  struct Chunk;
  Chunk* last_ = nullptr;
  size_t left_ = 0;
};

// Numbers below the smallest normal one count as 0 while this lives (they cost a hundred times more, and a
// well-trained child's gradients are full of them). Used around sums of products, never around activations.
class FlushSubnormals {
 public:
#if defined(__x86_64__)
  NONLIN_INLINE_MEMBER explicit FlushSubnormals(bool flush = true) : saved_(__builtin_ia32_stmxcsr()) {
    constexpr unsigned bits = 0x8040;  // flush to zero, denormals are zero
    __builtin_ia32_ldmxcsr(flush ? saved_ | bits : saved_ & ~bits);
  }
  NONLIN_INLINE_MEMBER ~FlushSubnormals() { __builtin_ia32_ldmxcsr(saved_); }

 private:
  unsigned saved_;
#else
  NONLIN_INLINE_MEMBER explicit FlushSubnormals(bool = true) {}
#endif
};

// A row of elements as (rows, channels, inner).
struct Shape {
  int64_t channels, inner;
};

// Runs work(context, 0 ... items - 1) on up to `threads` threads; rethrows bad_alloc.
void run_parallel(int threads, int64_t items, void (*work)(void* context, int64_t item), void* context);

// The entry points of one instruction set's build.
struct Core {
  const char* name;
  void (*activate)(const nl_activation_call&);
  void (*train_mlp)(const nl_mlp&, nl_child*, int32_t count, int32_t threads);
  void (*multiply)(const nl_product&);
  void (*table_step)(const nl_table_call&);
  void (*hermite_step)(const nl_hermite_call&);
  void (*adapt)(const nl_adapted_call&);
  void (*adapt_backward)(const nl_adapted_gradient_call&);
  void (*normalise)(const nl_normalisation&);
  void (*convolve)(const nl_convolution&);
  void (*take_step)(const nl_step&);
  void (*attend)(const nl_attention&);
  void (*decide)(const nl_decisions&);
  void (*pool)(const nl_windows&);
};

extern const Core core_base;
#if defined(__x86_64__) && !defined(NONLIN_BASE_ONLY)
#define NONLIN_X86 1
extern const Core core_avx2, core_avx512;
#endif

}  // namespace nonlin
