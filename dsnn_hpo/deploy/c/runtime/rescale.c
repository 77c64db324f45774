/* Each value by itself: sums of two activations, other scales. */
struct rescaling {
    const uint32_t *scale; /* a channel */
    const uint32_t *bias;  /* a channel */
    int32_t area, channels, zero, out_pixel, out_zero, low, high;
    uint32_t residual_scale;
    int32_t residual_zero;
};

static void rescale(const struct rescaling *s, const uint8_t *in, const uint8_t *residual, uint8_t *out)
{
    int32_t i, k;
    for (i = 0; i < s->area; i++) {
        for (k = 0; k < s->channels; k++) {
            uint32_t value = f32_sum(f32_product(f32_of(*in++ - s->zero), s->scale[k]), s->bias[k]);
            if (residual)
                value = f32_sum(value, f32_product(f32_of(*residual++ - s->residual_zero), s->residual_scale));
            out[k] = (uint8_t)(f32_rounded(value, s->low, s->high) + s->out_zero);
        }
        out += s->out_pixel;
    }
}
