/* SPDX-License-Identifier: Apache-2.0 */
/* x86/resample_avx2: one pass of 8-bit resampling: vpmaddwd over pairs of taps, the two halves of the weights summed
 * apart. Sums are modulo 2^32, so neither their order nor an overflow on the way changes a byte. */
#include "kernels/x86/avx2.h"

#include <string.h>

#include "kernels/generic/generic.h"
#include "kernels/x86/simd.h"

/* Keeps gcc from interleaving the accumulators' updates, for which it runs out of registers. */
#define IN_ORDER(a, b) __asm__("" : "+x"(a), "+x"(b))

TKR_INLINE __m256i join(__m256i low, __m256i high) { return _mm256_add_epi32(low, _mm256_slli_epi32(high, 15)); }

/* Four pixels, twice; with `exact` no byte beyond them is read. */
TKR_INLINE __m256i load_quad(const uint8_t *p, const int exact) {
    const __m128i x = exact ? _mm_maskload_epi32((const int *)(const void *)p, _mm_setr_epi32(-1, -1, -1, 0))
                            : _mm_loadu_si128((const __m128i *)(const void *)p);
    return _mm256_broadcastsi128_si256(x);
}

/* Output pixel i of n_rows (1 or 4) rows. A quad of pixels becomes pairs of 16-bit taps: R01 R23 G01 G23, B01 B23 0 0,
 * which meet the weights w01 w23 w01 w23 of both halves. */
TKR_INLINE void pixel_of_rows(const tkr_resample_args *args, size_t row, size_t i, const size_t n_rows,
                              const int exact) {
    const __m256i split = _mm256_setr_epi8(0, -1, 3, -1, 6, -1, 9, -1, 1, -1, 4, -1, 7, -1, 10, -1, /* R, G */
                                           2, -1, 5, -1, 8, -1, 11, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m256i half = _mm256_setr_epi32(1 << 21, 0, 1 << 21, 0, 1 << 21, 0, 0, 0);
    const tkr_windows *w = args->windows;
    const int16_t *low = w->low + i * w->ld, *high = w->high + i * w->ld;
    const uint8_t *in = args->in + row * args->in_stride + (size_t)w->first[i] * 3;
    __m256i l[4] = {half, half, half, half};
    __m256i h[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
    for (size_t tap = 0; tap < (size_t)w->n_taps[i]; tap += 4) {
        long long wl, wh;
        memcpy(&wl, low + tap, sizeof wl);
        memcpy(&wh, high + tap, sizeof wh);
        const __m256i weight_low = _mm256_set1_epi64x(wl), weight_high = _mm256_set1_epi64x(wh);
        for (size_t r = 0; r < n_rows; r++) {
            const __m256i x = _mm256_shuffle_epi8(load_quad(in + r * args->in_stride + 3 * tap, exact), split);
            l[r] = _mm256_add_epi32(l[r], _mm256_madd_epi16(x, weight_low));
            h[r] = _mm256_add_epi32(h[r], _mm256_madd_epi16(x, weight_high));
            IN_ORDER(l[r], h[r]);
        }
    }
    /* low halves: R0 G0 R1 G1 | R2 G2 R3 G3, high halves: B0 . B1 . | B2 . B3 . */
    const __m256i sum01 = _mm256_srai_epi32(_mm256_hadd_epi32(join(l[0], h[0]), join(l[1], h[1])), 22);
    const __m256i sum23 = _mm256_srai_epi32(_mm256_hadd_epi32(join(l[2], h[2]), join(l[3], h[3])), 22);
    const __m256i words = _mm256_packs_epi32(sum01, sum23), bytes = _mm256_packus_epi16(words, words);
    unsigned long long red_green = (unsigned long long)_mm256_extract_epi64(bytes, 0);
    unsigned long long blue = (unsigned long long)_mm256_extract_epi64(bytes, 2);
    uint8_t *out = args->out + row * args->out_stride + 3 * i;
    for (size_t r = 0; r < n_rows; r++, out += args->out_stride, red_green >>= 16, blue >>= 16) {
        const uint16_t two = (uint16_t)red_green;
        memcpy(out, &two, sizeof two);
        out[2] = (uint8_t)blue;
    }
}

void tkr_resample_x_avx2(const tkr_resample_args *args) {
    if (!args->windows->padded) {
        tkr_resample_x_generic(args);
        return;
    }
    const size_t n = args->windows->n;
    size_t row = 0;
    /* what a load takes beyond its quad is there while another row follows: 16 bytes, 4 more than four pixels */
    for (; row + 4 < args->n_rows; row += 4) {
        for (size_t i = 0; i < n; i++) {
            pixel_of_rows(args, row, i, 4, 0);
        }
    }
    for (; row < args->n_rows; row++) {
        for (size_t i = 0; i < n; i++) {
            pixel_of_rows(args, row, i, 1, 1);
        }
    }
}

/* Bytes x .. x + 31 of output row i. */
TKR_INLINE void columns(const tkr_resample_args *args, size_t i, size_t x) {
    const tkr_windows *w = args->windows;
    const int16_t *low = w->low + i * w->ld, *high = w->high + i * w->ld;
    const uint8_t *in = args->in + (size_t)w->first[i] * args->in_stride + x;
    const size_t n_taps = (size_t)w->n_taps[i];
    const __m256i zero = _mm256_setzero_si256(), half = _mm256_set1_epi32(1 << 21);
    __m256i l[4] = {half, half, half, half}, h[4] = {zero, zero, zero, zero};
    for (size_t tap = 0; tap < n_taps; tap += 2) {
        int wl, wh;
        memcpy(&wl, low + tap, sizeof wl);
        memcpy(&wh, high + tap, sizeof wh);
        const uint8_t *row = in + tap * args->in_stride;
        const uint8_t *next = tap + 1 < n_taps ? row + args->in_stride : row; /* else its weight is zero */
        const __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)row);
        const __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)next);
        const __m256i ab[2] = {_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)};
        const __m256i weight_low = _mm256_set1_epi32(wl), weight_high = _mm256_set1_epi32(wh);
        for (size_t k = 0; k < 4; k++) {
            const __m256i pairs = k % 2 ? _mm256_unpackhi_epi8(ab[k / 2], zero) : _mm256_unpacklo_epi8(ab[k / 2], zero);
            l[k] = _mm256_add_epi32(l[k], _mm256_madd_epi16(pairs, weight_low));
            h[k] = _mm256_add_epi32(h[k], _mm256_madd_epi16(pairs, weight_high));
            IN_ORDER(l[k], h[k]);
        }
    }
    for (size_t k = 0; k < 4; k++) {
        l[k] = _mm256_srai_epi32(join(l[k], h[k]), 22);
    }
    const __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(l[0], l[1]), _mm256_packs_epi32(l[2], l[3]));
    _mm256_storeu_si256((__m256i *)(void *)(args->out + i * args->out_stride + x), bytes);
}

void tkr_resample_y_avx2(const tkr_resample_args *args) {
    if (args->row_bytes < 32) {
        tkr_resample_y_generic(args);
        return;
    }
    for (size_t i = 0; i < args->windows->n; i++) {
        for (size_t x = 0; x + 32 <= args->row_bytes; x += 32) {
            columns(args, i, x);
        }
        if (args->row_bytes % 32 != 0) {
            columns(args, i, args->row_bytes - 32); /* some bytes twice, to the same values */
        }
    }
}
