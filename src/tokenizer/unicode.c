/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer/unicode: look-ups in the generated tables; Hangul by arithmetic. */
#include "tokenizer/unicode.h"

#include "core/utf8.h"

enum {
    HANGUL_S = 0xAC00,
    HANGUL_L = 0x1100,
    HANGUL_V = 0x1161,
    HANGUL_T = 0x11A7,
    N_L = 19,
    N_V = 21,
    N_T = 28,
    N_S = N_L * N_V * N_T
};

/* Index of `code_point` in the sorted keys, n when absent. */
static size_t find(const uint32_t *keys, size_t n, uint32_t code_point) {
    size_t low = 0, high = n;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (keys[middle] < code_point) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < n && keys[low] == code_point ? low : n;
}

static size_t copy_row(uint32_t *out, const uint16_t *at, const uint32_t *pool, size_t row) {
    size_t n = 0;
    for (size_t i = at[row]; i < at[row + 1] && n < TKR_UNI_MAX_PARTS; i++) {
        out[n++] = pool[i];
    }
    return n;
}

size_t tkr_uni_decompose(uint32_t out[TKR_UNI_MAX_PARTS], uint32_t code_point, bool compatible) {
    const unsigned props = tkr_uni(code_point);
    if (compatible && (props & TKR_UNI_NFKD)) {
        return copy_row(out, tkr_uni_nfkd_at, tkr_uni_nfkd_pool, find(tkr_uni_nfkd_key, tkr_uni_nfkd_n, code_point));
    }
    if (props & TKR_UNI_NFD) {
        return copy_row(out, tkr_uni_nfd_at, tkr_uni_nfd_pool, find(tkr_uni_nfd_key, tkr_uni_nfd_n, code_point));
    }
    if (code_point >= HANGUL_S && code_point < HANGUL_S + N_S) {
        const uint32_t s = code_point - HANGUL_S;
        out[0] = HANGUL_L + s / (N_V * N_T);
        out[1] = HANGUL_V + s % (N_V * N_T) / N_T;
        out[2] = HANGUL_T + s % N_T;
        return s % N_T != 0 ? 3 : 2;
    }
    out[0] = code_point;
    return 1;
}

size_t tkr_uni_lower(uint32_t out[TKR_UNI_MAX_PARTS], uint32_t code_point) {
    if (tkr_uni(code_point) & TKR_UNI_LOWER) {
        return copy_row(out, tkr_uni_lower_at, tkr_uni_lower_pool,
                        find(tkr_uni_lower_key, tkr_uni_lower_n, code_point));
    }
    out[0] = code_point;
    return 1;
}

uint8_t tkr_uni_combining_class(uint32_t code_point) {
    if (!(tkr_uni(code_point) & TKR_UNI_CCC)) {
        return 0;
    }
    size_t low = 0, high = tkr_uni_ccc_n;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (tkr_uni_ccc_last[middle] < code_point) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < tkr_uni_ccc_n && tkr_uni_ccc_first[low] <= code_point ? tkr_uni_ccc_class[low] : 0;
}

uint32_t tkr_uni_compose(uint32_t first, uint32_t second) {
    if (second < 0x300) {
        return 0;
    }
    if (first >= HANGUL_L && first < HANGUL_L + N_L && second >= HANGUL_V && second < HANGUL_V + N_V) {
        return HANGUL_S + ((first - HANGUL_L) * N_V + (second - HANGUL_V)) * N_T;
    }
    if (first >= HANGUL_S && first < HANGUL_S + N_S && (first - HANGUL_S) % N_T == 0 && second > HANGUL_T &&
        second < HANGUL_T + N_T) {
        return first + (second - HANGUL_T);
    }
    size_t low = 0, high = tkr_uni_compose_n;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        const uint32_t a = tkr_uni_compose_first[middle];
        if (a < first || (a == first && tkr_uni_compose_second[middle] < second)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    const bool found =
        low < tkr_uni_compose_n && tkr_uni_compose_first[low] == first && tkr_uni_compose_second[low] == second;
    return found ? tkr_uni_compose_result[low] : 0;
}

typedef struct cluster {
    uint32_t last;
    unsigned last_props;
    int pictographic; /* 1: a pictograph and extensions, 2: and a joiner behind them */
    int conjunct;     /* 1: a consonant and extensions, 2: with a linker among them */
} cluster;

static void cluster_add(cluster *c, uint32_t code_point, unsigned props) {
    const bool joiner = code_point == 0x200D;
    if (props & TKR_UNI_PICTOGRAPHIC) {
        c->pictographic = 1;
    } else if (c->pictographic != 1 || !(props & TKR_UNI_ATTACHES)) {
        c->pictographic = 0;
    } else if (joiner) {
        c->pictographic = 2;
    }
    if (props & TKR_UNI_CONSONANT) {
        c->conjunct = 1;
    } else if (c->conjunct > 0 && (props & TKR_UNI_LINKER)) {
        c->conjunct = 2;
    } else if (!(props & TKR_UNI_CONJUNCT_EXTEND)) {
        c->conjunct = 0;
    }
    c->last = code_point;
    c->last_props = props;
}

static bool cluster_takes(const cluster *c, uint32_t code_point, unsigned props) {
    if ((c->last_props | props) & TKR_UNI_CONTROL) {
        return c->last == '\r' && code_point == '\n';
    }
    return (props & TKR_UNI_ATTACHES) || (c->last_props & TKR_UNI_PREPEND) ||
           (c->conjunct == 2 && (props & TKR_UNI_CONSONANT)) ||
           (c->pictographic == 2 && (props & TKR_UNI_PICTOGRAPHIC));
}

size_t tkr_uni_cluster_end(const char *text, size_t size, size_t begin) {
    cluster c = {0};
    size_t at = begin;
    uint32_t code_point = tkr_utf8_next(text, size, &at, NULL);
    cluster_add(&c, code_point, tkr_uni_grapheme_props(code_point));
    while (at < size) {
        size_t next = at;
        code_point = tkr_utf8_next(text, size, &next, NULL);
        const unsigned props = tkr_uni_grapheme_props(code_point);
        if (!cluster_takes(&c, code_point, props)) {
            break;
        }
        cluster_add(&c, code_point, props);
        at = next;
    }
    return at;
}
