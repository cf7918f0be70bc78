/* Linear layer fused with scale, bias, activation and shortcut, in one pass.
 *
 * A tile of TILE_ROWS rows by PANEL outputs is accumulated in registers over all channels. The weights are first packed
 * into panels: for every channel, the weights of PANEL outputs side by side. As many panels as fit into a core's cache
 * (a strip) are multiplied with all rows before the next strip. The order of every sum is fixed, whatever the number of
 * threads.
 */

#if defined(__AVX512F__)
enum { TILE_ROWS = 12 }; /* 24 vectors of sums, in 32 registers */
#else
enum { TILE_ROWS = 6 }; /* 12 vectors of sums, in 16 or more registers */
#endif
enum { LANES = VECTOR_BYTES / 4, PANEL = 2 * LANES, STRIP = 96 << 10, MAX_KEPT = 4 << 20 /* floats */ };

typedef float Vector __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

/* Selects lane F(i, n) of the lanes of both vectors as lane i. */
#if defined(__clang__)
#define SHUFFLE(a, b, F, n) __builtin_shufflevector(a, b, EACH_LANE(F, n))
#else
typedef int32_t LaneIndex __attribute__((vector_size(VECTOR_BYTES)));
#define SHUFFLE(a, b, F, n) __builtin_shuffle(a, b, (LaneIndex){EACH_LANE(F, n)})
#endif

static _Thread_local float *scratch_buffer[2];
static _Thread_local int64_t scratch_size[2];

/* One of two thread-local temporary buffers, kept for the thread's next call: the page faults of new memory would cost
 * more than the computation. */
static float *scratch(int slot, int64_t floats) {
    if (scratch_size[slot] < floats) {
        free(scratch_buffer[slot]);
        scratch_buffer[slot] = aligned_alloc(64, (floats * sizeof(float) + 63) / 64 * 64);
        scratch_size[slot] = scratch_buffer[slot] ? floats : 0;
    }
    return scratch_buffer[slot];
}

/* Frees a temporary buffer if it is too large to be kept. */
static void release_scratch(int slot) {
    if (scratch_size[slot] > MAX_KEPT) {
        free(scratch_buffer[slot]);
        scratch_buffer[slot] = NULL;
        scratch_size[slot] = 0;
    }
}

#define UPPER_ROW(i, d) ((i) & (d) ? LANES + (i) - (d) : (i))
#define LOWER_ROW(i, d) ((i) & (d) ? LANES + (i) : (i) + (d))
#define EVERY_OTHER(i, first) (2 * (i) + (first))

/* Exchanges the off-diagonal quarters of every square of 2 * `d` rows. */
#define EXCHANGE(row, d) \
    _Pragma("GCC unroll 16") for (int r = 0; r < LANES; r++) if (!(r & (d))) { \
        const Vector upper = row[r], lower = row[r + (d)]; \
        row[r] = SHUFFLE(upper, lower, UPPER_ROW, d); \
        row[r + (d)] = SHUFFLE(upper, lower, LOWER_ROW, d); \
    }

/* Transposes a square matrix, by exchanging ever larger quarters. */
ALWAYS_INLINE void transpose(Vector row[LANES]) {
    EXCHANGE(row, 1)
    EXCHANGE(row, 2)
#if defined(__AVX__)
    EXCHANGE(row, 4)
#endif
#if defined(__AVX512F__)
    EXCHANGE(row, 8)
#endif
}

/* Loads LANES channels, from number `channel` on, of one of the sources whose columns alternate in a row of weights. */
ALWAYS_INLINE Vector load_channels(const float *weight, int64_t channel, int64_t num_sources, int64_t source) {
    if (num_sources == 1) return *(const Vector *)(weight + channel);
    const Vector low = *(const Vector *)(weight + 2 * channel), high = *(const Vector *)(weight + 2 * channel + LANES);
    return source ? SHUFFLE(low, high, EVERY_OTHER, 1) : SHUFFLE(low, high, EVERY_OTHER, 0);
}

/* Packs the channels from number `channel` on, up to LANES of them, of LANES outputs. */
ALWAYS_INLINE void pack_block(const float *const *row, const float *factor, int64_t channel, int64_t num_sources,
                              int64_t source, int64_t depth, float *out) {
    if (depth < LANES) {
        for (int64_t c = channel; c < depth; c++)
            for (int r = 0; r < LANES; r++) out[c * PANEL + r] = row[r][c * num_sources + source] * factor[r];
        return;
    }
    const int64_t first = channel + LANES <= depth ? channel : depth - LANES; /* the last block overlaps */
    Vector block[LANES];
    #pragma GCC unroll 16
    for (int r = 0; r < LANES; r++) block[r] = load_channels(row[r], first, num_sources, source);
    transpose(block);
    #pragma GCC unroll 16
    for (int r = 0; r < LANES; r++) *(Vector *)(out + (first + r) * PANEL) = block[r] * *(const Vector *)factor;
}

/* Packs a panel of up to PANEL outputs: their biases, then their weights, (outputs, num_sources * depth), times their
 * scales; zeros for outputs beyond the last. The columns of `num_sources` sources alternate in `weight`; in the panel
 * one source follows the other. */
ALWAYS_INLINE void pack_panel(const float *weight, const float *scale, const float *bias, int64_t outputs,
                              int64_t num_sources, int64_t depth, float *panel) {
    const float *row[PANEL];
    float factor[PANEL];
    for (int64_t j = 0; j < PANEL; j++) {
        const int64_t output = j < outputs ? j : outputs - 1;
        row[j] = weight + output * num_sources * depth;
        factor[j] = j >= outputs ? 0.0f : scale ? scale[output] : 1.0f;
        panel[j] = bias && j < outputs ? bias[j] : 0.0f;
    }
    panel += PANEL;
    for (int64_t source = 0; source < num_sources; source++, panel += depth * PANEL)
        for (int64_t c = 0; c < depth; c += LANES)
            for (int64_t j = 0; j < PANEL; j += LANES)
                pack_block(row + j, factor + j, c, num_sources, source, depth, panel + j);
}

/* Initialises the sums of a tile with the biases, the first row of a panel. */
ALWAYS_INLINE void init_tile(const float *panel, Vector sum[TILE_ROWS][2]) {
    #pragma GCC unroll 16
    for (int r = 0; r < TILE_ROWS; r++) {
        sum[r][0] = *(const Vector *)panel;
        sum[r][1] = *(const Vector *)(panel + LANES);
    }
}

/* Adds the products of a tile's rows, of `depth` channels, with a panel to the sums of the tile. */
ALWAYS_INLINE void accumulate(const float *x, int64_t stride, int64_t rows, const float *panel, int64_t depth,
                              Vector sum[TILE_ROWS][2]) {
    const float *row[TILE_ROWS];
    #pragma GCC unroll 16
    for (int r = 0; r < TILE_ROWS; r++) row[r] = x + (r < rows ? r : rows - 1) * stride; /* copies fill the tile */
    for (int64_t c = 0; c < depth; c++) {
        const Vector low = *(const Vector *)(panel + c * PANEL), high = *(const Vector *)(panel + c * PANEL + LANES);
        #pragma GCC unroll 16
        for (int r = 0; r < TILE_ROWS; r++) {
            const float entry = row[r][c];
            sum[r][0] += entry * low;
            sum[r][1] += entry * high;
        }
    }
}

/* Writes the sums of a tile to rows with the given stride. */
ALWAYS_INLINE void store_tile(Vector sum[TILE_ROWS][2], float *out, int64_t stride) {
    #pragma GCC unroll 16
    for (int r = 0; r < TILE_ROWS; r++) {
        *(Vector *)(out + r * stride) = sum[r][0];
        *(Vector *)(out + r * stride + LANES) = sum[r][1];
    }
}

typedef struct {
    const float *x, *y;         /* rows of one or two sources, (n, groups * depth); the second may be NULL */
    int64_t stride_x, stride_y; /* between rows */
    int64_t n, depth, outputs;  /* rows; channels and outputs per group */
    const float *shortcut;      /* (n, groups * outputs), or NULL */
    Activation act;
    float *out; /* (n, groups * outputs) */
    int64_t stride_out;
} Product;

ALWAYS_INLINE void store_row(const float *sum, const float *shortcut, int64_t width, float *out) {
    #pragma omp simd
    for (int64_t j = 0; j < width; j++) out[j] = shortcut ? sum[j] + shortcut[j] : sum[j];
}

/* Computes rows `first` to first + `rows` of outputs `output` (counted over all groups) to output + `width`. */
static void compute_tile(const Product *p, const float *panel, int64_t group, int64_t first, int64_t rows,
                         int64_t output, int64_t width) {
    Vector sum[TILE_ROWS][2];
    init_tile(panel, sum);
    panel += PANEL;
    accumulate(p->x + first * p->stride_x + group * p->depth, p->stride_x, rows, panel, p->depth, sum);
    if (p->y)
        accumulate(p->y + first * p->stride_y + group * p->depth, p->stride_y, rows, panel + p->depth * PANEL, p->depth,
                   sum);
    float sums[TILE_ROWS * PANEL] __attribute__((aligned(64)));
    store_tile(sum, sums, PANEL);
    activate_entries(sums, TILE_ROWS * PANEL, p->act);
    for (int64_t r = 0; r < rows; r++) {
        const int64_t offset = (first + r) * p->stride_out + output;
        if (width == PANEL && p->shortcut) store_row(sums + r * PANEL, p->shortcut + offset, PANEL, p->out + offset);
        else if (width == PANEL) store_row(sums + r * PANEL, NULL, PANEL, p->out + offset);
        else store_row(sums + r * PANEL, p->shortcut ? p->shortcut + offset : NULL, width, p->out + offset);
    }
}

/* out = act(scale * (weight [x, y]) + bias) + shortcut, in groups of channels.
 *
 * weight is (groups * outputs, depth), or, with two sources, (groups * outputs, 2 * depth) with alternating columns for
 * x and y; scale is (groups * outputs) or NULL. Returns 1 if out of memory. */
int linear(const float *x, int64_t stride_x, const float *y, int64_t stride_y, int64_t n, const float *weight,
           const float *scale, const float *bias, int64_t groups, int64_t depth, int64_t outputs, int act,
           const float *shortcut, float *out, int threads) {
    const Product product = {x,    y,        stride_x,        stride_y,       n, depth, outputs, shortcut,
                             (Activation)act, out, groups * outputs};
    const int64_t num_sources = y ? 2 : 1, panels = (outputs + PANEL - 1) / PANEL;
    const int64_t size = (1 + num_sources * depth) * PANEL, panels_per_strip = size < STRIP ? STRIP / size : 1;
    const int64_t strips = (panels + panels_per_strip - 1) / panels_per_strip;
    const int64_t tiles = (n + TILE_ROWS - 1) / TILE_ROWS;
    const int64_t chunk = groups * strips * tiles / (16 * threads); /* cores of a shared machine differ in speed */
    float *packed = scratch(0, groups * panels * size);
    if (!packed) return 1;
    #pragma omp parallel num_threads(threads)
    {
        #pragma omp for schedule(static)
        for (int64_t i = 0; i < groups * panels; i++) {
            const int64_t output = i / panels * outputs + i % panels * PANEL, left = outputs - i % panels * PANEL;
            const int64_t width = left < PANEL ? left : PANEL;
            const float *output_weight = weight + output * num_sources * depth, *factor = scale ? scale + output : NULL;
            const float *output_bias = bias ? bias + output : NULL;
            if (y) pack_panel(output_weight, factor, output_bias, width, 2, depth, packed + i * size);
            else pack_panel(output_weight, factor, output_bias, width, 1, depth, packed + i * size);
        }
        #pragma omp for collapse(2) schedule(dynamic, chunk > 1 ? chunk : 1)
        for (int64_t strip = 0; strip < groups * strips; strip++)
            for (int64_t t = 0; t < tiles; t++) {
                const int64_t group = strip / strips, begin = strip % strips * panels_per_strip;
                const int64_t end = begin + panels_per_strip < panels ? begin + panels_per_strip : panels;
                const int64_t first = t * TILE_ROWS, rows = n - first < TILE_ROWS ? n - first : TILE_ROWS;
                for (int64_t i = begin; i < end; i++) {
                    const int64_t left = outputs - i * PANEL;
                    compute_tile(&product, packed + (group * panels + i) * size, group, first, rows,
                                 group * outputs + i * PANEL, left < PANEL ? left : PANEL);
                }
            }
    }
    release_scratch(0);
    return 0;
}
