/* A weight is the sum of two signed powers of two, four bits each: a sign above an exponent. A term is two shifts and two
   additions. */
static int64_t sum_two_term(const struct convolution *c, int32_t first, int32_t n_taps, uint32_t *position)
{
    const uint8_t *code = c->weights + *position;
    const int32_t zero = c->zero, channels = c->channels;
    uint32_t sum = 0;
    int32_t t, k;
    for (t = 0; t < n_taps; t++) {
        const uint8_t *q = taps[t] + first;
        for (k = 0; k < channels; k++, code++) {
            const uint32_t value = (uint32_t)(q[k] - zero);
            const uint32_t one = value << (*code & 7), other = value << ((*code >> 4) & 7);
            sum += *code & 8 ? 0 - one : one;
            sum += *code & 128 ? 0 - other : other;
        }
    }
    *position = (uint32_t)(code - c->weights);
    return signed32(sum);
}
