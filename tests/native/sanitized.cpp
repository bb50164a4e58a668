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
      const nl_hermite_call hermite = {dtype, threads, rows, channels, inner, order, 0.3, 1.2, 6.0, numbers.data(),
                                       x.data(), g ? nullptr : y.data(), g, out.data(), to};
      check(nl_hermite_step(&hermite), "nl_hermite_step");
    }
    const Program base(0, 2);
    const float mean = 0.2f, deviation = 1.1f;
    const uint8_t due = uint8_t(below(2));
    const int64_t samples = below(2) ? below(count + 1) : 0;
    std::vector<T> by_x(size_t(count), T(0)), by_rho(size_t(count), T(0));
    std::vector<float> sample(size_t(2 * samples));
    for (const bool table : {false, true}) {
      const nl_adapted_call call = {dtype, threads, rows, channels, inner, below(2) ? &base.c : nullptr, x.data(),
                                    &mean, &deviation, numbers.data(), table ? lines.data() : nullptr, segments, order,
                                    out.data(), by_x.data(), table ? by_rho.data() : nullptr, &due, samples,
                                    1327217885, sample.data(), 0.08, 64.5, 6.0};
      check(nl_adapt(&call), "nl_adapt");
      const nl_adapted_gradient_call backward = {dtype, threads, rows, channels, inner, table ? 0 : order,
                                                 gradient.data(), by_x.data(), by_rho.data(), x.data(), &mean,
                                                 &deviation, out.data(), sums.data(), 6.0};
      check(nl_adapt_backward(&backward), "nl_adapt_backward");
    }
  }
}

template <class T>
void normalisations(int32_t dtype) {
  for (int round = 0; round < 40; ++round) {
    const int64_t children = 1 + below(3), rows = below(9), width = 1 + below(round % 5 ? 40 : 700);
    const int64_t count = children * rows * width;
    auto x = random_values<T>(count), gradient = random_values<T>(count);
    auto weight = random_values<T>(children * width), bias = random_values<T>(children * width);
    auto mean = random_values<T>(children * rows), inverse = mean, out = gradient, by_weight = weight, by_bias = bias;
    const bool affine = below(2);
    nl_normalisation call = {dtype, 1 + int32_t(below(3)), children, rows, width, 1e-5, x.data(),
                             affine ? weight.data() : nullptr, affine ? bias.data() : nullptr, mean.data(),
                             inverse.data(), nullptr, out.data(), nullptr, nullptr};
    check(nl_normalise(&call), "nl_normalise");
    call.gradient = gradient.data();
    if (affine) call.gradient_weight = by_weight.data(), call.gradient_bias = by_bias.data();
    check(nl_normalise(&call), "nl_normalise with a gradient");
  }
}

template <class T>
void convolutions(int32_t dtype) {
  for (int round = 0; round < 40; ++round) {
    nl_convolution c = {};
    c.dtype = dtype, c.threads = 1 + int32_t(below(3)), c.children = 1 + below(3), c.images = below(4);
    c.channels = 1 + below(5), c.filters = 1 + below(20), c.tall = 1 + below(3), c.wide = 1 + below(4);
    c.spread_y = 1 + below(2), c.spread_x = 1 + below(2), c.x_last = int32_t(below(2)), c.out_last = int32_t(below(2));
    if (round % 2) {  // by Winograd's filtering, where the results fill enough of their tiles
      c.channels = 8 + below(12), c.filters = 8 + below(12), c.tall = c.wide = 3, c.spread_y = c.spread_x = 1;
    }
    const int64_t reach_y = c.spread_y * (c.tall - 1), reach_x = c.spread_x * (c.wide - 1);
    c.pad_y = below(reach_y + 1), c.pad_x = below(reach_x + 1);
    c.out_height = 1 + below(9), c.out_width = 1 + below(round % 4 ? 9 : 40);
    c.height = c.out_height + reach_y - 2 * c.pad_y, c.width = c.out_width + reach_x - 2 * c.pad_x;
    if (c.height < 1 || c.width < 1) continue;
    const int64_t in = c.images * c.channels * c.height * c.width, kernel = c.filters * c.channels * c.tall * c.wide;
    const int64_t made = c.images * c.filters * c.out_height * c.out_width;
    const bool shared = below(2);
    auto x = random_values<T>(shared ? in : c.children * in), weight = random_values<T>(c.children * kernel);
    auto bias = random_values<T>(c.children * c.filters), gradient = random_values<T>(c.children * made);
    auto out = gradient, by_x = random_values<T>(c.children * in), by_weight = weight, by_bias = bias;
    c.x = x.data(), c.x_stride = shared ? 0 : in, c.weight = weight.data(), c.bias = below(2) ? bias.data() : nullptr;
    c.out = out.data();
    check(nl_convolve(&c), "nl_convolve");
    c.out = nullptr, c.gradient = gradient.data(), c.gradient_weight = by_weight.data();
    if (below(2)) c.gradient_x = by_x.data();
    if (below(2)) c.gradient_bias = by_bias.data();
    check(nl_convolve(&c), "nl_convolve with a gradient");
  }
}

template <class T>
void steps(int32_t dtype) {
  for (int round = 0; round < 40; ++round) {
    const int64_t children = 1 + below(4), segments = below(4);
    std::vector<int64_t> sizes;
    std::vector<std::vector<T>> memory;
    std::vector<double> decays, rates;
    for (int64_t s = 0; s < segments; ++s) {
      sizes.push_back(below(round % 5 ? 30 : 900));
      decays.push_back(below(2) ? 0.01 : 0);
    }
    for (int64_t k = 0; k < children; ++k) rates.push_back(uniform());
    std::vector<void*> at[4];
    for (int kind = 0; kind < 4; ++kind)
      for (int64_t size : sizes) memory.push_back(random_values<T>(children * size)), at[kind].push_back(nullptr);
    for (size_t m = 0; m < memory.size(); ++m) at[m / size_t(segments)][m % size_t(segments)] = memory[m].data();
    const nl_step call = {dtype, 1 + int32_t(below(3)), int32_t(below(3)), children, segments, 1 + below(5),
                          sizes.data(), at[0].data(), at[1].data(), at[2].data(), at[3].data(), decays.data(),
                          rates.data(), 0.9, 0.999, 1e-8, below(2) ? 0.9 : 0, int32_t(below(2)),
                          below(2) ? 0.5 : 0, below(2) ? 1.0 : 0};
    check(nl_take_step(&call), "nl_take_step");
  }
}

template <class T>
void attentions(int32_t dtype) {
  for (int round = 0; round < 40; ++round) {
    const int64_t children = 1 + below(3), batches = below(4), heads = 1 + below(3);
    const int64_t line = 64 / int64_t(sizeof(T));
    const bool small = round % 4 == 1;  // heads that fit into registers
    const int64_t positions = small ? line : 1 + below(round % 5 ? 20 : 90);
    const int64_t features = small ? 8 << below(2) : 1 + below(round % 3 ? 20 : 40);
    const int64_t padded = (positions + line - 1) / line * line;
    const int64_t count = children * batches * heads * positions * features;
    auto q = random_values<T>(count), k = random_values<T>(count), v = random_values<T>(count);
    auto gradient = random_values<T>(count);
    std::vector<T> out(gradient), by_q(gradient), by_k(gradient), by_v(gradient);
    auto shares = random_values<T>(children * batches * heads * positions * padded);
    nl_attention c = {};
    c.dtype = dtype, c.threads = 1 + int32_t(below(3)), c.causal = int32_t(below(2)), c.children = children;
    c.batches = batches, c.heads = heads, c.positions = positions, c.features = features, c.scale = 0.3;
    const auto lay = [&](int64_t& child, int64_t& batch, int64_t& head, int64_t& position) {
      const bool heads_first = below(2);  // (heads, positions, features) or (positions, heads, features)
      batch = heads * positions * features, child = batches * batch;
      head = heads_first ? positions * features : features, position = heads_first ? features : heads * features;
    };
    lay(c.child, c.batch, c.head, c.position);
    lay(c.out_child, c.out_batch, c.out_head, c.out_position);
    lay(c.by_child, c.by_batch, c.by_head, c.by_position);
    c.q = q.data(), c.k = k.data(), c.v = v.data(), c.out = out.data(), c.shares = shares.data();
    check(nl_attend(&c), "nl_attend");
    c.gradient = gradient.data(), c.by_q = by_q.data(), c.by_k = by_k.data(), c.by_v = by_v.data();
    check(nl_attend(&c), "nl_attend with a gradient");
  }
}

template <class T>
void decisions(int32_t dtype) {
  for (int round = 0; round < 40; ++round) {
    const int64_t children = 1 + below(3), rows = below(9), classes = 1 + below(round % 5 ? 20 : 200);
    auto x = random_values<T>(children * rows * classes);
    auto logarithms = x, gradient = x, loss = random_values<T>(children);
    std::vector<int64_t> targets;
    for (int64_t r = 0; r < rows; ++r) targets.push_back(below(6) ? below(classes) : -100);
    nl_decisions c = {dtype, 1 + int32_t(below(3)), children, rows, classes, -100, x.data(), logarithms.data(),
                      nullptr, nullptr, nullptr, 0.0};
    check(nl_decide(&c), "nl_decide");
    c.x = nullptr, c.targets = targets.data(), c.loss = loss.data();
    check(nl_decide(&c), "nl_decide with targets");
    c.loss = nullptr, c.gradient = gradient.data(), c.scale = 0.5;
    check(nl_decide(&c), "nl_decide with a gradient");
    for (int64_t wrong : {classes, int64_t(-1)}) {  // refused, not read
      targets.assign(size_t(rows), wrong);
      if (rows && nl_decide(&c) != NL_BAD_ARGUMENT) check(NL_BAD_ARGUMENT, "a target that is no class");
    }
  }
}

template <class T>
void pools(int32_t dtype) {
  for (int round = 0; round < 40; ++round) {
    const int64_t tall = 1 + below(3), wide = 1 + below(3), planes = below(5);
    const int64_t height = tall * (1 + below(6)), width = wide * (1 + below(round % 4 ? 6 : 40));
    auto large = random_values<T>(planes * height * width), small = random_values<T>(planes * height * width / (tall * wide));
    nl_windows c = {dtype, 0, planes, height, width, tall, wide, large.data(), small.data(), 1, 0, 0};
    if (planes && below(2)) {
      c.channels = below(2) ? planes : 1, c.large_last = 1, c.small_last = int32_t(below(2));
    }
    check(nl_pool(&c), "nl_pool");
    c.backward = 1, c.from = small.data(), c.to = large.data();
    check(nl_pool(&c), "nl_pool backward");
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
  normalisations<float>(NL_FLOAT32);
  normalisations<double>(NL_FLOAT64);
  convolutions<float>(NL_FLOAT32);
  convolutions<double>(NL_FLOAT64);
  steps<float>(NL_FLOAT32);
  steps<double>(NL_FLOAT64);
  attentions<float>(NL_FLOAT32);
  attentions<double>(NL_FLOAT64);
  decisions<float>(NL_FLOAT32);
  decisions<double>(NL_FLOAT64);
  pools<float>(NL_FLOAT32);
  pools<double>(NL_FLOAT64);
  puts("done");
}
