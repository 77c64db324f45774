/* The sum of one row over all taps; `position`, the place in the weights, moves on to the next row. */
typedef int64_t (*row_sum)(const struct convolution *c, int32_t first_channel, int32_t n_taps, uint32_t *position);

static void convolve(const struct convolution *c, row_sum sum_of, const uint8_t *in, const uint8_t *residual,
                     uint8_t *out, uint32_t *logits)
{
    int32_t x, y, group, r;
    clear_padding(c);
    for (y = 0; y < c->out_height; y++)
        for (x = 0; x < c->out_width; x++) {
            const int32_t n_taps = find_taps(c, in, y, x);
            int32_t first = 0, row = 0;
            uint32_t position = 0;
            for (group = 0; group < c->groups; group++) {
                for (r = 0; r < c->rows; r++, row++) {
                    int64_t sum = sum_of(c, first, n_taps, &position);
                    if (c->correction)
                        sum -= c->correction[row];
                    write_result(c, row, sum, residual, out, logits);
                }
                first += c->channels;
            }
            if (residual)
                residual += row;
            if (out)
                out += c->out_pixel;
        }
}
