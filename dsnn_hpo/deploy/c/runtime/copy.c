/* A window of the source into a window of the target, whose other pixels and channels become zeros. */
struct window {
    int32_t in_width, in_channels, out_height, out_width, out_pixel, channels, zero;
    int32_t from_channel, from_row, from_column, to_channel, to_row, to_column;
    int32_t n_channels, n_rows, n_columns, stride_y, stride_x;
};

static void copy(const struct window *w, const uint8_t *in, uint8_t *out)
{
    int32_t y, x, k;
    for (y = 0; y < w->out_height; y++)
        for (x = 0; x < w->out_width; x++) {
            const int32_t i = y - w->to_row, j = x - w->to_column;
            const int32_t inside = i >= 0 && i < w->n_rows && j >= 0 && j < w->n_columns;
            for (k = 0; k < w->channels; k++) {
                const int32_t n = k - w->to_channel;
                out[k] = (uint8_t)w->zero;
                if (inside && n >= 0 && n < w->n_channels) {
                    const int32_t row = w->from_row + i * w->stride_y, column = w->from_column + j * w->stride_x;
                    out[k] = in[(row * w->in_width + column) * w->in_channels + w->from_channel + n];
                }
            }
            out += w->out_pixel;
        }
}
