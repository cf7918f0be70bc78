/* The maximum over neighbours, and its gradient; included once for every type T of the rows.
 *
 * The edges of destination i are src[ptr[i]] to src[ptr[i + 1]], or, without ptr, its `degree` edges. Chunks of
 * channels stay in registers while the neighbours pass.
 */

enum { NAME(CHUNK) = 256 / sizeof(T) };

/* A NaN is largest; of equals the first neighbour's wins. */
static inline int NAME(beats)(T challenger, T best) {
    return !(challenger <= best) & (best == best);
}

ALWAYS_INLINE void NAME(largest_chunk)(const T *x, int64_t channels, const int64_t *src, int64_t degree, int64_t width,
                                       T *out) {
    T best[NAME(CHUNK)];
    for (int64_t c = 0; c < width; c++) best[c] = x[src[0] * channels + c];
    for (int64_t j = 1; j < degree; j++) {
        const T *row = x + src[j] * channels;
        #pragma omp simd
        for (int64_t c = 0; c < width; c++) best[c] = NAME(beats)(row[c], best[c]) ? row[c] : best[c];
    }
    for (int64_t c = 0; c < width; c++) out[c] = best[c];
}

ALWAYS_INLINE void NAME(winner_chunk)(const T *x, int64_t channels, const int64_t *src, int64_t degree, int64_t width,
                                      T *out, int32_t *winner) {
    T best[NAME(CHUNK)];
    int32_t from[NAME(CHUNK)];
    for (int64_t c = 0; c < width; c++) {
        best[c] = x[src[0] * channels + c];
        from[c] = (int32_t)src[0];
    }
    for (int64_t j = 1; j < degree; j++) {
        const T *row = x + src[j] * channels;
        const int32_t source = (int32_t)src[j];
        #pragma omp simd
        for (int64_t c = 0; c < width; c++) {
            int wins = NAME(beats)(row[c], best[c]);
            best[c] = wins ? row[c] : best[c];
            from[c] = wins ? source : from[c];
        }
    }
    for (int64_t c = 0; c < width; c++) {
        out[c] = best[c];
        winner[c] = from[c];
    }
}

/* Rows (num_dst, channels) of maxima and, unless `winner` is NULL, of the sources that they come from. Returns how many
 * edges name no source. */
int64_t NAME(largest)(const T *x, int64_t num_src, int64_t channels, const int64_t *src, const int64_t *ptr,
                      int64_t degree, int64_t num_dst, T *out, int32_t *winner, int threads) {
    int64_t lost = 0;
    #pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : lost)
    for (int64_t i = 0; i < num_dst; i++) {
        const int64_t first = ptr ? ptr[i] : i * degree, count = ptr ? ptr[i + 1] - first : degree;
        T *best = out + i * channels;
        int32_t *from = winner ? winner + i * channels : NULL;
        int64_t strays = 0;
        for (int64_t j = 0; j < count; j++) strays += (uint64_t)src[first + j] >= (uint64_t)num_src;
        lost += strays;
        if (strays || count == 0) {
            for (int64_t c = 0; c < channels; c++) best[c] = 0;
            for (int64_t c = 0; from && c < channels; c++) from[c] = -1;
            continue;
        }
        for (int64_t c = 0; c < channels; c += NAME(CHUNK)) {
            int64_t width = channels - c;
            if (width >= NAME(CHUNK)) { /* a constant, for the compiler */
                if (from) NAME(winner_chunk)(x + c, channels, src + first, count, NAME(CHUNK), best + c, from + c);
                else NAME(largest_chunk)(x + c, channels, src + first, count, NAME(CHUNK), best + c);
            } else {
                if (from) NAME(winner_chunk)(x + c, channels, src + first, count, width, best + c, from + c);
                else NAME(largest_chunk)(x + c, channels, src + first, count, width, best + c);
            }
        }
    }
    return lost;
}

/* Adds every entry of `grad` to the row that it came from; `out` begins as zeros. Each thread has channels of its own, so
 * that all sums run in one order. */
void NAME(scatter_winners)(const T *grad, const int32_t *winner, int64_t num_dst, int64_t channels, T *out,
                           int threads) {
    #pragma omp parallel num_threads(threads)
    {
        const int64_t share = (channels + omp_get_num_threads() - 1) / omp_get_num_threads();
        const int64_t first = omp_get_thread_num() * share;
        const int64_t last = first + share < channels ? first + share : channels;
        for (int64_t i = 0; i < num_dst; i++)
            for (int64_t c = first; c < last; c++) {
                const int64_t from = winner[i * channels + c];
                if (from >= 0) out[from * channels + c] += grad[i * channels + c];
            }
    }
}

#undef T
#undef NAME
