// Losses over one batch. `logits` is (rows, step) with `columns` of meaning and zeros in the padding; on return
// it holds the gradient of the mean loss, again with zeros in the padding.

// A padded row is whole lines: one vector each.
template <class T>
struct Line {
  typedef T type __attribute__((vector_size(LINE), aligned(sizeof(T)), may_alias));
  static constexpr int64_t lanes = LINE / int64_t(sizeof(T));
};

template <class T>
struct Score {
  double loss = 0;      // summed over rows
  int64_t correct = 0;  // rows whose largest logit is their class
};

// The summed cross-entropy; `gradient` asks for (softmax - one-hot) * scale in place of the logits. Rows are turned
// into columns, so that sums and the largest of many rows are found at once. Scratch: rows * step elements.
template <class T>
Score<T> cross_entropy(T* logits, int64_t rows, int64_t columns, int64_t step, const int64_t* classes, bool gradient,
                       T scale, T* scratch) {
  Score<T> score;
  T largest[BLOCK], winners[BLOCK], sums[BLOCK], logs[BLOCK];
  for (int64_t first = 0; first < rows; first += BLOCK) {
    const int64_t n = rows - first < BLOCK ? rows - first : BLOCK;
    T* const block = logits + first * step;
    transpose(n, step, block, step, scratch, n);
    for (int64_t i = 0; i < n; ++i) largest[i] = scratch[i], winners[i] = T(0), sums[i] = T(0);
    for (int64_t c = 1; c < columns; ++c) {
      const T* const column = scratch + c * n;
      for (int64_t i = 0; i < n; ++i) {
        winners[i] = column[i] > largest[i] ? T(c) : winners[i];
        largest[i] = column[i] > largest[i] ? column[i] : largest[i];
      }
    }
    for (int64_t c = 0; c < columns; ++c) {
      T* const column = scratch + c * n;
      for (int64_t i = 0; i < n; ++i) {
        const T e = exponential_below(column[i] - largest[i]);
        column[i] = e;
        sums[i] += e;
      }
    }
    for (int64_t i = 0; i < n; ++i) logs[i] = logarithm(sums[i]);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t right = classes[first + i];
      score.loss += double(logs[i] - (block[i * step + right] - largest[i]));
      score.correct += winners[i] == T(right);
    }
    if (!gradient) continue;
    for (int64_t i = 0; i < n; ++i) sums[i] = scale / sums[i];
    for (int64_t c = 0; c < columns; ++c)
      for (int64_t i = 0; i < n; ++i) scratch[c * n + i] *= sums[i];
    transpose(step, n, scratch, n, block, step);
    for (int64_t i = 0; i < n; ++i) block[i * step + classes[first + i]] -= scale;
  }
  return score;
}

// The summed square; its mean is over rows*columns. `scale` is 2/(rows*columns).
template <class T>
Score<T> squared_error(T* outputs, int64_t rows, int64_t columns, int64_t step, const T* targets, bool gradient,
                       T scale) {
  Score<T> score;
  for (int64_t i = 0; i < rows; ++i) {
    T* row = outputs + i * step;
    const T* target = targets + i * columns;
    T sum = 0;
    for (int64_t j = 0; j < columns; ++j) {
      const T difference = row[j] - target[j];
      sum += difference * difference;
      if (gradient) row[j] = scale * difference;
    }
    for (int64_t j = columns; j < step; ++j) row[j] = T(0);
    score.loss += double(sum);
  }
  return score;
}
