/* The k smallest entries of every row.
 *
 * Floats become integers of the same order. A limit that lets through k of them, or a few more, is found by counting
 * how many lie below a guess: passes that the compiler vectorises, and no branch depends on the data. What is let
 * through is short enough to be ranked by comparing all with all. Long rows go through block by block, and only what
 * undercuts the limit so far is kept.
 */

enum { BLOCK = 1024, GLANCE = 64, GUESSES = 12, GROUP = 16 };

static const int32_t OUT = INT32_MAX, FARTHEST = INT32_MAX - 1; /* not a key; a NaN's */

static int32_t ordered(float value) {
    int32_t bits;
    value += 0.0f; /* of both zeros one */
    memcpy(&bits, &value, sizeof bits);
    bits ^= (bits >> 31) & INT32_MAX;
    return value == value ? bits : FARTHEST;
}

static float value_of(int32_t key) {
    float value;
    key ^= (key >> 31) & INT32_MAX;
    memcpy(&value, &key, sizeof value);
    return value;
}

/* Keys come in whole groups of GROUP; behind the last one, the group is filled with keys that are out. */
static int64_t fill_group(int32_t *key, int64_t n) {
    for (; n % GROUP; n++) key[n] = OUT;
    return n;
}

static int64_t count_up_to(const int32_t *key, int64_t n, int32_t limit) {
    int32_t count[GROUP] = {0}, total = 0;
    for (int64_t i = 0; i < n; i += GROUP)
        for (int lane = 0; lane < GROUP; lane++) count[lane] += key[i + lane] <= limit;
    for (int lane = 0; lane < GROUP; lane++) total += count[lane];
    return total;
}

/* A limit that at least k keys reach, and `within` keys: at most `most` of the more than k, unless some are equal. The
 * search begins at the limit of the row before, which is often near. */
static int32_t find_limit(const int32_t *key, int64_t n, int64_t k, int64_t most, int32_t guess, int64_t *within) {
    int32_t low = OUT, high = INT32_MIN;
    for (int64_t i = 0; i < n; i++) {
        low = key[i] < low ? key[i] : low;
        high = key[i] > high ? key[i] : high;
    }
    const int64_t padded = (n + GROUP - 1) / GROUP * GROUP;
    int64_t below = 0; /* keys under low, as `within` counts those up to high */
    *within = n;
    for (int turn = 0; low < high && *within > most; turn++) {
        if (turn > 0) { /* as if keys were spread evenly; now and then, and after some turns, halves: those always end */
            const float share = turn % 4 ? (float)((k + most) / 2 - below) / (float)(*within - below) : 0.5f;
            const float value = value_of(low) + share * (value_of(high) - value_of(low));
            guess = turn < GUESSES && isfinite(value) ? ordered(value) : (int32_t)(((int64_t)low + high) >> 1);
        }
        guess = guess < low ? low : guess >= high ? high - 1 : guess;
        const int64_t count = count_up_to(key, padded, guess);
        if (count >= k) {
            high = guess;
            *within = count;
        } else {
            low = guess + 1;
            below = count;
        }
    }
    return high;
}

/* Keeps the k smallest, and perhaps a few more, in their order; of equals those that come first. */
static int64_t keep_smallest(int32_t *key, int32_t *column, int64_t n, int64_t k, int64_t most, int32_t *limit,
                             int32_t *guess) {
    if (n <= most) return n;
    int64_t within, kept = 0;
    const int64_t padded = fill_group(key, n);
    *limit = *guess = find_limit(key, n, k, most, *guess, &within);
    for (int64_t i = n - 1; within > most; i--) /* some equal the limit: the last of them go */
        if (key[i] == *limit) {
            key[i] = OUT;
            within--;
        }
    for (int64_t first = 0; first < padded; first += GROUP) {
        if (!count_up_to(key + first, GROUP, *limit)) continue;
        for (int64_t i = first; i < first + GROUP; i++) {
            const int32_t candidate = key[i];
            key[kept] = candidate;
            column[kept] = column[i];
            kept += candidate <= *limit;
        }
    }
    return kept;
}

/* The first k columns in the order of their keys; the room behind the n keys is overwritten. */
static void put_in_order(int32_t *key, const int32_t *column, int64_t n, int64_t k, int64_t *out) {
    const int64_t padded = fill_group(key, n);
    int32_t *rank = key + padded;
    int64_t total = 0;
    for (int64_t i = 0; i < n; i++) {
        rank[i] = (int32_t)count_up_to(key, padded, key[i]) - 1;
        total += rank[i];
    }
    for (int64_t i = 0; total > n * (n - 1) / 2 && i < n; i++) /* some are equal: those after come behind */
        for (int64_t j = i + 1; j < n; j++) rank[i] -= key[j] == key[i];
    for (int64_t i = 0; i < n; i++)
        if (rank[i] < k) out[rank[i]] = column[i];
}

typedef struct {
    const float *product; /* of every pair */
    const float *base;    /* of every column, or NULL */
    const float *bias;    /* of every pair, or NULL */
    float factor;
    int64_t itself; /* column of the row's own node, or -1 */
    float own;      /* its distance */
} Row;

static void keys_of(const Row *row, int64_t first, int64_t last, int32_t *key) {
    const float *product = row->product, *base = row->base, *bias = row->bias;
    const float factor = row->factor;
    if (base && bias)
        for (int64_t j = first; j < last; j++) key[j - first] = ordered(factor * product[j] + (base[j] + bias[j]));
    else if (base || bias) {
        const float *start = base ? base : bias;
        for (int64_t j = first; j < last; j++) key[j - first] = ordered(factor * product[j] + start[j]);
    } else
        for (int64_t j = first; j < last; j++) key[j - first] = ordered(factor * product[j]);
    if (row->itself >= first && row->itself < last) key[row->itself - first] = ordered(row->own);
}

/* `key` and `column` have room for 2 (`most` + BLOCK) entries. */
static void smallest_of_row(const Row *row, int64_t columns, int64_t k, int64_t most, int32_t *key, int32_t *column,
                            int32_t *guess, int64_t *out) {
    int32_t fresh[GLANCE], limit = FARTHEST;
    int64_t n = columns < BLOCK ? columns : BLOCK;
    keys_of(row, 0, n, key);
    for (int64_t j = 0; j < n; j++) column[j] = (int32_t)j;
    for (int64_t first = n; first < columns; first += GLANCE) {
        int64_t width = columns - first < GLANCE ? columns - first : GLANCE;
        keys_of(row, first, first + width, fresh);
        if (!count_up_to(fresh, fill_group(fresh, width), limit)) continue;
        for (int64_t j = 0; j < width; j++) {
            key[n] = fresh[j];
            column[n] = (int32_t)(first + j);
            n += fresh[j] <= limit;
        }
        if (n > most + BLOCK) n = keep_smallest(key, column, n, k, most, &limit, guess);
    }
    n = keep_smallest(key, column, n, k, most, &limit, guess);
    put_in_order(key, column, n, k, out);
}
