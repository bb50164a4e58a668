// Programs over arrays: values, or products with an incoming gradient.

// Sum of g[i]*d[i] in a fixed order: sixteen partial sums, so that it vectorises.
template <class T>
NONLIN_INLINE double dot(const T* g, const T* d, int64_t n) {
  constexpr int LANES = 16;
  T lanes[LANES] = {};
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int j = 0; j < LANES; ++j) lanes[j] += g[i + j] * d[i + j];
  double total = 0;
  for (int j = 0; j < LANES; ++j) total += double(lanes[j]);
  for (; i < n; ++i) total += double(g[i] * d[i]);
  return total;
}

// One stretch of one child's row.
template <class T>
class ActivationJob {
 public:
  ActivationJob(const nl_activation_call& call, int64_t child, double* sums)
      : call_(call), child_(child), sums_(sums), shape_{call.channels, call.inner} {}

  void run(int64_t begin, int64_t end) const {
    Memory memory;
    Machine<T> machine(call_.programs[child_], memory);
    const T* theta = call_.parameters ? static_cast<const T*>(call_.parameters[child_]) : nullptr;
    const bool per_channel = call_.per_channel && machine.parameters() > 0;
    const int64_t period = shape_.channels * shape_.inner;
    const bool repeats = per_channel && period <= TILE;  // every tile begins at channel 0
    const int64_t step = repeats ? TILE / period * period : TILE;
    if (repeats)
      machine.set_parameters(theta, shape_, 0, step);
    else if (machine.parameters() > 0 && !per_channel)
      machine.set_parameters(theta);
    const T* x = static_cast<const T*>(call_.x) + child_ * call_.count;
    for (int64_t start = begin; start < end; start += step) {
      const int64_t n = end - start < step ? end - start : step;
      if (per_channel && !repeats) machine.set_parameters(theta, shape_, start, n);
      if (!call_.gradient) direct_outputs(machine, start);
      machine.run(x + start, n);
      if (call_.gradient) multiply(machine, per_channel, start, n);
    }
  }

 private:
  void direct_outputs(Machine<T>& machine, int64_t start) const {
    for (int j = 0; j < machine.outputs() && j < call_.output_count; ++j)
      if (call_.outputs[j])
        machine.send_output(j, static_cast<T*>(call_.outputs[j]) + child_ * call_.count + start);
  }

  void multiply(const Machine<T>& machine, bool per_channel, int64_t start, int64_t n) const {
    const T* g = static_cast<const T*>(call_.gradient) + child_ * call_.count + start;
    if (call_.gradient_x) {
      T* to = static_cast<T*>(call_.gradient_x) + child_ * call_.count + start;
      const T* d = machine.output(0);
      NONLIN_INDEPENDENT
      for (int64_t i = 0; i < n; ++i) to[i] = g[i] * d[i];
    }
    for (int p = 0; p < machine.parameters() && p + 1 < machine.outputs(); ++p) {  // a slope alone has no others
      const T* d = machine.output(1 + p);
      if (!per_channel) {
        sums_[p] += dot(g, d, n);
        continue;
      }
      double* sums = sums_ + p * shape_.channels;
      Machine<T>::for_each_run(shape_, start, n, [&](int64_t at, int64_t channel, int64_t length) {
        if (shape_.inner == 1)
          for (int64_t i = 0; i < length; ++i) sums[channel + i] += double(g[at + i] * d[at + i]);
        else
          sums[channel] += dot(g + at, d + at, length);
      });
    }
  }

  const nl_activation_call& call_;
  const int64_t child_;
  double* const sums_;
  const Shape shape_;
};

// All children, in stretches: one per child, or as many as there are threads.
template <class T>
void activate_typed(const nl_activation_call& call) {
  struct Context {
    const nl_activation_call& call;
    int64_t stretches, stretch, sum_count;
    double* sums;  // (children, stretches, sum_count)
  };
  Memory memory;
  Context context{call, 1, call.count, 0, nullptr};
  const int64_t period = call.channels * call.inner;
  const int64_t unit = call.per_channel && period <= TILE ? TILE / period * period : TILE;
  if (call.threads > call.children) {
    const int64_t wanted = (call.threads + call.children - 1) / (call.children ? call.children : 1);
    const int64_t units = (call.count + unit - 1) / unit;
    context.stretch = (units + wanted - 1) / wanted * unit;
    if (context.stretch < 1) context.stretch = 1;
    context.stretches = (call.count + context.stretch - 1) / context.stretch;
    if (context.stretches < 1) context.stretches = 1;
  }
  const int64_t width = call.per_channel ? call.channels : 1;
  if (call.gradient) {
    int64_t most = 0;
    for (int32_t k = 0; k < call.children; ++k)
      if (call.programs[k].parameters > most) most = call.programs[k].parameters;
    context.sum_count = most * width;
    context.sums = memory.take<double>(call.children * context.stretches * context.sum_count + 1);
  }
  const auto work = [](void* raw, int64_t item) {
    const Context& c = *static_cast<const Context*>(raw);
    const int64_t begin = item % c.stretches * c.stretch;
    const int64_t end = begin + c.stretch < c.call.count ? begin + c.stretch : c.call.count;
    ActivationJob<T>(c.call, item / c.stretches, c.sums ? c.sums + item * c.sum_count : nullptr).run(begin, end);
  };
  run_parallel(call.threads, call.children * context.stretches, work, &context);
  if (!call.gradient || !call.gradient_parameters) return;
  for (int64_t k = 0; k < call.children; ++k) {
    T* to = static_cast<T*>(call.gradient_parameters[k]);
    if (!to) continue;  // nobody asks
    for (int64_t j = 0; j < call.programs[k].parameters * width; ++j) {
      double total = 0;
      for (int64_t s = 0; s < context.stretches; ++s)
        total += context.sums[(k * context.stretches + s) * context.sum_count + j];
      to[j] = T(total);
    }
  }
}

static void activate(const nl_activation_call& call) {
  if (call.dtype == NL_FLOAT64)
    activate_typed<double>(call);
  else
    activate_typed<float>(call);
}
