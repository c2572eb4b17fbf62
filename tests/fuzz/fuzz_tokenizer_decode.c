/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a list of ids (two bytes each behind the first, which picks the decoder) for a vocabulary of marks,
 * bytes, suffixes and the characters that decoders look at. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "check_decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SEQUENCE(list) ("{\"type\":\"Sequence\",\"decoders\":[" list "]}")
static const char *const decoders[] = {
    "null",
    "{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true}",
    "{\"type\":\"ByteLevel\"}",
    "{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\"}",
    "{\"type\":\"BPEDecoder\",\"suffix\":\"</w>\"}",
    SEQUENCE("{\"type\":\"Replace\",\"pattern\":{\"String\":\"\xe2\x96\x81\"},\"content\":\" \"},"
             "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"
             "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":2}"),
    SEQUENCE("{\"type\":\"ByteFallback\"},"
             "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"[ab]*\"},\"content\":\"\xc3\xa9\"},"
             "{\"type\":\"WordPiece\",\"prefix\":\"\",\"cleanup\":true}")};
enum { N_DECODERS = sizeof decoders / sizeof *decoders };

/* Made once: loading would dominate. */
static tkr_tok *toks[N_DECODERS];
static tkr_tok_scratch *scratches[N_DECODERS];

static void make(size_t i) {
    static const char pieces[] =
        "\"a\":0,\"##b\":1,\"\xe2\x96\x81\":2,\"\xe2\x96\x81x\":3,\"<0xC3>\":4,\"<0xA9>\":5,\"<0xFF>\":6,\"<0x+5>\":7,"
        "\"x</w>\":8,\"</w>\":9,\".\":10,\"'\":11,\"n't\":12,\"do\":13,\"not\":14,\"do not\":15,\"\xc4\xa0\":16,"
        "\"\xc3\x83\":17,\"\xc2\xa9\":18,\"\xe4\xb8\xad\":19,\"\":20,\"#\":21,\"##\":22,\" \":23,\"'s\":24";
    char json[2048];
    tkr_error error = {.status = TKR_OK};
    snprintf(
        json, sizeof json,
        "{\"added_tokens\":[{\"id\":30,\"content\":\"<s>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
        "\"normalized\":false,\"special\":true}],\"decoder\":%s,\"model\":{\"type\":\"WordPiece\",\"unk_token\":"
        "\"a\",\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":9,\"vocab\":{%s}}}",
        decoders[i], pieces);
    if (tkr_tok_load(&toks[i], json, strlen(json), "fuzz", NULL, &error) != TKR_OK ||
        tkr_tok_scratch_create(&scratches[i], toks[i], &error) != TKR_OK) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const size_t i = size > 0 ? data[0] % N_DECODERS : 0;
    if (toks[i] == NULL) {
        make(i);
    }
    check_decode(toks[i], scratches[i], data + (size > 0), size > 0 ? size - 1 : 0);
    return 0;
}
