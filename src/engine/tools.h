/* SPDX-License-Identifier: Apache-2.0 */
/* engine/tools: what the command line and the server need beyond tkr/embed.h. Not installed. */
#ifndef TKR_ENGINE_TOOLS_H
#define TKR_ENGINE_TOOLS_H

#include <stdbool.h>

#include "core/mem.h"
#include "core/stop.h"
#include "tkr/embed.h"

/* ---- models on disk and in the alias table ---- */
typedef struct tkr_tools_alias {
    const char *alias, *repository, *architecture;
    bool runnable; /* this build has the architecture */
    bool cached;
} tkr_tools_alias;
typedef struct tkr_tools_cached {
    const char *repository, *revision, *folder;
    const char *architecture; /* registry name or model_type as found; NULL when config.json is missing */
    uint64_t bytes;
    bool complete, runnable;
} tkr_tools_cached;
tkr_status tkr_tools_aliases(tkr_status (*fn)(void *user, const tkr_tools_alias *alias), void *user,
                             const tkr_model_options *options, tkr_error *error);
tkr_status tkr_tools_cache(tkr_status (*fn)(void *user, const tkr_tools_cached *model), void *user,
                           const tkr_model_options *options, tkr_error *error);
/* Registry names of supported architectures, NULL-terminated. */
const char *const *tkr_tools_architectures(void);

/* Downloads; returns the folder (free with tkr_tools_free). */
tkr_status tkr_tools_pull(char **folder, const char *reference, const tkr_model_options *options, tkr_error *error);
void tkr_tools_free(char **text);
/* Whether tkr_model_open would find the model, or know what to download, by the same errors; asks no network. */
tkr_status tkr_tools_check_reference(const char *reference, const tkr_model_options *options, tkr_error *error);

/* Whether these options name something: what tkr_model_open would refuse before it looks at a model. NULL: not given.
 */
tkr_status tkr_tools_check_names(const char *device, const char *pooling, const char *cpu, tkr_error *error);

/* ---- tokenizing ---- */
/* Sets `text` to what the tokenizer reads of an input, which the offsets of tkr_tokenize count in: prompt and text, or
 * the model's template filled in. */
tkr_status tkr_tools_text(tkr_buf *text, const tkr_tokenizer *tokenizer, const tkr_input *input,
                          const tkr_embed_options *options, tkr_error *error);
/* Tokenises a text alone, however long: without prompt, template or padding, with the tokenizer's own special tokens
 * around it or without. Fills *tokens. */
tkr_status tkr_tools_tokenize(tkr_tokens *tokens, const tkr_tokenizer *tokenizer, const char *text, size_t n_text,
                              bool special, tkr_error *error);

/* ---- pictures ---- */
/* Appends a PNG of the picture, no larger than side x side, decoded in the model's jail. `part` is a file or a URL and
 * has a name, or RGB. TKR_INVALID_ARGUMENT for a model without pictures. */
tkr_status tkr_tools_thumbnail(tkr_buf *png, size_t *width, size_t *height, tkr_model *model, const tkr_part *part,
                               size_t side, tkr_error *error);

/* Reads and decodes a picture as tkr_embed would (any kind of part but text and RGB), in the model's jail; thread-safe:
 * as many at a time as the jail has processes, the others wait in the order of their calls. `stop` (or NULL) ends the
 * wait and the decoding, within 10 ms or so. Fills a TKR_PART_RGB part, which embeds to the same bits as `part` in an
 * input without hub_limits. It borrows the part's name and *pixels, which tkr_tools_free_pixels frees. */
tkr_status tkr_tools_decode_picture(tkr_part *rgb, void **pixels, tkr_model *model, const tkr_part *part,
                                    const tkr_stop *stop, tkr_error *error);
void tkr_tools_free_pixels(void **pixels);
/* Appends the bytes behind a URL: data, or http and https where the model's options allow the host. Thread-safe. */
tkr_status tkr_tools_fetch_picture(tkr_buf *out, tkr_model *model, const char *url, tkr_error *error);

/* How long a video is, without decoding it, in the model's jail. `part`: TKR_PART_VIDEO or TKR_PART_VIDEO_FILE. */
tkr_status tkr_tools_video_seconds(double *seconds, tkr_model *model, const tkr_part *part, tkr_error *error);
/* A bound of the caller's, who is asked for room before a frame is kept; false: TKR_LIMIT. */
typedef struct tkr_tools_room {
    bool (*hold)(void *user, size_t n_bytes);
    void *user;
} tkr_tools_room;
/* Decodes the frames that an input's part, a video, would be embedded by, as tkr_embed would, within `room` (NULL: as
 * many as memory is for). Fills a TKR_PART_FRAMES that embeds to the same bits in its place. It borrows *frames, which
 * tkr_tools_free_frames frees. */
typedef struct tkr_tools_frames tkr_tools_frames;
tkr_status tkr_tools_decode_video(tkr_part *part, tkr_tools_frames **frames, const tkr_tools_room *room,
                                  tkr_model *model, const tkr_input *input, size_t index, const tkr_stop *stop,
                                  tkr_error *error);
/* The second of the video at which a frame is shown; a part that starts there has it as its first frame. */
double tkr_tools_frame_second(const tkr_tools_frames *frames, size_t index);
/* Frames that were wanted and are damaged. */
size_t tkr_tools_lost_frames(const tkr_tools_frames *frames);
void tkr_tools_free_frames(tkr_tools_frames **frames);
/* ---- documents ---- */
/* What a document becomes; the first three as in the options of cli and server. */
typedef enum tkr_tools_mode {
    TKR_TOOLS_TEXT = 0,       /* passages */
    TKR_TOOLS_PAGE_IMAGE = 1, /* its pages as pictures: of a PDF, by a model that reads pictures */
    TKR_TOOLS_BOTH = 2,       /* passages, then pages */
    /* For search, a PDF's pages; of what is no PDF: */
    TKR_TOOLS_PAGES_ELSE_TEXT, /* its passages */
    TKR_TOOLS_ANY_PAGES        /* nothing */
} tkr_tools_mode;
typedef struct tkr_tools_document_options {
    tkr_tools_mode mode;
    size_t chunk_tokens; /* of a passage, with the special tokens around it; 0: 512, or as many as the model reads */
    size_t overlap;      /* tokens that a passage repeats of the one before */
    size_t page_side;    /* pixels of a page's longer side; 0: 1344 */
    bool pictures;       /* the pictures inside, too, behind passages and pages, by a model that reads pictures */
    size_t max_passages; /* of text; of more the document is refused with TKR_LIMIT; 0: any number */
    /* Late chunking: a passage's vector is the mean of its tokens' states in the whole document, or in as much of it as
     * the model reads at a time; see tkr_tools_document_window. For models with mean pooling. */
    bool late;
    const tkr_embed_options *embed; /* prompt and max_tokens that the passages will be embedded with; NULL: defaults */
    /* Told what the text and its cutting take before they take it, in bytes; what isn't TKR_OK refuses the document.
     * NULL: nobody is asked. */
    tkr_status (*room)(void *user, size_t n_bytes, tkr_error *error);
    void *room_user;
    const tkr_stop *stop; /* or NULL; ends reading, cutting and drawing: must live as long as the document */
} tkr_tools_document_options;
/* The fewest chunk_tokens: *around are the model's and the prompt's, the others for the text. */
tkr_status tkr_tools_document_least_chunk(size_t *least, size_t *around, const tkr_model *model,
                                          const tkr_embed_options *embed, tkr_error *error);
typedef enum tkr_passage_kind {
    TKR_PASSAGE_TEXT = 0,
    TKR_PASSAGE_PAGE,   /* a page as a picture: no text */
    TKR_PASSAGE_PICTURE /* a picture that stands in the document */
} tkr_passage_kind;
/* What one vector, or of models with one a token several, is made of. All borrowed from the document. */
typedef struct tkr_tools_passage {
    tkr_passage_kind kind;
    const char *text; /* [n_text], the exact piece of the document's text; of a picture what the document says in its
                       * place, or none */
    size_t n_text;
    size_t begin, end;      /* code points of the document's text; of a picture where it stands, twice */
    const char *input;      /* of text: [n_input], what is embedded: the headings above it, then the text */
    size_t n_input;         /* with late chunking 0 */
    const char *heading;    /* "A > B" or NULL */
    const char *unit;       /* "page", "slide", "sheet", "chapter"; NULL: the document has none */
    size_t page, last_page; /* from 1; 0 without a unit */
    size_t picture;         /* of a picture: its number in the document, from 1 */
} tkr_tools_passage;
typedef struct tkr_tools_document tkr_tools_document;
/* Reads a document of any known type, told by its content, in the model's jail for documents, and cuts it by the
 * model's own tokens. `bytes` is borrowed for the document's life. Thread-safe. Returns a document. */
tkr_status tkr_tools_document_open(tkr_tools_document **document, tkr_model *model, const char *name, const void *bytes,
                                   size_t n_bytes, const tkr_tools_document_options *options, tkr_error *error);
void tkr_tools_document_free(tkr_tools_document **document);
size_t tkr_tools_document_n(const tkr_tools_document *document);
tkr_tools_passage tkr_tools_document_get(const tkr_tools_document *document, size_t index);
/* With late chunking: what is embedded in place of the texts of passages, one behind the other. */
size_t tkr_tools_document_n_windows(const tkr_tools_document *document);
/* An input that borrows from the document; its rows are those of input.n_spans passages from *first on. */
tkr_input tkr_tools_document_window(const tkr_tools_document *document, size_t index, size_t *first);
/* "pdf", "docx", ...; in *note what couldn't be read of it, NULL: nothing. */
const char *tkr_tools_document_type(const tkr_tools_document *document, const char **note);
/* The document's whole text, which the passages are pieces of. */
const char *tkr_tools_document_text(const tkr_tools_document *document, size_t *n);
/* The pixels of a passage that is a page or a picture, which embed to the same bits as the picture's file would. Free
 * *pixels with tkr_tools_free_pixels. */
tkr_status tkr_tools_document_image(tkr_part *rgb, void **pixels, const tkr_tools_document *document, size_t index,
                                    tkr_error *error);
/* One page of a PDF, from 1, with a longer side of `side` pixels; nothing else of it is read. As above, but the part
 * borrows `name`. */
tkr_status tkr_tools_draw_page(tkr_part *rgb, void **pixels, tkr_model *model, const char *name, const void *bytes,
                               size_t n_bytes, size_t page, size_t side, const tkr_stop *stop, tkr_error *error);

/* ---- server ---- */
/* The model's tokenizer, borrowed: lives as long as the model. */
const tkr_tokenizer *tkr_tools_tokenizer(const tkr_model *model);
/* Wall time of the stages of the call that gave the result, without what its check function took where it may block. */
void tkr_tools_result_times(const tkr_result *result, double *pictures_s, double *tokenize_s, double *forward_s);
/* Computes something small, then a full batch and a picture where that takes a second or two at most: what the first
 * request would else wait for. */
tkr_status tkr_tools_warm_up(tkr_session *session, tkr_error *error);

/* ---- doctor ---- */
typedef enum tkr_severity { TKR_FINDING_OK, TKR_FINDING_NOTE, TKR_FINDING_WARNING, TKR_FINDING_PROBLEM } tkr_severity;
typedef struct tkr_finding {
    tkr_severity severity;
    const char *topic;  /* "cpu", "kernel f32/avx2", "memory", "config.json", ... */
    const char *text;   /* what was found */
    const char *advice; /* what to do, NULL when nothing */
} tkr_finding;
/* Calls fn for each finding; `reference` NULL checks the machine only. `accuracy`: also compares the model with its f32
 * self. TKR_OK unless the check itself could not run. */
tkr_status tkr_tools_doctor(void (*fn)(void *user, const tkr_finding *finding), void *user, const char *reference,
                            bool accuracy, const tkr_model_options *options, tkr_error *error);

/* ---- accuracy ---- */
/* Cosines of built-in texts in one number format to those in another, and of their ten nearest neighbours the part that
 * is the same. */
typedef struct tkr_accuracy {
    size_t n_texts;
    double min, first_percentile, mean, top10;
    double bits_per_weight;                /* of the model as it runs, embedding tables included */
    char format[16], reference_format[16]; /* "f32", "bf16", "q8", "q4" */
} tkr_accuracy;
/* The model as `options` would run it against f32 (bf16 where f32 doesn't fit), one after the other. */
tkr_status tkr_tools_accuracy(tkr_accuracy *accuracy, const char *reference, const tkr_model_options *options,
                              tkr_error *error);

/* ---- quantise ---- */
typedef struct tkr_quantize_options {
    unsigned bits;      /* 4 or 8 */
    size_t group;       /* 32, 64 or 128; 0: 64 */
    const char *output; /* folder that must not exist, or be empty, or with `force` hold a checkpoint to replace */
    bool force;
    int (*progress)(void *user, uint64_t done, uint64_t total); /* bytes written; non-zero cancels. NULL: none */
    void *progress_user;
} tkr_quantize_options;
typedef struct tkr_quantize_report {
    size_t n_quantized, n_plain; /* matrices, other tensors */
    uint64_t bytes;              /* of the weights written */
    double bits_per_weight;
    const char *dtype; /* of scales, biases and plain tensors: "f16" or "bf16" */
} tkr_quantize_report;
/* Writes the checkpoint in MLX's layout. Streams: no more than a piece of a tensor is in memory. The folder appears
 * whole or not at all. */
tkr_status tkr_tools_quantize(tkr_quantize_report *report, const char *reference, const tkr_quantize_options *quantize,
                              const tkr_model_options *options, tkr_error *error);
/* Accuracy of the model at `b`, as `options` would run it, against the model at `a` in f32 (bf16 where f32 doesn't
 * fit). */
tkr_status tkr_tools_compare(tkr_accuracy *accuracy, const char *a, const char *b, const tkr_model_options *options,
                             tkr_error *error);

/* ---- bench ---- */
/* What the machine gives, measured now: operations per second by number format, bytes per second of a plain read. */
typedef struct tkr_roofline {
    double f32, bf16, q8; /* operations (2 per multiply-accumulate) per second, all threads; 0 where there is none */
    double bandwidth;     /* bytes/s read from memory, all threads; 0: not measured */
    unsigned threads;     /* 0 on a GPU */
    char rung[96];        /* kernels, or MLX and the GPU */
    char cpu[160];        /* the CPU's or the device's name */
} tkr_roofline;
tkr_status tkr_tools_roofline(tkr_roofline *roofline, const tkr_model_options *options, tkr_error *error);

typedef struct tkr_bench_options {
    size_t batch, tokens; /* grid cell: batch sequences of `tokens` tokens each */
    bool mixed;           /* instead: 512 sequences of log-normal lengths, median 40, sigma 0.9, 4..max */
    double seconds;       /* budget of the timed part, 0: 1.0 */
} tkr_bench_options;
typedef struct tkr_bench_row {
    size_t n_sequences, n_tokens; /* of one pass */
    size_t n_passes;
    double median_s, best_s; /* one pass */
    double tokens_per_s;     /* median */
    double operations;       /* matrix operations of one pass, attention included */
    double limit_ops_per_s;  /* measured peak of the format, within the same seconds; 0: not measured */
    double fraction;         /* of that limit, median; 0 without one */
} tkr_bench_row;
tkr_status tkr_tools_bench(tkr_bench_row *row, tkr_session *session, const tkr_bench_options *options,
                           tkr_error *error);

#endif
