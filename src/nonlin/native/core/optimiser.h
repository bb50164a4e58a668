// One optimiser step over all of a child's parameters, which lie in one stretch. The formulas are torch's:
// SGD with momentum, Adam [Kingma & Ba 2015] with eps outside the corrected root, AdamW [Loshchilov &
// Hutter 2019].

enum { SGD = 0, ADAM = 1, ADAMW = 2 };

template <class T>
void optimiser_step(const nl_mlp& rule, int64_t n, T* parameters, T* gradients, T* first, T* second,
                    double learning_rate, int64_t step) {
  if (rule.clip > 0) {
    const double norm = sqrt(dot(gradients, gradients, n));
    const double factor = rule.clip / (norm + 1e-6);
    if (!(factor >= 1))
      for (int64_t i = 0; i < n; ++i) gradients[i] *= T(factor);
  }
  const T decay = T(rule.weight_decay);
  if (rule.optimiser == ADAMW && rule.weight_decay != 0) {
    const T keep = T(1 - learning_rate * rule.weight_decay);
    for (int64_t i = 0; i < n; ++i) parameters[i] *= keep;
  } else if (rule.weight_decay != 0) {
    NONLIN_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) gradients[i] += decay * parameters[i];
  }
  if (rule.optimiser == SGD) {
    const T rate = T(learning_rate), momentum = T(rule.momentum);
    if (rule.momentum == 0) {
      NONLIN_INDEPENDENT
      for (int64_t i = 0; i < n; ++i) parameters[i] -= rate * gradients[i];
      return;
    }
    const T kept = step == 1 ? T(0) : momentum;  // the first step takes the gradient as it is
    const bool nesterov = rule.nesterov != 0;
    NONLIN_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) {
      first[i] = kept * first[i] + gradients[i];
      parameters[i] -= rate * (nesterov ? gradients[i] + momentum * first[i] : first[i]);
    }
    return;
  }
  const double correction1 = 1 - pow(rule.beta1, double(step)), correction2 = 1 - pow(rule.beta2, double(step));
  const T rate = T(learning_rate / correction1), unroot = T(1 / sqrt(correction2)), eps = T(rule.eps);
  const T fresh1 = T(1 - rule.beta1), keep2 = T(rule.beta2), fresh2 = T(1 - rule.beta2);
  NONLIN_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) {
    const T g = gradients[i];
    const T m = first[i] + fresh1 * (g - first[i]);
    const T v = keep2 * second[i] + fresh2 * (g * g);
    first[i] = m;
    second[i] = v;
    parameters[i] -= rate * m / (square_root(v) * unroot + eps);
  }
}
