/* A convolution, or a linear layer; its sums come from one of the functions below. */
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
};

/* The sum of one row over all taps; `position`, the place in the weights, moves on to the next row. */
typedef int64_t (*row_sum)(const struct convolution *c, int32_t first_channel, int32_t n_taps, uint32_t *position);

static const uint8_t *taps[MAX_TAPS];
static uint8_t padding[MAX_CHANNELS];

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

static void convolve(const struct convolution *c, row_sum sum_of, const uint8_t *in, const uint8_t *residual,
                     uint8_t *out, uint32_t *logits)
{
    int32_t x, y, group, r, i;
    for (i = 0; i < c->in_channels; i++)
        padding[i] = (uint8_t)c->zero;
    for (y = 0; y < c->out_height; y++)
        for (x = 0; x < c->out_width; x++) {
            const int32_t n_taps = find_taps(c, in, y, x);
            int32_t first = 0, row = 0;
            uint32_t position = 0;
            for (group = 0; group < c->groups; group++) {
                for (r = 0; r < c->rows; r++) {
                    int64_t sum = sum_of(c, first, n_taps, &position);
                    uint32_t value;
                    if (c->correction)
                        sum -= c->correction[row];
                    value = f32_sum(f32_product(f32_of(sum), c->scale[row]), c->bias[row]);
                    if (residual)
                        value = f32_sum(value, f32_product(f32_of(*residual++ - c->residual_zero), c->residual_scale));
                    if (logits)
                        logits[row] = value;
                    else
                        out[row] = (uint8_t)(f32_rounded(value, c->low, c->high) + c->out_zero);
                    row++;
                }
                first += c->channels;
            }
            if (out)
                out += c->out_pixel;
        }
}
