/* A convolution, or a linear layer. */
struct convolution {
    const uint8_t *weights;
    const int32_t *correction; /* a row: what to take off the sum; or NULL */
    const uint32_t *scale;     /* a row */
    const uint32_t *bias;      /* a row */
    int32_t in_height, in_width, in_channels, zero;
    int32_t out_height, out_width, out_pixel, out_zero, low, high;
    int32_t kernel_height, kernel_width, stride_y, stride_x, dilation_y, dilation_x, top, left;
    int32_t groups, rows, channels; /* rows and channels of a group */
    int32_t bits, has_zero;         /* of a code */
    uint32_t residual_scale;
    int32_t residual_zero;
    const uint8_t *signs; /* of the places in a Winograd tile; or NULL */
};

static const uint8_t *taps[MAX_TAPS];
static uint8_t padding[MAX_CHANNELS];

static void clear_padding(const struct convolution *c)
{
    int32_t k;
    for (k = 0; k < c->in_channels; k++)
        padding[k] = (uint8_t)c->zero;
}

/* Where the pixels lie that an output pixel sees. */
static int32_t find_taps(const struct convolution *c, const uint8_t *in, int32_t y, int32_t x)
{
    int32_t i, j, n = 0;
    for (i = 0; i < c->kernel_height; i++) {
        const int32_t row = y * c->stride_y + i * c->dilation_y - c->top;
        for (j = 0; j < c->kernel_width; j++) {
            const int32_t column = x * c->stride_x + j * c->dilation_x - c->left;
            const int32_t inside = row >= 0 && row < c->in_height && column >= 0 && column < c->in_width;
            taps[n++] = inside ? in + (row * c->in_width + column) * c->in_channels : padding;
        }
    }
    return n;
}

/* What becomes of a sum: a value of the next activation, or of the output. */
static void write_result(const struct convolution *c, int32_t row, int64_t sum, const uint8_t *residual, uint8_t *out,
                         uint32_t *logits)
{
    uint32_t value = f32_sum(f32_product(f32_of(sum), c->scale[row]), c->bias[row]);
    if (residual)
        value = f32_sum(value, f32_product(f32_of(residual[row] - c->residual_zero), c->residual_scale));
    if (logits)
        logits[row] = value;
    else
        out[row] = (uint8_t)(f32_rounded(value, c->low, c->high) + c->out_zero);
}
