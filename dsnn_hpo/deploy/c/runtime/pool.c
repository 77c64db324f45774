/* The windows of a pooling: the first and the end of each one's rows, and of its columns. */
struct pooling {
    const uint16_t *rows, *columns;
    int32_t out_height, out_width, in_width, channels, out_pixel;
    const uint32_t *scale; /* a window; the rest is of means alone */
    uint32_t offset;
    int32_t zero, out_zero, low, high;
};
