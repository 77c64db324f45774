static uint32_t f32_sum(uint32_t a, uint32_t b)
{
    uint64_t x, y;
    uint32_t sign;
    int32_t distance;
    if (f32_exponent(a) < f32_exponent(b)) {
        const uint32_t other = a;
        a = b;
        b = other;
    }
    if (!(b & 0x7fffffffu))
        return (a & 0x7fffffffu) ? a : a & b;
    if (!(a & 0x7fffffffu))
        return b;
    x = (uint64_t)f32_mantissa(a) << 38;
    y = (uint64_t)f32_mantissa(b) << 38;
    distance = f32_exponent(a) - f32_exponent(b);
    if (distance > 62)
        y = 1;
    else if (distance)
        /* The last bit says that bits are lost: enough to round by. */
        y = (y >> distance) | ((y & (((uint64_t)1 << distance) - 1)) != 0);
    sign = a & 0x80000000u;
    if ((a ^ b) & 0x80000000u) {
        if (x == y)
            return 0;
        if (x < y)
            return f32_made(sign ^ 0x80000000u, y - x, f32_exponent(a) - 38);
        return f32_made(sign, x - y, f32_exponent(a) - 38);
    }
    return f32_made(sign, x + y, f32_exponent(a) - 38);
}

/* The nearest integer, halves to even, from low to high. */
static int32_t f32_rounded(uint32_t f, int32_t low, int32_t high)
{
    const int32_t shift = -f32_exponent(f);
    uint32_t magnitude = 0;
    int32_t value;
    if (shift < 2)
        return f & 0x80000000u ? low : high;
    if (shift < 26) {
        const uint32_t mantissa = f32_mantissa(f), half = (uint32_t)1 << (shift - 1);
        const uint32_t rest = mantissa & ((half << 1) - 1);
        magnitude = mantissa >> shift;
        magnitude += rest > half || (rest == half && (magnitude & 1));
    }
    value = f & 0x80000000u ? -(int32_t)magnitude : (int32_t)magnitude;
    return value < low ? low : value > high ? high : value;
}
