/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tkr/embed.h: the one public header of libtkr, which turns texts and pictures into vectors.
 *
 * Rules that hold for every function here:
 *  - Outputs come first, then inputs, then options, then a nullable `tkr_error *`.
 *  - Ownership is said in one word: borrows (valid for the call), copies, takes, returns (the caller frees).
 *  - `*_free` takes the address of the handle, sets it to NULL and accepts NULL.
 *  - Sizes and counts are `size_t` in the unit that the name says; text is UTF-8 with an explicit byte length.
 *  - The library never prints, never exits, never aborts, and executes nothing from a model repository.
 *  - A loaded model is immutable and may be shared by threads; a session belongs to one thread at a time.
 */
#ifndef TKR_EMBED_H
#define TKR_EMBED_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) || defined(__clang__)
#define TKR_API __attribute__((visibility("default")))
#else
#define TKR_API
#endif

#define TKR_VERSION_MAJOR 0
#define TKR_VERSION_MINOR 1
#define TKR_VERSION_PATCH 0

/* ---- Status and error ------------------------------------------------------------------------------------------ */

/* X(name, value, text). Values are part of the ABI and never change meaning. */
#define TKR_STATUS_LIST(X)                              \
    X(OK, 0, "ok")                                      \
    X(INVALID_ARGUMENT, 1, "invalid argument")          \
    X(NOT_FOUND, 2, "not found")                        \
    X(IO, 3, "input/output error")                      \
    X(FORMAT, 4, "damaged or malformed data")           \
    X(UNSUPPORTED, 5, "not supported by this build")    \
    X(NO_MEMORY, 6, "out of memory")                    \
    X(LIMIT, 7, "a limit was exceeded")                 \
    X(NETWORK, 8, "network error")                      \
    X(DENIED, 9, "refused by policy or permission")     \
    X(CANCELLED, 10, "cancelled")                       \
    X(DEADLINE, 11, "deadline exceeded")                \
    X(NUMERIC, 12, "the result is not a usable number") \
    X(BUSY, 13, "in use")                               \
    X(INTERNAL, 14, "internal error: please report it")

typedef enum tkr_status {
#define TKR_X(name, value, text) TKR_##name = value,
    TKR_STATUS_LIST(TKR_X)
#undef TKR_X
} tkr_status;

#define TKR_ERROR_MESSAGE_SIZE 512

/* Caller-owned. A function that returns a status other than TKR_OK has filled it; on TKR_OK it is left alone. */
typedef struct tkr_error {
    tkr_status status;
    const char *origin;                   /* static string "file.c:line", for bug reports */
    char message[TKR_ERROR_MESSAGE_SIZE]; /* one line, NUL-terminated: the thing, the value, what would be right */
} tkr_error;

/* Returns a static string such as "out of memory"; "unknown status" for values not in the list. */
TKR_API const char *tkr_status_text(tkr_status status);

/* Returns the static version string of the library, "MAJOR.MINOR.PATCH". */
TKR_API const char *tkr_version(void);

/* ---- Options --------------------------------------------------------------------------------------------------- */

typedef enum tkr_precision {                         /* arithmetic of unquantised weights */
                             TKR_PRECISION_AUTO = 0, /* bf16 where this CPU multiplies it faster than f32, and on a
                                                      * GPU for 16-bit weights; else f32 */
                             TKR_PRECISION_F32 = 1,
                             TKR_PRECISION_BF16 = 2
} tkr_precision;

typedef enum tkr_quantization {
    TKR_QUANTIZATION_AUTO = 0, /* by the memory that this process may use; `info` prints the steps */
    TKR_QUANTIZATION_NONE = 1,
    TKR_QUANTIZATION_Q8 = 2,
    TKR_QUANTIZATION_Q4 = 3
} tkr_quantization;

typedef enum tkr_truncate {
    TKR_TRUNCATE_RIGHT = 0, /* keep the beginning */
    TKR_TRUNCATE_LEFT = 1,  /* keep the end */
    TKR_TRUNCATE_ERROR = 2  /* a longer input is an error of that input */
} tkr_truncate;

typedef enum tkr_choice { TKR_DEFAULT = 0, TKR_NO = 1, TKR_YES = 2 } tkr_choice;

/* Called with one line of text, without newline, from any thread; level 0 error, 1 warning, 2 info, 3 debug. */
typedef void (*tkr_log_fn)(void *user, int level, const char *line);

/* Bytes of a download; total is 0 while unknown. Return non-zero to cancel. */
typedef int (*tkr_download_fn)(void *user, const char *file, uint64_t done, uint64_t total);

/* Fill with tkr_model_options_init and change what you need. All strings are borrowed for the call. */
typedef struct tkr_model_options {
    size_t struct_size;
    tkr_precision precision;
    tkr_quantization quantization;
    unsigned threads;      /* 0: as many as cgroup, cpuset and affinity give this process */
    uint64_t max_memory;   /* bytes for weights and workspace; 0: 75 % of what the process may use, or of the device */
    size_t batch_tokens;   /* token budget of one forward pass; 0: chosen by the library */
    const char *pooling;   /* NULL: the checkpoint's; else names joined by '+': cls, mean, max, mean_sqrt_len,
                            * weightedmean, lasttoken */
    size_t max_tokens;     /* 0: from the checkpoint; may only lower the model's own limit */
    int trust_remote_code; /* a checkpoint that asks for custom code: use tkr-embed's own adapter where there is one */
    int offline;           /* never use the network */
    const char *cache_dir; /* NULL: HF_HUB_CACHE, HF_HOME or ~/.cache/huggingface/hub */
    /* Packed weights and compiled tokenizers are kept between starts in a folder that only this user may enter. */
    const char *weight_cache_dir; /* NULL: XDG_CACHE_HOME/tkr-embed or ~/.cache/tkr-embed */
    int no_weight_cache;          /* neither read nor write it */
    uint64_t weight_cache_bytes;  /* beyond it the least recently used files go; 0: 20 GiB */
    uint64_t weight_cache_least;  /* bytes of packed weights below which a model isn't kept; 0: 64 MiB */
    const char *cpu; /* NULL: environment TKR_CPU, else all the CPU has; "generic", "avx2", ... caps the kernels */
    tkr_log_fn log;  /* NULL: silent */
    void *log_user;
    tkr_download_fn download; /* NULL: no progress wanted */
    void *download_user;
    /* NULL or "auto": a GPU where there is one and the MLX module (docs/gpu.md), else the CPU; "cpu"; "gpu" or "gpu:N":
     * that one or an error. */
    const char *device;
    uint64_t device_cache; /* bytes of freed buffers that a GPU backend keeps; 0: 2 GiB or less */
    /* An adapter's base model: a reference; NULL: the one that its adapter_config.json names. */
    const char *base;
    /* Pictures are decoded by a program of its own, tkr-decode, that can do nothing else. NULL: TKR_DECODE, else the
     * one beside this program or library. */
    const char *decoder;
    int no_jail;             /* run it unconfined: for machines without seccomp or Landlock, chosen knowingly */
    int horizontal_first;    /* resize in the order of passes of Pillow up to 12 in place of 13's */
    size_t max_pixels;       /* of a picture after its resize, which memory is planned for; 0: the model's own limit */
    size_t max_image_pixels; /* of a picture as it comes; 0: 178,956,970, as in Pillow */
    size_t max_image_bytes;  /* of an encoded picture; 0: 256 MiB */
    size_t max_video_bytes;  /* of an encoded video; 0: 1 GiB */
    /* Hosts ("example.org", "example.org:8080") that pictures may be fetched from, ever; none: no picture is fetched.
     * Private and local addresses are refused whatever their name. */
    const char *const *allow_hosts; /* [n_allow_hosts] */
    size_t n_allow_hosts;
} tkr_model_options;

TKR_API void tkr_model_options_init(tkr_model_options *options);

/* What a forward pass tells its check function at each yield point. Patches of pictures count as tokens; with pictures
 * n_tokens is an estimate until all have been decoded. */
typedef struct tkr_progress {
    size_t done_inputs, n_inputs;
    size_t done_tokens, n_tokens;
    int may_block; /* 1 where no worker thread is held: here the check may take its time */
} tkr_progress;

/* Called between operations of the forward pass, from the calling thread only. TKR_OK goes on; TKR_CANCELLED or
 * TKR_DEADLINE stops soon and becomes the status of the call. Where may_block is 0 it must return at once, and TKR_BUSY
 * asks for a point that may block: it comes as soon as each worker is through with what it has in hand, on a CPU in the
 * order of 10 ms. Else such points come when the library has one, up to 100 ms or so apart. There the check may wait
 * while other threads use the model, or do more urgent work by itself: tkr_embed on another session of the same model
 * (never the session whose call it is), with the bits that it always gives. Short work it may do so where may_block is
 * 0, too, with `alone` of tkr_embed_options: the other workers go on meanwhile. */
typedef tkr_status (*tkr_check_fn)(void *user, const tkr_progress *progress);

typedef enum tkr_result_kind {
    TKR_RESULT_DENSE = 0,        /* one row an input */
    TKR_RESULT_MULTI_VECTOR = 1, /* several rows an input */
    TKR_RESULT_TOKENS = 2,       /* one row a token, before any pooling */
    TKR_RESULT_SPARSE = 3,
    TKR_RESULT_SCORE = 4
} tkr_result_kind;

/* Fill with tkr_embed_options_init. */
typedef struct tkr_embed_options {
    size_t struct_size;
    /* TKR_RESULT_DENSE: what the model is for, one vector an input or several. TKR_RESULT_TOKENS: the last hidden state
     * of every token, special ones and the prompt's included, behind the model's final norm and before pooling and any
     * head; hidden_size values, of length 1 only with TKR_YES. Of the call. */
    tkr_result_kind kind;
    const char *prompt_name; /* name from the checkpoint's prompts; NULL: its default_prompt_name, if any */
    const char *prompt;      /* text put before each input; wins over prompt_name */
    const char *instruction; /* a task, put before each input in the family's own form; wins over both */
    size_t dimensions;       /* keep the first n values and renormalise; 0: all. The log warns once a model that isn't
                              * known to be trained for it */
    tkr_choice normalize;    /* TKR_DEFAULT: as the checkpoint's modules say */
    tkr_truncate truncate;
    size_t max_tokens; /* 0: the model's; counts special tokens */
    int strict_utf8;   /* invalid UTF-8 is an error of that input instead of becoming U+FFFD */
    /* TKR_NO: none is put around a text. For tkr_tokenize; tkr_embed refuses it, whoever wants other ids gives ids. */
    tkr_choice special_tokens;
    tkr_check_fn check; /* NULL: none. Of the call */
    void *check_user;
    int alone; /* 1: the calling thread computes, without the model's other threads. The same bits. Of the call */
} tkr_embed_options;

TKR_API void tkr_embed_options_init(tkr_embed_options *options);

/* ---- Model ----------------------------------------------------------------------------------------------------- */

typedef struct tkr_model tkr_model;
typedef struct tkr_session tkr_session;
typedef struct tkr_result tkr_result;
typedef struct tkr_tokenizer tkr_tokenizer;

/* Loads `reference`: a folder, a GGUF file, a Hugging Face id "org/name[@revision]", or an alias such as "minilm".
 * Downloads into the Hugging Face cache when it isn't there and options->offline is 0.
 * Returns a model; free with tkr_model_free after its last session. */
TKR_API tkr_status tkr_model_load(tkr_model **model, const char *reference, const tkr_model_options *options,
                                  tkr_error *error);
TKR_API void tkr_model_free(tkr_model **model);

/* One row of a table of strings; both borrowed from the object that gave it. */
typedef struct tkr_pair {
    const char *name;
    const char *value;
} tkr_pair;

/* Everything points into the model and lives as long as it. */
typedef struct tkr_model_info {
    const char *reference;    /* as given */
    const char *path;         /* folder or file it was loaded from */
    const char *architecture; /* registry name, e.g. "bert" */
    const char *pooling;      /* e.g. "mean" or "cls+max" */
    const char *precision;    /* "f32" or "bf16" */
    const char *quantization; /* "none", "q8" or "q4" */
    const char *fingerprint;  /* model hash, numbers and kernels: vectors are comparable bit for bit only within one */
    const char *device;       /* "cpu", or a GPU's index and name and MLX's version */
    const char *default_prompt; /* name, or NULL */
    size_t dimensions;          /* length of a vector */
    size_t max_tokens;          /* special tokens included */
    size_t vocab_size, hidden_size, n_layers, n_heads, intermediate_size;
    uint64_t n_parameters;
    double bits_per_weight;   /* embedding tables included */
    uint64_t weights_bytes;   /* packed weights: anonymous memory, or mapped from the weight cache */
    uint64_t mapped_bytes;    /* checkpoint and weight cache mapped read-only */
    uint64_t workspace_bytes; /* most that all sessions' threads use at once */
    uint64_t memory_limit;
    unsigned threads;
    size_t batch_tokens;
    int normalizes;   /* vectors have length 1 */
    int multi_vector; /* one vector a token: results are TKR_RESULT_MULTI_VECTOR */
    /* What an input may be: "text", "text, image", "text, image, text+image" or "text, image, text+image, images". */
    const char *modalities;
    size_t max_images;        /* pictures of one input; 0: none. SIZE_MAX: as many as fit max_tokens and memory */
    size_t max_image_patches; /* patches of all pictures of one input, as memory is planned; 0: no pictures */
    const char *processor;    /* what becomes of a picture, to read; NULL: no pictures */
    const tkr_pair *prompts;  /* [n_prompts] name and text */
    size_t n_prompts;
    const tkr_pair *kernels; /* [n_kernels] operation and kernel chosen */
    size_t n_kernels;
    const tkr_pair *notes; /* [n_notes] how a choice was made: quantisation rule, limits, files ignored */
    size_t n_notes;
} tkr_model_info;

TKR_API const tkr_model_info *tkr_model_get_info(const tkr_model *model);

/* What the model's device holds at this moment, in bytes: all zero on the CPU. */
typedef struct tkr_device_memory {
    uint64_t active; /* in use */
    uint64_t peak;   /* most that was in use since the model was loaded */
    uint64_t cached; /* freed, kept for the next batch */
    uint64_t limit;  /* that active and cached may reach */
    uint64_t total;  /* memory of the device, 0: not known */
} tkr_device_memory;
TKR_API void tkr_model_get_device_memory(tkr_device_memory *memory, const tkr_model *model);

/* ---- Embedding ------------------------------------------------------------------------------------------------- */

typedef enum tkr_input_kind {
    TKR_INPUT_TEXT = 0,   /* text, n_text */
    TKR_INPUT_TOKENS = 1, /* ids, n_ids: used as they are, special tokens included by the caller */
    TKR_INPUT_PAIR = 2,   /* text and pair: [CLS] text [SEP] pair [SEP] */
    TKR_INPUT_PARTS = 3   /* parts: texts, pictures and videos of one input, which gets one vector */
} tkr_input_kind;

typedef enum tkr_part_kind {
    TKR_PART_TEXT = 0,  /* data, n_data: UTF-8 */
    TKR_PART_IMAGE = 1, /* data, n_data: an encoded picture; its format is told by its content */
    TKR_PART_FILE = 2,  /* data, n_data: path of an encoded picture */
    TKR_PART_URL = 3,   /* data, n_data: "data:...;base64,...", or http(s) where the model's options allow the host */
    TKR_PART_RGB = 4,   /* data: 8-bit RGB pixels, height rows of width without gaps */
    TKR_PART_VIDEO = 5, /* data, n_data: an encoded video or animation; its format is told by its content */
    TKR_PART_VIDEO_FILE = 6, /* data, n_data: path of one */
    TKR_PART_FRAMES = 7      /* frames, n_frames: a video as pictures, each of any kind above */
} tkr_part_kind;

/* How the frames of a video become its vector. */
typedef enum tkr_video_pooling {
    TKR_VIDEO_MEAN = 0, /* of the vectors of its frames, each as a picture's; with other parts, each frame with them */
    TKR_VIDEO_MAX = 1,  /* the largest value of each component */
    TKR_VIDEO_FIRST = 2,
    TKR_VIDEO_NATIVE = 3 /* the model reads all frames at once, as its reference does; not all models can */
} tkr_video_pooling;

/* A piece of an input. Zero-initialise, then fill. Texts of one input are put one behind another. Where pictures and
 * text go in the model's prompt is the model's affair (as a rule pictures first); among themselves each keep their
 * order. */
typedef struct tkr_part {
    tkr_part_kind kind;
    const void *data;
    size_t n_data; /* bytes */
    size_t width, height;
    const char *name;              /* of a picture, in messages; NULL: its path, or its number in the input */
    const struct tkr_part *frames; /* [n_frames] of TKR_PART_FRAMES */
    size_t n_frames;
    /* Of a video: */
    size_t max_frames; /* frames that are looked at, evenly spread; 0: 8, or with TKR_VIDEO_NATIVE the model's own */
    double fps;        /* as many a second, up to max_frames; 0: max_frames, or the model's own */
    double start_s, end_s; /* this part of it; end_s 0: to its end. Not of TKR_PART_FRAMES */
    /* Of each frame after the resize, with native pooling; 0: the input's, which the other poolings take. */
    size_t min_pixels, max_pixels;
    const double *times; /* [n_frames] of TKR_PART_FRAMES: seconds; NULL: two frames a second */
} tkr_part;

/* Zero-initialise, then fill. Everything is borrowed for the call. */
typedef struct tkr_input {
    tkr_input_kind kind;
    const char *text;
    size_t n_text; /* bytes */
    const char *pair;
    size_t n_pair; /* bytes */
    const int32_t *ids;
    size_t n_ids;
    /* TKR_INPUT_TOKENS, of models with mean pooling: [n_spans, 2] begin and end in ids. A row for each span, the mean
     * of its tokens' states, in place of one row of all (late chunking). Such an input is never cut. */
    const size_t *spans;
    size_t n_spans;
    const char *prompt_name; /* per input; NULL: the options' */
    const char *prompt;      /* per input; wins over prompt_name */
    const char *instruction; /* per input; wins over both */
    const tkr_part *parts;   /* [n_parts] */
    size_t n_parts;
    size_t min_pixels, max_pixels; /* of each of its pictures after the resize; 0: the model's. Models with a fixed size
                                    * refuse them */
    int interpolate;      /* models with a fixed size: take width x height instead, by interpolated positions */
    size_t width, height; /* with interpolate: pixels, multiples of the patch size; 0: the model's */
    tkr_video_pooling video_pooling;
    int hub_limits; /* Qwen3-VL: the limits of the checkpoint's own processor in place of the reference's recipe */
    /* This input's own, so that inputs of several callers share a call; NULL: the call's. `kind` and `check` are always
     * the call's. What would fail the call fails this input alone. The prompt fields above win over its prompts. */
    const tkr_embed_options *options;
} tkr_input;

/* One input's outcome. An input that failed has a status, a message and no rows; the others are unaffected. */
typedef struct tkr_result_item {
    tkr_status status;
    const char *message; /* NULL when status is TKR_OK */
    const float *rows;   /* [n_rows, dimensions], borrowed from the result */
    size_t n_rows; /* 1; of a multi-vector and of TKR_RESULT_TOKENS its tokens; of an input with spans their number */
    size_t dimensions; /* length of a row: the result's, or what the input's own options say */
    size_t n_tokens;   /* computed, specials and pictures' included; of a picture in a tower of its own its patches */
    size_t n_tokens_untruncated; /* what it would have been without a limit */
    size_t n_frames;             /* of a video, that were looked at; else 0 */
    double start_s, end_s;       /* of a video, what of it the frames stand for */
    size_t n_lost_frames;        /* of a video, that were wanted and are damaged: the others stand for it */
} tkr_result_item;

/* Returns a session on `model`, which must outlive it. Not thread-safe itself; make one a thread. */
TKR_API tkr_status tkr_session_create(tkr_session **session, tkr_model *model, tkr_error *error);
TKR_API void tkr_session_free(tkr_session **session);

/* Embeds n_inputs inputs: texts (TKR_INPUT_TEXT; what other APIs call embed_text) and texts with pictures, or pictures
 * alone (TKR_INPUT_PARTS; embed_vision_language); both may stand in one call, and models that read pictures give both
 * vectors of one space. An input of a kind that the model can't read fails by itself, with a message that says what the
 * model can do. Instructed models (Ops-MM, Qwen3-VL) get their prompt's text around each input; a model that gives one
 * vector a token (ColQwen) has several rows an input. Pictures are decoded a few at a time, just before they are
 * needed. Results come in the order of the inputs. On the CPU the bits of a row depend on its input alone, not on the
 * other inputs, their order, the number of threads, or repetition; on a GPU the same call gives the same bits again.
 * TKR_OK also when single inputs failed: look at each item's status. Returns a result. */
TKR_API tkr_status tkr_embed(tkr_result **result, tkr_session *session, const tkr_input *inputs, size_t n_inputs,
                             const tkr_embed_options *options, tkr_error *error);
TKR_API void tkr_result_free(tkr_result **result);

TKR_API tkr_result_kind tkr_result_get_kind(const tkr_result *result);
TKR_API size_t tkr_result_n_items(const tkr_result *result);
/* Of inputs without options of their own. */
TKR_API size_t tkr_result_dimensions(const tkr_result *result);
TKR_API const char *tkr_result_fingerprint(const tkr_result *result);
/* index < tkr_result_n_items; an index beyond gives an item with TKR_INVALID_ARGUMENT. */
TKR_API tkr_result_item tkr_result_get(const tkr_result *result, size_t index);

/* ---- Tokenising ------------------------------------------------------------------------------------------------ */

/* Needs the tokenizer files of the checkpoint only. Returns a tokenizer; any number of threads may use it at the same
 * time, for all functions below, and free it once. */
TKR_API tkr_status tkr_tokenizer_load(tkr_tokenizer **tokenizer, const char *reference,
                                      const tkr_model_options *options, tkr_error *error);
TKR_API void tkr_tokenizer_free(tkr_tokenizer **tokenizer);

/* Returned by tkr_tokenize; free with tkr_tokens_free. */
typedef struct tkr_tokens {
    int32_t *ids;      /* [n] */
    uint64_t *offsets; /* [n, 2] start and end in bytes of prompt + text, or of the model's template filled in;
                        * 0, 0 for special tokens */
    uint8_t *special;  /* [n] 1: put around the text, 0: read in it (a special token that the text spells, too) */
    size_t n;
    size_t n_untruncated;
} tkr_tokens;

/* Tokenises exactly as tkr_embed would (prompt and truncation from `options`), or with options->special_tokens TKR_NO
 * without the special tokens and padding around the text; a model's own template stays. options->max_tokens SIZE_MAX:
 * whole, however long. Fills *tokens. */
TKR_API tkr_status tkr_tokenize(tkr_tokens *tokens, const tkr_tokenizer *tokenizer, const tkr_input *input,
                                const tkr_embed_options *options, tkr_error *error);
TKR_API void tkr_tokens_free(tkr_tokens *tokens);

/* The text that ids stand for, by the decoder of the checkpoint's tokenizer, as the `decode` of Hugging Face tokenizers
 * gives it: valid UTF-8, NUL-terminated, n_text bytes. `skip_special` leaves special tokens out, the text's own too. An
 * id outside of the vocabulary is TKR_INVALID_ARGUMENT. Returns a text; free with tkr_text_free. */
TKR_API tkr_status tkr_decode(char **text, size_t *n_text, const tkr_tokenizer *tokenizer, const int32_t *ids,
                              size_t n_ids, int skip_special, tkr_error *error);
TKR_API void tkr_text_free(char **text);

/* 1 for ids of tokens such as [CLS], </s> or <|endoftext|>, wherever they stand; 0 for all others. */
TKR_API int tkr_tokenizer_is_special(const tkr_tokenizer *tokenizer, int32_t id);
/* The vocabulary's spelling of an id, borrowed from the tokenizer; NULL when there is none. */
TKR_API const char *tkr_tokenizer_piece(const tkr_tokenizer *tokenizer, int32_t id);
TKR_API size_t tkr_tokenizer_max_tokens(const tkr_tokenizer *tokenizer);

/* ---- Similarity ------------------------------------------------------------------------------------------------ */

/* Cosine of two vectors of n values, accumulated in double; NaN-free: a zero vector gives 0. */
TKR_API double tkr_cosine(const float *a, const float *b, size_t n);

/* MaxSim (Khattab and Zaharia 2020) of two multi-vectors: the sum over the query's rows of the largest dot product with
 * a row of the document. query [n_query, n], document [n_document, n]; 0 where one of them has no row. */
TKR_API double tkr_maxsim(const float *query, size_t n_query, const float *document, size_t n_document, size_t n);

#ifdef __cplusplus
}
#endif
#endif
