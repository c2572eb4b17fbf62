/* SPDX-License-Identifier: Apache-2.0 */
/* engine: private types behind tkr/embed.h. A model is immutable once loaded; a session holds all scratch. */
#ifndef TKR_ENGINE_ENGINE_H
#define TKR_ENGINE_ENGINE_H

#include <stdatomic.h>

#include "core/log.h"
#include "core/pool.h"
#include "core/stop.h"
#include "engine/cache_file.h"
#include "engine/device.h"
#include "formats/adapter.h"
#include "formats/gguf.h"
#include "hub/hub.h"
#include "media/jail.h"
#include "media/processor.h"
#include "media/video.h"
#include "models/vision.h"
#include "tkr/embed.h"
#include "tokenizer/tokenizer.h"

/* ---- checkpoint: what the small files of a model folder say ---- */

typedef struct tkr_checkpoint {
    char *folder;         /* what the reference led to; with `gguf`, that file */
    tkr_gguf *gguf;       /* the file that everything comes from, or NULL */
    char *adapter_folder; /* of an adapter on the model in `folder`, or NULL */
    tkr_adapter *adapter; /* until it is laid over the tensors */
    tkr_arena arena;
    const tkr_arch *arch; /* NULL until tkr_checkpoint_config, or when nothing but a tokenizer is there */
    tkr_arch_config config;
    json_t *quantization; /* config.json's settings of an MLX checkpoint, or NULL */
    const char *pooling;  /* what a GGUF file says, or NULL */
    bool matryoshka;      /* known to be trained for shortened vectors */
    size_t max_tokens;    /* effective limit, specials included; 0: none known */
    bool lowercase;
    tkr_pair *prompts; /* [n_prompts] */
    size_t n_prompts;
    const char *default_prompt; /* name, or NULL */
    tkr_vision_config vision;   /* of architectures that read pictures */
    const char *pad_piece;      /* the tokenizer's padding token where texts are padded, else NULL */
} tkr_checkpoint;
/* The architecture's recipe, or NULL. */
static inline const tkr_recipe *tkr_checkpoint_recipe(const tkr_checkpoint *checkpoint) {
    return checkpoint->arch && checkpoint->arch->vision ? checkpoint->arch->vision->recipe : NULL;
}

static inline tkr_arch_spec tkr_checkpoint_spec(const tkr_checkpoint *checkpoint) {
    return (tkr_arch_spec){.arch = checkpoint->arch,
                           .config = &checkpoint->config,
                           .vision = checkpoint->arch->vision ? &checkpoint->vision : NULL};
}

/* Resolves the reference and reads the sentence-transformers and tokenizer settings. Fills *checkpoint, zeroed by the
 * caller. */
tkr_status tkr_checkpoint_open(tkr_checkpoint *checkpoint, const char *reference, const tkr_model_options *options,
                               bool tokenizer_only, tkr_error *error);
/* The folder that `name` is read from: an adapter's where it has such a file, else the model's. */
const char *tkr_checkpoint_folder(const tkr_checkpoint *checkpoint, const char *name);
/* Reads config.json: registry, remote-code policy, architecture settings. */
tkr_status tkr_checkpoint_config(tkr_checkpoint *checkpoint, const tkr_model_options *options, tkr_error *error);
void tkr_checkpoint_close(tkr_checkpoint *checkpoint);
tkr_hub_options tkr_engine_hub_options(const tkr_model_options *options);

/* ---- plan: number formats and memory, decided before anything large is allocated ---- */

typedef struct tkr_plan {
    tkr_gemm_mode mode;
    const char *precision, *quantization;
    size_t batch_tokens;
    size_t chunk_tokens; /* tokens that one worker takes at a time */
    size_t alone_tokens; /* longest input that a worker takes alone; longer ones are computed by all together */
    size_t chunk_rows;   /* that one pass through a layer takes at a time */
    size_t workspace_per_worker, workspace_together;
    size_t group;                        /* q4 */
    unsigned spared;                     /* q4: tkr_sensitivity flags of layers that stay in q8 */
    uint64_t mode_bytes[TKR_GEMM_MODES]; /* of the weights in each format */
    size_t max_patches;                  /* of one input's pictures; 0: the model reads none */
    size_t group_patches;                /* that a tower reads at a time: at least those of the largest picture */
    size_t picture_bytes; /* of patches that a call holds at a time; more only where one input needs more */
    uint64_t weights_bytes, workspace_bytes, limit;
    tkr_pair notes[8];
    size_t n_notes;
} tkr_plan;

typedef struct tkr_plan_request {
    const tkr_model_options *options;
    const tkr_machine *machine;
    const tkr_checkpoint *checkpoint;
    const tkr_tensors *tensors;
    const tkr_kernels *kernels;
    const tkr_device *device;
    uint64_t unquantised_bytes; /* of the weights as published: 2 a parameter when the checkpoint is quantised */
    uint64_t n_parameters;
    bool quantised;         /* the checkpoint itself: MLX groups or GGUF blocks */
    unsigned n_workers;     /* that compute */
    size_t picture_patches; /* of the largest picture, 0: the model reads none */
    tkr_arena *arena;       /* notes live here */
} tkr_plan_request;
tkr_status tkr_plan_make(tkr_plan *plan, const tkr_plan_request *request, tkr_error *error);

/* ---- the public objects ---- */

typedef struct tkr_scratches tkr_scratches;

struct tkr_tokenizer {
    const tkr_checkpoint *checkpoint; /* `own`, or a model's */
    tkr_tok *tok;
    tkr_cache_file *tok_file; /* that `tok` lies in, or NULL */
    tkr_scratches *scratches; /* of `tok`, for calls from any thread */
    tkr_checkpoint own;
};

typedef struct tkr_weight_cache tkr_weight_cache; /* engine/weight_cache.h */

struct tkr_model {
    tkr_checkpoint checkpoint;
    tkr_tokenizer tokenizer; /* of `checkpoint` */
    tkr_kernels kernels;
    tkr_machine machine;
    tkr_pool *pool;
    tkr_device device;
    const tkr_ops *ops;   /* the device's */
    tkr_backend *backend; /* the device's */
    tkr_tensors *tensors;
    tkr_tensors *dense;      /* Dense modules of a GGUF file, or NULL */
    tkr_weight_cache *cache; /* or NULL; `weights` may lie in it */
    tkr_arch_model *weights;
    tkr_post *post;
    tkr_processor *processor; /* NULL: the model reads no pictures */
    tkr_jail *jail;           /* or NULL: then `jail_error` says why pictures can't be decoded */
    tkr_error jail_error;
    tkr_jail *video_jail; /* or NULL: then `video_error` says why videos can't be decoded */
    tkr_error video_error;
    tkr_jail *document_jail; /* of documents, the same with `document_error` */
    tkr_error document_error;
    tkr_process_options process; /* what all pictures have in common */
    size_t max_image_bytes, max_image_pixels, max_video_bytes;
    const char *const *allow_hosts; /* [n_allow_hosts] that pictures may be fetched from */
    size_t n_allow_hosts;
    tkr_plan plan;
    tkr_model_info info;
    tkr_log log;
    atomic_bool warned_dimensions;
};

/* Workers that compute: all of them, or one that feeds a GPU. Every worker tokenises. */
unsigned tkr_model_computing_workers(const tkr_model *model);

/* Opens what pictures need, where the architecture reads any: processor, decoder, limits. */
tkr_status tkr_model_open_pictures(tkr_model *model, const tkr_model_options *options, tkr_error *error);
/* Opens what documents need, of every model. */
tkr_status tkr_model_open_documents(tkr_model *model, const tkr_model_options *options, tkr_error *error);
/* Patches of the largest picture that its processor makes; 0: the model reads none. */
size_t tkr_model_picture_patches(const tkr_model *model);
/* Fills model->info once everything else stands. */
tkr_status tkr_info_fill(tkr_model *model, const char *reference, uint64_t n_parameters, tkr_error *error);

/* One tokenised input of a call. */
typedef struct tkr_item {
    tkr_status status;
    char *message;               /* owned, NULL when fine or when there was no memory for it */
    const char *default_message; /* static, used when message is NULL */
    unsigned worker;             /* whose buffers hold the ids */
    size_t at;                   /* first id in them */
    size_t n_tokens, n_untruncated;
    size_t n_prompt_tokens;           /* left out of the pooling */
    size_t first_picture, n_pictures; /* in the call's list, while the input is at hand */
    size_t n_patches;                 /* of all its pictures */
    float *rows;                      /* [n_rows, dimensions] in the result's rows; owned where it has none */
    size_t n_rows, dimensions;
    size_t n_frames, n_lost_frames; /* of a video, else 0 */
    double start_s, end_s;
} tkr_item;
/* What a batch takes for an item: its tokens, and its patches as tokens of their tower. */
static inline size_t tkr_item_cost(const tkr_item *item) { return item->n_tokens + item->n_patches; }

/* One picture of a call: where it comes from and what the processor made of it. */
typedef struct tkr_picture {
    size_t input;  /* index in the call */
    size_t number; /* in its input, from 1 */
    const tkr_part *part;
    const tkr_part *second; /* where it is two frames of a video, else NULL */
    const tkr_part *video;  /* their TKR_PART_FRAMES */
    tkr_patches patches;
    tkr_error error;
} tkr_picture;

typedef struct tkr_worker {
    tkr_tok_scratch *scratch;
    tkr_buf ids;   /* int32_t of this worker's items */
    tkr_buf types; /* uint8_t */
    tkr_buf text;  /* prompt + text */
    tkr_run *run;
    tkr_buf batch; /* ids, types, positions, cu_seqlens, spans, pictures of the chunk at hand */
    tkr_buf wide;  /* ids of an input with its pictures' tokens */
    tkr_buf file;  /* an encoded picture */
} tkr_worker;

struct tkr_session {
    tkr_model *model;
    tkr_worker *workers; /* [n_workers] */
    unsigned n_workers;
    tkr_buf order; /* sorted items */
    tkr_buf chunks;
    tkr_buf pictures; /* tkr_picture */
    double pace;      /* seconds that a token takes a worker; 0: not known */
};

struct tkr_result {
    size_t n_items, dimensions;
    tkr_item *items; /* [n_items] */
    float *rows;     /* of the items one after another; NULL: several rows an item, which each owns */
    tkr_result_kind kind;
    double pictures_s, tokenize_s, forward_s; /* wall time of the stages */
    char *fingerprint;                        /* a copy: the result may outlive the model */
};

/* What one call of tkr_embed carries through its stages. */
typedef struct tkr_call {
    tkr_session *session;
    const tkr_input *inputs;
    size_t n_inputs;
    const tkr_embed_options *options;
    size_t max_tokens, width; /* width: values of a row as the network gives it */
    tkr_result *result;
    size_t begin, end;   /* inputs at hand: all of them, or with pictures as many as memory is for */
    unsigned n_workers;  /* that compute it */
    bool has_parts;      /* some inputs are made of parts */
    size_t n_pictures;   /* of the inputs at hand, in session->pictures */
    size_t cost;         /* of the inputs at hand */
    size_t n_seen;       /* inputs whose tokens are known */
    size_t total_tokens; /* of them, patches included */
    atomic_size_t next;  /* work counter of the stage at hand */
    atomic_size_t done_inputs, done_tokens;
    atomic_int stop;   /* tkr_status that ends the call */
    atomic_bool yield; /* the caller wants a point where it may block */
    double waited_s;   /* in the caller's check function, where it may block */
} tkr_call;

/* What holds for an input, but for `kind` and `check`. */
static inline const tkr_embed_options *tkr_call_options(const tkr_call *call, size_t input) {
    return call->inputs[input].options ? call->inputs[input].options : call->options;
}
/* Asks the caller's check function whether to go on; the status that ends the call. From the calling thread only. */
tkr_status tkr_call_ask(tkr_call *call, int may_block);
/* Runs fn on all workers that come in time, or on the calling thread alone, and asks. fn takes its work from call->next
 * and returns early where tkr_call_yields says so: then it runs again. */
tkr_status tkr_call_share(tkr_call *call, tkr_pool_fn fn, void *arg, bool alone, tkr_error *error);
static inline bool tkr_call_yields(const tkr_call *call) {
    return atomic_load_explicit(&call->yield, memory_order_relaxed);
}
/* The status that ends the call, for all of its threads; `user` is the tkr_call. */
tkr_status tkr_call_stopped(void *user);
/* How messages name the picture of this number; a file that can't be read is named by its message already. */
void tkr_name_picture(char *out, size_t size, const tkr_part *part, size_t number);
/* A part of the image's pixels, which it borrows. */
static inline tkr_part tkr_rgb_part(const tkr_image *image, const char *name) {
    return (tkr_part){.kind = TKR_PART_RGB,
                      .data = image->rgb,
                      .n_data = image->width * image->height * 3,
                      .width = image->width,
                      .height = image->height,
                      .name = name};
}
/* Reads a part that is a picture but no RGB into `file` and decodes it in the model's jail; `name` stands in messages.
 * `stop` (or NULL) ends the decoding. */
tkr_status tkr_decode_part(tkr_image *image, tkr_buf *file, const tkr_model *model, const tkr_part *part,
                           const char *name, tkr_alpha alpha, const tkr_stop *stop, tkr_error *error);
/* Stage 0: takes the inputs from call->end on whose pictures memory is for, checks them and decodes and processes their
 * pictures in parallel. A failed picture is its input's failure. */
tkr_status tkr_call_pictures(tkr_call *call, tkr_error *error);
void tkr_call_release_pictures(tkr_call *call);
/* Whether any input has a video that must become pictures first; then tkr_call_videos does the whole call, by calls of
 * its own. A failed video is its input's failure. */
bool tkr_call_has_videos(const tkr_call *call);
tkr_status tkr_call_videos(tkr_call *call, tkr_error *error);
/* What of a video its frames stand for, where they say it. */
void tkr_note_video(tkr_item *item, const tkr_part *frames);
/* Whether the model's pooling is the mean and nothing else, which late chunking needs; the message says what it is. */
tkr_status tkr_check_late(const tkr_model *model, tkr_error *error);
/* Whether the spans of an input, which has some, can be pooled. */
tkr_status tkr_check_spans(const tkr_call *call, const tkr_input *input, tkr_error *error);
/* Whether an input's rows get length 1: as its options say, else as the modules do. */
bool tkr_call_normalizes(const tkr_call *call, size_t input);
/* Cuts to the dimensions asked for, normalises, and proves the vector usable: a NaN or a zero vector never reaches the
 * user. */
void tkr_finish_row(tkr_item *item, float *out, const float *in, bool normalize);
/* Stage 1: every input's ids, in parallel. A failed input gets its status; only running out of memory fails the call.
 */
tkr_status tkr_call_tokenize(tkr_call *call, tkr_error *error);
/* Stage 2: forward passes over token-budget batches, results written to call->result. */
tkr_status tkr_call_forward(tkr_call *call, tkr_error *error);
void tkr_item_fail(tkr_item *item, const tkr_error *error);
/* The text that goes before an input: parts one after another, "" where there is none. */
typedef struct tkr_prompt {
    const char *parts[3];
} tkr_prompt;
/* TKR_INVALID_ARGUMENT names the known prompts, or says that the model takes no instruction. */
tkr_status tkr_prompt_find(tkr_prompt *prompt, const tkr_checkpoint *checkpoint, const tkr_input *input,
                           const tkr_embed_options *options, tkr_error *error);
/* Tokenises one input into the scratch: prompt, truncation, special tokens. */
typedef struct tkr_encode_request {
    const tkr_checkpoint *checkpoint;
    const tkr_tok *tok;
    tkr_tok_scratch *scratch;
    tkr_buf *text;
    const tkr_input *input;
    const tkr_embed_options *options;
    size_t max_tokens;
    bool want_offsets;
    bool plain;                  /* nothing is put around the text */
    bool count_prompt;           /* also find how many tokens the prompt takes */
    tkr_buf *wide;               /* of ids that grow by padding or pictures */
    const tkr_picture *pictures; /* [n_pictures] of the input, processed */
    size_t n_pictures;
} tkr_encode_request;
tkr_status tkr_encode_input(tkr_tok_result *out, size_t *n_prompt_tokens, const tkr_encode_request *request,
                            tkr_error *error);
/* Appends what the model's tokenizer reads of an input: the recipe's template filled in, or prompt and text. */
tkr_status tkr_render_input(tkr_buf *out, const tkr_encode_request *request, tkr_error *error);
/* Whether the model has a vector for an input of these parts and settings; the message says what it can do. */
tkr_status tkr_check_input(const tkr_checkpoint *checkpoint, const tkr_input *input, tkr_error *error);
size_t tkr_input_images(const tkr_input *input);
/* Gives ids their padding, or their placeholders as often as the input's pictures have features. The arrays may then
 * lie in request->wide. */
tkr_status tkr_widen_ids(tkr_tok_result *ids, const tkr_encode_request *request, tkr_error *error);
size_t tkr_picture_tokens(const tkr_encode_request *request);
static inline bool tkr_part_is_image(const tkr_part *part) { return part->kind != TKR_PART_TEXT; }
/* Temporal patches of a list of frames, each of which is a picture to the tower. */
static inline size_t tkr_part_pairs(const tkr_part *part) {
    return (part->n_frames + TKR_VIDEO_PAIR - 1) / TKR_VIDEO_PAIR;
}
/* "text, image, text+image" */
const char *tkr_modalities(const tkr_checkpoint *checkpoint);
/* "bert, clip, ...": model_type values of config.json, cut to size; of all architectures, or of those that read
 * pictures. */
void tkr_list_architectures(char *out, size_t size, bool pictures);
/* Appends the texts of an input of parts. false: no memory. */
bool tkr_put_part_texts(tkr_buf *out, const tkr_input *input);
/* Pictures of one input: 0: none; SIZE_MAX: as many as fit. */
size_t tkr_max_images(const tkr_checkpoint *checkpoint);
/* The limit of a call: the smaller of the model's and the caller's; 0 only when neither says one. */
size_t tkr_effective_max_tokens(size_t model, size_t caller);
/* Reads the checkpoint's tokenizer, or takes it from the cache. Fills *tokenizer, zeroed by the caller. */
tkr_status tkr_engine_load_tok(tkr_tokenizer *tokenizer, const tkr_checkpoint *checkpoint,
                               const tkr_model_options *options, tkr_error *error);
void tkr_engine_close_tok(tkr_tokenizer *tokenizer);

/* A few scratches of one tokenizer, kept from call to call: making one costs more than tokenising a sentence. */
tkr_status tkr_scratches_create(tkr_scratches **scratches, tkr_error *error);
/* None may be in use. Accepts NULL. */
void tkr_scratches_free(tkr_scratches **scratches);
/* Takes one or makes one; never waits. Returns it; to be given back by tkr_scratches_give. */
tkr_status tkr_scratches_take(tkr_tok_scratch **scratch, tkr_scratches *scratches, const tkr_tok *tok,
                              tkr_error *error);
/* `n_bytes`: of the text it was used for; what a large one made of it isn't kept. Accepts NULL. */
void tkr_scratches_give(tkr_scratches *scratches, tkr_tok_scratch *scratch, size_t n_bytes);

#endif
