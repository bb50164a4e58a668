// The C interface: chooses the instruction set, checks what would otherwise crash, catches exceptions.
#include <stdlib.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <new>

#include "common.h"

using namespace nonlin;

namespace {

bool can_run(const Core& core) {
#ifdef NONLIN_X86
  if (&core == &core_avx512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("fma");
  if (&core == &core_avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return &core == &core_base;
}

const Core* const CORES[] = {  // the fastest first
#ifdef NONLIN_X86
    &core_avx512, &core_avx2,
#endif
    &core_base};

const Core* fastest() {
  for (const Core* core : CORES)
    if (can_run(*core)) return core;
  return &core_base;
}

const Core* chosen = fastest();

const char* const OPCODE_NAMES[] = {
#define NONLIN_OPCODE(name, operands) #name,
#include "opcodes.def"
#undef NONLIN_OPCODE
};
constexpr int32_t OPCODES = sizeof(OPCODE_NAMES) / sizeof(OPCODE_NAMES[0]);

bool well_formed(const nl_program& program) {
  const int32_t first_free = 1 + program.parameters + program.constant_count;
  if (program.parameters < 0 || program.constant_count < 0 || program.outputs < 1 ||
      program.registers < first_free + program.outputs)
    return false;
  const int32_t* code = program.code;
  for (int32_t k = 0; k < program.instructions; ++k, code += INSTRUCTION_WORDS) {
    if (code[0] < 0 || code[0] >= OPCODES || code[1] < first_free) return false;
    for (int word = 1; word <= 5; ++word)
      if (code[word] < 0 || code[word] >= program.registers) return false;
    if (code[2] != 0 && code[2] < first_free) return false;
  }
  return true;
}

// A thread is started for each call, which costs about as much as this many elements of a simple function.
constexpr int64_t ELEMENTS_PER_THREAD = 65536;

// Fresh memory comes from the system page by page, which for a large result takes far longer than the work itself;
// larger pages take a fifth of that (NumPy asks for them too). A hint: the system may have none.
void prefer_large_pages(void* memory, size_t size) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr size_t worth = size_t(1) << 22, page = 4096;
  if (size < worth) return;
  const size_t begin = (reinterpret_cast<size_t>(memory) + page - 1) / page * page;
  const size_t end = (reinterpret_cast<size_t>(memory) + size) / page * page;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)memory, (void)size;
#endif
}

template <class Work>
int32_t guarded(Work work) {
  try {
    work();
    return NL_OK;
  } catch (const std::bad_alloc&) {
    return NL_NO_MEMORY;
  }
}

}  // namespace

extern "C" {

int32_t nl_interface(void) { return NONLIN_INTERFACE; }
int32_t nl_opcode_count(void) { return OPCODES; }
const char* nl_opcode_name(int32_t opcode) {
  return opcode >= 0 && opcode < OPCODES ? OPCODE_NAMES[opcode] : "";
}
const char* nl_isa(void) { return chosen->name; }

int32_t nl_use_isa(const char* name) {
  for (const Core* core : CORES)
    if (!strcmp(core->name, name) && can_run(*core)) {
      chosen = core;
      return 1;
    }
  return 0;
}

int32_t nl_activate(const nl_activation_call* call) {
  if (call->count < 0 || call->children < 0 || call->channels < 1 || call->inner < 1) return NL_BAD_ARGUMENT;
  for (int32_t k = 0; k < call->children; ++k)
    if (!well_formed(call->programs[k])) return NL_BAD_ARGUMENT;
  return guarded([&] { chosen->activate(*call); });
}

int32_t nl_apply(const nl_program* program, int32_t dtype, int32_t threads, int64_t count, int64_t channels,
                 int64_t inner, const void* x, const void* theta, const void* gradient, void* out, void* sums) {
  const int64_t worth = count / ELEMENTS_PER_THREAD;
  const int32_t used = threads < worth ? threads : worth > 0 ? int32_t(worth) : 1;
  prefer_large_pages(out, size_t(count) * (dtype == NL_FLOAT64 ? 8 : 4));
  const nl_activation_call call = {dtype, 1, used, channels > 1, count, channels, inner, program, x, &theta, &out, 1,
                                   gradient, out, &sums};
  return nl_activate(&call);
}

int32_t nl_train_mlp(const nl_mlp* network, nl_child* children, int32_t count, int32_t threads) {
  if (network->layers < 1 || network->batch < 1 || network->first_epoch < 0) return NL_BAD_ARGUMENT;
  for (int32_t k = 0; k < count; ++k) {
    const nl_child& child = children[k];
    if (network->layers > 1 && (!well_formed(*child.value) || !well_formed(*child.derivatives) ||
                                child.derivatives->outputs != 2 + child.value->parameters))
      return NL_BAD_ARGUMENT;
  }
  return guarded([&] { chosen->train_mlp(*network, children, count, threads); });
}

int32_t nl_multiply(const nl_product* product) {
  if (product->children < 0 || product->rows < 0 || product->columns < 0 || product->inner < 0)
    return NL_BAD_ARGUMENT;
  return guarded([&] { chosen->multiply(*product); });
}

int32_t nl_table_step(const nl_table_call* call) {
  if (call->rows < 0 || call->channels < 1 || call->inner < 0 || call->segments < 1) return NL_BAD_ARGUMENT;
  return guarded([&] { chosen->table_step(*call); });
}

int32_t nl_hermite_step(const nl_hermite_call* call) {
  if (call->rows < 0 || call->channels < 1 || call->inner < 0 || call->order < 1) return NL_BAD_ARGUMENT;
  return guarded([&] { chosen->hermite_step(*call); });
}

int32_t nl_adapt(const nl_adapted_call* call) {
  if (call->rows < 0 || call->channels < 1 || call->inner < 0 || !call->mean || !call->deviation ||
      (call->lines ? call->segments < 1 : call->order < 1) || call->samples < 0 ||
      (call->samples && (!call->due || !call->sample || call->samples > call->rows * call->channels * call->inner)) ||
      (call->base && (!well_formed(*call->base) || call->base->parameters || call->base->outputs < 2)))
    return NL_BAD_ARGUMENT;
  return guarded([&] { chosen->adapt(*call); });
}

int32_t nl_adapt_backward(const nl_adapted_gradient_call* call) {
  if (call->rows < 0 || call->channels < 1 || call->inner < 0 || call->order < 0 ||
      (call->order && (!call->mean || !call->deviation)))
    return NL_BAD_ARGUMENT;
  return guarded([&] { chosen->adapt_backward(*call); });
}

int32_t nl_normalise(const nl_normalisation* call) {
  if (call->children < 0 || call->rows < 0 || call->width < 1) return NL_BAD_ARGUMENT;
  return guarded([&] { chosen->normalise(*call); });
}

int32_t nl_convolve(const nl_convolution* call) {
  const nl_convolution& c = *call;
  const int64_t reach_y = c.spread_y * (c.tall - 1), reach_x = c.spread_x * (c.wide - 1);
  if (c.children < 0 || c.images < 0 || c.channels < 1 || c.filters < 1 || c.tall < 1 || c.wide < 1 || c.pad_y < 0 ||
      c.pad_x < 0 || c.pad_y > reach_y || c.pad_x > reach_x || c.out_height < 1 || c.out_width < 1 ||
      c.out_height != c.height + 2 * c.pad_y - reach_y || c.out_width != c.width + 2 * c.pad_x - reach_x)
    return NL_BAD_ARGUMENT;
  return guarded([&] { chosen->convolve(c); });
}

int32_t nl_take_step(const nl_step* call) {
  if (call->children < 0 || call->segments < 0 || call->step < 1 || call->optimiser < 0 || call->optimiser > 2)
    return NL_BAD_ARGUMENT;
  return guarded([&] { chosen->take_step(*call); });
}

int32_t nl_attend(const nl_attention* call) {
  if (call->children < 0 || call->batches < 0 || call->heads < 0 || call->positions < 1 || call->features < 1)
    return NL_BAD_ARGUMENT;
  return guarded([&] { chosen->attend(*call); });
}

int32_t nl_decide(const nl_decisions* call) {
  if (call->children < 0 || call->rows < 0 || call->classes < 1) return NL_BAD_ARGUMENT;
  for (int64_t r = 0; call->targets && r < call->rows; ++r)
    if (call->targets[r] != call->ignored && (call->targets[r] < 0 || call->targets[r] >= call->classes))
      return NL_BAD_ARGUMENT;
  return guarded([&] { chosen->decide(*call); });
}

int32_t nl_pool(const nl_windows* call) {
  if (call->planes < 0 || call->tall < 1 || call->wide < 1 || call->height % call->tall || call->width % call->wide ||
      ((call->large_last || call->small_last) && (call->channels < 1 || call->planes % call->channels)))
    return NL_BAD_ARGUMENT;
  return guarded([&] { chosen->pool(*call); });
}
}
