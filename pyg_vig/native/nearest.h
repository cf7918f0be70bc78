/* The nearest sources of every target. The products of a few rows with a strip of sources stay in the cache, and only
 * candidates are kept of them. The full distance matrix is never stored.
 */

enum { WAVE = 16 * TILE_ROWS }; /* most targets that share one pass over the strips of sources */

/* Normalises a row to unit length; rows without a direction become zeros. */
ALWAYS_INLINE void unit_row(const float *x, int64_t channels, float *out) {
    float square = 0;
    #pragma omp simd reduction(+ : square)
    for (int64_t c = 0; c < channels; c++) square += x[c] * x[c];
    const float length = sqrtf(square) > 1e-12f ? sqrtf(square) : 1e-12f;
    if (square < INFINITY)
        for (int64_t c = 0; c < channels; c++) out[c] = x[c] / length;
    else
        for (int64_t c = 0; c < channels; c++) out[c] = 0;
}

typedef struct {
    const float *sources, *targets; /* (graphs, m, channels), (graphs, n, channels) */
    const float *base, *bias;       /* (graphs, m), (n, m), or NULL */
    int cosine;                     /* compare directions */
    int64_t graphs, n, m, channels, k, most;
    int marks; /* whether the distance of every target to the source of the same number is `own` */
    float own;
    int64_t step; /* offset of the source numbers between graphs */
    int64_t *out; /* (graphs, n, k) */
} Search;

/* Packs a panel of sources: the base of their distances, and -2 times their rows. `units` has space for PANEL rows. */
static void pack_sources(const Search *search, int64_t graph, int64_t first, float *units, float *panel) {
    const int64_t left = search->m - first, rows = left < PANEL ? left : PANEL, channels = search->channels;
    const float *sources = search->sources + (graph * search->m + first) * channels;
    float factor[PANEL];
    for (int j = 0; j < PANEL; j++) factor[j] = -2;
    for (int64_t j = 0; search->cosine && j < rows; j++) unit_row(sources + j * channels, channels, units + j * channels);
    pack_panel(search->cosine ? units : sources, factor, search->base ? search->base + graph * search->m + first : NULL,
               rows, 1, channels, panel);
}

ALWAYS_INLINE void add_to(float *row, const float *bias, int64_t width) {
    #pragma omp simd
    for (int64_t j = 0; j < width; j++) row[j] += bias[j];
}

/* Computes distances from a tile's targets to the sources of some panels, (TILE_ROWS, stride). */
static void distances(const float *targets, int64_t rows, const float *panel, int64_t panels, int64_t channels,
                      float *out, int64_t stride) {
    for (int64_t i = 0; i < panels; i++, panel += (1 + channels) * PANEL) {
        Vector sum[TILE_ROWS][2];
        start(panel, sum);
        accumulate(targets, channels, rows, panel + PANEL, channels, sum);
        put_tile(sum, out + i * PANEL, stride);
    }
}

/* Searches for targets `first` to first + `rows` of a graph. `distance` has space for TILE_ROWS * OFFER entries. */
static void search_rows(const Search *s, const float *packed, int64_t graph, int64_t first, int64_t rows, int64_t strip,
                        Choice *choice, float *units, float *distance, int32_t *guess) {
    const int64_t panels = (s->m + PANEL - 1) / PANEL, size = (1 + s->channels) * PANEL;
    const float *targets = s->targets + (graph * s->n + first) * s->channels;
    for (int64_t r = 0; r < rows; r++) {
        choice[r].n = 0;
        choice[r].limit = FARTHEST;
        if (s->cosine) unit_row(targets + r * s->channels, s->channels, units + r * s->channels);
    }
    targets = s->cosine ? units : targets;
    for (int64_t begin = 0; begin < panels; begin += strip) {
        const int64_t some = panels - begin < strip ? panels - begin : strip, column = begin * PANEL;
        const int64_t width = s->m - column < some * PANEL ? s->m - column : some * PANEL;
        for (int64_t top = 0; top < rows; top += TILE_ROWS) {
            const int64_t in_tile = rows - top < TILE_ROWS ? rows - top : TILE_ROWS;
            distances(targets + top * s->channels, in_tile, packed + (graph * panels + begin) * size, some, s->channels,
                      distance, some * PANEL);
            for (int64_t r = 0; r < in_tile; r++) {
                float *row = distance + r * some * PANEL;
                const int64_t number = first + top + r, itself = number - column;
                const float *bias = s->bias ? s->bias + number * s->m + column : NULL;
                if (bias) add_to(row, bias, width);
                if (s->marks && itself >= 0 && itself < width) row[itself] = s->own;
                offer(choice + top + r, row, column, width, s->k, s->most, guess);
            }
        }
    }
    for (int64_t r = 0; r < rows; r++)
        settle(choice + r, s->k, s->most, guess, graph * s->step, s->out + (graph * s->n + first + r) * s->k);
}

/* Finds the k sources of every target with the smallest base + bias - 2 <target, source>, nearest first; ties go to the
 * lower number. The sources of a graph are numbered from graph * step on. Returns 1 if out of memory. */
int nearest(const float *sources, const float *targets, const float *base, const float *bias, int cosine, int64_t graphs,
            int64_t n, int64_t m, int64_t channels, int64_t k, int marks, float own, int64_t step, int64_t *out,
            int threads) {
    const Search search = {sources, targets, base, bias,  cosine, graphs, n,
                           m,       channels, k,   k + k / 4 + 6, marks, own, step, out};
    const int64_t panels = (m + PANEL - 1) / PANEL, size = (1 + channels) * PANEL;
    int64_t strip = STRIP / size < OFFER / PANEL ? STRIP / size : OFFER / PANEL;
    strip = strip < 1 ? 1 : strip;
    const int64_t share = graphs * n / (4 * threads) / TILE_ROWS * TILE_ROWS; /* a few waves per thread */
    const int64_t wave = share > WAVE ? WAVE : share < TILE_ROWS ? TILE_ROWS : share, waves = (n + wave - 1) / wave;
    const int64_t room = choice_room(search.most), unit_rows = wave > PANEL ? wave : PANEL;
    float *packed = scratch(0, graphs * panels * size);
    int failed = 0;
    if (!packed) return 1;
    #pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        float *units = scratch(1, unit_rows * channels + TILE_ROWS * OFFER + 2 * wave * room);
        float *distance = units + unit_rows * channels;
        int32_t *keys = (int32_t *)(distance + TILE_ROWS * OFFER), guess = 0;
        Choice choice[WAVE];
        failed = units == NULL;
        for (int64_t r = 0; r < wave; r++)
            choice[r] = (Choice){keys + 2 * r * room, keys + (2 * r + 1) * room, 0, FARTHEST};
        #pragma omp for schedule(static)
        for (int64_t i = 0; i < graphs * panels; i++)
            if (!failed) pack_sources(&search, i / panels, i % panels * PANEL, units, packed + i * size);
        #pragma omp for collapse(2) schedule(dynamic)
        for (int64_t graph = 0; graph < graphs; graph++)
            for (int64_t i = 0; i < waves; i++) {
                const int64_t first = i * wave, rows = n - first < wave ? n - first : wave;
                if (!failed) search_rows(&search, packed, graph, first, rows, strip, choice, units, distance, &guess);
            }
    }
    give_back(0);
    return failed;
}
