// Losses over one batch. `logits` is (rows, step) with `columns` of meaning and zeros in the padding; on return
// it holds the gradient of the mean loss, again with zeros in the padding.

// A padded row is whole lines: one vector each.
template <class T>
struct Line {
  typedef T type __attribute__((vector_size(LINE), aligned(sizeof(T)), may_alias));
  static constexpr int64_t lanes = LINE / int64_t(sizeof(T));
};

template <class T>
NONLIN_INLINE T largest_lane(const typename Line<T>::type& line) {
  T lanes[Line<T>::lanes];
  memcpy(lanes, &line, sizeof(lanes));
  NONLIN_UNROLL
  for (int64_t half = Line<T>::lanes / 2; half > 0; half /= 2)
    for (int64_t j = 0; j < half; ++j) lanes[j] = lanes[j + half] > lanes[j] ? lanes[j + half] : lanes[j];
  return lanes[0];
}

template <class T>
NONLIN_INLINE T sum_of_lanes(const typename Line<T>::type& line) {
  T lanes[Line<T>::lanes];
  memcpy(lanes, &line, sizeof(lanes));
  NONLIN_UNROLL
  for (int64_t half = Line<T>::lanes / 2; half > 0; half /= 2)
    for (int64_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  return lanes[0];
}

template <class T>
struct Score {
  double loss = 0;      // summed over rows
  int64_t correct = 0;  // rows whose largest logit is their class
};

// The summed cross-entropy; `gradient` asks for (softmax - one-hot) * scale in place of the logits.
template <class T>
Score<T> cross_entropy(T* logits, int64_t rows, int64_t columns, int64_t step, const int64_t* classes, bool gradient,
                       T scale, T* exponentials) {
  typedef typename Line<T>::type line;
  const int64_t lines = step / Line<T>::lanes;
  Score<T> score;
  T sums[BLOCK], logs[BLOCK];
  line shield;  // turns the padding, which is 0, into minus infinity: no part of any sum
  for (int64_t j = 0; j < Line<T>::lanes; ++j)
    shield[j] = step - Line<T>::lanes + j < columns ? T(0) : -T(INFINITE);
  for (int64_t first = 0; first < rows; first += BLOCK) {
    const int64_t n = rows - first < BLOCK ? rows - first : BLOCK;
    T* const block = logits + first * step;
    for (int64_t i = 0; i < n; ++i) {
      line* row = reinterpret_cast<line*>(block + i * step);
      row[lines - 1] += shield;
      line most = row[0];
      for (int64_t c = 1; c < lines; ++c) most = row[c] > most ? row[c] : most;
      const T largest = largest_lane<T>(most);
      for (int64_t c = 0; c < lines; ++c) row[c] -= largest;
    }
    NONLIN_INDEPENDENT
    for (int64_t k = 0; k < n * step; ++k) exponentials[k] = exponential(block[k]);
    for (int64_t i = 0; i < n; ++i) {
      const line* e = reinterpret_cast<const line*>(exponentials + i * step);
      line sum = e[0];
      for (int64_t c = 1; c < lines; ++c) sum += e[c];
      sums[i] = sum_of_lanes<T>(sum);
    }
    NONLIN_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) logs[i] = logarithm(sums[i]);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t right = classes[first + i];
      T* row = block + i * step;
      score.loss += double(logs[i] - row[right]);
      // 0 is the largest of the shifted logits: the class wins if no earlier one is as large
      bool wins = row[right] == T(0);
      for (int64_t j = 0; j < right; ++j) wins &= row[j] != T(0);
      score.correct += wins;
      if (gradient) {
        const T factor = scale / sums[i];
        const line* e = reinterpret_cast<const line*>(exponentials + i * step);
        for (int64_t c = 0; c < lines; ++c) reinterpret_cast<line*>(row)[c] = e[c] * factor;
        row[right] -= scale;
      }
    }
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
