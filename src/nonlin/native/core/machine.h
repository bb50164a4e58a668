// The machine: runs one program over a tile. Registers are pointers, so that x and the results are the
// caller's own memory, and the constants are filled in once.

template <class T>
using Operation = void (*)(const Operands<T>&);

template <class T>
Operation<T> operation_of(int32_t opcode) {
  static const Operation<T> table[] = {
#define NONLIN_OPCODE(name, operands) operation_##name<T>,
#include "opcodes.def"
#undef NONLIN_OPCODE
  };
  return table[opcode];
}

// Registers: 0 is x; then the parameters, the constants, the outputs, and temporary ones.
template <class T>
class Machine {
 public:
  Machine(const nl_program& program, Memory& memory)
      : program_(program),
        first_output_(1 + program.parameters + program.constant_count),
        registers_(memory.take<T*>(program.registers)) {
    for (int r = 1; r < program.registers; ++r) registers_[r] = memory.take_unset<T>(TILE);
    for (int k = 0; k < program.constant_count; ++k)
      fill(registers_[1 + program.parameters + k], T(program.constants[k]), TILE);
  }

  int outputs() const { return program_.outputs; }
  int parameters() const { return program_.parameters; }
  T* output(int k) const { return registers_[first_output_ + k]; }
  T* parameter(int p) { return registers_[1 + p]; }
  void send_output(int k, T* destination) { registers_[first_output_ + k] = destination; }

  // The same value everywhere: theta has one number per parameter.
  void set_parameters(const T* theta) {
    for (int p = 0; p < program_.parameters; ++p) fill(registers_[1 + p], theta[p], TILE);
  }

  // One value per channel: theta is (parameters, channels). The tile's element i is element offset + i of
  // an array of shape (rows, channels, inner).
  void set_parameters(const T* theta, const Shape& shape, int64_t offset, int64_t n) {
    for (int p = 0; p < program_.parameters; ++p) {
      const T* values = theta + p * shape.channels;
      T* to = registers_[1 + p];
      for_each_run(shape, offset, n, [&](int64_t start, int64_t channel, int64_t length) {
        if (shape.inner == 1)
          memcpy(to + start, values + channel, size_t(length) * sizeof(T));
        else
          fill(to + start, values[channel], length);
      });
    }
  }

  // n <= TILE elements of x into the outputs.
  void run(const T* x, int64_t n) {
    registers_[0] = const_cast<T*>(x);  // never a destination
    const int32_t* code = program_.code;
    for (int k = 0; k < program_.instructions; ++k, code += INSTRUCTION_WORDS) {
      const Operands<T> operands = {registers_[code[1]], registers_[code[2]], registers_[code[3]],
                                    registers_[code[4]], registers_[code[5]], n, code[6]};
      operation_of<T>(code[0])(operands);
    }
  }

  // How the channels lie in a stretch: with inner == 1 a run is several channels of one element each,
  // otherwise one channel of several elements.
  template <class Visit>
  static void for_each_run(const Shape& shape, int64_t offset, int64_t n, Visit visit) {
    int64_t inside = offset % shape.inner, channel = offset / shape.inner % shape.channels;
    for (int64_t start = 0; start < n;) {
      int64_t length = shape.inner == 1 ? shape.channels - channel : shape.inner - inside;
      if (length > n - start) length = n - start;
      visit(start, channel, length);
      start += length;
      inside = 0;
      channel = shape.inner == 1 ? 0 : (channel + 1) % shape.channels;
    }
  }

 private:
  const nl_program& program_;
  const int first_output_;
  T** registers_;
};
