/* An activation as the output, channel by channel. */
static void dequantise(const uint8_t *in, int32_t area, int32_t channels, int32_t zero, uint32_t scale, uint32_t *logits)
{
    int32_t i, k;
    for (k = 0; k < channels; k++)
        for (i = 0; i < area; i++)
            *logits++ = f32_product(f32_of(in[i * channels + k] - zero), scale);
}
