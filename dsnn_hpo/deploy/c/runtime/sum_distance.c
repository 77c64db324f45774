/* An adder's: what is summed is the distance from the weight, taken negative. */
static int64_t sum_distance(const struct convolution *c, int32_t first, int32_t n_taps, uint32_t *position)
{
    const uint8_t *weight = c->weights + *position;
    const int32_t channels = c->channels;
    int32_t sum = 0, t, k;
    for (t = 0; t < n_taps; t++) {
        const uint8_t *q = taps[t] + first;
        for (k = 0; k < channels; k++, weight++)
            sum -= q[k] > *weight ? q[k] - *weight : *weight - q[k];
    }
    *position = (uint32_t)(weight - c->weights);
    return sum;
}
