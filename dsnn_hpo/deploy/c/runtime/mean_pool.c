static void mean_pool(const struct pooling *p, const uint8_t *in, uint8_t *out)
{
    int32_t y, x, k, i, j;
    for (y = 0; y < p->out_height; y++)
        for (x = 0; x < p->out_width; x++) {
            for (k = 0; k < p->channels; k++) {
                int32_t sum = 0;
                uint32_t value;
                for (i = p->rows[2 * y]; i < p->rows[2 * y + 1]; i++)
                    for (j = p->columns[2 * x]; j < p->columns[2 * x + 1]; j++)
                        sum += in[(i * p->in_width + j) * p->channels + k] - p->zero;
                value = f32_sum(f32_product(f32_of(sum), p->scale[y * p->out_width + x]), p->offset);
                out[k] = (uint8_t)(f32_rounded(value, p->low, p->high) + p->out_zero);
            }
            out += p->out_pixel;
        }
}
