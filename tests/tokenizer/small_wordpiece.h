/* SPDX-License-Identifier: Apache-2.0 */
/* A whole WordPiece tokenizer.json in one string, for tests that need no file. */
#ifndef TKR_TEST_SMALL_WORDPIECE_H
#define TKR_TEST_SMALL_WORDPIECE_H

#define SMALL_FLAGS "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true"
#define SMALL_ADDED                                                                                       \
    "[{\"id\":0,\"content\":\"[PAD]\"," SMALL_FLAGS "},{\"id\":1,\"content\":\"[UNK]\"," SMALL_FLAGS "}," \
    "{\"id\":2,\"content\":\"[CLS]\"," SMALL_FLAGS "},{\"id\":3,\"content\":\"[SEP]\"," SMALL_FLAGS "}]"
#define SMALL_NORMALIZER                                                                                     \
    "{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,\"strip_accents\":null," \
    "\"lowercase\":true}"
#define SMALL_PRE "{\"type\":\"BertPreTokenizer\"}"
#define SMALL_POST                                                                                               \
    "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"[CLS]\",\"type_id\":0}},"          \
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":\"[SEP]\",\"type_id\":0}}],"          \
    "\"pair\":[{\"SpecialToken\":{\"id\":\"[CLS]\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}," \
    "{\"SpecialToken\":{\"id\":\"[SEP]\",\"type_id\":0}},{\"Sequence\":{\"id\":\"B\",\"type_id\":1}},"           \
    "{\"SpecialToken\":{\"id\":\"[SEP]\",\"type_id\":1}}],\"special_tokens\":{"                                  \
    "\"[CLS]\":{\"id\":\"[CLS]\",\"ids\":[2],\"tokens\":[\"[CLS]\"]},"                                           \
    "\"[SEP]\":{\"id\":\"[SEP]\",\"ids\":[3],\"tokens\":[\"[SEP]\"]}}}"
#define SMALL_VOCAB                                                                                              \
    "{\"[PAD]\":0,\"[UNK]\":1,\"[CLS]\":2,\"[SEP]\":3,\"a\":4,\"##a\":5,\"b\":6,\"##b\":7,\"ab\":8,\"##ab\":9,"  \
    "\".\":10,\"!\":11,\"\xe4\xb8\xad\":12,\"\xef\xbf\xbd\":13,\"##\xef\xbf\xbd\":14,\"aaaa\":15,\"##aaaa\":16," \
    "\"\xc3\xa9\":17}"
#define SMALL_MODEL_FIELDS                                                                 \
    "\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\"," \
    "\"max_input_chars_per_word\":100"
#define SMALL_FILE(normalizer, pre, post, model)                                              \
    "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":" SMALL_ADDED \
    ",\"normalizer\":" normalizer ",\"pre_tokenizer\":" pre ",\"post_processor\":" post       \
    ",\"decoder\":null,\"model\":" model "}"
#define SMALL_WORDPIECE \
    SMALL_FILE(SMALL_NORMALIZER, SMALL_PRE, SMALL_POST, "{" SMALL_MODEL_FIELDS ",\"vocab\":" SMALL_VOCAB "}")

#endif
