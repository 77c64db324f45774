/* A min-convolution's: |q - v| - |q - u|, u and v side by side, is twice the smaller magnitude with the product's sign. */
static int64_t sum_minimum(const struct convolution *c, int32_t first, int32_t n_taps, uint32_t *position)
{
    const uint8_t *weight = c->weights + *position;
    const int32_t channels = c->channels;
    int32_t sum = 0, t, k;
    for (t = 0; t < n_taps; t++) {
        const uint8_t *q = taps[t] + first;
        for (k = 0; k < channels; k++, weight += 2) {
            sum -= q[k] > weight[0] ? q[k] - weight[0] : weight[0] - q[k];
            sum += q[k] > weight[1] ? q[k] - weight[1] : weight[1] - q[k];
        }
    }
    *position = (uint32_t)(weight - c->weights);
    return sum;
}
