/* SPDX-License-Identifier: Apache-2.0 */
/* core/json, writer: escaped strings, shortest float32 decimals. Refuses NaN and infinities: JSON has none. */
#include <string.h>

#include "core/json.h"
#include "core/utf8.h"

/* ---- strings ---- */

/* Length of the run from `text` that needs no escape; non-ASCII ends it. */
static size_t plain_run(const char *text, size_t size) {
    size_t n = 0;
    while (n < size) {
        unsigned char c = (unsigned char)text[n];
        if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\') {
            break;
        }
        n++;
    }
    return n;
}

static bool write_escape(tkr_buf *out, unsigned char c) {
    static const char letters[0x20 + 1] = "uuuuuuuubtnufruuuuuuuuuuuuuuuuuu";
    static const char hex[] = "0123456789abcdef";
    char text[6] = {'\\', (char)c};
    if (c >= 0x20) {
        return tkr_buf_append(out, text, 2);
    }
    text[1] = letters[c];
    if (text[1] != 'u') {
        return tkr_buf_append(out, text, 2);
    }
    text[2] = '0';
    text[3] = '0';
    text[4] = hex[c >> 4];
    text[5] = hex[c & 15];
    return tkr_buf_append(out, text, 6);
}

bool tkr_json_write_string(tkr_buf *out, const char *text, size_t size) {
    if (!tkr_buf_reserve(out, 2) || !tkr_buf_putc(out, '"')) {
        return false;
    }
    size_t pos = 0;
    while (pos < size) {
        size_t n = plain_run(text + pos, size - pos);
        if (!tkr_buf_append(out, text + pos, n)) {
            return false;
        }
        pos += n;
        if (pos == size) {
            break;
        }
        unsigned char c = (unsigned char)text[pos];
        bool good;
        if (c >= 0x80) {
            char utf8[4];
            good = tkr_buf_append(out, utf8, tkr_utf8_put(utf8, tkr_utf8_next(text, size, &pos, NULL)));
        } else {
            good = write_escape(out, c);
            pos++;
        }
        if (!good) {
            return false;
        }
    }
    return tkr_buf_putc(out, '"');
}

/* ---- float32 ----
 * The method of R. Giulietti, "The Schubfach way to render doubles" (2020), for 24-bit significands: among the decimals
 * within the rounding interval of the float, take the shortest, and of those the closest. One table, no loops. */

enum { POWER_MIN = -31 };

/* [k - POWER_MIN]: 10^k scaled to 64 bits, rounded up. */
static const uint64_t powers_of_ten[] = {
    0x81CEB32C4B43FCF5, 0xA2425FF75E14FC32, 0xCAD2F7F5359A3B3F, 0xFD87B5F28300CA0E, 0x9E74D1B791E07E49,
    0xC612062576589DDB, 0xF79687AED3EEC552, 0x9ABE14CD44753B53, 0xC16D9A0095928A28, 0xF1C90080BAF72CB2,
    0x971DA05074DA7BEF, 0xBCE5086492111AEB, 0xEC1E4A7DB69561A6, 0x9392EE8E921D5D08, 0xB877AA3236A4B44A,
    0xE69594BEC44DE15C, 0x901D7CF73AB0ACDA, 0xB424DC35095CD810, 0xE12E13424BB40E14, 0x8CBCCC096F5088CC,
    0xAFEBFF0BCB24AAFF, 0xDBE6FECEBDEDD5BF, 0x89705F4136B4A598, 0xABCC77118461CEFD, 0xD6BF94D5E57A42BD,
    0x8637BD05AF6C69B6, 0xA7C5AC471B478424, 0xD1B71758E219652C, 0x83126E978D4FDF3C, 0xA3D70A3D70A3D70B,
    0xCCCCCCCCCCCCCCCD, 0x8000000000000000, 0xA000000000000000, 0xC800000000000000, 0xFA00000000000000,
    0x9C40000000000000, 0xC350000000000000, 0xF424000000000000, 0x9896800000000000, 0xBEBC200000000000,
    0xEE6B280000000000, 0x9502F90000000000, 0xBA43B74000000000, 0xE8D4A51000000000, 0x9184E72A00000000,
    0xB5E620F480000000, 0xE35FA931A0000000, 0x8E1BC9BF04000000, 0xB1A2BC2EC5000000, 0xDE0B6B3A76400000,
    0x8AC7230489E80000, 0xAD78EBC5AC620000, 0xD8D726B7177A8000, 0x878678326EAC9000, 0xA968163F0A57B400,
    0xD3C21BCECCEDA100, 0x84595161401484A0, 0xA56FA5B99019A5C8, 0xCECB8F27F4200F3A, 0x813F3978F8940985,
    0xA18F07D736B90BE6, 0xC9F2C9CD04674EDF, 0xFC6F7C4045812297, 0x9DC5ADA82B70B59E, 0xC5371912364CE306,
    0xF684DF56C3E01BC7, 0x9A130B963A6C115D, 0xC097CE7BC90715B4, 0xF0BDC21ABB48DB21, 0x96769950B50D88F5,
    0xBC143FA4E250EB32, 0xEB194F8E1AE525FE, 0x92EFD1B8D0CF37BF, 0xB7ABC627050305AE, 0xE596B7B0C643C71A,
    0x8F7E32CE7BEA5C70, 0xB35DBF821AE4F38C,
};

typedef struct decimal {
    uint32_t digits;
    int exponent; /* value = digits * 10^exponent */
} decimal;

/* floor(log10(2^q)), or floor(log10(3/4 * 2^q)) when the next smaller float is only half as far away. */
static int floor_log10(int q, bool closer_below) { return (q * 1262611 - (closer_below ? 524031 : 0)) >> 22; }

static int floor_log2_pow10(int k) { return (k * 1741647) >> 19; }

/* The top 32 bits of g * c / 2^64, with a sticky lowest bit for what was cut off. */
static uint32_t scale_to_odd(uint64_t g, uint32_t c) {
    uint64_t low = (g & 0xFFFFFFFFu) * c;
    uint64_t product = (g >> 32) * c + (low >> 32); /* bits 32 and up of the 96-bit product */
    return (uint32_t)(product >> 32) | ((uint32_t)product > 1);
}

/* significand * 2^exponent > 0, significand < 2^24. */
static decimal shortest(uint32_t significand, int exponent, bool closer_below) {
    bool even = (significand & 1) == 0;
    int k = floor_log10(exponent, closer_below);
    int shift = exponent + floor_log2_pow10(-k) + 1;
    uint64_t g = powers_of_ten[-k - POWER_MIN];
    uint32_t below = scale_to_odd(g, (4 * significand - 2 + closer_below) << shift);
    uint32_t value = scale_to_odd(g, (4 * significand) << shift); /* in quarters of 10^k */
    uint32_t above = scale_to_odd(g, (4 * significand + 2) << shift);
    uint32_t lower = below + !even, upper = above - !even; /* the ends belong to even significands */
    uint32_t s = value / 4;
    if (s >= 10) { /* try one digit less */
        uint32_t tens = s / 10;
        bool down = lower <= 40 * tens, up = 40 * tens + 40 <= upper;
        if (down != up) {
            return (decimal){tens + up, k + 1};
        }
    }
    bool down = lower <= 4 * s, up = 4 * s + 4 <= upper;
    if (down != up) {
        return (decimal){s + up, k};
    }
    uint32_t middle = 4 * s + 2;
    bool round_up = value > middle || (value == middle && (s & 1) != 0);
    return (decimal){s + round_up, k};
}

/* The eight decimal digits of value < 10^8, the first one in the lowest byte: halves, quarters, then single digits of
 * all four pairs at once, by multiplications with the reciprocals of 100 and 10. */
static uint64_t eight_digits(uint32_t value) {
    const uint32_t high = value / 10000;
    const uint64_t fours = high | (uint64_t)(value - 10000 * high) << 32;
    const uint64_t hundreds = (fours * 10486 >> 20) & UINT64_C(0x7F0000007F);
    const uint64_t pairs = hundreds | (fours - 100 * hundreds) << 16;
    const uint64_t tens = (pairs * 103 >> 10) & UINT64_C(0x0F000F000F000F);
    return tens | (pairs - 10 * tens) << 8;
}

static void put_eight(char out[8], uint64_t bytes) {
    for (unsigned i = 0; i < 8; i++) { /* one store where bytes are in this order */
        out[i] = (char)(bytes >> 8 * i & 0xFF);
    }
}

enum { DIGITS = 9 + 16 }; /* whoever lays them out copies 16 bytes from any of them */

/* Decimal digits of 0 < value < 10^9 without zeros at the end, which go into *exponent. *begin is the first one's
 * place. Returns how many. */
static size_t put_digits(char out[static DIGITS], size_t *begin, uint32_t value, int *exponent) {
    const uint32_t ninth = value / 100000000;
    const uint64_t digits = eight_digits(value - 100000000 * ninth);
    const size_t before = digits != 0 ? (size_t)__builtin_ctzll(digits) / 8 : 8; /* zeros at both ends of the eight */
    const size_t after = digits != 0 ? (size_t)__builtin_clzll(digits) / 8 : 8;
    out[0] = (char)('0' + ninth);
    put_eight(out + 1, digits + UINT64_C(0x3030303030303030));
    *begin = ninth != 0 ? 0 : 1 + before;
    *exponent += (int)after;
    return 9 - after - *begin;
}

/* Plain notation from 1e-4 up to below 1e9, else with an exponent. Returns the length, at most 16. Copies whole blocks,
 * of which the ends don't count: that is faster than copying n bytes. */
static size_t lay_out(char *out, const char *digits, size_t n, int exponent) {
    int first = exponent + (int)n - 1; /* power of ten of the first digit */
    char *at = out;
    if (first < -4 || first > 8) {
        *at++ = digits[0];
        if (n > 1) {
            *at++ = '.';
            memcpy(at, digits + 1, 8);
            at += n - 1;
        }
        *at++ = 'e';
        if (first < 0) {
            *at++ = '-';
        }
        unsigned power = (unsigned)(first < 0 ? -first : first);
        if (power >= 10) {
            *at++ = (char)('0' + power / 10);
        }
        *at++ = (char)('0' + power % 10);
    } else if (first < 0) {
        size_t lead = 1 + (size_t)-first;
        memcpy(at, "0.000000", 8);
        memcpy(at + lead, digits, 16);
        at += lead + n;
    } else if (exponent >= 0) {
        memset(at, '0', 16);
        memcpy(at, digits, n);
        at += n + (size_t)exponent;
    } else {
        size_t whole = (size_t)first + 1;
        memcpy(at, digits, 16);
        at[whole] = '.';
        memcpy(at + whole + 1, digits + whole, 8);
        at += n + 1;
    }
    return (size_t)(at - out);
}

size_t tkr_json_put_float(char out[TKR_JSON_FLOAT_ROOM], float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t fraction = bits & 0x7FFFFF;
    int biased = (int)(bits >> 23 & 0xFF);
    char digits[DIGITS + 8] = {0};
    size_t used = bits >> 31, begin;
    if (biased == 0xFF) {
        return 0;
    }
    out[0] = '-';
    if (biased == 0 && fraction == 0) { /* "-0" alone would be read as an integer without a sign */
        memcpy(out + used, "0.0", 3);
        return used > 0 ? 4 : 1;
    }
    uint32_t significand = biased > 0 ? fraction | 0x800000 : fraction;
    int exponent = (biased > 0 ? biased : 1) - 150;
    decimal best = {significand, 0};
    int drop = -exponent;
    if (drop >= 0 && drop < 24 && (significand & ((1u << drop) - 1)) == 0) {
        best.digits = significand >> drop; /* a whole number */
    } else {
        best = shortest(significand, exponent, fraction == 0 && biased > 1);
    }
    size_t n = put_digits(digits, &begin, best.digits, &best.exponent);
    return used + lay_out(out + used, digits + begin, n, best.exponent);
}

bool tkr_json_write_float(tkr_buf *out, float value) {
    char text[TKR_JSON_FLOAT_ROOM];
    const size_t n = tkr_json_put_float(text, value);
    return n > 0 && tkr_buf_append(out, text, n);
}
