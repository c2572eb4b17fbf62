/* SPDX-License-Identifier: Apache-2.0 */
/* media/jail: a pool of processes of tkr-decode, tkr-decode-video or tkr-decode-document: starts, feeds and replaces
 * them. Believes nothing that they say. */
#include "media/jail.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/cpu.h"
#include "core/mem.h"
#include "core/module.h"
#include "core/process.h"
#include "core/slots.h"

enum {
    MAX_PROCESSES = 32,
    DEFAULT_PROCESSES = 4,
    DEFAULT_SECONDS = 30,
    START_SECONDS = 60, /* of a machine under load: loading the codecs takes 5 ms on a quiet one */
    LIFE_SECONDS = 300, /* of work; then a fresh one takes over, and its CPU limit never strikes */
    /* Touched pages in each half of the shared memory between inputs: what the last one used, from, to. */
    KEPT_BYTES = 16 << 20,
    MOST_KEPT_BYTES = 64 << 20,
    SMALL_BYTES = 8 << 10 /* decoded before a thread falls asleep and wakes up again */
};

static const struct {
    const char *tail; /* of the program's name, behind tkr-decode */
    const char *one, *many;
    size_t max_pixels, max_bytes; /* without options */
} KINDS[] = {
    [TKR_JAIL_PICTURES] = {"", "picture", "pictures", TKR_MAX_PIXELS, TKR_MAX_IMAGE_BYTES},
    [TKR_JAIL_VIDEOS] = {"-video", "video", "videos", TKR_MAX_PIXELS, TKR_MAX_VIDEO_BYTES},
    [TKR_JAIL_DOCUMENTS] = {"-document", "document", "documents", 24 << 20 /* 18 MiB of text */, TKR_MAX_IMAGE_BYTES},
};

/* Seconds that a thread waits awake for one picture at most. */
#define MOST_AWAKE 500e-6
#define SMALL_AWAKE 150e-6

typedef tkr_jail_job job;

/* The video that a decoder has open. */
typedef struct opened {
    tkr_file_id file;
    tkr_clip clip;
    double *times; /* [clip.n_frames] owned; NULL: none is known */
} opened;

typedef struct worker {
    tkr_process *process; /* NULL: none runs */
    opened video;         /* of this process, where it may be asked for frames again */
    tkr_shared shared;    /* as data NULL: none yet */
    double busy;          /* seconds of work of this process */
    size_t touched[2];    /* bytes in use at most at the beginning of each half of `shared` */
} worker;

struct tkr_jail {
    char *program;
    tkr_jail_kind kind;
    bool unconfined;
    unsigned n_workers;
    size_t max_pixels, max_bytes, shared_size;
    double timeout;
    tkr_slots *slots; /* of the workers */
    worker workers[MAX_PROCESSES];
};

/* ---- the jail ---- */

static unsigned default_processes(void) {
    tkr_machine machine;
    tkr_machine_read(&machine);
    return machine.n_threads < DEFAULT_PROCESSES ? machine.n_threads : DEFAULT_PROCESSES;
}

/* The others lie beside tkr-decode, whichever that is. */
static tkr_status find_program(char **program, const tkr_jail_options *options, tkr_error *error) {
    const char *tail = KINDS[options->kind].tail;
    const char *path = options->program;
    char *found = NULL;
    if (!path) {
        const tkr_status status = tkr_module_find(&found, "tkr-decode", "TKR_DECODE", error);
        if (!found) return status;
        path = found;
    }
    const size_t n = strlen(path), n_tail = strlen(tail);
    *program = tkr_malloc(n + n_tail + 1);
    if (*program) {
        memcpy(*program, path, n);
        memcpy(*program + n, tail, n_tail + 1);
    }
    tkr_free(found);
    if (!*program) return TKR_FAIL(error, NO_MEMORY, "no memory for a jail");
    if (tkr_path_exists(*program) && !tkr_path_is_dir(*program)) return TKR_OK;
    return TKR_FAIL(error, IO, "%s: the program that decodes %s is not there", *program, KINDS[options->kind].many);
}

static tkr_status check_options(const tkr_jail_options *options, tkr_error *error) {
    const char *lacking = NULL;
    if (options->n_processes > MAX_PROCESSES) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "%u decoder processes: at most %d", options->n_processes,
                        MAX_PROCESSES);
    }
    if (!options->unconfined && !tkr_process_can_confine(&lacking)) {
        return TKR_FAIL(error, UNSUPPORTED,
                        "%s are decoded in a confined process, and this system gives it no %s; --no-jail decodes "
                        "them unconfined, for %s that you trust",
                        KINDS[options->kind].many, lacking, KINDS[options->kind].many);
    }
    return TKR_OK;
}

tkr_status tkr_jail_create(tkr_jail **out, const tkr_jail_options *options, tkr_error *error) {
    tkr_status status = check_options(options, error);
    if (status != TKR_OK) return status;
    tkr_jail *jail = tkr_calloc(1, sizeof *jail);
    if (!jail) return TKR_FAIL(error, NO_MEMORY, "no memory for a jail");
    jail->unconfined = options->unconfined;
    jail->kind = options->kind;
    jail->n_workers = options->n_processes ? options->n_processes : default_processes();
    jail->max_pixels = options->max_pixels ? options->max_pixels : KINDS[jail->kind].max_pixels;
    jail->max_bytes = options->max_bytes ? options->max_bytes : KINDS[jail->kind].max_bytes;
    jail->timeout = options->timeout_seconds ? options->timeout_seconds : DEFAULT_SECONDS;
    if (!tkr_decoder_shared_size(&jail->shared_size, jail->max_bytes, jail->max_pixels)) {
        status = TKR_FAIL(error, INVALID_ARGUMENT, "limits of %zu bytes and %zu pixels: more than this machine has",
                          jail->max_bytes, jail->max_pixels);
    }
    if (status == TKR_OK) status = find_program(&jail->program, options, error);
    if (status == TKR_OK) status = tkr_slots_create(&jail->slots, jail->n_workers, error);
    if (status != TKR_OK) tkr_jail_free(&jail);
    *out = jail;
    return status;
}

static void forget_video(worker *w) {
    tkr_free(w->video.times);
    w->video = (opened){0};
}

void tkr_jail_free(tkr_jail **out) {
    if (!out || !*out) return;
    tkr_jail *jail = *out;
    for (unsigned i = 0; i < jail->n_workers; i++) {
        forget_video(&jail->workers[i]);
        tkr_process_end(NULL, 0, &jail->workers[i].process);
        tkr_shared_free(&jail->workers[i].shared);
    }
    tkr_slots_free(&jail->slots);
    tkr_free(jail->program);
    tkr_free(jail);
    *out = NULL;
}

/* ---- one process ---- */

static bool is_reply(tkr_decoder_reply *reply, tkr_decoder_answer kind) {
    reply->message[sizeof reply->message - 1] = '\0';
    return reply->magic == TKR_DECODER_MAGIC && reply->kind == kind;
}

/* Why a wait that failed is over for the one who asked for it. The first answer counts: who asks again may hear
 * another.
 */
static tkr_status asked_to_stop(tkr_status status, const tkr_stop *stop) {
    return status == TKR_CANCELLED ? status : tkr_stop_ask(stop);
}

/* The first message says whether it is confined and ready. */
static tkr_status greet(worker *w, const tkr_jail *jail, const tkr_stop *stop, tkr_error *error) {
    tkr_decoder_reply hello;
    char how[96];
    const tkr_process_wait wait = {.seconds = START_SECONDS, .stop = stop};
    const tkr_status status = tkr_process_receive(&hello, sizeof hello, w->process, &wait, error);
    if (status == TKR_OK && is_reply(&hello, TKR_DECODER_READY) && hello.status == TKR_OK &&
        hello.width == TKR_DECODER_VERSION) {
        return TKR_OK;
    }
    const bool answered = status == TKR_OK;
    tkr_process_end(how, sizeof how, &w->process);
    const tkr_status asked = asked_to_stop(status, stop);
    if (asked != TKR_OK) return tkr_error_set(error, TKR_HERE, asked, "%s: nobody waits for its start", jail->program);
    if (!answered) return TKR_FAIL(error, IO, "%s: doesn't start: it %s", jail->program, how);
    if (!is_reply(&hello, TKR_DECODER_READY) || hello.status == TKR_OK) {
        return TKR_FAIL(error, UNSUPPORTED, "%s: belongs to another version of tkr-embed", jail->program);
    }
    return TKR_FAIL(error, UNSUPPORTED,
                    "%s: cannot confine itself: %s; --no-jail decodes %s unconfined, for %s that you trust",
                    jail->program, hello.message, KINDS[jail->kind].many, KINDS[jail->kind].many);
}

static tkr_status start(worker *w, const tkr_jail *jail, const tkr_stop *stop, tkr_error *error) {
    char max_bytes[24], max_pixels[24], cpu_seconds[24];
    if (w->process) return TKR_OK;
    if (!w->shared.data) {
        const tkr_status status = tkr_shared_create(&w->shared, jail->shared_size, error);
        if (status != TKR_OK) return status;
    }
    (void)snprintf(max_bytes, sizeof max_bytes, "%zu", jail->max_bytes);
    (void)snprintf(max_pixels, sizeof max_pixels, "%zu", jail->max_pixels);
    (void)snprintf(cpu_seconds, sizeof cpu_seconds, "%.0f", LIFE_SECONDS + 2 * jail->timeout);
    const char *const arguments[] = {
        "--max-bytes",
        max_bytes,
        "--max-pixels",
        max_pixels,
        "--cpu-seconds",
        cpu_seconds,
        jail->unconfined ? "--unconfined" : NULL,
        NULL,
    };
    w->busy = 0;
    const tkr_status status = tkr_process_start(&w->process, jail->program, arguments, &w->shared, error);
    return status == TKR_OK ? greet(w, jail, stop, error) : status;
}

/* A process that something ended before it read the input (a system short of memory, an administrator) is no reason to
 * fail it: one more is tried. */
static tkr_status send_request(worker *w, const tkr_jail *jail, const job *j, tkr_error *error) {
    const tkr_decoder_request request = {.magic = TKR_DECODER_MAGIC,
                                         .kind = j->kind,
                                         .on_white = j->alpha == TKR_ALPHA_WHITE,
                                         .page = j->page,
                                         .side = j->side,
                                         .n_bytes = j->n_bytes,
                                         .n_items = j->n_items,
                                         .place = j->place};
    tkr_error tried = {0}; /* not *error, which some look at even after a success */
    tkr_status status = TKR_OK;
    forget_video(w); /* its bytes go */
    for (int i = 0; i < 2; i++) {
        char how[96];
        status = start(w, jail, j->stop, &tried);
        if (status == TKR_OK) {
            memcpy(w->shared.data, j->bytes, j->n_bytes);
            if (tkr_process_send(w->process, &request, sizeof request, NULL) == TKR_OK) return TKR_OK;
            tkr_process_end(how, sizeof how, &w->process);
            status = TKR_FAIL(&tried, IO, "%s: not decoded: the decoder %s", j->name, how);
        }
        if (status != TKR_IO) break;
    }
    return tkr_error_set(error, TKR_HERE, status, "%s", tried.message);
}

/* Of one who doesn't wait any more. */
static tkr_status given_up(tkr_status status, const job *j, tkr_error *error) {
    return tkr_error_set(error, TKR_HERE, status, "%s: not decoded: %s", j->name,
                         status == TKR_DEADLINE ? "the time for the request is over" : tkr_status_text(status));
}

/* What became of an input whose process gave no answer; the process is gone afterwards. */
static tkr_status mourn(worker *w, const tkr_jail *jail, const job *j, tkr_status status, tkr_error *error) {
    const tkr_status asked = asked_to_stop(status, j->stop);
    char how[96];
    tkr_process_end(how, sizeof how, &w->process);
    if (asked != TKR_OK) return given_up(asked, j, error);
    if (status == TKR_DEADLINE) {
        return TKR_FAIL(error, DEADLINE, "%s: decoding took longer than %g s", j->name, jail->timeout);
    }
    return TKR_FAIL(error, FORMAT, "%s: the decoder %s; the file is damaged or hostile", j->name, how);
}

static tkr_status senseless(worker *w, const char *name, tkr_error *error) {
    tkr_process_end(NULL, 0, &w->process);
    return TKR_FAIL(error, FORMAT, "%s: the decoder gave a senseless answer; the file is damaged or hostile", name);
}

/* Whether the numbers are possible, and the same as those that rows were copied by. */
static bool size_is_possible(const tkr_decoder_reply *reply, const tkr_jail *jail, const tkr_image *image) {
    return reply->width > 0 && reply->height > 0 && reply->width <= jail->max_pixels / reply->height &&
           reply->n_rows <= reply->height &&
           (!image->rgb || (reply->width == image->width && reply->height == image->height));
}

static uint8_t *result_of(const worker *w, const tkr_jail *jail) {
    return w->shared.data + tkr_decoder_result_offset(jail->max_bytes);
}

/* Copies the rows from *n_rows on that are final now. They are copied because what the decoder can still write is no
 * place for pixels that count. */
static tkr_status take_rows(tkr_image *image, size_t *n_rows, const worker *w, const tkr_jail *jail,
                            const tkr_decoder_reply *reply, tkr_error *error) {
    const size_t width = (size_t)reply->width, height = (size_t)reply->height, upto = (size_t)reply->n_rows;
    if (!image->rgb) {
        image->rgb = tkr_malloc(width * height * 3); /* fits: it is less than the shared memory */
        if (!image->rgb) return TKR_FAIL(error, NO_MEMORY, "no memory for %zu x %zu pixels", width, height);
        image->width = width;
        image->height = height;
    }
    if (upto <= *n_rows) return TKR_OK;
    const size_t from = *n_rows * width * 3;
    memcpy(image->rgb + from, result_of(w, jail) + from, (upto - *n_rows) * width * 3);
    *n_rows = upto;
    return TKR_OK;
}

static tkr_status refused(const tkr_decoder_reply *reply, const char *name, tkr_error *error) {
    switch (reply->status) {
    case TKR_UNSUPPORTED: return TKR_FAIL(error, UNSUPPORTED, "%s: %s", name, reply->message);
    case TKR_LIMIT: return TKR_FAIL(error, LIMIT, "%s: %s", name, reply->message);
    case TKR_NO_MEMORY: return TKR_FAIL(error, NO_MEMORY, "%s: %s", name, reply->message);
    default: return TKR_FAIL(error, FORMAT, "%s: %s", name, reply->message);
    }
}

/* How long to wait awake for the rest of a picture of which this part is done: as long as it should take. */
static double awake_for_rest(const tkr_decoder_reply *reply, double seconds) {
    const double rest = 1.5 * seconds * (double)(reply->height - reply->n_rows) / ((double)reply->n_rows + 1);
    return rest <= MOST_AWAKE ? rest : 0;
}

/* Waits for the end of a request, copying what is ready meanwhile. Awake at most once, whatever the decoder says. */
static tkr_status receive(tkr_image *image, worker *w, const tkr_jail *jail, const job *j, tkr_error *error) {
    const double began = tkr_now(), until = began + jail->timeout;
    tkr_process_wait wait = {.awake = j->n_bytes < SMALL_BYTES ? SMALL_AWAKE : 0, .stop = j->stop};
    bool was_awake = wait.awake > 0;
    size_t n_rows = 0;
    tkr_status kept = TKR_OK; /* a failure of ours, told when the process is done */
    for (;;) {
        tkr_decoder_reply reply;
        wait.seconds = until - tkr_now();
        const tkr_status status = tkr_process_receive(&reply, sizeof reply, w->process, &wait, error);
        if (status != TKR_OK) return mourn(w, jail, j, status, error);
        const double told = tkr_now();
        const bool progress = is_reply(&reply, TKR_DECODER_PROGRESS);
        if (!progress && !is_reply(&reply, TKR_DECODER_DONE)) return senseless(w, j->name, error);
        if (!progress && reply.status != TKR_OK) return refused(&reply, j->name, error);
        if (!size_is_possible(&reply, jail, image) || (!progress && reply.n_rows != reply.height)) {
            return senseless(w, j->name, error);
        }
        if (kept == TKR_OK) kept = take_rows(image, &n_rows, w, jail, &reply, error);
        if (!progress) return kept;
        wait.awake = was_awake ? 0 : awake_for_rest(&reply, told - began);
        was_awake = was_awake || wait.awake > 0;
    }
}

static tkr_status run(tkr_image *image, worker *w, const tkr_jail *jail, const job *j, tkr_error *error) {
    tkr_status status = send_request(w, jail, j, error);
    const double began = tkr_now();
    if (status == TKR_OK) status = receive(image, w, jail, j, error);
    w->busy += tkr_now() - began + TKR_DECODER_MOST_AWAKE;
    if (status != TKR_OK) tkr_image_free(image);
    return status;
}

/* Gives back pages that this picture had no use for, and ends a process that has worked its time. */
static void tidy(worker *w, const tkr_jail *jail, size_t n_bytes, const tkr_image *image) {
    const size_t half = tkr_decoder_result_offset(jail->max_bytes);
    const size_t used[2] = {n_bytes, image->rgb ? image->width * image->height * 3 : 0};
    for (size_t i = 0; w->shared.data && i < 2; i++) {
        const size_t kept = used[i] < KEPT_BYTES ? KEPT_BYTES : used[i] > MOST_KEPT_BYTES ? MOST_KEPT_BYTES : used[i];
        const size_t size = i == 0 ? half : w->shared.size - half;
        if (w->touched[i] < used[i] || !image->rgb) w->touched[i] = image->rgb ? used[i] : size;
        if (w->touched[i] <= kept || kept >= size) continue;
        tkr_shared_release(&w->shared, i * half + kept, size - kept);
        w->touched[i] = kept;
    }
    if (w->busy > LIFE_SECONDS) tkr_process_end(NULL, 0, &w->process);
}

/* Waits for a process; slot and worker are given back by leave. */
static tkr_status enter(unsigned *slot, tkr_jail *jail, const job *j, tkr_error *error) {
    if (j->n_bytes == 0) return TKR_FAIL(error, FORMAT, "%s: is empty", j->name);
    if (j->n_bytes > jail->max_bytes)
        return TKR_FAIL(error, LIMIT, "%s: has %zu bytes, a %s may have %zu", j->name, j->n_bytes,
                        KINDS[jail->kind].one, jail->max_bytes);
    const tkr_status status = tkr_slots_take(slot, jail->slots, j->stop);
    return status == TKR_OK ? status : given_up(status, j, error);
}

tkr_status tkr_jail_run(tkr_image *image, tkr_jail *jail, const tkr_jail_job *j, tkr_error *error) {
    unsigned slot = 0;
    *image = (tkr_image){0};
    tkr_status status = enter(&slot, jail, j, error);
    if (status != TKR_OK) return status;
    worker *w = &jail->workers[slot];
    status = run(image, w, jail, j, error);
    tidy(w, jail, j->n_bytes, image);
    tkr_slots_give(jail->slots, slot);
    return status;
}

tkr_status tkr_jail_image(tkr_image *image, tkr_jail *jail, const char *name, const void *bytes, size_t n_bytes,
                          tkr_alpha alpha, const tkr_stop *stop, tkr_error *error) {
    const tkr_jail_job j = {
        .kind = TKR_DECODER_IMAGE, .name = name, .bytes = bytes, .n_bytes = n_bytes, .alpha = alpha, .stop = stop};
    return tkr_jail_run(image, jail, &j, error);
}

/* ---- videos ---- */

/* What one call carries through its messages. */
typedef struct clip_call {
    worker *w;
    const tkr_jail *jail;
    const job *j;
    const tkr_clip_request *request;
    tkr_buf indices; /* size_t */
    size_t n_taken;
    bool again;     /* it was open */
    tkr_error last; /* of a damaged frame */
} clip_call;

/* The next message, which must be of this kind. */
static tkr_status next_reply(tkr_decoder_reply *reply, clip_call *c, tkr_decoder_answer kind, tkr_error *error) {
    const tkr_process_wait wait = {.seconds = c->jail->timeout, .stop = c->j->stop};
    const double began = tkr_now();
    const tkr_status status = tkr_process_receive(reply, sizeof *reply, c->w->process, &wait, error);
    c->w->busy += tkr_now() - began;
    if (status != TKR_OK) return mourn(c->w, c->jail, c->j, status, error);
    return is_reply(reply, kind) ? TKR_OK : senseless(c->w, c->j->name, error);
}

static bool is_rate(double x) { return isfinite(x) && x > 0; }

/* Copies the times out of what the decoder can still write, then looks at them. */
static tkr_status take_clip(const clip_call *c, const tkr_decoder_reply *reply, tkr_error *error) {
    opened *video = &c->w->video;
    const size_t n = (size_t)reply->n_rows, most = c->jail->max_pixels * 3 / sizeof(double);
    if (n == 0 || n > most || reply->width == 0 || reply->height == 0 ||
        reply->width > c->jail->max_pixels / reply->height || !is_rate(reply->clip.fps) ||
        !is_rate(reply->clip.seconds))
        return senseless(c->w, c->j->name, error);
    double *times = tkr_malloc(n * sizeof *times);
    if (!times) return TKR_FAIL(error, NO_MEMORY, "%s: no memory for the times of %zu frames", c->j->name, n);
    memcpy(times, result_of(c->w, c->jail), n * sizeof *times);
    video->times = times;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(times[i]) || times[i] < (i ? times[i - 1] : 0)) return senseless(c->w, c->j->name, error);
    }
    video->clip = (tkr_clip){.n_frames = n,
                             .times = times,
                             .fps = reply->clip.fps,
                             .seconds = reply->clip.seconds,
                             .width = (size_t)reply->width,
                             .height = (size_t)reply->height};
    if (c->request->file) video->file = *c->request->file;
    return TKR_OK;
}

static tkr_status open_clip(clip_call *c, tkr_error *error) {
    tkr_decoder_reply reply;
    tkr_status status = send_request(c->w, c->jail, c->j, error);
    if (status == TKR_OK) status = next_reply(&reply, c, TKR_DECODER_DONE, error);
    if (status != TKR_OK) return status;
    return reply.status == TKR_OK ? take_clip(c, &reply, error) : refused(&reply, c->j->name, error);
}

/* Whether the decoder has this very file open. */
static bool is_open(const worker *w, const tkr_file_id *file) {
    const tkr_file_id *known = &w->video.file;
    return w->process && w->video.times && file && known->device == file->device && known->inode == file->inode &&
           known->size == file->size && known->modified_ns == file->modified_ns;
}

/* Asks for the frames that the caller chose. */
static tkr_status ask_for_frames(clip_call *c, tkr_error *error) {
    const size_t *indices = (const size_t *)(const void *)c->indices.data;
    const size_t n = c->indices.size / sizeof *indices, n_frames = c->w->video.clip.n_frames;
    const tkr_decoder_request request = {
        .magic = TKR_DECODER_MAGIC, .kind = TKR_DECODER_FRAMES, .n_bytes = c->j->n_bytes, .n_items = n};
    uint8_t *out = result_of(c->w, c->jail);
    if (n > n_frames) return TKR_FAIL(error, INTERNAL, "%s: %zu frames wanted", c->j->name, n);
    for (size_t i = 0; i < n; i++) {
        const uint64_t index = indices[i];
        if (index >= n_frames) return TKR_FAIL(error, INTERNAL, "%s: frame %zu wanted", c->j->name, indices[i]);
        memcpy(out + i * sizeof index, &index, sizeof index);
    }
    const tkr_status status = tkr_process_send(c->w->process, &request, sizeof request, NULL);
    if (status == TKR_OK) return status;
    if (!c->again) return mourn(c->w, c->jail, c->j, status, error);
    c->again = false; /* something ended an idle process: see send_request */
    tkr_process_end(NULL, 0, &c->w->process);
    const tkr_status opened_again = open_clip(c, error);
    return opened_again == TKR_OK ? ask_for_frames(c, error) : opened_again;
}

static tkr_status take_frame(clip_call *c, size_t i, const tkr_decoder_reply *reply, tkr_error *error) {
    tkr_image image = {0};
    size_t n_rows = 0;
    if (reply->status != TKR_OK) {
        (void)refused(reply, c->j->name, &c->last);
        return TKR_OK;
    }
    if (!size_is_possible(reply, c->jail, &image) || reply->n_rows != reply->height)
        return senseless(c->w, c->j->name, error);
    tkr_status status = take_rows(&image, &n_rows, c->w, c->jail, reply, error);
    if (status == TKR_OK) status = c->request->take(c->request->user, i, &image, error);
    tkr_image_free(&image);
    c->n_taken += status == TKR_OK;
    return status;
}

/* A failure of ours leaves a process in the middle of its work: it ends, too. */
static tkr_status take_frames(clip_call *c, tkr_error *error) {
    const tkr_decoder_request next = {.magic = TKR_DECODER_MAGIC, .kind = TKR_DECODER_NEXT, .n_bytes = c->j->n_bytes};
    const size_t n = c->indices.size / sizeof(size_t);
    if (n == 0) return TKR_OK;
    tkr_status status = ask_for_frames(c, error);
    for (size_t i = 0; status == TKR_OK && i <= n; i++) {
        tkr_decoder_reply reply;
        status = next_reply(&reply, c, i < n ? TKR_DECODER_FRAME : TKR_DECODER_DONE, error);
        if (status != TKR_OK) return status;
        if (i == n) break;
        status = take_frame(c, i, &reply, error);
        if (status == TKR_OK) status = tkr_process_send(c->w->process, &next, sizeof next, error);
    }
    if (status != TKR_OK) {
        tkr_process_end(NULL, 0, &c->w->process);
        return status;
    }
    return c->n_taken > 0 ? TKR_OK : tkr_error_set(error, TKR_HERE, c->last.status, "%s", c->last.message);
}

tkr_status tkr_jail_video(tkr_jail *jail, const char *name, const void *bytes, size_t n_bytes,
                          const tkr_clip_request *request, tkr_error *error) {
    const job j = {.kind = TKR_DECODER_VIDEO, .name = name, .bytes = bytes, .n_bytes = n_bytes, .stop = request->stop};
    clip_call c = {.jail = jail, .j = &j, .request = request};
    unsigned slot = 0;
    tkr_status status = enter(&slot, jail, &j, error);
    if (status != TKR_OK) return status;
    worker *w = c.w = &jail->workers[slot];
    c.again = is_open(w, request->file);
    if (!c.again) status = open_clip(&c, error);
    if (status == TKR_OK) {
        status = request->choose(request->user, &c.indices, &w->video.clip, error);
        if (status != TKR_OK) status = tkr_error_prefix(error, status, "%s", name);
    }
    if (status == TKR_OK) status = take_frames(&c, error);
    if (!request->more || !is_open(w, request->file) || w->busy > LIFE_SECONDS) {
        forget_video(w);
        tidy(w, jail, n_bytes, &(tkr_image){0});
    }
    tkr_slots_give(jail->slots, slot);
    tkr_buf_free(&c.indices);
    return status;
}
