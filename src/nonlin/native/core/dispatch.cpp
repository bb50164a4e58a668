// The C interface: chooses the instruction set, checks what would otherwise crash, catches exceptions.
#include <stdlib.h>

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
}
