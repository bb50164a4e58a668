// The whole-training engine: one child at a time, its parameters, activations and gradients all in cache.
//
// Inside, the weight of a layer lies transposed, (in, padded out), so that all three products of a step run
// along rows; parameters, gradients and moments are one stretch each, with the padding always zero.

template <class T>
struct Layer {
  int64_t in, out, in_step, out_step;  // steps: padded widths
  int64_t theta_count;                 // values per activation parameter; 0 for the last layer
  int64_t weight, bias, theta;         // offsets into the stretch
  T* rows;                             // (out, in_step): the weight in torch's layout, for the way back
  T *result, *slope;                   // (batch, out_step): f and df/dx
  T** slopes;                          // per activation parameter, (batch, out_step): df/dp
};

template <class T>
class Child {
 public:
  Child(const nl_mlp& network, nl_child& child)
      : network_(network), child_(child), count_(network.layers), layers_(memory_.take<Layer<T>>(network.layers)) {
    hidden_ = count_ > 1;
    parameters_ = hidden_ ? child.derivatives->parameters : 0;
    int64_t widest = 0;
    for (int64_t l = 0; l < count_; ++l) {
      Layer<T>& layer = layers_[l];
      const bool last = l == count_ - 1;
      layer.in = network.widths[l];
      layer.out = network.widths[l + 1];
      layer.in_step = padded<T>(layer.in);
      layer.out_step = padded<T>(layer.out);
      layer.theta_count = last ? 0 : network.per_channel ? layer.out : 1;
      layer.weight = total_;
      layer.bias = layer.weight + layer.in * layer.out_step;
      layer.theta = layer.bias + layer.out_step;
      total_ = layer.theta + padded<T>(parameters_ * layer.theta_count);
      if (layer.out_step > widest) widest = layer.out_step;
    }
    for (int64_t l = 0; l < count_; ++l) {
      Layer<T>& layer = layers_[l];
      const int64_t size = network.batch * layer.out_step;
      layer.result = memory_.take<T>(size);
      if (l > 0) layer.rows = memory_.take<T>(layer.out * layer.in_step);
      if (l == count_ - 1) continue;
      layer.slope = memory_.take<T>(size);
      layer.slopes = memory_.take<T*>(parameters_ + 1);
      for (int p = 0; p < parameters_; ++p) layer.slopes[p] = memory_.take<T>(size);
    }
    input_ = memory_.take<T>(network.batch * layers_[0].in_step);
    before_ = memory_.take<T>(network.batch * widest);
    deltas_[0] = memory_.take<T>(network.batch * widest);
    deltas_[1] = memory_.take<T>(network.batch * widest);
    panel_ = memory_.take<T>(panel_size<T>());
    targets_ = memory_.take<T>(network.batch * layers_[count_ - 1].out);
    classes_ = memory_.take<int64_t>(network.batch);
    values_ = memory_.take<T>(total_);
    gradients_ = memory_.take<T>(total_);
    first_ = memory_.take<T>(total_);
    second_ = memory_.take<T>(total_);
    sums_ = memory_.take<double>(widest);
  }

  void train() {
    if (child_.status != 0) return;
    const FlushSubnormals flush;
    copy_state(true);
    if (hidden_) {
      Machine<T> derivatives(*child_.derivatives, memory_), value(*child_.value, memory_);
      epochs(&derivatives, &value);
    } else {
      epochs(nullptr, nullptr);
    }
    copy_state(false);
  }

 private:
  void epochs(Machine<T>* derivatives, Machine<T>* value) {
    const int64_t length = network_.order_length, batch = network_.batch;
    const int64_t per_epoch = (length + batch - 1) / batch;
    for (int64_t epoch = network_.first_epoch; epoch < network_.last_epoch; ++epoch) {
      const int64_t* order = child_.order + epoch * length;
      const double begun = seconds();
      double total = 0;
      int64_t correct = 0;
      for (int64_t b = 0; b < per_epoch; ++b) {
        const int64_t begin = b * batch, rows = length - begin < batch ? length - begin : batch;
        gather(order + begin, rows);
        forward(derivatives, input_, layers_[0].in_step, rows, true);
        const Score<T> score = batch_loss(rows, classes_, targets_, true);
        const double loss = score.loss / terms(rows);
        total += loss * double(rows);
        correct += score.correct;
        if (!isfinite(loss)) return diverged(epoch);
        backward(rows);
        const double factor = network_.schedule ? network_.schedule[epoch * per_epoch + b] : 1.0;
        optimiser_step(network_, total_, values_, gradients_, first_, second_, child_.learning_rate * factor,
                       ++child_.steps);
      }
      child_.train_seconds[epoch] = seconds() - begun;
      child_.train_loss[epoch] = total / double(length);
      child_.train_accuracy[epoch] = accuracy(correct, length);
      if (network_.valid_rows > 0) {
        validate(value, epoch);
        if (!isfinite(child_.valid_loss[epoch])) return diverged(epoch);
      }
    }
  }

  void diverged(int64_t epoch) {
    child_.status = 1;
    child_.diverged_epoch = epoch;
  }

  void gather(const int64_t* order, int64_t rows) {
    const Layer<T>& layer = layers_[0];
    const T* x = static_cast<const T*>(network_.train_x);
    const int64_t outputs = layers_[count_ - 1].out;
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t row = order[i];
      memcpy(input_ + i * layer.in_step, x + row * layer.in, size_t(layer.in) * sizeof(T));
      if (network_.loss == 0)
        classes_[i] = static_cast<const int64_t*>(network_.train_y)[row];
      else
        memcpy(targets_ + i * outputs, static_cast<const T*>(network_.train_y) + row * outputs,
               size_t(outputs) * sizeof(T));
    }
  }

  // Logits into the last layer's `result`; with `learn`, the derivatives are kept.
  void forward(Machine<T>* machine, const T* input, int64_t input_step, int64_t rows, bool learn) {
    for (int64_t l = 0; l < count_; ++l) {
      Layer<T>& layer = layers_[l];
      const bool last = l == count_ - 1;
      T* to = last ? layer.result : before_;
      multiply_matrices<T, false>(rows, layer.out_step, layer.in, {input, input_step}, values_ + layer.weight,
                                  layer.out_step, to, layer.out_step, {values_ + layer.bias, nullptr, 0}, panel_);
      if (!last) activate(*machine, layer, rows * layer.out_step, learn);
      input = layer.result;
      input_step = layer.out_step;
    }
  }

  void activate(Machine<T>& machine, Layer<T>& layer, int64_t size, bool learn) {
    const FlushSubnormals keep(false);
    const bool channels = parameters_ > 0 && network_.per_channel;
    // A padded row counts as out_step channels: what comes out of the padding is never read.
    const int64_t period = layer.out_step;
    const bool repeats = channels && period <= TILE;
    const int64_t step = repeats ? TILE / period * period : TILE;
    const T* theta = values_ + layer.theta;
    if (parameters_ > 0 && !channels) machine.set_parameters(theta);
    if (repeats) set_channels(machine, layer, 0, step);
    for (int64_t start = 0; start < size; start += step) {
      const int64_t n = size - start < step ? size - start : step;
      if (channels && !repeats) set_channels(machine, layer, start, n);
      machine.send_output(0, layer.result + start);
      if (learn) {
        machine.send_output(1, layer.slope + start);
        for (int p = 0; p < parameters_; ++p) machine.send_output(2 + p, layer.slopes[p] + start);
      }
      machine.run(before_ + start, n);
    }
  }

  void set_channels(Machine<T>& machine, const Layer<T>& layer, int64_t offset, int64_t n) {
    for (int p = 0; p < parameters_; ++p) {
      const T* theta = values_ + layer.theta + p * layer.out;
      T* to = machine.parameter(p);
      for (int64_t i = 0; i < n;) {
        const int64_t channel = (offset + i) % layer.out_step;
        int64_t length = layer.out_step - channel;
        if (length > n - i) length = n - i;
        for (int64_t j = 0; j < length; ++j) to[i + j] = channel + j < layer.out ? theta[channel + j] : T(1);
        i += length;
      }
    }
  }

  double accuracy(int64_t correct, int64_t rows) const {
    return network_.loss == 0 ? double(correct) / double(rows) : __builtin_nan("");
  }

  static double seconds() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
  }

  double terms(int64_t rows) const {
    return network_.loss == 0 ? double(rows) : double(rows) * double(layers_[count_ - 1].out);
  }

  Score<T> batch_loss(int64_t rows, const int64_t* classes, const T* targets, bool gradient) {
    const Layer<T>& last = layers_[count_ - 1];
    if (network_.loss == 0)
      return cross_entropy(last.result, rows, last.out, last.out_step, classes, gradient, T(1.0 / double(rows)),
                           deltas_[0]);
    return squared_error(last.result, rows, last.out, last.out_step, targets, gradient, T(2.0 / terms(rows)));
  }

  void backward(int64_t rows) {
    const T* delta = layers_[count_ - 1].result;
    for (int64_t l = count_ - 1; l >= 0; --l) {
      Layer<T>& layer = layers_[l];
      const T* input = l == 0 ? input_ : layers_[l - 1].result;
      multiply_matrices<T, true>(layer.in, layer.out_step, rows, {input, layer.in_step}, delta, layer.out_step,
                                 gradients_ + layer.weight, layer.out_step, {nullptr, nullptr, 0}, panel_);
      if (network_.bias) column_sums(delta, rows, layer.out_step, gradients_ + layer.bias);
      if (l > 0) delta = pass_back(l, delta, rows, deltas_[l & 1]);
    }
  }

  // The loss's gradient by what layer l - 1 fed into its activation, and the activation's own gradients.
  const T* pass_back(int64_t l, const T* delta, int64_t rows, T* to) {
    Layer<T>&layer = layers_[l], &below = layers_[l - 1];
    transpose(layer.in, layer.out, values_ + layer.weight, layer.out_step, layer.rows, layer.in_step);
    const bool fused = parameters_ == 0;
    multiply_matrices<T, false>(rows, layer.in_step, layer.out, {delta, layer.out_step}, layer.rows, layer.in_step, to,
                                layer.in_step, {nullptr, fused ? below.slope : nullptr, below.out_step}, panel_);
    if (!fused) {
      for (int p = 0; p < parameters_; ++p) parameter_gradient(below, p, to, rows);
      NONLIN_INDEPENDENT
      for (int64_t i = 0; i < rows * below.out_step; ++i) to[i] *= below.slope[i];
    }
    if (below.out != below.out_step)  // 0 times an infinite slope of the padding
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = below.out; j < below.out_step; ++j) to[i * below.out_step + j] = T(0);
    return to;
  }

  void parameter_gradient(const Layer<T>& layer, int p, const T* delta, int64_t rows) {
    T* to = gradients_ + layer.theta + p * layer.theta_count;
    double total = 0;
    for (int64_t j = 0; j < layer.out; ++j) sums_[j] = 0;
    for (int64_t i = 0; i < rows; ++i) {
      const T *g = delta + i * layer.out_step, *d = layer.slopes[p] + i * layer.out_step;
      if (!network_.per_channel)
        total += dot(g, d, layer.out);
      else
        for (int64_t j = 0; j < layer.out; ++j) sums_[j] += double(g[j] * d[j]);
    }
    if (!network_.per_channel) to[0] = T(total);
    else
      for (int64_t j = 0; j < layer.out; ++j) to[j] = T(sums_[j]);
  }

  static void column_sums(const T* matrix, int64_t rows, int64_t step, T* to) {
    typedef typename Line<T>::type line;
    for (int64_t c = 0; c < step; c += Line<T>::lanes) {
      const T* column = matrix + c;
      line even = {}, odd = {};  // two sums at a time hide the additions' latency
      int64_t i = 0;
      for (; i + 2 <= rows; i += 2) {
        even += *reinterpret_cast<const line*>(column + i * step);
        odd += *reinterpret_cast<const line*>(column + (i + 1) * step);
      }
      if (i < rows) even += *reinterpret_cast<const line*>(column + i * step);
      *reinterpret_cast<line*>(to + c) = even + odd;
    }
  }

  void validate(Machine<T>* machine, int64_t epoch) {
    const Layer<T>&first = layers_[0], &last = layers_[count_ - 1];
    const T* x = static_cast<const T*>(network_.valid_x);
    Score<T> score;
    for (int64_t begin = 0; begin < network_.valid_rows; begin += network_.batch) {
      const int64_t left = network_.valid_rows - begin, rows = left < network_.batch ? left : network_.batch;
      forward(machine, x + begin * first.in, first.in, rows, false);
      const Score<T> part =
          network_.loss == 0
              ? batch_loss(rows, static_cast<const int64_t*>(network_.valid_y) + begin, nullptr, false)
              : batch_loss(rows, nullptr, static_cast<const T*>(network_.valid_y) + begin * last.out, false);
      score.loss += part.loss;
      score.correct += part.correct;
    }
    child_.valid_loss[epoch] = score.loss / terms(network_.valid_rows);
    child_.valid_accuracy[epoch] = accuracy(score.correct, network_.valid_rows);
  }

  // Between the caller's layout (torch's) and the one inside.
  void copy_state(bool in) {
    copy_one(static_cast<T*>(child_.weights), values_, in);
    if (child_.first) copy_one(static_cast<T*>(child_.first), first_, in);
    if (child_.second) copy_one(static_cast<T*>(child_.second), second_, in);
  }

  void copy_one(T* outside, T* inside, bool in) {
    for (int64_t l = 0; l < count_; ++l) {
      const Layer<T>& layer = layers_[l];
      if (in)
        transpose(layer.out, layer.in, outside, layer.in, inside + layer.weight, layer.out_step);
      else
        transpose(layer.in, layer.out, inside + layer.weight, layer.out_step, outside, layer.in);
      outside += layer.in * layer.out;
      if (network_.bias) outside = copy_part(outside, inside + layer.bias, layer.out, in);
      if (layer.theta_count) outside = copy_part(outside, inside + layer.theta, parameters_ * layer.theta_count, in);
    }
  }

  static T* copy_part(T* outside, T* inside, int64_t n, bool in) {
    if (in)
      memcpy(inside, outside, size_t(n) * sizeof(T));
    else
      memcpy(outside, inside, size_t(n) * sizeof(T));
    return outside + n;
  }

  Memory memory_;
  const nl_mlp& network_;
  nl_child& child_;
  const int64_t count_;
  Layer<T>* layers_;
  bool hidden_ = false;
  int parameters_ = 0;
  int64_t total_ = 0;
  T *input_, *before_, *deltas_[2], *panel_, *targets_;
  int64_t* classes_;
  T *values_, *gradients_, *first_, *second_;
  double* sums_;
};

static void train_mlp(const nl_mlp& network, nl_child* children, int32_t count, int32_t threads) {
  struct Context {
    const nl_mlp& network;
    nl_child* children;
  } context{network, children};
  const auto work = [](void* raw, int64_t item) {
    const Context& c = *static_cast<const Context*>(raw);
    if (c.network.dtype == NL_FLOAT64)
      Child<double>(c.network, c.children[item]).train();
    else
      Child<float>(c.network, c.children[item]).train();
  };
  run_parallel(threads, count, work, &context);
}
