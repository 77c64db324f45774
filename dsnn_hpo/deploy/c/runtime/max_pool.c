static void max_pool(const struct pooling *p, const uint8_t *in, uint8_t *out)
{
    int32_t y, x, k, i, j;
    for (y = 0; y < p->out_height; y++)
        for (x = 0; x < p->out_width; x++) {
            for (k = 0; k < p->channels; k++) {
                uint8_t largest = 0;
                for (i = p->rows[2 * y]; i < p->rows[2 * y + 1]; i++)
                    for (j = p->columns[2 * x]; j < p->columns[2 * x + 1]; j++) {
                        const uint8_t q = in[(i * p->in_width + j) * p->channels + k];
                        largest = q > largest ? q : largest;
                    }
                out[k] = largest;
            }
            out += p->out_pixel;
        }
}
