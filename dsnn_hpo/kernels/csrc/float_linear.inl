// A linear layer on float32 activations: codes become float32 in registers.

namespace dsnn {
namespace {

// The sums over one quad of columns, for MR rows of x, in two alternating sets.
template <int BITS, int MR>
DSNN_INLINE void float_quad(const FloatDecoder& decoder, Bytes codes, int64_t column0, const float* const* rows,
                            Floats (&sums)[4][MR]) {
  each<4>([&](auto column) DSNN_LAMBDA {
    const Floats weights = float_values<BITS>(decoder, codes, column);
    each<MR>([&](auto m) DSNN_LAMBDA {
      sums[column][m] = multiply_add(sums[column][m], all_floats(rows[m][column0 + column]), weights);
    });
  });
}

// MR rows of x on one block. Rows are padded to whole quads.
template <int BITS, int MR>
void float_block(const FloatLinear& l, const float* table, int block, int first_row) {
  const FloatDecoder decoder = make_float_decoder(table);
  const Fields<BITS> fields = Fields<BITS>::make(l.weight.codes + block * block_bytes(l.weight), l.weight.n_quads);
  const float* rows[MR];
  Floats sums[2][4][MR];
  each<MR>([&](auto m) DSNN_LAMBDA {
    rows[m] = l.x + (first_row + m) * l.x_stride;
    each<4>([&](auto column) DSNN_LAMBDA { sums[0][column][m] = sums[1][column][m] = zero_floats(); });
  });
  const int n_groups = l.weight.n_quads / 8;
  for (int64_t group = 0; group < n_groups; ++group)
    each<8>([&](auto j) DSNN_LAMBDA {
      constexpr int J = decltype(j)::value;
      float_quad<BITS, MR>(decoder, codes_of<BITS, J>(fields, group), 32 * group + 4 * J, rows, sums[MR > 2 ? 0 : J % 2]);
    });
  for (int64_t quad = 8 * n_groups; quad < l.weight.n_quads; ++quad)
    float_quad<BITS, MR>(decoder, codes_at<BITS>(fields, quad), 4 * quad, rows, sums[0]);
  const int left = l.n_out - 16 * block, n_valid = left < 16 ? left : 16;
  const Floats scale = load_some(l.scale + 16 * block, n_valid);
  const Floats bias = l.bias ? load_some(l.bias + 16 * block, n_valid) : zero_floats();
  each<MR>([&](auto m) DSNN_LAMBDA {
    Floats total = zero_floats();
    each<4>([&](auto column) DSNN_LAMBDA { total = add(total, add(sums[0][column][m], sums[1][column][m])); });
    store_some(l.y + static_cast<int64_t>(first_row + m) * l.n_out + 16 * block, add(mul(total, scale), bias), n_valid);
  });
}

template <int BITS>
void float_blocks(const FloatLinear& l, const float* table, int first, int end) {
  for (int block = first; block < end; ++block) {
    int row = 0;
    for (; row + 4 <= l.m; row += 4) float_block<BITS, 4>(l, table, block, row);
    for (; row + 2 <= l.m; row += 2) float_block<BITS, 2>(l, table, block, row);
    if (row < l.m) float_block<BITS, 1>(l, table, block, row);
  }
}

void float_linear(const FloatLinear& l, int part, int n_parts) {
  float table[64] = {0};
  const int n_magnitudes = 1 << (l.weight.bits - 1);
  for (int m = 0; m < n_magnitudes; ++m) {
    const bool is_zero = l.weight.has_zero && m == 0;
    table[m] = is_zero ? 0.0f : static_cast<float>(uint64_t{1} << (m - l.weight.has_zero));
    table[m + n_magnitudes] = is_zero ? 0.0f : -table[m];
  }
  int64_t first, end;
  split((l.n_out + 15) / 16, 1, part, n_parts, &first, &end);
  switch (l.weight.bits) {
    case 2: return float_blocks<2>(l, table, static_cast<int>(first), static_cast<int>(end));
    case 3: return float_blocks<3>(l, table, static_cast<int>(first), static_cast<int>(end));
    case 4: return float_blocks<4>(l, table, static_cast<int>(first), static_cast<int>(end));
    case 5: return float_blocks<5>(l, table, static_cast<int>(first), static_cast<int>(end));
    default: return float_blocks<6>(l, table, static_cast<int>(first), static_cast<int>(end));
  }
}

}  // namespace
}  // namespace dsnn
