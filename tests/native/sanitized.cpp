// Runs the core over random programs and odd shapes under the address and undefined-behaviour sanitizers.
// Built and started by test_sanitizers.py; prints "done" when it comes to the end.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <random>
#include <vector>

#include "interface.h"

namespace {

std::mt19937 generator(1);
int64_t below(int64_t n) { return int64_t(generator() % uint64_t(n)); }
double uniform() { return double(generator()) / 4294967296.0 * 8.0 - 4.0; }

int operand_count(int opcode) {
  static const int counts[] = {
#define NONLIN_OPCODE(name, operands) operands,
#include "opcodes.def"
#undef NONLIN_OPCODE
  };
  return counts[opcode];
}

struct Program {
  std::vector<int32_t> code;
  std::vector<double> constants;
  nl_program c;

  Program(int parameters, int outputs) {
    constants = {0.5, -2.0, 0.0, INFINITY, NAN, 1e-310, 1e300};
    const int fixed = 1 + parameters + int(constants.size()), temporaries = 4;
    const int registers = fixed + outputs + temporaries;
    const int length = outputs + int(below(12));
    for (int k = 0; k < length; ++k) {
      const int opcode = int(below(nl_opcode_count()));
      const bool bessel = !strcmp(nl_opcode_name(opcode), "spherical_j");  // of order 0 or more
      int32_t row[7] = {opcode, 0, 0, 0, 0, 0, int32_t(below(9)) - (bessel ? 0 : 4)};
      row[1] = int32_t(k < outputs ? fixed + k : fixed + below(outputs + temporaries));
      for (const char* two : {"sin_cos", "sinh_cosh", "sigmoids", "sincs"})
        if (!strcmp(two, nl_opcode_name(opcode))) row[2] = int32_t(fixed + below(outputs + temporaries));
      for (int j = 0; j < operand_count(opcode); ++j) row[3 + j] = int32_t(below(registers));
      code.insert(code.end(), row, row + 7);
    }
    c = {code.data(), constants.data(), length, parameters, int32_t(constants.size()), outputs, registers};
  }
};

template <class T>
std::vector<T> random_values(int64_t n) {
  static const double special[] = {0.0, -0.0, INFINITY, -INFINITY, NAN, 300.0, -300.0, 1e-42, 1e30, -1e30, 1e-320};
  std::vector<T> values;
  for (int64_t i = 0; i < n; ++i) values.push_back(T(below(8) ? uniform() : special[below(11)]));
  return values;
}

void check(int32_t code, const char* what) {
  if (code == NL_OK) return;
  printf("%s returned %d\n", what, int(code));
  exit(3);
}

template <class T>
void activations(int32_t dtype) {
  static const int64_t lengths[] = {0, 1, 17, 511, 512, 513, 1300};
  static const int64_t shapes[][2] = {{1, 1}, {3, 1}, {700, 1}, {5, 7}, {2, 600}};
  for (int round = 0; round < 60; ++round) {
    const int children = 1 + int(below(3)), threads = 1 + int(below(3));
    const bool per_channel = below(2);
    const int64_t* shape = shapes[per_channel ? below(5) : 0];
    const int64_t count = per_channel ? shape[0] * shape[1] * below(4) : lengths[below(7)];
    const int parameters = int(below(3));
    std::vector<Program> programs;
    for (int k = 0; k < children; ++k) programs.emplace_back(parameters, 1 + parameters);
    std::vector<nl_program> raw;
    for (Program& p : programs) {  // the vector has moved them: point to where they are now
      p.c.code = p.code.data(), p.c.constants = p.constants.data();
      raw.push_back(p.c);
    }
    const int64_t width = per_channel ? shape[0] : 1;
    auto x = random_values<T>(children * count), gradient = random_values<T>(children * count);
    std::vector<T> by_x(size_t(children * count));
    std::vector<std::vector<T>> theta, sums, outputs;
    std::vector<const void*> theta_at;
    std::vector<void*> sums_at, outputs_at;
    for (int k = 0; k < children; ++k) {
      theta.push_back(random_values<T>(parameters * width));
      sums.emplace_back(size_t(parameters * width));
    }
    for (int j = 0; j < 1 + parameters; ++j) outputs.emplace_back(size_t(children * count));
    for (auto& t : theta) theta_at.push_back(t.data());
    for (auto& s : sums) sums_at.push_back(s.data());
    for (auto& o : outputs) outputs_at.push_back(o.data());
    nl_activation_call call = {dtype, children, threads, per_channel, count, shape[0], shape[1], raw.data(), x.data(),
                               theta_at.data(), outputs_at.data(), 1 + parameters, nullptr, nullptr, nullptr};
    check(nl_activate(&call), "nl_activate");
    if (parameters) call.outputs = outputs_at.data(), outputs_at[1] = nullptr;
    check(nl_activate(&call), "nl_activate without one output");
    call.gradient = gradient.data(), call.gradient_x = by_x.data(), call.gradient_parameters = sums_at.data();
    check(nl_activate(&call), "nl_activate with a gradient");
    if (!children) continue;
    const nl_program& first = raw[0];  // the same without the structure, for the first child
    const int64_t channels = per_channel ? shape[0] : 1, inner = per_channel ? shape[1] : 1;
    check(nl_apply(&first, dtype, threads, count, channels, inner, x.data(), theta_at[0], nullptr, outputs_at[0], nullptr),
          "nl_apply");
    check(nl_apply(&first, dtype, threads, count, channels, inner, x.data(), theta_at[0], gradient.data(), by_x.data(),
                   sums_at[0]),
          "nl_apply with a gradient");
  }
}

template <class T>
void trainings(int32_t dtype) {
  for (int round = 0; round < 24; ++round) {
    std::vector<int64_t> widths = {1 + below(20)};
    for (int64_t l = below(4); l > 0; --l) widths.push_back(1 + below(40));
    if (round == 5) widths.push_back(600);
    widths.push_back(1 + below(12));
    const int64_t inputs = widths.front(), classes = widths.back(), train = 1 + below(50), valid = below(30);
    const int64_t used = 1 + below(train), epochs = 2;
    const bool per_channel = below(2), bias = below(2), mse = below(2);
    const int parameters = int(below(3));
    Program value(parameters, 1), derivatives(parameters, 2 + parameters);
    int64_t size = 0;
    for (size_t l = 0; l + 1 < widths.size(); ++l) {
      size += widths[l] * widths[l + 1] + (bias ? widths[l + 1] : 0);
      if (l + 2 < widths.size()) size += parameters * (per_channel ? widths[l + 1] : 1);
    }
    std::vector<T> train_x, valid_x, train_t, valid_t;
    for (int64_t i = 0; i < train * inputs; ++i) train_x.push_back(T(uniform()));
    for (int64_t i = 0; i < valid * inputs; ++i) valid_x.push_back(T(uniform()));
    for (int64_t i = 0; i < train * classes; ++i) train_t.push_back(T(uniform()));
    for (int64_t i = 0; i < valid * classes; ++i) valid_t.push_back(T(uniform()));
    std::vector<int64_t> train_y, valid_y, order;
    for (int64_t i = 0; i < train; ++i) train_y.push_back(below(classes));
    for (int64_t i = 0; i < valid; ++i) valid_y.push_back(below(classes));
    for (int64_t i = 0; i < epochs * used; ++i) order.push_back(below(train));
    nl_mlp network = {};
    network.dtype = dtype, network.layers = int32_t(widths.size()) - 1, network.widths = widths.data();
    network.bias = bias, network.per_channel = per_channel, network.loss = mse;
    network.optimiser = int32_t(below(3)), network.beta1 = 0.9, network.beta2 = 0.999, network.eps = 1e-8;
    network.weight_decay = below(2) ? 0.01 : 0, network.momentum = below(2) ? 0.9 : 0, network.clip = below(2) ? 1 : 0;
    network.batch = 1 + below(20), network.order_length = used, network.first_epoch = 0, network.last_epoch = epochs;
    network.train_rows = train, network.valid_rows = valid, network.train_x = train_x.data();
    network.valid_x = valid_x.data();
    network.train_y = mse ? static_cast<void*>(train_t.data()) : train_y.data();
    network.valid_y = mse ? static_cast<void*>(valid_t.data()) : valid_y.data();
    const int children = 1 + int(below(3));
    std::vector<std::vector<T>> state;
    std::vector<std::vector<double>> curves;
    for (int k = 0; k < 3 * children; ++k) state.emplace_back(size_t(size));
    for (int k = 0; k < 5 * children; ++k) curves.emplace_back(size_t(epochs));
    std::vector<nl_child> rows;
    for (int k = 0; k < children; ++k) {
      for (T& w : state[size_t(3 * k)]) w = T(uniform() * 0.2);
      rows.push_back({&value.c, &derivatives.c, state[size_t(3 * k)].data(), state[size_t(3 * k + 1)].data(),
                      state[size_t(3 * k + 2)].data(), order.data(), 0.01, 0, 0, -1, curves[size_t(5 * k)].data(),
                      curves[size_t(5 * k + 1)].data(), curves[size_t(5 * k + 2)].data(),
                      curves[size_t(5 * k + 3)].data(), curves[size_t(5 * k + 4)].data()});
    }
    check(nl_train_mlp(&network, rows.data(), children, 1 + int(below(2))), "nl_train_mlp");
  }
}

template <class T>
void products(int32_t dtype) {
  for (int round = 0; round < 40; ++round) {
    const int64_t rows = 1 + below(40), columns = round % 10 ? 1 + below(70) : 700;
    const int64_t inner = round % 7 ? 1 + below(40) : 900, children = 1 + below(3), shared = below(2);
    auto a = random_values<T>((shared ? 1 : children) * rows * inner), b = random_values<T>(children * inner * columns);
    auto start = random_values<T>(columns);
    std::vector<T> c(size_t(children * rows * columns));
    const nl_product product = {dtype, 1 + int32_t(below(2)), int32_t(below(2)), int32_t(below(2)), children, rows,
                                columns, inner, a.data(), b.data(), below(2) ? start.data() : nullptr,
                                shared ? 0 : rows * inner, inner * columns, 0, c.data()};
    check(nl_multiply(&product), "nl_multiply");
  }
}

template <class T>
void corrections(int32_t dtype) {
  for (int round = 0; round < 60; ++round) {
    const int64_t rows = below(12), channels = round % 3 ? 1 + below(round % 5 ? 9 : 300) : 1;
    const int64_t inner = round % 4 ? 1 + below(200) : 1, count = rows * channels * inner;
    const int64_t order = 1 + below(12), segments = round % 2 ? 129 : 1 + below(40);
    const int32_t threads = 1 + int32_t(below(3));
    auto x = random_values<T>(count), y = random_values<T>(count), gradient = random_values<T>(count);
    auto lines = random_values<T>(2 * segments), numbers = random_values<T>(order * channels);
    std::vector<T> out(size_t(count), T(0)), sums(size_t(order * channels));
    for (const void* g : {static_cast<const void*>(nullptr), static_cast<const void*>(gradient.data())}) {
      void* to = g && below(2) ? sums.data() : nullptr;
      const nl_table_call table = {dtype, threads, rows, channels, inner, segments, lines.data(), 12.5, 50.0,
                                   numbers.data(), y.data(), g, out.data(), to};
      check(nl_table_step(&table), "nl_table_step");
      const nl_hermite_call hermite = {dtype, threads, rows, channels, inner, order, 0.3, 1.2, 6.0,
                                       numbers.data(), x.data(), y.data(), g, out.data(), to};
      check(nl_hermite_step(&hermite), "nl_hermite_step");
    }
  }
}

}  // namespace

int main() {
  activations<float>(NL_FLOAT32);
  activations<double>(NL_FLOAT64);
  trainings<float>(NL_FLOAT32);
  trainings<double>(NL_FLOAT64);
  products<float>(NL_FLOAT32);
  products<double>(NL_FLOAT64);
  corrections<float>(NL_FLOAT32);
  corrections<double>(NL_FLOAT64);
  puts("done");
}
