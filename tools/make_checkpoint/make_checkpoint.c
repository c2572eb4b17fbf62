/* SPDX-License-Identifier: Apache-2.0 */
/* tools/make_checkpoint: writes a random checkpoint of a named shape, the same bytes for the same arguments, to measure
 * load, memory and speed at true size where a model can't be downloaded. Its vectors mean nothing. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "quant/dtype.h"
#include "shapes.h"

#define N_OUTLIERS 6
#define N_QUANTILES 65536
#define BLOCK_VALUES ((size_t)1 << 20)
#define WRITERS 2

extern char **environ;

typedef struct job {
    shape s;
    const char *folder, *tokenizer;
    tkr_dtype dtype;
    const char *dtype_text;
    double outliers; /* largest factor, 0: none */
    uint64_t seed, shard_bytes;
    tensor_list list;
    unsigned n_shards;
    size_t stream[N_OUTLIERS], inner[N_OUTLIERS]; /* channels */
    double factor[N_OUTLIERS];
    double spread;     /* deviation of a stream with outliers */
    float *quantiles;  /* [N_QUANTILES] of the normal distribution */
    atomic_uint next;  /* shard to write */
    atomic_int failed; /* errno of the first failure */
} job;

static uint64_t mix(uint64_t x) { /* splitmix64 */
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t hash_text(const char *text, uint64_t seed) {
    uint64_t h = mix(seed);
    while (*text) h = mix(h ^ (unsigned char)*text++);
    return h;
}

/* Four draws of 16 bits: those of elements [4 block, 4 block + 4). */
static inline uint64_t draws(uint64_t seed, uint64_t block) { return mix(seed + block * 0xd1342543de82ef95u); }

/* x with P(X < x) = p, p <= 0.5, by bisection. */
static double quantile(double p) {
    double low = -8, high = 0;
    for (int i = 0; i < 50; i++) {
        double middle = (low + high) / 2;
        if (erfc(-middle * 0.70710678118654752440) / 2 < p)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

static bool make_quantiles(job *j) {
    j->quantiles = malloc(N_QUANTILES * sizeof *j->quantiles);
    if (!j->quantiles) return false;
    for (size_t i = 0; i < N_QUANTILES / 2; i++) {
        float x = (float)quantile(((double)i + 0.5) / N_QUANTILES);
        j->quantiles[i] = x;
        j->quantiles[N_QUANTILES - 1 - i] = -x;
    }
    return true;
}

static void choose_outliers(job *j) {
    double top = shape_is_post_norm(&j->s) && j->outliers > 20 ? 20 : j->outliers, sum = 0;
    double bottom = top < 20 ? top : 20;
    if (shape_is_post_norm(&j->s)) bottom = top / 4; /* the stream is renormalised after each block */
    for (size_t i = 0; i < N_OUTLIERS; i++) {
        j->factor[i] = bottom * pow(top / bottom, (double)i / (N_OUTLIERS - 1));
        /* apart from each other, by construction */
        j->stream[i] = (i * j->s.hidden + mix(j->seed + i) % j->s.hidden) / N_OUTLIERS;
        j->inner[i] = (i * j->s.inner + mix(j->seed + 100 + i) % j->s.inner) / N_OUTLIERS;
        sum += j->factor[i] * j->factor[i];
    }
    j->spread = sqrt(1 + sum / (double)j->s.hidden);
}

/* ---- values ---- */

static double deviation(const tensor *t) {
    switch (t->how) {
    case FILL_TABLE: return 1;
    case FILL_WIDE: return 0.5;
    case FILL_LINEAR: return 1 / sqrt((double)t->cols);
    case FILL_GAIN: return 0.1;
    case FILL_SMALL: break;
    }
    return 0.02;
}

static double plain_value(const job *j, const tensor *t, uint64_t index) {
    double x = j->quantiles[draws(t->seed, index / 4) >> (index % 4 * 16) & 0xffff] * deviation(t);
    return t->how == FILL_GAIN ? 1 + x : x;
}

static void store(const job *j, void *out, size_t at, double value) {
    float x = (float)value;
    if (j->dtype == TKR_DTYPE_F32)
        ((float *)out)[at] = x;
    else
        ((uint16_t *)out)[at] = j->dtype == TKR_DTYPE_BF16 ? tkr_f32_to_bf16(x) : tkr_f32_to_f16(x);
}

/* How a gain of the stream is changed. i: the outlier that the channel is, N_OUTLIERS: none. */
static double gain_factor(const job *j, const tensor *t, size_t i) {
    const double f = i < N_OUTLIERS ? j->factor[i] : 1;
    switch (t->planted) {
    case PLANT_GAIN_INTO: return f;
    case PLANT_GAIN_KEEP: return j->spread;
    case PLANT_GAIN_LAYER: return i < N_OUTLIERS ? j->spread * (f < 20 ? 1 : 20 / f) : j->spread;
    case PLANT_GAIN_FINAL: return j->spread / f;
    default: return 1;
    }
}

/* Rewrites what is planted in rows [first, first + n) of `out`. */
static void plant_rows(const job *j, const tensor *t, void *out, size_t first, size_t n) {
    const bool stream_rows = t->planted == PLANT_STREAM_ROWS || t->planted == PLANT_DOWN;
    const bool inner_columns = t->planted == PLANT_INNER_COLUMNS || t->planted == PLANT_DOWN;
    for (size_t r = first; r < first + n; r++) {
        double row = 1;
        for (size_t i = 0; i < N_OUTLIERS; i++) {
            size_t inner = j->inner[i] + (t->doubled ? t->rows / 2 : 0);
            if ((stream_rows && r == j->stream[i]) || (t->planted == PLANT_INNER_ROWS && r == inner))
                row = j->factor[i];
        }
        size_t at = (r - first) * t->cols;
        for (size_t c = 0; row != 1 && c < t->cols; c++)
            store(j, out, at + c, row * plain_value(j, t, r * t->cols + c));
        for (size_t i = 0; i < N_OUTLIERS; i++) {
            size_t c = inner_columns ? j->inner[i] : j->stream[i];
            double x = row * plain_value(j, t, r * t->cols + c);
            if (inner_columns) store(j, out, at + c, x / sqrt(j->factor[i]));
            if (t->planted == PLANT_STREAM_COLUMNS) store(j, out, at + c, x * j->factor[i]);
        }
    }
}

static void plant_vector(const job *j, const tensor *t, void *out) {
    for (size_t c = 0; c < t->cols; c++) {
        size_t i = 0;
        while (i < N_OUTLIERS && (t->cols != j->s.hidden || j->stream[i] != c)) i++;
        store(j, out, c, plain_value(j, t, c) * gain_factor(j, t, i));
    }
}

/* The table of all values that a matrix can hold, in its type. */
static void make_palette(const job *j, const tensor *t, void *palette) {
    const double sigma = deviation(t);
    for (size_t i = 0; i < N_QUANTILES; i++)
        store(j, palette, i, (t->how == FILL_GAIN ? 1 : 0) + j->quantiles[i] * sigma);
}

/* Elements [first, first + n), first a multiple of 4. */
static void fill_values(const job *j, const tensor *t, void *out, const void *palette, uint64_t first, size_t n) {
    const uint32_t *wide = palette;
    const uint16_t *narrow = palette;
    for (size_t i = 0; i < n; i += 4) {
        uint64_t d = draws(t->seed, (first + i) / 4);
        size_t m = n - i < 4 ? n - i : 4;
        for (size_t k = 0; k < m; k++, d >>= 16) {
            if (j->dtype == TKR_DTYPE_F32)
                ((uint32_t *)out)[i + k] = wide[d & 0xffff];
            else
                ((uint16_t *)out)[i + k] = narrow[d & 0xffff];
        }
    }
}

/* ---- files ---- */

static bool write_all(int fd, const void *data, size_t size) {
    const char *at = data;
    while (size > 0) {
        ssize_t n = write(fd, at, size);
        if (n < 0 && errno != EINTR) return false;
        if (n > 0) {
            at += n;
            size -= (size_t)n;
        }
    }
    return true;
}

static uint64_t n_values(const tensor *t) { return (uint64_t)(t->rows ? t->rows : 1) * t->cols; }

static bool write_tensor(const job *j, const tensor *t, int fd, void *buffer, void *palette) {
    const size_t rows = t->rows ? t->rows : 1, size = tkr_dtype_size(j->dtype);
    size_t step = BLOCK_VALUES / t->cols / 4 * 4; /* rows at a time: draws come in fours */
    if (step == 0) step = 4;
    make_palette(j, t, palette);
    for (size_t r = 0; r < rows; r += step) {
        size_t n = rows - r < step ? rows - r : step;
        fill_values(j, t, buffer, palette, (uint64_t)r * t->cols, n * t->cols);
        if (j->outliers > 0 && t->planted != PLANT_NONE) {
            if (t->rows)
                plant_rows(j, t, buffer, r, n);
            else
                plant_vector(j, t, buffer);
        }
        if (!write_all(fd, buffer, n * t->cols * size)) return false;
    }
    return true;
}

static void shard_name(const job *j, unsigned shard, char *out, size_t size) {
    if (j->n_shards == 1)
        snprintf(out, size, "model.safetensors");
    else
        snprintf(out, size, "model-%05u-of-%05u.safetensors", shard + 1, j->n_shards);
}

/* The shard's header, padded with spaces to a multiple of 64. Returns its bytes, 0 on failure. */
static size_t make_header(const job *j, unsigned shard, char **out) {
    size_t size = 0;
    FILE *f = open_memstream(out, &size);
    if (!f) return 0;
    fprintf(f, "........{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < j->list.n; i++) {
        const tensor *t = &j->list.items[i];
        if (t->shard != shard) continue;
        fprintf(f, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name, tkr_dtype_name(j->dtype));
        if (t->batched) fprintf(f, "1,");
        if (t->rows) fprintf(f, "%zu,", t->rows);
        if (t->patch) fprintf(f, "3,");
        if (t->frames) fprintf(f, "%zu,", t->frames);
        if (t->patch) fprintf(f, "%zu,", t->patch);
        fprintf(f, "%zu],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", t->patch ? t->patch : t->cols, t->offset,
                t->offset + n_values(t) * tkr_dtype_size(j->dtype));
    }
    fputc('}', f);
    fflush(f);
    while (size % 64 != 0) {
        fputc(' ', f);
        fflush(f);
    }
    if (fclose(f) != 0) return 0;
    const uint64_t length = size - 8;
    memcpy(*out, &length, sizeof length);
    return size;
}

static bool write_shard(const job *j, unsigned shard, void *buffer, void *palette) {
    char name[64], path[4096], *header = NULL;
    shard_name(j, shard, name, sizeof name);
    snprintf(path, sizeof path, "%s/%s", j->folder, name);
    size_t n = make_header(j, shard, &header);
    int fd = n ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644) : -1;
    bool good = fd >= 0 && write_all(fd, header, n);
    for (size_t i = 0; good && i < j->list.n; i++)
        if (j->list.items[i].shard == shard) good = write_tensor(j, &j->list.items[i], fd, buffer, palette);
    free(header);
    if (fd >= 0 && close(fd) != 0) good = false;
    return good;
}

static void *writer(void *user) {
    job *j = user;
    size_t largest = 0;
    for (size_t i = 0; i < j->list.n; i++) largest = j->list.items[i].cols > largest ? j->list.items[i].cols : largest;
    void *buffer = malloc((BLOCK_VALUES > 4 * largest ? BLOCK_VALUES : 4 * largest) * 4);
    void *palette = malloc(N_QUANTILES * 4);
    if (!buffer || !palette) atomic_store(&j->failed, ENOMEM);
    while (!atomic_load(&j->failed)) {
        unsigned shard = atomic_fetch_add(&j->next, 1);
        if (shard >= j->n_shards) break;
        if (!write_shard(j, shard, buffer, palette)) atomic_store(&j->failed, errno ? errno : EIO);
    }
    free(buffer);
    free(palette);
    return NULL;
}

static bool write_weights(job *j) {
    pthread_t threads[WRITERS];
    unsigned n = 0;
    while (n + 1 < WRITERS && pthread_create(&threads[n], NULL, writer, j) == 0) n++;
    writer(j);
    while (n > 0) pthread_join(threads[--n], NULL);
    errno = atomic_load(&j->failed);
    return errno == 0;
}

static void place_tensors(job *j) {
    uint64_t used = 0;
    for (size_t i = 0; i < j->list.n; i++) {
        tensor *t = &j->list.items[i];
        const uint64_t size = n_values(t) * tkr_dtype_size(j->dtype);
        if (used > 0 && used + size > j->shard_bytes) {
            j->n_shards++;
            used = 0;
        }
        t->seed = hash_text(t->name, j->seed);
        t->shard = j->n_shards;
        t->offset = used;
        used += size;
    }
    j->n_shards++;
}

static FILE *create(const job *j, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", j->folder, name);
    return fopen(path, "wx");
}

static bool put_text(const job *j, const char *name, const char *text) {
    FILE *f = create(j, name);
    if (!f) return false;
    fputs(text, f);
    bool good = !ferror(f);
    return fclose(f) == 0 && good;
}

static bool write_index(const job *j) {
    if (j->n_shards == 1) return true;
    FILE *f = create(j, "model.safetensors.index.json");
    if (!f) return false;
    uint64_t total = 0;
    for (size_t i = 0; i < j->list.n; i++) total += n_values(&j->list.items[i]) * tkr_dtype_size(j->dtype);
    fprintf(f, "{\n  \"metadata\": {\"total_size\": %" PRIu64 "},\n  \"weight_map\": {", total);
    for (size_t i = 0; i < j->list.n; i++) {
        char name[64];
        shard_name(j, j->list.items[i].shard, name, sizeof name);
        fprintf(f, "%s\n    \"%s\": \"%s\"", i ? "," : "", j->list.items[i].name, name);
    }
    fprintf(f, "\n  }\n}\n");
    bool good = !ferror(f);
    return fclose(f) == 0 && good;
}

static bool write_settings(const job *j) {
    char path[4096], text[512];
    FILE *f = create(j, "config.json");
    if (!f) return false;
    bool good = shape_config(f, &j->s, j->dtype_text);
    good = fclose(f) == 0 && good;
    if (shape_has_pictures(&j->s)) {
        f = good ? create(j, "preprocessor_config.json") : NULL;
        if (!f) return false;
        good = shape_processor(f, &j->s);
        good = fclose(f) == 0 && good;
        snprintf(text, sizeof text, "{\"pad_token\": \"%s\", \"model_max_length\": %zu}\n",
                 strcmp(j->s.family, "clip") == 0 ? "<|endoftext|>" : "</s>", j->s.max_tokens);
        return good && put_text(j, "tokenizer_config.json", text);
    }
    snprintf(path, sizeof path, "%s/1_Pooling", j->folder);
    snprintf(text, sizeof text, "{\"word_embedding_dimension\": %zu, \"pooling_mode_%s\": true}\n", j->s.hidden,
             j->s.pooling);
    good = good && mkdir(path, 0755) == 0 && put_text(j, "1_Pooling/config.json", text);
    snprintf(text, sizeof text, "{\"max_seq_length\": %zu, \"do_lower_case\": false}\n", j->s.max_tokens);
    return good && put_text(j, "sentence_bert_config.json", text) &&
           put_text(j, "modules.json",
                    "[{\"idx\": 0, \"name\": \"0\", \"path\": \"\", "
                    "\"type\": \"sentence_transformers.models.Transformer\"},\n"
                    " {\"idx\": 1, \"name\": \"1\", \"path\": \"1_Pooling\", "
                    "\"type\": \"sentence_transformers.models.Pooling\"},\n"
                    " {\"idx\": 2, \"name\": \"2\", \"path\": \"2_Normalize\", "
                    "\"type\": \"sentence_transformers.models.Normalize\"}]\n");
}

/* Copies the tokenizer; xz unpacks a compressed one. */
static bool copy_tokenizer(const job *j) {
    char out[4096], in[4096];
    snprintf(out, sizeof out, "%s/tokenizer.json", j->folder);
    if (j->tokenizer)
        snprintf(in, sizeof in, "%s", j->tokenizer);
    else
        snprintf(in, sizeof in, "%s/golden/%s", TKR_TEST_DIR, j->s.tokenizer);
    size_t n = strlen(in);
    bool packed = n > 3 && strcmp(in + n - 3, ".xz") == 0;
    char *args[] = {packed ? "xz" : "cat", packed ? "-dc" : "--", in, NULL};
    posix_spawn_file_actions_t actions;
    pid_t child = 0;
    int result = 0;
    if (posix_spawn_file_actions_init(&actions) != 0) return false;
    posix_spawn_file_actions_addopen(&actions, 1, out, O_WRONLY | O_CREAT | O_EXCL, 0644);
    errno = posix_spawnp(&child, args[0], &actions, NULL, args, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (errno != 0) return false;
    if (waitpid(child, &result, 0) < 0 || !WIFEXITED(result) || WEXITSTATUS(result) != 0) {
        fprintf(stderr, "make_checkpoint: cannot copy the tokenizer %s\n", in);
        errno = ENOENT;
        return false;
    }
    return true;
}

/* ---- arguments ---- */

static int usage(void) {
    fprintf(
        stderr,
        "usage: make_checkpoint SHAPE FOLDER [--dtype bf16|f16|f32] [--outliers MAX] [--seed N]\n"
        "                       [--tokenizer FILE[.xz]] [--shard-bytes N]\n"
        "Writes a random checkpoint of SHAPE to the new FOLDER: config.json, weights, tokenizer.json, modules.json.\n"
        "SHAPE may end in -<N>l: the first N layers. --outliers MAX plants channels of 20 to MAX times the others'\n"
        "size in the hidden state and before the down projections, as trained large models have them.\nShapes:");
    for (size_t i = 0; i < n_shapes; i++) fprintf(stderr, " %s", shapes[i].name);
    fprintf(stderr, "\n");
    return 2;
}

static bool parse_dtype(job *j, const char *text) {
    static const struct {
        const char *text, *torch;
        tkr_dtype dtype;
    } known[] = {
        {"bf16", "bfloat16", TKR_DTYPE_BF16}, {"f16", "float16", TKR_DTYPE_F16}, {"f32", "float32", TKR_DTYPE_F32}};
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(known[i].text, text) != 0) continue;
        j->dtype = known[i].dtype;
        j->dtype_text = known[i].torch;
        return true;
    }
    return false;
}

static bool parse(job *j, int argc, char **argv) {
    if (argc < 3 || argc % 2 == 0 || !shape_find(&j->s, argv[1])) return false;
    j->folder = argv[2];
    for (int i = 3; i + 1 < argc; i += 2) {
        const char *flag = argv[i], *value = argv[i + 1];
        char *end = NULL;
        if (strcmp(flag, "--dtype") == 0 && parse_dtype(j, value)) continue;
        if (strcmp(flag, "--tokenizer") == 0) {
            j->tokenizer = value;
            continue;
        }
        double number = strtod(value, &end);
        if (*end || !(number >= 0) || number > 1e15) return false;
        if (strcmp(flag, "--outliers") == 0)
            j->outliers = number;
        else if (strcmp(flag, "--seed") == 0)
            j->seed = (uint64_t)number;
        else if (strcmp(flag, "--shard-bytes") == 0)
            j->shard_bytes = (uint64_t)number;
        else
            return false;
    }
    return j->outliers == 0 || j->outliers >= 2;
}

int main(int argc, char **argv) {
    job j = {.seed = 1, .shard_bytes = 5000000000u};
    parse_dtype(&j, "bf16");
    if (!parse(&j, argc, argv)) return usage();
    if (j.outliers > 0) choose_outliers(&j);
    errno = 0;
    bool good = shape_tensors(&j.list, &j.s) && make_quantiles(&j);
    if (good) place_tensors(&j);
    good = good && mkdir(j.folder, 0755) == 0 && write_settings(&j) && copy_tokenizer(&j) && write_index(&j) &&
           write_weights(&j);
    if (!good) fprintf(stderr, "make_checkpoint: %s: %s\n", j.folder, strerror(errno));
    free(j.quantiles);
    free(j.list.items);
    return good ? 0 : 1;
}
