/* The maximum over neighbours, and its gradient. Included once for every type T of the entries and type WINNER of the
 * indices of the winning rows, the rows that the maxima come from.
 *
 * The edges of destination i are src[ptr[i]] to src[ptr[i + 1]] (exclusive), or, without ptr, the `degree` edges from
 * src[i * degree] on. Chunks of channels stay in registers during the loop over the neighbours.
 */

typedef T NAME(Rows) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(T)), may_alias));
typedef INDEX NAME(Places) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(T)), may_alias));
typedef WINNER NAME(Winners)
    __attribute__((vector_size(VECTOR_BYTES / sizeof(T) * sizeof(WINNER)), aligned(sizeof(WINNER)), may_alias));
enum { NAME(WIDE) = VECTOR_BYTES / sizeof(T), NAME(CHUNK) = 4 }; /* entries per vector, vectors per chunk */

/* NaN is the largest value; ties go to the first neighbour. */
static inline int NAME(beats)(T challenger, T best) {
    return !(challenger <= best) & (best == best);
}

/* Maximum over the neighbours for `vectors` vectors of channels, and the winning rows unless `winner` is NULL. */
ALWAYS_INLINE void NAME(largest_chunk)(const T *x, int64_t channels, const int64_t *src, int64_t degree, int vectors,
                                       T *out, WINNER *winner) {
    NAME(Rows) best[NAME(CHUNK)];
    NAME(Places) from[NAME(CHUNK)];
    #pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        best[v] = *(const NAME(Rows) *)(x + src[0] * channels + v * NAME(WIDE));
        from[v] = (INDEX)src[0] - (NAME(Places)){0};
    }
    for (int64_t j = 1; j < degree; j++) {
        const T *row = x + src[j] * channels;
        const NAME(Places) source = (INDEX)src[j] - (NAME(Places)){0};
        #pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            const NAME(Rows) challenger = *(const NAME(Rows) *)(row + v * NAME(WIDE));
            const NAME(Places) wins = ~(challenger <= best[v]) & (best[v] == best[v]);
            best[v] = (NAME(Rows))((wins & (NAME(Places))challenger) | (~wins & (NAME(Places))best[v]));
            if (winner) from[v] = (wins & source) | (~wins & from[v]);
        }
    }
    #pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        *(NAME(Rows) *)(out + v * NAME(WIDE)) = best[v];
        if (winner)
            *(NAME(Winners) *)(winner + v * NAME(WIDE)) = __builtin_convertvector(from[v], NAME(Winners));
    }
}

/* largest_chunk for a single channel. */
static void NAME(largest_entry)(const T *x, int64_t channels, const int64_t *src, int64_t degree, T *out,
                                WINNER *winner) {
    int64_t from = src[0];
    for (int64_t j = 1; j < degree; j++)
        if (NAME(beats)(x[src[j] * channels], x[from * channels])) from = src[j];
    *out = x[from * channels];
    if (winner) *winner = (WINNER)from;
}

ALWAYS_INLINE void NAME(largest_row)(const T *x, int64_t channels, const int64_t *src, int64_t degree, T *out,
                                     WINNER *winner) {
    int64_t c = 0;
    for (; c + NAME(CHUNK) * NAME(WIDE) <= channels; c += NAME(CHUNK) * NAME(WIDE))
        NAME(largest_chunk)(x + c, channels, src, degree, NAME(CHUNK), out + c, winner ? winner + c : NULL);
    for (; c + NAME(WIDE) <= channels; c += NAME(WIDE))
        NAME(largest_chunk)(x + c, channels, src, degree, 1, out + c, winner ? winner + c : NULL);
    for (; c < channels; c++) NAME(largest_entry)(x + c, channels, src, degree, out + c, winner ? winner + c : NULL);
}

/* Maxima (num_dst, channels) and, unless `winner` is NULL, the winning rows of the same shape (0 and -1 without
 * neighbours). Returns the number of edges whose source does not exist. */
int64_t NAME(largest)(const T *x, int64_t num_src, int64_t channels, const int64_t *src, const int64_t *ptr,
                      int64_t degree, int64_t num_dst, T *out, WINNER *winner, int threads) {
    int64_t lost = 0;
    #pragma omp parallel for num_threads(threads) schedule(dynamic, 32) reduction(+ : lost)
    for (int64_t i = 0; i < num_dst; i++) {
        const int64_t first = ptr ? ptr[i] : i * degree, count = ptr ? ptr[i + 1] - first : degree;
        T *best = out + i * channels;
        WINNER *from = winner ? winner + i * channels : NULL;
        int64_t strays = 0;
        for (int64_t j = 0; j < count; j++) strays += (uint64_t)src[first + j] >= (uint64_t)num_src;
        lost += strays;
        if (strays || count == 0) {
            for (int64_t c = 0; c < channels; c++) best[c] = 0;
            for (int64_t c = 0; from && c < channels; c++) from[c] = -1;
            continue;
        }
        if (from) NAME(largest_row)(x, channels, src + first, count, best, from);
        else NAME(largest_row)(x, channels, src + first, count, best, NULL);
    }
    return lost;
}

/* Adds every entry of `grad` to its winning row in `out`, which the caller sets to zero. Each thread handles channels
 * of its own, so the order of every sum is fixed. */
void NAME(scatter_winners)(const T *grad, const WINNER *winner, int64_t num_dst, int64_t channels, T *out,
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
#undef WINNER
#undef INDEX
#undef NAME
