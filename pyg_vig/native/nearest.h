/* The nearest sources of every target. The products of a few rows with a strip of sources stay in the cache, and only
 * candidates are kept of them. The full distance matrix is never stored.
 */

enum { WAVE = 16 * TILE_ROWS }; /* most targets that share one pass over the strips of sources */

/* Normalises a row to unit length; rows without a direction become zeros. */
ALWAYS_INLINE void unit_row(const float *x, int64_t channels, float *out) {
    float square = 0;
    #pragma omp simd reduction(+ : square)
    for (int64_t c = 0; c < channels; c++) square += x[c] * x[c];
    const float length = sqrtf(square), inverse = 1.0f / (length > 1e-12f ? length : 1e-12f);
    if (square < INFINITY)
        for (int64_t c = 0; c < channels; c++) out[c] = x[c] * inverse;
    else
        for (int64_t c = 0; c < channels; c++) out[c] = 0;
}

typedef struct {
    const float *sources, *targets;    /* (graphs, m, channels), (graphs, n, channels) */
    const float *src_bias, *pair_bias; /* (graphs, m), (n, m), or NULL */
    int cosine;                        /* compare directions */
    int64_t graphs, n, m, channels, k, max_kept;
    int has_self_distance; /* whether every target has `self_distance` to the source of the same number */
    float self_distance;
    int64_t index_offset; /* offset of the source numbers between graphs */
    int64_t *out;         /* (graphs, n, k) */
} Search;

/* Packs a panel of sources: their biases, and -2 times their rows. `unit_buffer` has space for PANEL rows. */
static void pack_sources(const Search *search, int64_t graph, int64_t first, float *unit_buffer, float *panel) {
    const int64_t remaining = search->m - first, rows = remaining < PANEL ? remaining : PANEL;
    const int64_t channels = search->channels;
    const float *sources = search->sources + (graph * search->m + first) * channels;
    float factor[PANEL];
    for (int j = 0; j < PANEL; j++) factor[j] = -2;
    for (int64_t j = 0; search->cosine && j < rows; j++)
        unit_row(sources + j * channels, channels, unit_buffer + j * channels);
    pack_panel(search->cosine ? unit_buffer : sources, factor,
               search->src_bias ? search->src_bias + graph * search->m + first : NULL, rows, 1, channels, panel);
}

ALWAYS_INLINE void add_to(float *row, const float *pair_bias, int64_t width) {
    #pragma omp simd
    for (int64_t j = 0; j < width; j++) row[j] += pair_bias[j];
}

/* Computes distances from a tile's targets to the sources of some panels, (TILE_ROWS, stride). */
static void distances(const float *targets, int64_t rows, const float *panel, int64_t panels, int64_t channels,
                      float *out, int64_t stride) {
    for (int64_t i = 0; i < panels; i++, panel += (1 + channels) * PANEL) {
        Vector sum[TILE_ROWS][2];
        init_tile(panel, sum);
        accumulate(targets, channels, rows, panel + PANEL, channels, sum);
        store_tile(sum, out + i * PANEL, stride);
    }
}

/* Searches for targets `first` to first + `rows` of a graph. `distance` has space for TILE_ROWS * MAX_CHUNK entries. */
static void search_rows(const Search *s, const float *packed, int64_t graph, int64_t first, int64_t rows, int64_t strip,
                        Candidates *candidates, float *unit_buffer, float *distance, int32_t *guess) {
    const int64_t panels = (s->m + PANEL - 1) / PANEL, size = (1 + s->channels) * PANEL;
    const float *targets = s->targets + (graph * s->n + first) * s->channels;
    for (int64_t r = 0; r < rows; r++) {
        candidates[r].n = 0;
        candidates[r].limit = NAN_KEY;
        if (s->cosine) unit_row(targets + r * s->channels, s->channels, unit_buffer + r * s->channels);
    }
    targets = s->cosine ? unit_buffer : targets;
    for (int64_t begin = 0; begin < panels; begin += strip) {
        const int64_t num_panels = panels - begin < strip ? panels - begin : strip, column = begin * PANEL;
        const int64_t width = s->m - column < num_panels * PANEL ? s->m - column : num_panels * PANEL;
        for (int64_t tile_row = 0; tile_row < rows; tile_row += TILE_ROWS) {
            const int64_t rows_in_tile = rows - tile_row < TILE_ROWS ? rows - tile_row : TILE_ROWS;
            distances(targets + tile_row * s->channels, rows_in_tile, packed + (graph * panels + begin) * size,
                      num_panels, s->channels, distance, num_panels * PANEL);
            for (int64_t r = 0; r < rows_in_tile; r++) {
                float *row = distance + r * num_panels * PANEL;
                const int64_t target = first + tile_row + r, self_column = target - column;
                const float *pair_bias = s->pair_bias ? s->pair_bias + target * s->m + column : NULL;
                if (pair_bias) add_to(row, pair_bias, width);
                if (s->has_self_distance && self_column >= 0 && self_column < width)
                    row[self_column] = s->self_distance;
                push(candidates + tile_row + r, row, column, width, s->k, s->max_kept, guess);
            }
        }
    }
    for (int64_t r = 0; r < rows; r++)
        finish(candidates + r, s->k, s->max_kept, guess, graph * s->index_offset,
               s->out + (graph * s->n + first + r) * s->k);
}

/* Finds the k sources of every target with the smallest src_bias + pair_bias - 2 <target, source>, nearest first; ties
 * go to the lower number. The sources of a graph are numbered from graph * index_offset on. Returns 1 if out of memory.
 */
int nearest(const float *sources, const float *targets, const float *src_bias, const float *pair_bias, int cosine,
            int64_t graphs, int64_t n, int64_t m, int64_t channels, int64_t k, int has_self_distance,
            float self_distance, int64_t index_offset, int64_t *out, int threads) {
    const Search search = {sources,  targets, src_bias,      pair_bias,         cosine,        graphs,       n,  m,
                           channels, k,       k + k / 4 + 6, has_self_distance, self_distance, index_offset, out};
    const int64_t panels = (m + PANEL - 1) / PANEL, size = (1 + channels) * PANEL;
    int64_t strip = STRIP / size < MAX_CHUNK / PANEL ? STRIP / size : MAX_CHUNK / PANEL;
    strip = strip < 1 ? 1 : strip;
    const int64_t share = graphs * n / (4 * threads) / TILE_ROWS * TILE_ROWS; /* a few waves per thread */
    const int64_t wave = share > WAVE ? WAVE : share < TILE_ROWS ? TILE_ROWS : share, waves = (n + wave - 1) / wave;
    const int64_t capacity = candidates_capacity(search.max_kept), unit_rows = wave > PANEL ? wave : PANEL;
    float *packed = scratch(0, graphs * panels * size);
    int failed = 0;
    if (!packed) return 1;
    #pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        float *unit_buffer = scratch(1, unit_rows * channels + TILE_ROWS * MAX_CHUNK + 2 * wave * capacity);
        float *distance = unit_buffer + unit_rows * channels;
        int32_t *keys = (int32_t *)(distance + TILE_ROWS * MAX_CHUNK), guess = 0;
        Candidates candidates[WAVE];
        failed = unit_buffer == NULL;
        for (int64_t r = 0; r < wave; r++)
            candidates[r] = (Candidates){keys + 2 * r * capacity, keys + (2 * r + 1) * capacity, 0, NAN_KEY};
        #pragma omp for schedule(static)
        for (int64_t i = 0; i < graphs * panels; i++)
            if (!failed) pack_sources(&search, i / panels, i % panels * PANEL, unit_buffer, packed + i * size);
        #pragma omp for collapse(2) schedule(dynamic)
        for (int64_t graph = 0; graph < graphs; graph++)
            for (int64_t i = 0; i < waves; i++) {
                const int64_t first = i * wave, rows = n - first < wave ? n - first : wave;
                if (!failed)
                    search_rows(&search, packed, graph, first, rows, strip, candidates, unit_buffer, distance, &guess);
            }
    }
    release_scratch(0);
    return failed;
}
