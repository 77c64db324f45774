/* Channels from other places of the image; `moves` are (number of channels, down, right). */
struct movement {
    const int32_t *moves;
    int32_t n_moves, height, width, channels, out_pixel, zero;
};

static void shift_channels(const struct movement *s, const uint8_t *in, uint8_t *out)
{
    int32_t y, x, m, n;
    for (y = 0; y < s->height; y++)
        for (x = 0; x < s->width; x++) {
            int32_t k = 0;
            for (m = 0; m < s->n_moves; m++) {
                const int32_t *move = s->moves + 3 * m;
                const int32_t i = y + move[1], j = x + move[2];
                const int32_t inside = i >= 0 && i < s->height && j >= 0 && j < s->width;
                for (n = 0; n < move[0]; n++, k++)
                    out[k] = inside ? in[(i * s->width + j) * s->channels + k] : (uint8_t)s->zero;
            }
            out += s->out_pixel;
        }
}
