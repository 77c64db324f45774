/* A Winograd adder: of a tile of 4x4 pixels d, 2x2 outputs come from the distances of its transform B' d B from the
   weights, each output from nine of sixteen places. */
static int16_t tile[16][MAX_CHANNELS];

/* Each row of B' takes two pixels: the first one plus or minus the second one. */
static void transform_tile(const struct convolution *c)
{
    static const uint8_t first[4] = {0, 1, 2, 1}, second[4] = {2, 2, 1, 3}, is_sum[4] = {0, 1, 0, 0};
    const int32_t zero = c->zero;
    int32_t i, j, k, place = 0;
    for (i = 0; i < 4; i++)
        for (j = 0; j < 4; j++) {
            const uint8_t *const *upper = taps + 4 * first[i], *const *lower = taps + 4 * second[i];
            const uint8_t *a = upper[first[j]], *b = upper[second[j]], *d = lower[first[j]], *e = lower[second[j]];
            int16_t *to = tile[place++];
            for (k = 0; k < c->in_channels; k++) {
                const int32_t x = a[k] - zero, y = b[k] - zero, u = d[k] - zero, v = e[k] - zero;
                const int32_t above = is_sum[j] ? x + y : x - y, below = is_sum[j] ? u + v : u - v;
                to[k] = (int16_t)(is_sum[i] ? above + below : above - below);
            }
        }
}

/* The sum of a row, weights of two bytes, place by place; signs are 0: not in this output, 1: minus, 2: plus. */
static int64_t sum_places(const struct convolution *c, int32_t first, const uint8_t *signs, const uint8_t **weights)
{
    const uint8_t *weight = *weights;
    int32_t sum = 0, place, k;
    for (place = 0; place < 16; place++) {
        const int16_t *t = tile[place] + first;
        int32_t distances = 0;
        for (k = 0; k < c->channels; k++, weight += 2) {
            const int32_t w = (int32_t)(((uint32_t)weight[1] << 8) | weight[0]) - 32768;
            distances += w > t[k] ? w - t[k] : t[k] - w;
        }
        if (signs[place])
            sum += signs[place] == 1 ? -distances : distances;
    }
    *weights = weight;
    return sum;
}

static void convolve_winograd(const struct convolution *c, const uint8_t *in, const uint8_t *residual, uint8_t *out,
                              uint32_t *logits)
{
    int32_t x, y, group, r;
    clear_padding(c);
    for (y = 0; y < c->out_height; y++)
        for (x = 0; x < c->out_width; x++) {
            const uint8_t *weights = c->weights, *signs = c->signs + 16 * (2 * (y & 1) + (x & 1));
            int32_t first = 0, row = 0;
            find_taps(c, in, y - (y & 1), x - (x & 1));
            transform_tile(c);
            for (group = 0; group < c->groups; group++) {
                for (r = 0; r < c->rows; r++, row++)
                    write_result(c, row, sum_places(c, first, signs, &weights), residual, out, logits);
                first += c->channels;
            }
            if (residual)
                residual += row;
            if (out)
                out += c->out_pixel;
        }
}
