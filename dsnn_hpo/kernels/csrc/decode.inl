// From codes to int8 values, 64 at a time: 16 rows by 4 columns.

namespace dsnn {
namespace {

// How codes of one weight become the int8 values of one plane: magnitudes 2**(7 * plane) and on count as 1, 2, .. 64 there.
struct Decoder {
  Bytes table;      // up to 4 bits: code -> value; more: exponent within the plane -> magnitude
  Bytes sign;       // the sign's bit
  Bytes magnitude;  // the magnitude's bits
  Bytes first;      // the magnitude that is exponent 0 of this plane
};

template <int BITS>
DSNN_INLINE Decoder make_decoder(const Weight& weight, int plane) {
  int8_t table[16] = {0};
  const int first = weight.has_zero + 7 * plane;
  if (BITS <= 4) {
    const int n_magnitudes = 1 << (BITS - 1);
    for (int m = 0; m < n_magnitudes; ++m) {
      if (m < first || m >= first + 7) continue;
      table[m] = static_cast<int8_t>(1 << (m - first));
      table[m + n_magnitudes] = static_cast<int8_t>(-(1 << (m - first)));
    }
  } else {
    for (int e = 0; e < 7; ++e) table[e] = static_cast<int8_t>(1 << e);
  }
  return {table_of(table), all_bytes(static_cast<int8_t>(1 << (BITS - 1))),
          all_bytes(static_cast<int8_t>((1 << (BITS - 1)) - 1)), all_bytes(static_cast<int8_t>(first))};
}

template <int BITS>
DSNN_INLINE Bytes values_of(const Decoder& decoder, Bytes code) {
  if (BITS <= 4) return lookup(decoder.table, code);
  const Bytes exponent = bytes_sub(bytes_and(code, decoder.magnitude), decoder.first);
  return negate_where(lookup(decoder.table, bytes_min(exponent, all_bytes(15))), code, decoder.sign);
}

// Where the fields of a block begin.
template <int BITS>
struct Fields {
  const uint8_t* start[3];
  static inline __attribute__((always_inline)) Fields make(const uint8_t* codes, int n_quads) {
    Fields fields{};
    int index = 0;
    for (int width = 4; width > 0; width >>= 1) {
      if (!(BITS & width)) continue;
      fields.start[index++] = codes;
      codes += 64 * ((static_cast<int64_t>(n_quads) * width + 7) / 8);
    }
    return fields;
  }
};

// The codes of quad 8 * group + J.
template <int BITS, int J>
DSNN_INLINE Bytes codes_of(const Fields<BITS>& fields, int64_t group) {
  Bytes code = zero_bytes();
  int index = 0, low = 0;
  for (int width = 4; width > 0; width >>= 1) {
    if (!(BITS & width)) continue;
    const int n_shared = 8 / width;
    const Bytes v = load_bytes(fields.start[index++] + 64 * (group * width + J / n_shared));
    const Bytes field = bytes_and(shift_right(v, J % n_shared * width), all_bytes(static_cast<int8_t>((1 << width) - 1)));
    code = low == 0 ? field : bytes_or(code, shift_left(field, low));
    low += width;
  }
  return code;
}

// The same for a quad that is known at run time only: what is left after the last whole group.
template <int BITS>
DSNN_INLINE Bytes codes_at(const Fields<BITS>& fields, int64_t quad) {
  Bytes code = zero_bytes();
  int index = 0, low = 0;
  for (int width = 4; width > 0; width >>= 1) {
    if (!(BITS & width)) continue;
    const int64_t n_shared = 8 / width;
    const Bytes v = load_bytes(fields.start[index++] + 64 * (quad / n_shared));
    const Bytes field = bytes_and(shift_right_by(v, static_cast<int>(quad % n_shared) * width),
                                  all_bytes(static_cast<int8_t>((1 << width) - 1)));
    code = low == 0 ? field : bytes_or(code, shift_left(field, low));
    low += width;
  }
  return code;
}

template <int BITS>
void decode_block_of(const Weight& weight, const uint8_t* codes, int plane, int8_t* out) {
  const Decoder decoder = make_decoder<BITS>(weight, plane);
  const Fields<BITS> fields = Fields<BITS>::make(codes, weight.n_quads);
  const int n_groups = weight.n_quads / 8;
  for (int group = 0; group < n_groups; ++group)
    each<8>([&](auto j) DSNN_LAMBDA {
      store_bytes(out + 512 * group + 64 * j, values_of<BITS>(decoder, codes_of<BITS, decltype(j)::value>(fields, group)));
    });
  for (int quad = 8 * n_groups; quad < weight.n_quads; ++quad)
    store_bytes(out + 64 * quad, values_of<BITS>(decoder, codes_at<BITS>(fields, quad)));
}

// Writes the values of one plane of a block, [n_quads][64].
void decode_block(const Weight& weight, const uint8_t* codes, int plane, int8_t* out) {
  switch (weight.bits) {
    case 2: return decode_block_of<2>(weight, codes, plane, out);
    case 3: return decode_block_of<3>(weight, codes, plane, out);
    case 4: return decode_block_of<4>(weight, codes, plane, out);
    case 5: return decode_block_of<5>(weight, codes, plane, out);
    case 6: return decode_block_of<6>(weight, codes, plane, out);
    default: __builtin_memcpy(out, codes, 64 * static_cast<size_t>(weight.n_quads));
  }
}

}  // namespace
}  // namespace dsnn
