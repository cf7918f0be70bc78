/* Batch norm with the statistics of the batch, fused with the activation that follows, in two passes forward and two
 * backward.
 *
 * Rows are summed in blocks of a fixed size, and the sums of the blocks are added in order, so the result does not
 * depend on the number of threads. The backward pass recomputes the activation's input from the norm's input instead of
 * saving it.
 */

enum { BLOCK_ROWS = 64 }; /* rows of a block: few enough for sums in float, and for the cache */

/* Adds up the sums of all blocks in order: block_sums (blocks, 2, channels) to total (2, channels). */
static void sum_blocks(const float *block_sums, int64_t blocks, int64_t channels, double *total) {
    for (int64_t c = 0; c < 2 * channels; c++) total[c] = 0;
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t c = 0; c < 2 * channels; c++) total[c] += block_sums[b * 2 * channels + c];
}

/* Mean and biased variance of every channel. Sums are of differences to the first row, so that large means do not cause
 * cancellation. */
static int moments(const float *x, int64_t n, int64_t channels, float *mean, float *var, int threads) {
    const int64_t blocks = (n + BLOCK_ROWS - 1) / BLOCK_ROWS;
    float *block_sums = malloc(blocks * 2 * channels * sizeof *block_sums);
    double *total = malloc(2 * channels * sizeof *total);
    const int failed = !block_sums || !total;
    if (!failed) {
        #pragma omp parallel for num_threads(threads) schedule(dynamic)
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t end = (b + 1) * BLOCK_ROWS < n ? (b + 1) * BLOCK_ROWS : n;
            float *restrict sum = block_sums + b * 2 * channels, *restrict square = sum + channels;
            for (int64_t c = 0; c < 2 * channels; c++) sum[c] = 0;
            for (int64_t i = b * BLOCK_ROWS; i < end; i++) {
                const float *restrict row = x + i * channels;
                for (int64_t c = 0; c < channels; c++) {
                    const float d = row[c] - x[c];
                    sum[c] += d;
                    square[c] += d * d;
                }
            }
        }
        sum_blocks(block_sums, blocks, channels, total);
        for (int64_t c = 0; c < channels; c++) {
            const double offset = total[c] / n, variance = total[channels + c] / n - offset * offset;
            mean[c] = (float)(x[c] + offset);
            var[c] = variance > 0 ? (float)variance : variance < 0 ? 0.0f : (float)variance;
        }
    }
    free(block_sums);
    free(total);
    return failed;
}

ALWAYS_INLINE void activate_row(const float *restrict x, int64_t channels, const float *restrict mean,
                                const float *restrict scale, const float *restrict shift, Activation act,
                                float *restrict out) {
    #pragma omp simd simdlen(VECTOR_BYTES / 4)
    for (int64_t c = 0; c < channels; c++) out[c] = activate((x[c] - mean[c]) * scale[c] + shift[c], act);
}

/* out = act(scale (x - mean) + shift); coefficients are (4, channels): mean and variance of x, scale and shift. */
int normalize(const float *x, int64_t n, int64_t channels, const float *coefficients, int act, float *out,
              int threads) {
    const float *mean = coefficients, *scale = mean + 2 * channels, *shift = scale + channels;
    #pragma omp parallel for num_threads(threads) schedule(dynamic, BLOCK_ROWS)
    for (int64_t i = 0; i < n; i++) {
        const float *row = x + i * channels;
        float *row_out = out + i * channels;
        if (act == GELU) activate_row(row, channels, mean, scale, shift, GELU, row_out);
        else if (act == RELU) activate_row(row, channels, mean, scale, shift, RELU, row_out);
        else activate_row(row, channels, mean, scale, shift, NONE, row_out);
    }
    return 0;
}

/* normalize with the statistics of x; also writes the coefficients. Returns 1 if out of memory. */
int batch_norm(const float *x, int64_t n, int64_t channels, const float *weight, const float *bias, float eps, int act,
               float *coefficients, float *out, int threads) {
    float *mean = coefficients, *var = mean + channels, *scale = var + channels, *shift = scale + channels;
    if (moments(x, n, channels, mean, var, threads)) return 1;
    for (int64_t c = 0; c < channels; c++) {
        scale[c] = weight[c] / sqrtf(var[c] + eps);
        shift[c] = bias[c];
    }
    return normalize(x, n, channels, coefficients, act, out, threads);
}

/* Gradient of one row with respect to the activation's input; adds it and its product with x - mean to the sums. */
ALWAYS_INLINE void activation_grad_row(const float *restrict x, const float *restrict grad, int64_t channels,
                                       const float *restrict mean, const float *restrict scale,
                                       const float *restrict shift, Activation act, float *restrict out,
                                       float *restrict sum, float *restrict product) {
    #pragma omp simd simdlen(VECTOR_BYTES / 4)
    for (int64_t c = 0; c < channels; c++) {
        const float centred = x[c] - mean[c];
        const float d = grad[c] * derivative(centred * scale[c] + shift[c], act);
        if (act != NONE) out[c] = d;
        sum[c] += d;
        product[c] += d * centred;
    }
}

/* activation_grad_row for all rows, with the sums of every block. */
static void activation_grads(const float *x, const float *grad, int64_t n, int64_t channels, const float *coefficients,
                             int act, float *out, float *block_sums, int threads) {
    const float *mean = coefficients, *scale = mean + 2 * channels, *shift = scale + channels;
    #pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t b = 0; b < (n + BLOCK_ROWS - 1) / BLOCK_ROWS; b++) {
        float *sum = block_sums + b * 2 * channels, *product = sum + channels;
        for (int64_t c = 0; c < 2 * channels; c++) sum[c] = 0;
        for (int64_t i = b * BLOCK_ROWS; i < n && i < (b + 1) * BLOCK_ROWS; i++) {
            const float *row = x + i * channels, *row_grad = grad + i * channels;
            float *row_out = out + i * channels;
            if (act == GELU)
                activation_grad_row(row, row_grad, channels, mean, scale, shift, GELU, row_out, sum, product);
            else if (act == RELU)
                activation_grad_row(row, row_grad, channels, mean, scale, shift, RELU, row_out, sum, product);
            else
                activation_grad_row(row, row_grad, channels, mean, scale, shift, NONE, row_out, sum, product);
        }
    }
}

/* Gradients with respect to x, weight and bias. Returns 1 if out of memory. */
int batch_norm_backward(const float *x, const float *grad, int64_t n, int64_t channels, const float *coefficients,
                        float eps, int act, float *grad_x, float *grad_weight, float *grad_bias, int threads) {
    const float *mean = coefficients, *var = mean + channels, *scale = var + channels;
    float *block_sums = malloc((n + BLOCK_ROWS - 1) / BLOCK_ROWS * 2 * channels * sizeof *block_sums);
    double *total = malloc(2 * channels * sizeof *total);
    float *linear = malloc(2 * channels * sizeof *linear), *constant = linear + channels;
    const int failed = !block_sums || !total || !linear;
    if (!failed) {
        activation_grads(x, grad, n, channels, coefficients, act, grad_x, block_sums, threads);
        sum_blocks(block_sums, (n + BLOCK_ROWS - 1) / BLOCK_ROWS, channels, total);
        for (int64_t c = 0; c < channels; c++) {
            const double precision = 1 / ((double)var[c] + eps);
            grad_bias[c] = (float)total[c];
            grad_weight[c] = (float)(total[channels + c] * sqrt(precision));
            linear[c] = (float)(-scale[c] * precision * total[channels + c] / n);
            constant[c] = (float)(-scale[c] * total[c] / n);
        }
        const float *d = act == NONE ? grad : grad_x;
        #pragma omp parallel for num_threads(threads) schedule(dynamic, BLOCK_ROWS)
        for (int64_t i = 0; i < n; i++) {
            const float *row = x + i * channels, *row_grad = d + i * channels;
            float *row_out = grad_x + i * channels;
            #pragma omp simd simdlen(VECTOR_BYTES / 4)
            for (int64_t c = 0; c < channels; c++)
                row_out[c] = scale[c] * row_grad[c] + (linear[c] * (row[c] - mean[c]) + constant[c]);
        }
    }
    free(block_sums);
    free(total);
    free(linear);
    return failed;
}
