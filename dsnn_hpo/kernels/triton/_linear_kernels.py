"""Triton kernels of the linear layer with packed weights and few rows of activations.

A *unit* is the smallest run of columns whose codes fill whole 32-bit words: 8 quads divided by the width of the code's
narrowest field. A word holds four neighbouring columns of one row, one a byte, so column ``p`` of every unit (a *phase*)
comes out of its words by a shift and a mask, the same for all of them. The product is a sum over phases; the activations
are laid out phase by phase before, by the kernels ``arrange``, so that nothing moves between threads after a load.

The weight is the left operand of the product, ``y^T = W x^T``: Hopper's matrix unit takes that one from registers, where
it was decoded.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _arranged_columns(offsets, n_units, PHASES: tl.constexpr):
    """The columns of x that lie at ``offsets`` of an arranged row (phase, unit)."""
    phase = offsets // n_units
    return (offsets % n_units) * PHASES + phase


@triton.jit
def _clear(arrivals_ptr, n_arrivals, BLOCK: tl.constexpr):
    for start in range(0, n_arrivals, BLOCK):
        offsets = start + tl.arange(0, BLOCK)
        tl.store(arrivals_ptr + offsets, tl.zeros((BLOCK,), tl.int32), mask=offsets < n_arrivals)


@triton.jit
def arrange_float_kernel(
    x_ptr, out_ptr, arrivals_ptr, k, n_units, n_arrivals, PHASES: tl.constexpr, PARTS: tl.constexpr, BLOCK: tl.constexpr
):
    """Lays out one row of x, (m, k), by phases: (part, m, phase, unit), zeros beyond k; clears the counters too.

    With PARTS above 1 a value is split into that many bfloat16 by cutting its significand: their sum is the value.
    """
    row, n_rows = tl.program_id(0).to(tl.int64), tl.num_programs(0)
    n_columns = n_units * PHASES
    offsets = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    columns = _arranged_columns(offsets, n_units, PHASES)
    x = tl.load(x_ptr + row * k + columns, mask=columns < k, other=0.0)
    out_ptrs = out_ptr + row * n_columns + offsets
    if PARTS == 1:
        tl.store(out_ptrs, x, mask=offsets < n_columns)
    else:
        rest = x.to(tl.float32)
        for part in tl.static_range(PARTS):
            bits = rest.to(tl.uint32, bitcast=True) & 0xFFFF0000
            # A cut NaN could become an infinity; an infinity minus itself would be NaN.
            cut = tl.where(rest == rest, bits.to(tl.float32, bitcast=True), rest)
            tl.store(out_ptrs + part * n_rows * n_columns, cut.to(tl.bfloat16), mask=offsets < n_columns)
            rest = tl.where(tl.abs(cut) == float("inf"), 0.0, rest - cut)
    if (tl.program_id(0) == 0) & (tl.program_id(1) == 0):
        _clear(arrivals_ptr, n_arrivals, BLOCK)


@triton.jit
def arrange_int8_kernel(
    x_ptr, out_ptr, row_scale_ptr, arrivals_ptr, k, n_units, n_arrivals, PHASES: tl.constexpr, BLOCK: tl.constexpr
):
    """Quantises one row of x to int8 and lays it out by phases: (m, phase, unit), zeros beyond k.

    q = round_half_even(x * (127 / amax)), at most 127 in magnitude; the row's scale is amax / 127. Rows of amax below
    2**-119 count as zeros; rows with a NaN or an infinity have the scale NaN.
    """
    row = tl.program_id(0).to(tl.int64)
    amax = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, k, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * k + columns, mask=columns < k, other=0.0).to(tl.float32)
        # tl.maximum would pass over a NaN.
        amax = tl.maximum(amax, tl.where(x != x, float("inf"), tl.abs(x)))
    largest = tl.max(amax, 0)
    is_zero = largest < 1.504632769052528e-36
    is_wrong = largest == float("inf")
    inverse = tl.where(is_zero | is_wrong, 0.0, tl.div_rn(127.0, largest))
    scale = tl.where(is_zero, 0.0, tl.div_rn(largest, 127.0))
    tl.store(row_scale_ptr + row, tl.where(is_wrong, float("nan"), scale))
    n_columns = n_units * PHASES
    for start in range(0, n_columns, BLOCK):
        offsets = start + tl.arange(0, BLOCK)
        columns = _arranged_columns(offsets, n_units, PHASES)
        x = tl.load(x_ptr + row * k + columns, mask=(columns < k) & (not is_wrong), other=0.0).to(tl.float32)
        # 1.5 * 2**23: a float32 sum with it has no bits left for a fraction.
        rounded = (x * inverse + 12582912.0) - 12582912.0
        q = tl.minimum(tl.maximum(rounded, -127.0), 127.0).to(tl.int8)
        tl.store(out_ptr + row * n_columns + offsets, q, mask=offsets < n_columns)
    if tl.program_id(0) == 0:
        _clear(arrivals_ptr, n_arrivals, BLOCK)


@triton.jit
def _pair_of_halves(codes, BITS: tl.constexpr, HAS_ZERO: tl.constexpr, HALF: tl.constexpr):
    """Two 16-bit floats in a word, from a code in the low bits of each half: the weight times 2**shift, see _shift."""
    MAGNITUDE: tl.constexpr = 2 ** (BITS - 1) - 1
    magnitude = codes & (0x00010001 * MAGNITUDE)
    sign = (codes << (16 - BITS)) & 0x80008000
    if HALF == "float16":
        # m = 0 is the exponent field of zero itself: one more for formats without it
        field = magnitude << 10
        field = field if HAS_ZERO else field + 0x04000400
    else:
        field = magnitude << 7
        # Of a format with zero: 127 more in the field carries into its highest bit, 128, exactly where m > 0.
        field = field | (((field + 0x3F803F80) & 0x40004000) if HAS_ZERO else 0x40004000)
    return field | sign


@triton.jit
def _integer(codes, BITS: tl.constexpr, HAS_ZERO: tl.constexpr, PLANE: tl.constexpr):
    """The int8 digit of a code's weight in base 128, digit PLANE; a power of two has one digit that is not zero."""
    codes = codes.to(tl.uint32)
    value = tl.full(codes.shape, 1, tl.uint32) << (codes & (2 ** (BITS - 1) - 1))
    value = value >> 1 if HAS_ZERO else value
    # In 32 bits, and negated without a choice: int8 arithmetic costs an instruction more at every step.
    digit = ((value >> (7 * PLANE)) & 127).to(tl.int32)
    negative = -(codes >> (BITS - 1)).to(tl.int32)
    return ((digit ^ negative) - negative).to(tl.int8)


@triton.jit
def _times_power(y, exponents, SHIFT: tl.constexpr):
    """The product of y and 2**(exponents - SHIFT), in two steps so that neither factor leaves float32."""
    e = tl.minimum(tl.maximum(exponents.to(tl.int32) - SHIFT, -252), 254)
    half = e >> 1
    first = ((half + 127) << 23).to(tl.float32, bitcast=True)
    second = ((e - half + 127) << 23).to(tl.float32, bitcast=True)
    return y * first * second


@triton.jit
def _codes_of_field(word, quad, c, FIELD: tl.constexpr, LANES: tl.constexpr):
    return (word >> (8 * c + (quad * FIELD) % 8)) & (LANES * (2**FIELD - 1))


@triton.jit(do_not_specialize=["m"])
def packed_linear_kernel(
    x_ptr,
    codes_ptr,
    exponents_ptr,
    scale_ptr,
    row_scale_ptr,
    bias_ptr,
    out_ptr,
    partial_ptr,
    arrivals_ptr,
    m,
    n,
    n_quads,
    block_words,
    n_units,
    BITS: tl.constexpr,
    HAS_ZERO: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    KIND: tl.constexpr,
    SHIFT: tl.constexpr,
    PARTS: tl.constexpr,
    PLANES: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_U: tl.constexpr,
):
    """One tile of y = x W^T + bias: BLOCK_N outputs, BLOCK_M rows, one of SPLITS shares of the units.

    x is arranged, (part, m, phase, unit); codes are the packed words, (block, word); KIND is float16, bfloat16 or int8.
    With several shares each stores its sums; the last to arrive adds them in the order of the shares, so that the
    result does not depend on who comes last.
    """
    FIELD_0: tl.constexpr = 4 if BITS >= 4 else 2
    FIELD_1: tl.constexpr = BITS - FIELD_0
    UNIT_QUADS: tl.constexpr = 8 // (FIELD_1 if FIELD_1 > 0 else FIELD_0)
    WORDS_0: tl.constexpr = UNIT_QUADS * FIELD_0 // 8
    QUADS_OF_WORD: tl.constexpr = 8 // FIELD_0
    PHASES: tl.constexpr = 4 * UNIT_QUADS

    tile = tl.program_id(0)
    n_tiles_n = tl.cdiv(n, BLOCK_N)
    split = tl.program_id(1)
    rows_n = (tile % n_tiles_n) * BLOCK_N + tl.arange(0, BLOCK_N)
    rows_m = (tile // n_tiles_n) * BLOCK_M + tl.arange(0, BLOCK_M)
    # Rows beyond the last are read from the last block, and not stored.
    blocks = tl.minimum(rows_n // 16, tl.cdiv(n, 16) - 1)
    row_ptrs = codes_ptr + blocks.to(tl.int64) * block_words + rows_n % 16
    n_words_0 = tl.cdiv(n_quads * FIELD_0, 8)
    x_ptrs = x_ptr + rows_m[None, :].to(tl.int64) * (n_units * PHASES)
    part_size = m.to(tl.int64) * (n_units * PHASES)

    HALF: tl.constexpr = tl.float16 if KIND == "float16" else tl.bfloat16
    ACC: tl.constexpr = tl.int32 if KIND == "int8" else tl.float32
    acc = tl.zeros((BLOCK_N, BLOCK_M), ACC)
    acc_high = tl.zeros((BLOCK_N, BLOCK_M), ACC)
    units_a_split = tl.cdiv(tl.cdiv(n_units, BLOCK_U), SPLITS) * BLOCK_U
    begin = split * units_a_split
    for start in range(begin, tl.minimum(begin + units_a_split, n_units), BLOCK_U):
        units = start + tl.arange(0, BLOCK_U)
        x_mask = (units < n_units)[:, None] & (rows_m < m)[None, :]
        if FIELD_1 > 0:
            # The activations beyond the last quad are zero: what the code there says is of no matter.
            inside = units < tl.cdiv(n_quads * FIELD_1, 8)
            ptrs = row_ptrs[:, None] + ((n_words_0 + units) * 16)[None, :]
            word_1 = tl.load(ptrs, mask=inside[None, :], other=0).to(tl.uint32, bitcast=True)
        for i in tl.static_range(WORDS_0):
            index = units * WORDS_0 + i
            ptrs = row_ptrs[:, None] + (index * 16)[None, :]
            word = tl.load(ptrs, mask=(index < n_words_0)[None, :], other=0).to(tl.uint32, bitcast=True)
            for j in tl.static_range(QUADS_OF_WORD):
                quad = i * QUADS_OF_WORD + j
                if KIND == "int8":
                    for c in tl.static_range(4):
                        codes = _codes_of_field(word, j, c, FIELD_0, 1)
                        if FIELD_1 > 0:
                            codes = codes | (_codes_of_field(word_1, quad, c, FIELD_1, 1) << FIELD_0)
                        ptrs = x_ptrs + ((quad * 4 + c) * n_units + units)[:, None]
                        x = tl.load(ptrs, mask=x_mask, other=0)
                        acc = tl.dot(_integer(codes, BITS, HAS_ZERO, 0), x, acc, out_dtype=tl.int32)
                        if PLANES > 1:
                            acc_high = tl.dot(_integer(codes, BITS, HAS_ZERO, 1), x, acc_high, out_dtype=tl.int32)
                else:
                    for c in tl.static_range(2):
                        codes = _codes_of_field(word, j, c, FIELD_0, 0x00010001)
                        if FIELD_1 > 0:
                            codes = codes | (_codes_of_field(word_1, quad, c, FIELD_1, 0x00010001) << FIELD_0)
                        pair = _pair_of_halves(codes, BITS, HAS_ZERO, KIND)
                        low = (pair & 0xFFFF).to(tl.uint16).to(HALF, bitcast=True)
                        high = (pair >> 16).to(tl.uint16).to(HALF, bitcast=True)
                        for part in tl.static_range(PARTS):
                            ptrs = x_ptrs + part * part_size + ((quad * 4 + c) * n_units + units)[:, None]
                            acc = tl.dot(low, tl.load(ptrs, mask=x_mask, other=0.0), acc)
                            acc = tl.dot(high, tl.load(ptrs + 2 * n_units, mask=x_mask, other=0.0), acc)

    total = acc.to(tl.int64) + acc_high.to(tl.int64) * 128 if PLANES > 1 else acc
    is_last = True
    if SPLITS > 1:
        elements = tl.arange(0, BLOCK_N)[:, None] + (tl.arange(0, BLOCK_M) * BLOCK_N)[None, :]
        partial_ptrs = partial_ptr + tile.to(tl.int64) * (SPLITS * BLOCK_N * BLOCK_M) + elements
        tl.store(partial_ptrs + split * (BLOCK_N * BLOCK_M), total)
        # All threads have stored before one of them reports the arrival.
        tl.debug_barrier()
        is_last = tl.atomic_add(arrivals_ptr + tile, 1, sem="acq_rel") == SPLITS - 1
        if is_last:
            total = tl.zeros((BLOCK_N, BLOCK_M), partial_ptr.dtype.element_ty)
            for other in range(SPLITS):
                total += tl.load(partial_ptrs + other * (BLOCK_N * BLOCK_M), cache_modifier=".cg")
    if is_last:
        y = total.to(tl.float32)
        if KIND == "int8":
            y = y * tl.load(scale_ptr + rows_n, mask=rows_n < n, other=0.0)[:, None]
            y = y * tl.load(row_scale_ptr + rows_m, mask=rows_m < m, other=0.0)[None, :]
        else:
            y = _times_power(y, tl.load(exponents_ptr + rows_n, mask=rows_n < n, other=0)[:, None], SHIFT)
        # Without a bias a zero is added, which turns -0 to 0.
        bias = tl.load(bias_ptr + rows_n, mask=rows_n < n, other=0.0).to(tl.float32)[:, None] if HAS_BIAS else 0.0
        y = y + bias
        out_ptrs = out_ptr + rows_m[None, :].to(tl.int64) * n + rows_n[:, None]
        tl.store(out_ptrs, y.to(out_ptr.dtype.element_ty), mask=(rows_n < n)[:, None] & (rows_m < m)[None, :])


@triton.jit
def _add_field(codes, bytes_ptr, quads, inside, n_quads, BITS: tl.constexpr, FIELD: tl.constexpr):
    """The codes with the bits of a field, if the format has it, and the address where the next one begins."""
    if BITS & FIELD:
        byte = tl.load(bytes_ptr + (quads * FIELD // 8) * 64, mask=inside, other=0).to(tl.int32)
        # Wider fields, which come first, hold the lower bits.
        codes = codes | (((byte >> ((quads * FIELD) % 8)) & (2**FIELD - 1)) << (BITS & ~(2 * FIELD - 1)))
        bytes_ptr += tl.cdiv(n_quads * FIELD, 8) * 64
    return codes, bytes_ptr


@triton.jit
def decode_kernel(
    codes_ptr,
    exponents_ptr,
    out_ptr,
    n,
    k,
    n_out,
    k_out,
    n_quads,
    block_bytes,
    exponent,
    BITS: tl.constexpr,
    HAS_ZERO: tl.constexpr,
    KIND: tl.constexpr,
    PLANE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Decodes a tile of the packed bytes to a dense matrix, zeros beyond n and k.

    KIND "float": the weight itself; "float8_e5m2": the bits of the weight divided by 2**exponent; "int8": digit PLANE in
    base 128 of the weight relative to its row's exponent.
    """
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)[:, None]
    columns = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)[None, :]
    inside = (rows < n) & (columns < k)
    quads = columns // 4
    bytes_ptr = codes_ptr + (rows // 16).to(tl.int64) * block_bytes + (rows % 16) * 4 + columns % 4
    codes = tl.zeros((BLOCK_N, BLOCK_K), tl.int32)
    codes, bytes_ptr = _add_field(codes, bytes_ptr, quads, inside, n_quads, BITS, 4)
    codes, bytes_ptr = _add_field(codes, bytes_ptr, quads, inside, n_quads, BITS, 2)
    codes, bytes_ptr = _add_field(codes, bytes_ptr, quads, inside, n_quads, BITS, 1)
    if KIND == "int8":
        value = tl.where(inside, _integer(codes, BITS, HAS_ZERO, PLANE), 0)
    else:
        magnitude = codes & (2 ** (BITS - 1) - 1)
        power = tl.where(inside & ((magnitude > 0) | (not HAS_ZERO)), ((magnitude + 127) << 23), 0)
        sign = (codes >> (BITS - 1)) << 31
        exponents = tl.load(exponents_ptr + rows, mask=rows < n, other=0).to(tl.int32) - exponent
        relative = (power | sign).to(tl.float32, bitcast=True)
        exact = _times_power(relative, exponents, 1 if HAS_ZERO else 0)
        if KIND == "float8_e5m2":
            # the upper half of a float16
            value = (exact.to(tl.float16).to(tl.uint16, bitcast=True) >> 8).to(tl.uint8)
        else:
            value = exact.to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + rows.to(tl.int64) * k_out + columns, value, mask=(rows < n_out) & (columns < k_out))


@triton.jit
def scale_kernel(
    sums_ptr, scale_ptr, row_scale_ptr, bias_ptr, out_ptr, n, n_sums, HAS_BIAS: tl.constexpr, BLOCK: tl.constexpr
):
    """One row of y = float32(sums) * scale of the column * scale of the row + bias."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < n
    sums = tl.load(sums_ptr + row * n_sums + columns, mask=inside, other=0).to(tl.float32)
    y = sums * tl.load(scale_ptr + columns, mask=inside, other=0.0) * tl.load(row_scale_ptr + row)
    # Without a bias a zero is added, which turns -0 to 0.
    y = y + (tl.load(bias_ptr + columns, mask=inside, other=0.0).to(tl.float32) if HAS_BIAS else 0.0)
    tl.store(out_ptr + row * n + columns, y.to(out_ptr.dtype.element_ty), mask=inside)
