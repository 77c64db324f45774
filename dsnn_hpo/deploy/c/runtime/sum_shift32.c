/* Weights are signed powers of two, packed: of 32 bits at most are the sums. A term is a shift and an addition. */
static int64_t sum_shift32(const struct convolution *c, int32_t first, int32_t n_taps, uint32_t *position)
{
    const uint8_t *codes = c->weights;
    const uint32_t bits = (uint32_t)c->bits, sign = (uint32_t)1 << (bits - 1), has_zero = (uint32_t)c->has_zero;
    const int32_t zero = c->zero, channels = c->channels;
    uint32_t bit = *position;
    uint32_t sum = 0;
    int32_t t, k;
    for (t = 0; t < n_taps; t++) {
        const uint8_t *q = taps[t] + first;
        for (k = 0; k < channels; k++) {
            const uint8_t *at = codes + (bit >> 3);
            const uint32_t code = (((uint32_t)at[1] << 8) | at[0]) >> (bit & 7);
            const uint32_t magnitude = code & (sign - 1);
            bit += bits;
            if (magnitude >= has_zero) {
                const uint32_t term = (uint32_t)(q[k] - zero) << (magnitude - has_zero);
                sum += code & sign ? 0 - term : term;
            }
        }
    }
    *position = bit;
    return signed32(sum);
}
