/* SPDX-License-Identifier: Apache-2.0 */
/* The weight cache: a second start packs nothing and gives the same bits; whatever is wrong with a file, a folder or a
 * disk costs time, never a load. */
#define _GNU_SOURCE 1
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/fsops.h"
#include "engine/cache_file.h"
#include "engine/weight_cache.h"
#include "golden.h"

enum { PATH = 700 };

static char scratch[512]; /* made anew for each test */

static void in_scratch(char out[PATH], const char *name) { snprintf(out, PATH, "%s/%s", scratch, name); }

static int make_scratch(void **state) {
    (void)state;
    /* in memory where that is possible: a thousand files are synced */
    snprintf(scratch, sizeof scratch, "/dev/shm/tkr-weight-cache-XXXXXX");
    if (mkdtemp(scratch)) return 0;
    snprintf(scratch, sizeof scratch, "%s/weight-cache-XXXXXX", TKR_BUILD_DIR);
    return mkdtemp(scratch) ? 0 : -1;
}

static int remove_scratch(void **state) {
    (void)state;
    char command[PATH];
    snprintf(command, sizeof command, "rm -rf '%s'", scratch);
    return system(command);
}

static size_t slurp(unsigned char **data, const char *path) {
    tkr_buf buf = {0};
    assert_int_equal(tkr_file_read(&buf, path, (size_t)1 << 30, NULL), TKR_OK);
    *data = (unsigned char *)buf.data;
    return buf.size;
}

static void spill(const char *path, const void *data, size_t size) {
    assert_int_equal(tkr_file_write_atomic(path, data, size, NULL), TKR_OK);
}

/* Entries of a folder whose name ends so. */
static size_t count_files(const char *folder, const char *end) {
    size_t n = 0;
    DIR *dir = opendir(folder);
    for (const struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir)) {
        size_t length = strlen(e->d_name);
        n += length >= strlen(end) && strcmp(e->d_name + length - strlen(end), end) == 0;
    }
    if (dir) closedir(dir);
    return n;
}

/* ---- the container ---- */

static const char *const names[] = {"one", "two", "three"};
static const size_t sizes[] = {1, 64, 5000};
#define IDENTITY "made from this\n"

static void block_bytes(unsigned char *out, size_t i) {
    for (size_t k = 0; k < sizes[i]; k++) out[k] = (unsigned char)(k * 7 + i);
}

static void write_three(const char *path) {
    tkr_cache_writer *writer = NULL;
    tkr_error error = {0};
    unsigned char data[5000];
    if (tkr_cache_writer_open(&writer, path, IDENTITY, &error) != TKR_OK) fail_msg("%s", error.message);
    for (size_t i = 0; i < 3; i++) {
        block_bytes(data, i);
        tkr_cache_writer_add(writer, names[i], data, sizes[i]);
    }
    assert_int_equal(count_files(scratch, ".tkr"), 0);
    assert_int_equal(tkr_cache_writer_finish(&writer, true, &error), TKR_OK);
    assert_null(writer);
    assert_int_equal(count_files(scratch, ".tmp"), 0);
}

static tkr_status try_open(const char *path, const char *identity) {
    tkr_cache_file *file = NULL;
    tkr_error error = {0};
    tkr_status status = tkr_cache_file_open(&file, path, identity, &error);
    assert_true((status == TKR_OK) == (file != NULL));
    if (status != TKR_OK) assert_true(strlen(error.message) > 10);
    tkr_cache_file_close(&file);
    return status;
}

static void blocks_come_back(void **state) {
    (void)state;
    char path[PATH];
    in_scratch(path, "file.tkr");
    assert_int_equal(try_open(path, IDENTITY), TKR_NOT_FOUND);
    write_three(path);
    tkr_cache_file *file = NULL;
    assert_int_equal(tkr_cache_file_open(&file, path, IDENTITY, NULL), TKR_OK);
    unsigned char data[5000];
    static const size_t order[] = {0, 1, 2, 1, 0, 2};
    for (size_t i = 0; i < 6; i++) {
        size_t bytes = 0;
        const void *found = tkr_cache_file_find(file, names[order[i]], &bytes);
        assert_non_null(found);
        assert_int_equal((uintptr_t)found % 64, 0);
        assert_int_equal(bytes, sizes[order[i]]);
        block_bytes(data, order[i]);
        assert_memory_equal(found, data, bytes);
    }
    size_t bytes = 0;
    assert_null(tkr_cache_file_find(file, "four", &bytes));
    assert_int_equal(tkr_cache_file_verify(file, NULL), TKR_OK);
    tkr_cache_file_close(&file);
    assert_int_equal(try_open(path, "made from this"), TKR_FORMAT);
    assert_int_equal(try_open(path, "made from that\n"), TKR_FORMAT);
}

static void every_damage_is_seen(void **state) {
    (void)state;
    char path[PATH], hurt[PATH];
    in_scratch(path, "file.tkr");
    in_scratch(hurt, "hurt.bin");
    write_three(path);
    unsigned char *data = NULL;
    const size_t size = slurp(&data, path), head = 4096;
    const size_t table = size - 32 - 3 * 32;
    for (size_t i = 0; i < size; i++) { /* each byte of head, table and tail, in every bit */
        if (i == head) i = table;
        const unsigned char was = data[i];
        data[i] = (unsigned char)(was ^ (1u << i % 8));
        spill(hurt, data, size);
        if (try_open(hurt, IDENTITY) != TKR_FORMAT) fail_msg("a flipped bit of byte %zu isn't seen", i);
        data[i] = was;
    }
    for (size_t n = 0; n < size; n += n < table ? 61 : 1) { /* cut anywhere */
        spill(hurt, data, n);
        if (try_open(hurt, IDENTITY) != TKR_FORMAT) fail_msg("cut to %zu bytes isn't seen", n);
    }
    spill(hurt, data, size);
    assert_int_equal(try_open(hurt, IDENTITY), TKR_OK);
    data[head + 128 + 4999] ^= 1; /* the last byte of the last block: for doctor to find */
    spill(hurt, data, size);
    tkr_cache_file *file = NULL;
    assert_int_equal(tkr_cache_file_open(&file, hurt, IDENTITY, NULL), TKR_OK);
    assert_int_equal(tkr_cache_file_verify(file, NULL), TKR_FORMAT);
    tkr_cache_file_close(&file);
    free(data);
}

static void one_writer_at_a_time(void **state) {
    (void)state;
    char path[PATH], leftover[PATH];
    in_scratch(path, "file.tkr");
    in_scratch(leftover, "file.tkr.tmp");
    tkr_cache_writer *first = NULL, *second = NULL;
    assert_int_equal(tkr_cache_writer_open(&first, path, IDENTITY, NULL), TKR_OK);
    assert_int_equal(tkr_cache_writer_open(&second, path, IDENTITY, NULL), TKR_BUSY);
    assert_null(second);
    assert_int_equal(tkr_cache_writer_finish(&first, false, NULL), TKR_OK);
    assert_int_equal(count_files(scratch, "tkr") + count_files(scratch, ".tmp"), 0);
    spill(leftover, "a writer that crashed", 21);
    write_three(path);
    assert_int_equal(try_open(path, IDENTITY), TKR_OK);
}

/* ---- a model ---- */

static char model_folder[PATH], cache_folder[PATH];

typedef struct loaded {
    size_t hits, misses, n;
    bool mapped;
    float row[512];
    tkr_status status;
} loaded;

typedef struct how {
    const char *cpu, *cache;
    tkr_quantization quantization;
    bool off;
    uint64_t limit, least;
} how;

/* Loads, embeds one text, and says what the cache did. */
static loaded load(const how *h) {
    loaded out = {0};
    tkr_model *model = NULL;
    tkr_session *session = NULL;
    tkr_result *result = NULL;
    tkr_model_options options;
    const tkr_input input = {.text = "a short text", .n_text = 12};
    tkr_error error = {0};
    tkr_model_options_init(&options);
    options.threads = 1;
    options.offline = 1;
    options.cpu = h->cpu;
    options.quantization = h->quantization;
    options.weight_cache_dir = h->cache ? h->cache : cache_folder;
    options.weight_cache_bytes = h->limit;
    options.weight_cache_least = h->least ? h->least : 1;
    options.no_weight_cache = h->off;
    out.status = tkr_model_load(&model, model_folder, &options, &error);
    if (out.status == TKR_OK) out.status = tkr_session_create(&session, model, &error);
    if (out.status == TKR_OK) out.status = tkr_embed(&result, session, &input, 1, NULL, &error);
    if (out.status == TKR_OK) {
        const tkr_result_item item = tkr_result_get(result, 0);
        out.status = item.status;
        out.n = tkr_result_dimensions(result);
        assert_true(out.n > 0 && out.n <= 512);
        if (item.status == TKR_OK) memcpy(out.row, item.rows, out.n * sizeof *out.row);
        out.hits = tkr_weight_cache_hits(model->cache);
        out.misses = tkr_weight_cache_misses(model->cache);
        out.mapped = tkr_weight_cache_mapped_bytes(model->cache) > 0;
        if (out.mapped) assert_int_equal(tkr_weight_cache_verify(model->cache, NULL), TKR_OK);
    }
    tkr_result_free(&result);
    tkr_session_free(&session);
    tkr_model_free(&model);
    return out;
}

static void assert_same(const loaded *a, const loaded *b) {
    assert_int_equal(a->status, TKR_OK);
    assert_int_equal(b->status, TKR_OK);
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->row, b->row, a->n * sizeof *a->row);
}

static const how plain = {0};

static int make_model(void **state) {
    if (make_scratch(state) != 0) return -1;
    char command[4 * PATH];
    in_scratch(model_folder, "model");
    in_scratch(cache_folder, "cache");
    snprintf(command, sizeof command, "cp -r '%s/golden/bert/bert-dense/model' '%s' && chmod -R u+w '%s'", TKR_TEST_DIR,
             model_folder, model_folder);
    return system(command);
}

static void second_start_packs_nothing(void **state) {
    (void)state;
    static const tkr_quantization levels[] = {TKR_QUANTIZATION_NONE, TKR_QUANTIZATION_Q8, TKR_QUANTIZATION_Q4};
    for (size_t i = 0; i < 3; i++) {
        const how h = {.quantization = levels[i]}, off = {.quantization = levels[i], .off = true};
        const loaded without = load(&off), first = load(&h), second = load(&h);
        assert_same(&without, &first);
        assert_same(&without, &second);
        assert_int_equal(without.hits + without.misses, 0);
        assert_true(first.misses > 0 && first.hits == 0 && !first.mapped);
        assert_true(second.hits == first.misses && second.misses == 0 && second.mapped);
    }
    const how generic = {.cpu = "generic"};
    const loaded other = load(&generic), again = load(&generic), same = load(&plain);
    assert_same(&other, &again);
    if (strcmp(getenv("TKR_CPU") ? getenv("TKR_CPU") : "", "generic") != 0) assert_int_equal(other.hits, 0);
    assert_true(again.mapped && same.mapped);
    struct stat info;
    assert_int_equal(stat(cache_folder, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    assert_int_equal(count_files(cache_folder, ".tmp"), 0);
}

static void changed_files_are_packed_again(void **state) {
    (void)state;
    char weights[PATH + 32], config[PATH + 32];
    snprintf(weights, sizeof weights, "%s/model.safetensors", model_folder);
    snprintf(config, sizeof config, "%s/config.json", model_folder);
    const loaded first = load(&plain);
    assert_true(load(&plain).mapped);
    unsigned char *data = NULL;
    size_t size = slurp(&data, weights);
    data[size - 2] ^= 0x10; /* another weight, in place: the same inode */
    FILE *f = fopen(weights, "r+b");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    fclose(f);
    free(data);
    const size_t before = count_files(cache_folder, ".tkr");
    const loaded changed = load(&plain), off = load(&(how){.off = true});
    assert_int_equal(changed.hits, 0);
    assert_same(&changed, &off);
    assert_memory_not_equal(first.row, changed.row, first.n * sizeof *first.row);
    assert_int_equal(count_files(cache_folder, ".tkr"), before); /* the stale file was written over */
    assert_true(load(&plain).mapped);
    size = slurp(&data, config);
    data = realloc(data, size + 1);
    assert_non_null(data);
    data[size] = '\n';
    spill(config, data, size + 1);
    free(data);
    assert_int_equal(load(&plain).hits, 0);
    assert_true(load(&plain).mapped);
}

static void find_weights(char path[PATH]) {
    DIR *dir = opendir(cache_folder);
    assert_non_null(dir);
    path[0] = '\0';
    for (const struct dirent *e = readdir(dir); e; e = readdir(dir))
        if (strncmp(e->d_name, "weights-", 8) == 0) snprintf(path, PATH, "%.300s/%.250s", cache_folder, e->d_name);
    closedir(dir);
    assert_true(path[0] != '\0');
}

/* Replaces the weights' file by one of the same identity that holds one layer of `bytes`, or none (0). */
static void write_wrong(const char *path, size_t bytes) {
    static const char zeros[128];
    unsigned char *data = NULL;
    (void)slurp(&data, path);
    uint32_t n = 0;
    memcpy(&n, data + 12, sizeof n); /* bytes of the identity */
    char *identity = strndup((const char *)data + 16, n);
    tkr_cache_writer *writer = NULL;
    assert_int_equal(tkr_cache_writer_open(&writer, path, identity, NULL), TKR_OK);
    if (bytes) tkr_cache_writer_add(writer, "encoder.layer.0.attention.self.query.weight@0", zeros, bytes);
    assert_int_equal(tkr_cache_writer_finish(&writer, true, NULL), TKR_OK);
    free(identity);
    free(data);
}

static void wrong_files_are_made_again(void **state) {
    (void)state;
    char path[PATH];
    const loaded right = load(&(how){.off = true});
    (void)load(&plain);
    assert_int_equal(count_files(cache_folder, ".tkr"), 2); /* weights and tokenizer */
    static const size_t bytes[] = {0, 128};
    for (size_t i = 0; i < 2; i++) {
        (void)load(&plain);
        find_weights(path);
        write_wrong(path, bytes[i]);
        const loaded wrong = load(&plain);
        assert_same(&wrong, &right);
        const loaded next = load(&plain), last = load(&plain);
        assert_same(&next, &right);
        assert_true(last.mapped && last.misses == 0);
    }
    unsigned char *data = NULL;
    size_t size = slurp(&data, path);
    data[70] ^= 1;
    spill(path, data, size);
    free(data);
    const loaded hurt = load(&plain);
    assert_int_equal(hurt.hits, 0);
    assert_same(&hurt, &right);
    assert_true(load(&plain).mapped);
}

static void bad_places_cost_nothing_but_time(void **state) {
    (void)state;
    char open_folder[PATH], below_file[PATH], file[PATH];
    const loaded right = load(&(how){.off = true});
    in_scratch(open_folder, "open");
    in_scratch(file, "file");
    in_scratch(below_file, "file/cache");
    spill(file, "x", 1);
    assert_int_equal(mkdir(open_folder, 0755), 0);
    const char *const places[] = {open_folder, file, below_file, "/proc/no/such/place"};
    for (size_t i = 0; i < 4; i++) {
        const loaded here = load(&(how){.cache = places[i]});
        assert_same(&here, &right);
        assert_int_equal(here.hits + here.misses, 0);
    }
    assert_int_equal(count_files(open_folder, ""), 2); /* . and .. */
    const loaded small = load(&(how){.least = (uint64_t)64 << 20}), large = load(&(how){.limit = 1000});
    assert_same(&small, &right);
    assert_same(&large, &right);
    assert_int_equal(small.misses + large.misses, 0);
}

static void least_recently_used_goes(void **state) {
    (void)state;
    const how generic = {.cpu = "generic", .quantization = TKR_QUANTIZATION_NONE},
              none = {.quantization = TKR_QUANTIZATION_NONE}, q4 = {.quantization = TKR_QUANTIZATION_Q4};
    char path[PATH];
    (void)load(&generic);
    (void)load(&none);
    tkr_sleep(0.05);                    /* file times move in ticks of some milliseconds, and these loads take less */
    assert_true(load(&generic).mapped); /* so the other one is older */
    uint64_t total = 0;
    DIR *dir = opendir(cache_folder);
    assert_non_null(dir);
    for (const struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        tkr_file_id id = {0};
        snprintf(path, PATH, "%.300s/%.250s", cache_folder, e->d_name);
        if (tkr_fs_id(&id, path, NULL) == TKR_OK) total += id.size;
    }
    closedir(dir);
    in_scratch(path, "cache/old.tkr.tmp");
    spill(path, "left behind", 11);
    (void)load(&(how){.quantization = q4.quantization, .limit = total + 1000}); /* smaller than each of the two */
    assert_int_equal(count_files(cache_folder, ".tmp"), 0);
    assert_true(load(&generic).mapped);
    assert_true(load(&q4).mapped);
    assert_false(load(&none).mapped);
}

static void two_processes_at_once(void **state) {
    (void)state;
    const loaded right = load(&(how){.off = true});
    for (size_t round = 0; round < 5; round++) {
        pid_t children[3];
        char command[2 * PATH];
        snprintf(command, sizeof command, "rm -rf '%s'", cache_folder);
        assert_int_equal(system(command), 0);
        for (size_t i = 0; i < 3; i++) {
            children[i] = fork();
            assert_true(children[i] >= 0);
            if (children[i] == 0) {
                const loaded mine = load(&plain);
                _exit(mine.status == TKR_OK && memcmp(mine.row, right.row, right.n * sizeof *right.row) == 0 ? 0 : 1);
            }
        }
        for (size_t i = 0; i < 3; i++) {
            int result = 1;
            assert_int_equal(waitpid(children[i], &result, 0), children[i]);
            assert_int_equal(result, 0);
        }
        assert_int_equal(count_files(cache_folder, ".tmp"), 0);
        const loaded after = load(&plain);
        assert_same(&after, &right);
        assert_true(after.mapped && after.misses == 0);
    }
}

/* ---- faults ---- */

typedef struct fault {
    char kind;
    size_t at;
    atomic_size_t seen; /* the cache is written by a thread of its own */
} fault;

static bool allow(void *user, char kind) {
    fault *f = user;
    return kind != f->kind || atomic_fetch_add(&f->seen, 1) != f->at;
}

/* Fails each operation of this kind in turn, of a start that writes the cache and of one that reads it. */
static void sweep(char kind, bool may_fail) {
    const loaded right = load(&(how){.off = true});
    char command[2 * PATH];
    size_t failed = 0;
    snprintf(command, sizeof command, "rm -rf '%s'", cache_folder);
    for (int warm = 0; warm < 2; warm++) {
        for (size_t n = 0;; n++) {
            if (!warm) assert_int_equal(system(command), 0);
            fault f = {.kind = kind, .at = n};
            tkr_seam_set(allow, &f);
            const loaded now = load(&plain);
            tkr_seam_set(NULL, NULL);
            if (now.status == TKR_OK)
                assert_same(&now, &right);
            else if (!may_fail)
                fail_msg("failing operation %zu of kind '%c' fails the load", n, kind);
            failed++;
            const loaded after = load(&plain);
            assert_same(&after, &right);
            if (count_files(cache_folder, ".tmp") > 0) fail_msg("operation %zu leaves a file for good", n);
            if (atomic_load(&f.seen) <= n) break;
        }
    }
    print_message("%zu operations of kind '%c' failed in turn\n", failed, kind);
    assert_true(failed > 10);
}

static void full_disk(void **state) {
    (void)state;
    sweep('w', false);
}
static void unreadable_files(void **state) {
    (void)state;
    sweep('r', true);
}
static void no_memory(void **state) {
    (void)state;
    sweep('a', true);
}

#define ON_FILE(fn) cmocka_unit_test_setup_teardown(fn, make_scratch, remove_scratch)
#define ON_MODEL(fn) cmocka_unit_test_setup_teardown(fn, make_model, remove_scratch)

int main(void) {
    const struct CMUnitTest tests[] = {ON_FILE(blocks_come_back),
                                       ON_FILE(every_damage_is_seen),
                                       ON_FILE(one_writer_at_a_time),
                                       ON_MODEL(second_start_packs_nothing),
                                       ON_MODEL(changed_files_are_packed_again),
                                       ON_MODEL(wrong_files_are_made_again),
                                       ON_MODEL(bad_places_cost_nothing_but_time),
                                       ON_MODEL(least_recently_used_goes),
                                       ON_MODEL(two_processes_at_once),
                                       ON_MODEL(full_disk),
                                       ON_MODEL(unreadable_files),
                                       ON_MODEL(no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
