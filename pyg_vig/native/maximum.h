/* The maximum over neighbours, and its gradient. Included once for every type T of the entries and type ARGMAX of the
 * indices of the source rows that the maxima come from.
 *
 * The edges of destination i are src[ptr[i]] to src[ptr[i + 1]] (exclusive), or, without ptr, the `degree` edges from
 * src[i * degree] on. Chunks of channels stay in registers during the loop over the neighbours.
 */

typedef T NAME(Values) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(T)), may_alias));
typedef INDEX NAME(Indices) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(T)), may_alias));
typedef ARGMAX NAME(Argmaxes)
    __attribute__((vector_size(VECTOR_BYTES / sizeof(T) * sizeof(ARGMAX)), aligned(sizeof(ARGMAX)), may_alias));
enum { NAME(LANES) = VECTOR_BYTES / sizeof(T), NAME(CHUNK) = 4 }; /* entries per vector, vectors per chunk */

/* NaN is the largest value; ties go to the first neighbour. */
static inline int NAME(is_greater)(T value, T best) {
    return !(value <= best) & (best == best);
}

/* Maximum over the neighbours for `vectors` vectors of channels, and their source rows unless `argmax` is NULL. */
ALWAYS_INLINE void NAME(max_chunk)(const T *x, int64_t channels, const int64_t *src, int64_t degree, int vectors,
                                   T *out, ARGMAX *argmax) {
    NAME(Values) best[NAME(CHUNK)];
    NAME(Indices) best_src[NAME(CHUNK)];
    #pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        best[v] = *(const NAME(Values) *)(x + src[0] * channels + v * NAME(LANES));
        best_src[v] = (INDEX)src[0] - (NAME(Indices)){0};
    }
    for (int64_t j = 1; j < degree; j++) {
        const T *row = x + src[j] * channels;
        const NAME(Indices) src_index = (INDEX)src[j] - (NAME(Indices)){0};
        #pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            const NAME(Values) value = *(const NAME(Values) *)(row + v * NAME(LANES));
            const NAME(Indices) mask = ~(value <= best[v]) & (best[v] == best[v]);
            best[v] = (NAME(Values))((mask & (NAME(Indices))value) | (~mask & (NAME(Indices))best[v]));
            if (argmax) best_src[v] = (mask & src_index) | (~mask & best_src[v]);
        }
    }
    #pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        *(NAME(Values) *)(out + v * NAME(LANES)) = best[v];
        if (argmax)
            *(NAME(Argmaxes) *)(argmax + v * NAME(LANES)) = __builtin_convertvector(best_src[v], NAME(Argmaxes));
    }
}

/* max_chunk for a single channel. */
static void NAME(max_entry)(const T *x, int64_t channels, const int64_t *src, int64_t degree, T *out,
                            ARGMAX *argmax) {
    int64_t best_src = src[0];
    for (int64_t j = 1; j < degree; j++)
        if (NAME(is_greater)(x[src[j] * channels], x[best_src * channels])) best_src = src[j];
    *out = x[best_src * channels];
    if (argmax) *argmax = (ARGMAX)best_src;
}

ALWAYS_INLINE void NAME(max_row)(const T *x, int64_t channels, const int64_t *src, int64_t degree, T *out,
                                 ARGMAX *argmax) {
    int64_t c = 0;
    for (; c + NAME(CHUNK) * NAME(LANES) <= channels; c += NAME(CHUNK) * NAME(LANES))
        NAME(max_chunk)(x + c, channels, src, degree, NAME(CHUNK), out + c, argmax ? argmax + c : NULL);
    for (; c + NAME(LANES) <= channels; c += NAME(LANES))
        NAME(max_chunk)(x + c, channels, src, degree, 1, out + c, argmax ? argmax + c : NULL);
    for (; c < channels; c++) NAME(max_entry)(x + c, channels, src, degree, out + c, argmax ? argmax + c : NULL);
}

/* Maxima (num_dst, channels) and, unless `argmax` is NULL, their source rows of the same shape (0 and -1 without
 * neighbours). Returns the number of edges whose source does not exist. */
int64_t NAME(gather_max)(const T *x, int64_t num_src, int64_t channels, const int64_t *src, const int64_t *ptr,
                         int64_t degree, int64_t num_dst, T *out, ARGMAX *argmax, int threads) {
    int64_t num_invalid = 0;
    #pragma omp parallel for num_threads(threads) schedule(dynamic, 32) reduction(+ : num_invalid)
    for (int64_t i = 0; i < num_dst; i++) {
        const int64_t first = ptr ? ptr[i] : i * degree, count = ptr ? ptr[i + 1] - first : degree;
        T *row_max = out + i * channels;
        ARGMAX *row_argmax = argmax ? argmax + i * channels : NULL;
        int64_t invalid = 0;
        for (int64_t j = 0; j < count; j++) invalid += (uint64_t)src[first + j] >= (uint64_t)num_src;
        num_invalid += invalid;
        if (invalid || count == 0) {
            for (int64_t c = 0; c < channels; c++) row_max[c] = 0;
            for (int64_t c = 0; row_argmax && c < channels; c++) row_argmax[c] = -1;
            continue;
        }
        if (row_argmax) NAME(max_row)(x, channels, src + first, count, row_max, row_argmax);
        else NAME(max_row)(x, channels, src + first, count, row_max, NULL);
    }
    return num_invalid;
}

/* Adds every entry of `grad` to its argmax row in `out`, which the caller sets to zero. Each thread handles channels
 * of its own, so the order of every sum is fixed. */
void NAME(scatter_to_argmax)(const T *grad, const ARGMAX *argmax, int64_t num_dst, int64_t channels, T *out,
                             int threads) {
    #pragma omp parallel num_threads(threads)
    {
        const int64_t thread_channels = (channels + omp_get_num_threads() - 1) / omp_get_num_threads();
        const int64_t first = omp_get_thread_num() * thread_channels;
        const int64_t last = first + thread_channels < channels ? first + thread_channels : channels;
        for (int64_t i = 0; i < num_dst; i++)
            for (int64_t c = first; c < last; c++) {
                const int64_t src_index = argmax[i * channels + c];
                if (src_index >= 0) out[src_index * channels + c] += grad[i * channels + c];
            }
    }
}

#undef T
#undef ARGMAX
#undef INDEX
#undef NAME
