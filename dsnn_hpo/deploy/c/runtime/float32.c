/* IEEE 754 single precision in integers, a number being its 32 bits. All numbers here are finite, and so are all results:
   that was checked when this file was written. */

/* mantissa * 2^exponent, rounded to the nearest number, halves to even */
static uint32_t f32_made(uint32_t sign, uint64_t mantissa, int32_t exponent)
{
    int32_t length = 0, shift;
    uint64_t rest = mantissa;
    for (shift = 32; shift > 0; shift >>= 1) {
        if (rest >> shift) {
            length += shift;
            rest >>= shift;
        }
    }
    shift = length + 1 - 24;
    if (mantissa == 0)
        return sign;
    if (exponent + shift < -149)
        shift = -149 - exponent;
    if (shift > 63)
        return sign;
    if (shift > 0) {
        const uint64_t half = (uint64_t)1 << (shift - 1);
        rest = mantissa & ((half << 1) - 1);
        mantissa >>= shift;
        mantissa += rest > half || (rest == half && (mantissa & 1));
    } else {
        mantissa <<= -shift;
    }
    exponent += shift;
    if (mantissa >> 24) {
        mantissa >>= 1;
        exponent++;
    }
    if (!(mantissa >> 23))
        return sign | (uint32_t)mantissa;
    return sign | (((uint32_t)(exponent + 149) << 23) + (uint32_t)mantissa);
}

static uint32_t f32_mantissa(uint32_t f)
{
    return (f & 0x007fffffu) | (f & 0x7f800000u ? 0x00800000u : 0);
}

static int32_t f32_exponent(uint32_t f)
{
    const int32_t exponent = (int32_t)((f >> 23) & 255);
    return exponent ? exponent - 150 : -149;
}

static uint32_t f32_of(int64_t value)
{
    const uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    return f32_made(value < 0 ? 0x80000000u : 0, magnitude, 0);
}

static uint32_t f32_product(uint32_t a, uint32_t b)
{
    const uint64_t mantissa = (uint64_t)f32_mantissa(a) * f32_mantissa(b);
    return f32_made((a ^ b) & 0x80000000u, mantissa, f32_exponent(a) + f32_exponent(b));
}
