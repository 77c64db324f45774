/* Weights are integers of 8 bits, of a layer that was not converted: its terms are multiplications. */
static int64_t sum_int8(const struct convolution *c, int32_t first, int32_t n_taps, uint32_t *position)
{
    const uint8_t *weight = c->weights + *position;
    const int32_t zero = c->zero, channels = c->channels;
    int32_t sum = 0, t, k;
    for (t = 0; t < n_taps; t++) {
        const uint8_t *q = taps[t] + first;
        for (k = 0; k < channels; k++, weight++)
            sum += (q[k] - zero) * (*weight - 128);
    }
    *position = (uint32_t)(weight - c->weights);
    return sum;
}
