/* Pixels, channel by channel, to the first activation, by a table of each channel. */
static void quantise(const uint8_t *pixels, uint8_t *out, int32_t channels, int32_t area, int32_t is_flat)
{
    int32_t c, i;
    for (c = 0; c < channels; c++) {
        const uint8_t *levels = input_levels[c];
        uint8_t *to = is_flat ? out + c * area : out + c;
        for (i = 0; i < area; i++) {
            *to = levels[*pixels++];
            to += is_flat ? 1 : channels;
        }
    }
}
