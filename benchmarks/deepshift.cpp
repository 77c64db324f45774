// The scheme of the published DeepShift CPU kernels (Elhoushi et al., arXiv 1905.13298), written anew for comparison:
// activations are int32 with 16 fraction bits in nested vectors, copied in and out at every call; for each weight one of
// four branches, by its sign and its shift's, and one scalar shift; threads share out the batch.
#include <stdint.h>

#include <vector>

namespace {

using Row = std::vector<int32_t>;
using Image = std::vector<std::vector<Row>>;  // channel, y, x

template <typename T>
std::vector<std::vector<T>> rows_of(const T* data, int64_t n_rows, int64_t n_columns) {
  std::vector<std::vector<T>> rows(n_rows);
  for (int64_t i = 0; i < n_rows; ++i) rows[i].assign(data + i * n_columns, data + (i + 1) * n_columns);
  return rows;
}

inline int32_t accumulate(int32_t y, int32_t x, int8_t sign, int8_t shift) {
  if (sign < 0 && shift >= 0) {
    y -= x << shift;
  } else if (sign > 0 && shift >= 0) {
    y += x << shift;
  } else if (sign < 0 && shift < 0) {
    y -= x >> -shift;
  } else if (sign > 0 && shift < 0) {
    y += x >> -shift;
  }
  return y;
}

}  // namespace

// y (m, n) of x (m, k) and the weight's shift and sign (n, k).
extern "C" void deepshift_linear(const int32_t* x, const int8_t* shift, const int8_t* sign, int32_t* y, int64_t m,
                                 int64_t k, int64_t n, int n_threads) {
  const auto inputs = rows_of(x, m, k);
  const auto shifts = rows_of(shift, n, k), signs = rows_of(sign, n, k);
  std::vector<Row> outputs(m, Row(n, 0));
#pragma omp parallel for num_threads(n_threads)
  for (int64_t batch = 0; batch < m; ++batch) {
    for (int64_t out = 0; out < n; ++out) {
      for (int64_t in = 0; in < k; ++in) {
        outputs[batch][out] = accumulate(outputs[batch][out], inputs[batch][in], signs[out][in], shifts[out][in]);
      }
    }
  }
  for (int64_t batch = 0; batch < m; ++batch) {
    for (int64_t out = 0; out < n; ++out) y[batch * n + out] = outputs[batch][out];
  }
}

// y (m, n, size, size) of x (m, c, size, size) and a 3 x 3 weight (n, c, 3, 3), padding 1.
extern "C" void deepshift_conv2d(const int32_t* x, const int8_t* shift, const int8_t* sign, int32_t* y, int64_t m,
                                 int64_t c, int64_t n, int64_t size, int n_threads) {
  std::vector<Image> inputs(m, Image(c, std::vector<Row>(size + 2, Row(size + 2, 0))));
  for (int64_t image = 0; image < m; ++image) {
    for (int64_t channel = 0; channel < c; ++channel) {
      for (int64_t row = 0; row < size; ++row) {
        const int32_t* from = x + ((image * c + channel) * size + row) * size;
        for (int64_t column = 0; column < size; ++column) inputs[image][channel][row + 1][column + 1] = from[column];
      }
    }
  }
  const auto shifts = rows_of(shift, n * c * 3, 3), signs = rows_of(sign, n * c * 3, 3);
#pragma omp parallel for num_threads(n_threads)
  for (int64_t image = 0; image < m; ++image) {
    for (int64_t out = 0; out < n; ++out) {
      for (int64_t row = 0; row < size; ++row) {
        for (int64_t column = 0; column < size; ++column) {
          int32_t sum = 0;
          for (int64_t i = 0; i < 3; ++i) {
            for (int64_t j = 0; j < 3; ++j) {
              for (int64_t in = 0; in < c; ++in) {
                const int64_t at = (out * c + in) * 3 + i;
                sum = accumulate(sum, inputs[image][in][row + i][column + j], signs[at][j], shifts[at][j]);
              }
            }
          }
          y[((image * n + out) * size + row) * size + column] = sum;
        }
      }
    }
  }
}
