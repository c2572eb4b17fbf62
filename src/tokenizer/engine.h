/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer/engine: what the stages share. A text runs through: added tokens on the raw text, normalizers, added tokens
 * on the normalized text, pre-tokenizers, model, truncation, post-processor; on the way back, the pieces of ids through
 * decoders. A stage kind is one file with one tkr_tok_component and one row in components.def.
 */
#ifndef TKR_TOKENIZER_ENGINE_H
#define TKR_TOKENIZER_ENGINE_H

#include "core/json.h"
#include "core/utf8.h"
#include "tokenizer/tokenizer.h"

/* Half-open range of bytes. Texts are limited to TKR_TOK_MAX_TEXT so that 32 bits are enough. */
typedef struct tkr_tok_range {
    uint32_t begin, end;
} tkr_tok_range;
#define TKR_TOK_MAX_TEXT ((size_t)1 << 30)
/* Ids are array indices; a file that claims a larger one is refused. */
#define TKR_TOK_MAX_ID ((int64_t)(1 << 22) - 1)

/* ---- vocabulary: pieces by id and by text ---- */
typedef struct tkr_tok_slot {
    uint32_t tag; /* upper half of the mixed hash */
    int32_t id;   /* -1: free */
} tkr_tok_slot;

typedef struct tkr_tok_index { /* open addressing over texts that are piece text minus its first `skip` bytes */
    tkr_tok_slot *slots;
    size_t mask;
    uint32_t skip;
    uint32_t max_length; /* longest key in bytes */
    uint64_t lengths;    /* bit min(length, 63) set when some key has that length */
} tkr_tok_index;

typedef struct tkr_tok_vocab {
    tkr_buf pool;                   /* NUL-terminated pieces */
    uint32_t *offset;               /* [n_ids] into pool, UINT32_MAX: no piece has this id */
    uint32_t *length;               /* [n_ids] bytes */
    double *score;                  /* [n_ids], NULL when the file's vocabulary has none */
    size_t n_ids, room, score_room; /* n_ids: highest id + 1 */
    size_t n_pieces;
    tkr_tok_index index; /* all pieces */
} tkr_tok_vocab;

typedef enum tkr_tok_put { TKR_TOK_PUT_OK, TKR_TOK_PUT_MEMORY, TKR_TOK_PUT_TWICE } tkr_tok_put;
tkr_tok_put tkr_tok_vocab_add(tkr_tok_vocab *vocab, int32_t id, const char *piece, size_t n);
/* Indexes the pieces that begin with `prefix` by what follows it. TWICE: *twice is the id of a piece seen before. */
tkr_tok_put tkr_tok_index_build(tkr_tok_index *index, const tkr_tok_vocab *vocab, const char *prefix, size_t n_prefix,
                                int32_t *twice);
void tkr_tok_index_free(tkr_tok_index *index);
void tkr_tok_vocab_free(tkr_tok_vocab *vocab);
#define TKR_TOK_HASH_STEP(hash, byte) ((hash)*0x9E3779B97F4A7C15u + (uint64_t)(uint8_t)(byte) + 1u)
/* `hash` is TKR_TOK_HASH_STEP over the n bytes, from 0. Returns the id or -1. */
int32_t tkr_tok_index_find(const tkr_tok_index *index, const tkr_tok_vocab *vocab, uint64_t hash, const char *text,
                           size_t n);
/* TKR_TOK_HASH_STEP over n bytes, from `hash`. */
uint64_t tkr_tok_hash(uint64_t hash, const char *text, size_t n);
/* For many look-ups: brings what the first and then the second half of tkr_tok_index_find reads near the CPU. */
void tkr_tok_index_warm_slot(const tkr_tok_index *index, uint64_t hash);
void tkr_tok_index_warm_piece(const tkr_tok_index *index, const tkr_tok_vocab *vocab, uint64_t hash);
int32_t tkr_tok_vocab_find(const tkr_tok_vocab *vocab, const char *text, size_t n);

/* ---- added tokens ---- */
typedef struct tkr_tok_added {
    const char *content;
    size_t n_content;
    int32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
} tkr_tok_added;

typedef struct tkr_tok_added_id {
    int32_t id;
    uint32_t index; /* of the added token */
} tkr_tok_added_id;

/* Leftmost-longest matcher over a set of texts. */
typedef struct tkr_tok_matcher {
    struct tkr_tok_node *nodes; /* [n_nodes], 0 is the root */
    size_t n_nodes, room;
    bool starts[256]; /* bytes that a text of the set begins with */
    int only_start;   /* the one byte they all begin with, -1: several or none */
} tkr_tok_matcher;
/* Adds text -> value (an index); a text added twice keeps its first value. false: out of memory. */
bool tkr_tok_matcher_add(tkr_tok_matcher *matcher, const char *text, size_t n, int32_t value);
void tkr_tok_matcher_free(tkr_tok_matcher *matcher);

/* ---- the text under work ---- */
typedef struct tkr_tok_text {
    char *bytes;          /* valid UTF-8 */
    tkr_tok_range *align; /* [size] the range of the input that each byte stands for */
    size_t size, room;
} tkr_tok_text;

typedef struct tkr_tok_span { /* a word, or an added token found in the normalized text */
    uint32_t begin, end;
    int32_t token; /* its id, -1 for a word */
} tkr_tok_span;

/* On the way from ids to one text: texts one behind another. */
typedef struct tkr_tok_texts {
    tkr_buf bytes;
    size_t *ends; /* [n] where each ends in bytes */
    size_t n, room;
} tkr_tok_texts;

typedef struct tkr_tok_pending { /* a decomposed character waiting for its canonical order */
    uint32_t code_point;
    int32_t change;
    uint8_t combining_class;
} tkr_tok_pending;

typedef struct tkr_tok_piece_out { /* a model's token: a range of bytes of the word */
    int32_t id;
    uint32_t begin, end;
} tkr_tok_piece_out;

typedef struct tkr_tok_path { /* Unigram: the best way to reach a byte */
    double score;
    uint32_t start; /* where its last piece begins, UINT32_MAX: not reached */
    int32_t id;
} tkr_tok_path;

typedef struct tkr_tok_first_symbol { /* BPE: what merging begins with */
    int32_t id;
    uint32_t length; /* bytes of the word */
} tkr_tok_first_symbol;

typedef struct tkr_tok_symbol { /* BPE: a part of the word */
    int32_t id;
    uint32_t length; /* bytes of the word, 0: merged into another */
    uint32_t rank;   /* of the merge with the next, UINT32_MAX: none */
    uint32_t previous, next;
} tkr_tok_symbol;

/* Tokens of one text, truncated on the fly. */
typedef struct tkr_tok_sink {
    int32_t *ids;
    uint64_t *offsets; /* [room, 2] when want_offsets */
    size_t n, room, offsets_room;
    size_t total; /* tokens seen */
    size_t keep;  /* tokens wanted */
    bool left, want_offsets;
} tkr_tok_sink;

typedef struct tkr_tok_cached {
    uint64_t key[2]; /* the word, zero-padded */
    int32_t ids[8];
    uint8_t ends[8];
    uint8_t length; /* of the word, 0: free */
    uint8_t n;      /* ids */
} tkr_tok_cached;
enum { TKR_TOK_CACHE_BITS = 12, TKR_TOK_CACHE_WORD = 16, TKR_TOK_CACHE_IDS = 8 };

/* A buffer that grew beyond this for one text is given back afterwards. */
enum { TKR_TOK_KEEP_BYTES = 4 << 20 };

struct tkr_tok_scratch {
    const tkr_tok *tok;
    tkr_tok_text text, spare;          /* `spare` receives what a stage writes, then they change places */
    tkr_tok_span *spans, *spare_spans; /* ranges of text */
    size_t n_spans, spans_room, spare_spans_room;
    tkr_tok_pending *pending, *sorted; /* canonical ordering */
    size_t n_pending, pending_room, sorted_room;
    tkr_tok_piece_out *pieces;
    size_t n_pieces, pieces_room;
    uint64_t *hashes; /* [longest piece + 1] */
    size_t hashes_room;
    tkr_tok_path *path; /* [word + 1] */
    size_t path_room;
    tkr_tok_first_symbol *first_symbols; /* BPE: of the whole word */
    size_t first_room;
    tkr_tok_symbol *symbols; /* BPE: of what is being merged */
    size_t symbols_room;
    uint64_t *heap;
    size_t heap_room;
    tkr_buf spelling;                  /* BPE: a piece to be looked up */
    struct tkr_tok_matching *matching; /* PCRE2's state, NULL until it is needed */
    const char *problem;               /* the regular expression that exceeded its limits on this text */
    tkr_tok_cached *cache;
    tkr_tok_sink first, second;
    tkr_buf clean;                    /* the input with invalid UTF-8 replaced */
    tkr_tok_texts texts, spare_texts; /* decoding: `spare_texts` receives what a stage writes, as above */
    int32_t *ids;
    uint8_t *type_ids, *special;
    uint64_t *offsets;
    size_t ids_room, types_room, special_room, offsets_room;
    uint32_t base; /* where in the input the text under work begins */
    uint64_t work; /* characters and trie steps handled so far: linear-time tests read it */
};

/* Makes the block, whose pointer lies at `pointer_at`, hold at least `count` items of `size` bytes, at least doubling.
 * false: out of memory. */
bool tkr_tok_grow(void *pointer_at, size_t *room, size_t count, size_t size);
#define TKR_TOK_GROW(pointer, room, count) \
    ((count) <= (room) || tkr_tok_grow(&(pointer), &(room), (count), sizeof *(pointer)))

/* Fills text from input[begin, end). */
bool tkr_tok_text_load(tkr_tok_scratch *scratch, const char *input, size_t begin, size_t end);

/* Rewrites text character by character into spare. `change` is the reference's: 0 replaces the next old character,
 * -n replaces it and removes n more, 1 inserts (and shares the alignment of the old byte in front). */
typedef struct tkr_tok_edit {
    tkr_tok_scratch *scratch;
    size_t at; /* old bytes used up */
    bool failed;
} tkr_tok_edit;
void tkr_tok_edit_begin(tkr_tok_edit *edit, tkr_tok_scratch *scratch);
/* Uses up old characters for `change` and returns the alignment of what replaces them. */
tkr_tok_range tkr_tok_edit_step(tkr_tok_edit *edit, int32_t change);
void tkr_tok_edit_write(tkr_tok_edit *edit, uint32_t code_point, tkr_tok_range align);
void tkr_tok_edit_bytes(tkr_tok_edit *edit, const char *bytes, size_t n, tkr_tok_range align);
/* Copies old bytes up to `end` with their alignments. */
void tkr_tok_edit_copy(tkr_tok_edit *edit, size_t end);
/* Makes the new text the text under work. false: out of memory. */
bool tkr_tok_edit_end(tkr_tok_edit *edit);
static inline void tkr_tok_edit_put(tkr_tok_edit *edit, uint32_t code_point, int32_t change) {
    const tkr_tok_range align = tkr_tok_edit_step(edit, change);
    tkr_tok_edit_write(edit, code_point, align);
}
/* One character of valid UTF-8. */
static inline uint32_t tkr_tok_next(const char *bytes, size_t size, size_t *pos) {
    const unsigned char c = (unsigned char)bytes[*pos];
    if (c < 0x80) {
        (*pos)++;
        return c;
    }
    return tkr_utf8_next(bytes, size, pos, NULL);
}
static inline size_t tkr_tok_char_size(char lead) {
    const unsigned char c = (unsigned char)lead;
    return c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
}

/* ---- components ---- */
/* End of the match of a known pattern that begins at `at` < size; the matches tile the text. */
typedef size_t (*tkr_tok_tile_fn)(const char *text, size_t size, size_t at);

typedef enum tkr_tok_kind {
    TKR_TOK_NORMALIZER,
    TKR_TOK_PRE_TOKENIZER,
    TKR_TOK_MODEL,
    TKR_TOK_POST_PROCESSOR,
    TKR_TOK_DECODER
} tkr_tok_kind;

typedef struct tkr_tok_loader {
    tkr_tok *tok;
    const char *what;
    tkr_error *error;
} tkr_tok_loader;
/* The compiled form's table of the pieces with a prefix of n_prefix bytes, checked. */
tkr_status tkr_tok_map_index(tkr_tok_index *index, const tkr_tok_loader *loader, int part, size_t n_prefix);

/* Classes and replacements of ASCII characters when a normalizer and pre-tokenizer treat them one by one. */
enum { TKR_TOK_ASCII_SLOW = 0, TKR_TOK_ASCII_SPACE = 1, TKR_TOK_ASCII_PUNCT = 2, TKR_TOK_ASCII_WORD = 3 };
typedef struct tkr_tok_ascii {
    bool usable;
    uint8_t to[256];    /* what the normalizers make of it */
    uint8_t class[256]; /* SLOW: needs the general way, as do all bytes above 127 */
} tkr_tok_ascii;

typedef struct tkr_tok_component {
    /* Reads `config` into a new *self in the tokenizer's arena (NULL is fine when nothing is configurable). */
    tkr_status (*parse)(void **self, tkr_tok_loader *loader, const json_t *config);
    /* Normalizer: rewrites scratch->text. Pre-tokenizer: refines scratch->spans. false: out of memory. */
    bool (*run)(const void *self, tkr_tok_scratch *scratch);
    /* Decoder: appends what becomes of `in` to the emptied `out`. false: out of memory, or scratch->problem is set. */
    bool (*decode)(const void *self, tkr_tok_scratch *scratch, tkr_tok_texts *out, const tkr_tok_texts *in);
    /* Model: appends the tokens of one non-empty word to scratch->pieces. false: out of memory. */
    bool (*word)(const void *self, tkr_tok_scratch *scratch, const char *word, size_t n);
    /* Normalizer or pre-tokenizer that handles ASCII characters one by one, whatever stands beside them, and of which
     * no character beyond ASCII reaches over an ASCII space or punctuation: refines the plan. NULL: not so. */
    void (*ascii)(const void *self, tkr_tok_ascii *plan);
    /* Pre-tokenizer that cuts a text into consecutive parts at the matches of a known pattern and does nothing else:
     * the pattern (tokenizer/regex.h). NULL, or a NULL result: not so. */
    tkr_tok_tile_fn (*tile)(const void *self);
} tkr_tok_component;

typedef struct tkr_tok_stage {
    const tkr_tok_component *component;
    void *self;
} tkr_tok_stage;
enum { TKR_TOK_MAX_STAGES = 32 };

/* Appends the stages that `config` describes (Sequence flattened). An unknown type is TKR_UNSUPPORTED. */
tkr_status tkr_tok_add_stages(tkr_tok_loader *loader, tkr_tok_kind kind, const json_t *config);
/* The row of components.def, NULL when there is none. */
const tkr_tok_component *tkr_tok_component_find(tkr_tok_kind kind, const char *type);

/* ---- post-processor, compiled to two templates ---- */
typedef struct tkr_tok_item {
    int32_t id; /* of a special token; -1 text A, -2 text B */
    uint8_t type_id;
} tkr_tok_item;
typedef struct tkr_tok_template {
    tkr_tok_item *items;
    size_t n_items, n_special;
} tkr_tok_template;
typedef struct tkr_tok_post {
    bool present;
    tkr_tok_template single, pair;
    bool types_from_template; /* also when special tokens are off */
    bool trim_offsets, add_prefix_space;
} tkr_tok_post;

/* The direct way for byte-level BPE: words are cut from the raw text by a known pattern. */
typedef struct tkr_tok_bytes {
    tkr_tok_tile_fn tile; /* NULL: can't be used */
    bool nfc;             /* the normalizer is NFC: only for texts that it doesn't change */
} tkr_tok_bytes;

/* Merges as the file spells them. */
typedef struct tkr_tok_merge_list {
    tkr_buf text;     /* the parts of all pairs, one behind the other */
    uint32_t *length; /* [n], two a merge */
    size_t n, room;
} tkr_tok_merge_list;
/* Reads an array of "a b" or ["a", "b"] whose opening bracket is read. */
tkr_status tkr_tok_read_merges(tkr_jr *jr, tkr_tok_merge_list *list);
/* false: out of memory */
bool tkr_tok_merge_list_add(tkr_tok_merge_list *list, const char *left, size_t n_left, const char *right,
                            size_t n_right);
void tkr_tok_merge_list_free(tkr_tok_merge_list *list);

/* One part of the post-processor may trim the offsets. */
tkr_status tkr_tok_claim_trim(tkr_tok_loader *loader, bool add_prefix_space);

enum { TKR_TOK_FACT_CUT_AT_MARK = 1 }; /* tokenizer/bpe.h */
/* Arrays that the compiled form holds, in its order. */
typedef enum tkr_tok_part {
    TKR_TOK_PART_SKELETON,   /* JSON */
    TKR_TOK_PART_POOL,       /* vocab.pool */
    TKR_TOK_PART_OFFSET,     /* vocab.offset */
    TKR_TOK_PART_LENGTH,     /* vocab.length */
    TKR_TOK_PART_SCORE,      /* vocab.score */
    TKR_TOK_PART_INDEX,      /* vocab.index.slots */
    TKR_TOK_PART_CONTINUING, /* continuing.slots */
    TKR_TOK_PART_MERGED,     /* BPE */
    TKR_TOK_PART_MERGES,     /* BPE */
    TKR_TOK_PART_TRIE,       /* Unigram */
    TKR_TOK_N_PARTS
} tkr_tok_part;
typedef struct tkr_tok_block {
    const void *data;
    size_t size; /* bytes */
} tkr_tok_block;

struct tkr_tok {
    tkr_arena arena;
    bool mapped;                          /* the arrays lie in the caller's bytes */
    uint32_t facts;                       /* TKR_TOK_FACT_*, costly to find out */
    tkr_buf skeleton;                     /* the file without its arrays, as JSON */
    tkr_tok_block parts[TKR_TOK_N_PARTS]; /* from MERGED on: of the model. Mapped: all */
    tkr_tok_vocab vocab;
    json_t *model_fields;        /* scalars of the model block, until the model is parsed */
    tkr_tok_added *added;        /* [n_added] */
    tkr_tok_added_id *added_ids; /* [n_added] sorted */
    size_t n_added;
    tkr_tok_matcher raw, normalized;
    tkr_tok_stage normalizers[TKR_TOK_MAX_STAGES], pre_tokenizers[TKR_TOK_MAX_STAGES];
    tkr_tok_stage decoders[TKR_TOK_MAX_STAGES];
    size_t n_normalizers, n_pre_tokenizers, n_decoders;
    bool has_decoder;            /* else pieces are joined with blanks */
    const char *decoder_problem; /* why it can't be used; NULL: it can */
    tkr_tok_stage model;
    tkr_tok_index continuing; /* WordPiece: pieces with the continuing prefix, by what follows it */
    tkr_tok_post post;
    tkr_tok_ascii ascii;
    tkr_tok_bytes bytes;
    struct tkr_tok_regex *regexes; /* all of them, to be freed */
    tkr_tok_merge_list merge_list; /* of the file, until the model is parsed */
    size_t n_ids;                  /* highest id + 1, added tokens included */
};

/* Calls `found` for the stretches of text between the added tokens and for each of these (`token` not NULL). */
typedef bool (*tkr_tok_stretch_fn)(void *user, const tkr_tok_added *token, size_t begin, size_t end);
bool tkr_tok_split_added(const tkr_tok *tok, const tkr_tok_matcher *matcher, tkr_tok_scratch *scratch, const char *text,
                         size_t size, tkr_tok_stretch_fn found, void *user);
/* The first added token with that id, NULL: none. */
const tkr_tok_added *tkr_tok_find_added(const tkr_tok *tok, int32_t id);
tkr_status tkr_tok_load_added(tkr_tok_loader *loader, const json_t *list);
/* After the normalizers are known: the matchers. */
tkr_status tkr_tok_build_matchers(tkr_tok_loader *loader);

/* Copies `text` into the emptied `clean` with U+FFFD for what isn't UTF-8. false: out of memory. */
bool tkr_tok_replace_invalid(tkr_buf *clean, const char *text, size_t size);
void tkr_tok_texts_free(tkr_tok_texts *texts);
static inline size_t tkr_tok_texts_begin(const tkr_tok_texts *texts, size_t i) {
    return i == 0 ? 0 : texts->ends[i - 1];
}
/* Ends the text that the last bytes belong to. false: out of memory, also while they were appended. */
static inline bool tkr_tok_texts_end(tkr_tok_texts *texts) {
    if (texts->bytes.failed || !TKR_TOK_GROW(texts->ends, texts->room, texts->n + 1)) {
        return false;
    }
    texts->ends[texts->n++] = texts->bytes.size;
    return true;
}

bool tkr_tok_normalize(const tkr_tok *tok, tkr_tok_scratch *scratch);
/* Tokens of one word, through the word cache, into scratch->pieces (which it empties first). */
bool tkr_tok_word(const tkr_tok *tok, tkr_tok_scratch *scratch, const char *word, size_t n);
/* Keeps scratch->pieces[first, n_pieces), whose offsets count from `base`, as those of a word. */
void tkr_tok_cache_store(tkr_tok_cached *entry, const uint64_t key[2], size_t length, const tkr_tok_scratch *scratch,
                         size_t first, size_t base);
static inline tkr_tok_cached *tkr_tok_cache_at(tkr_tok_cached *cache, uint64_t a, uint64_t b) {
    const uint64_t hash = (a ^ (b * 0xC2B2AE3D27D4EB4Fu)) * 0x9E3779B97F4A7C15u;
    return &cache[hash >> (64 - TKR_TOK_CACHE_BITS)];
}
/* Encodes raw[begin, end), in which there is no added token of the raw matcher. */
bool tkr_tok_general(const tkr_tok *tok, tkr_tok_scratch *scratch, tkr_tok_sink *sink, const char *raw, size_t begin,
                     size_t end);
bool tkr_tok_encode_ascii(const tkr_tok *tok, tkr_tok_scratch *scratch, tkr_tok_sink *sink, const char *raw,
                          size_t begin, size_t end);
void tkr_tok_plan_ascii(tkr_tok *tok);

bool tkr_tok_sink_push_slow(tkr_tok_sink *sink, int32_t id, size_t begin, size_t end);
/* false: out of memory */
static inline bool tkr_tok_sink_push(tkr_tok_sink *sink, int32_t id, size_t begin, size_t end) {
    if (sink->n == sink->room || sink->n >= sink->keep || sink->want_offsets) {
        return tkr_tok_sink_push_slow(sink, id, begin, end);
    }
    sink->total++;
    sink->ids[sink->n++] = id;
    return true;
}
/* Shortens both (the second may be NULL) to `budget` tokens together, longest first, as the reference does. */
void tkr_tok_truncate(tkr_tok_sink *first, tkr_tok_sink *second, size_t budget);
tkr_status tkr_tok_post_process(tkr_tok_result *result, const tkr_tok *tok, tkr_tok_scratch *scratch,
                                const tkr_tok_request *request, tkr_error *error);

/* Normalisation forms. */
enum {
    TKR_TOK_NF_COMPATIBLE = 1,
    TKR_TOK_NF_COMPOSE = 2,
    TKR_TOK_NF_DROP_MN = 4, /* with LOWER: BertNormalizer's strip_accents and lowercase in the same pass */
    TKR_TOK_NF_LOWER = 8
};
bool tkr_tok_normal_form(tkr_tok_scratch *scratch, unsigned flags);
bool tkr_tok_lowercase(tkr_tok_scratch *scratch);

/* ---- splitting ---- */
typedef enum tkr_tok_behavior {
    TKR_TOK_REMOVED,
    TKR_TOK_ISOLATED,
    TKR_TOK_MERGED_WITH_PREVIOUS,
    TKR_TOK_MERGED_WITH_NEXT,
    TKR_TOK_CONTIGUOUS
} tkr_tok_behavior;
tkr_status tkr_tok_parse_behavior(tkr_tok_behavior *behavior, tkr_tok_loader *loader, const json_t *config,
                                  bool required);
/* Splits every span at the characters that have one of the properties (tkr_uni). */
bool tkr_tok_split_props(tkr_tok_scratch *scratch, unsigned props, tkr_tok_behavior behavior);
/* Splits every span at the matches. */
bool tkr_tok_split_regex(tkr_tok_scratch *scratch, const struct tkr_tok_regex *regex, tkr_tok_behavior behavior,
                         bool invert);

/* ---- ByteLevel and BPE ---- */
/* The 256 characters that stand for bytes, and what byte a character stands for (-1: none). */
uint32_t tkr_tok_byte_char(uint8_t byte);
int tkr_tok_char_byte(uint32_t code_point);
/* Makes a ByteLevel pre-tokenizer leave the bytes as they are, for a model that does as well. */
void tkr_tok_byte_level_keep(void *self);
bool tkr_tok_byte_level_is_plain(const void *self); /* adds no space */
/* Makes BPE take words of raw bytes; false: its vocabulary doesn't have all 256. */
bool tkr_tok_bpe_take_bytes(void *self);
extern const tkr_tok_component tkr_norm_nfc, tkr_pre_byte_level, tkr_model_bpe;
/* After all stages are known. */
void tkr_tok_plan_bytes(tkr_tok *tok);
/* true: NFC leaves the text as it is. */
bool tkr_tok_is_nfc(const char *text, size_t size);
/* Encodes raw[begin, end), which the normalizers would leave as it is. */
bool tkr_tok_encode_bytes(const tkr_tok *tok, tkr_tok_scratch *scratch, tkr_tok_sink *sink, const char *raw,
                          size_t begin, size_t end);

#endif
