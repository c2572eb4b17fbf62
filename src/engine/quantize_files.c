/* SPDX-License-Identifier: Apache-2.0 */
/* engine/quantize_files: everything of a quantised checkpoint but its weights. A new folder appears by one rename; when
 * it replaces another, config.json goes first and comes last, so that what is there is never half of each. */
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/fsops.h"
#include "core/json.h"
#include "engine/quantize.h"

#define MAX_DEPTH 4

static tkr_status no_memory(tkr_error *error) { return TKR_FAIL(error, NO_MEMORY, "no memory to quantize a model"); }

static bool ends_with(const char *name, const char *end) {
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

static bool is_weights(const char *name) {
    return ends_with(name, ".safetensors") || ends_with(name, ".safetensors.index.json") ||
           strncmp(name, "pytorch_model", 13) == 0 || ends_with(name, ".gguf");
}

/* ---- the target ---- */

static bool same_file(const char *folder_a, const char *folder_b, const char *name) {
    char *a = tkr_path_join(folder_a, name), *b = tkr_path_join(folder_b, name);
    tkr_file_id first, second;
    bool same = a && b && tkr_fs_id(&first, a, NULL) == TKR_OK && tkr_fs_id(&second, b, NULL) == TKR_OK &&
                first.device == second.device && first.inode == second.inode;
    tkr_free(a);
    tkr_free(b);
    return same;
}

static tkr_status count_entry(void *user, const char *name, bool is_dir) {
    (void)name;
    (void)is_dir;
    ++*(size_t *)user;
    return TKR_OK;
}

static tkr_status check_output(bool *replace, const char *source, const char *output, bool force, tkr_error *error) {
    size_t n = 0;
    *replace = false;
    if (!tkr_path_exists(output)) return TKR_OK;
    if (!tkr_path_is_dir(output)) return TKR_FAIL(error, INVALID_ARGUMENT, "%s: is a file, expected a folder", output);
    if (same_file(source, output, "config.json"))
        return TKR_FAIL(error, INVALID_ARGUMENT, "%s: is the folder of the model itself; name another one", output);
    tkr_status status = tkr_dir_each(output, count_entry, &n, error);
    if (status != TKR_OK || n == 0) return status;
    char *config = tkr_path_join(output, "config.json");
    if (!config) return no_memory(error);
    bool checkpoint = tkr_path_exists(config);
    tkr_free(config);
    if (!force)
        return TKR_FAIL(error, INVALID_ARGUMENT, "%s: is not empty; name a new folder, or replace it with --force",
                        output);
    if (!checkpoint)
        return TKR_FAIL(error, INVALID_ARGUMENT, "%s: holds no checkpoint that could be replaced; name another folder",
                        output);
    *replace = true;
    return TKR_OK;
}

tkr_status tkr_target_open(tkr_target *target, const char *source, const char *output, bool force, tkr_error *error) {
    size_t n = strlen(output);
    while (n > 1 && output[n - 1] == '/') n--;
    target->path = tkr_strndup(output, n);
    tkr_buf inner = {0};
    tkr_status status = target->path ? TKR_OK : no_memory(error);
    if (status == TKR_OK) status = check_output(&target->replace, source, target->path, force, error);
    if (status != TKR_OK) return status;
    /* The time tells runs apart. */
    if (!tkr_buf_printf(&inner, "%s.partial-%llx", target->path, (unsigned long long)(tkr_now() * 1e6))) {
        tkr_buf_free(&inner);
        return no_memory(error);
    }
    status = tkr_mkdirs(inner.data, error);
    if (status == TKR_OK)
        target->inner = inner.data;
    else
        tkr_buf_free(&inner);
    return status;
}

void tkr_target_close(tkr_target *target) {
    if (target->inner) (void)tkr_fs_remove_tree(target->inner, NULL);
    tkr_free(target->inner);
    tkr_free(target->path);
    memset(target, 0, sizeof *target);
}

/* ---- replacing ---- */

typedef struct move {
    const char *from, *to;
    tkr_error *error;
} move;

static tkr_status drop_weights(void *user, const char *name, bool is_dir) {
    const move *m = user;
    if (is_dir || !is_weights(name)) return TKR_OK;
    char *path = tkr_path_join(m->to, name);
    tkr_status status = path ? tkr_fs_remove(path, m->error) : no_memory(m->error);
    tkr_free(path);
    return status;
}

static tkr_status move_entry(const move *m, const char *name) {
    char *from = tkr_path_join(m->from, name), *to = tkr_path_join(m->to, name);
    tkr_status status = from && to ? TKR_OK : no_memory(m->error);
    if (status == TKR_OK && tkr_path_is_dir(from)) status = tkr_fs_remove_tree(to, m->error);
    if (status == TKR_OK) status = tkr_fs_rename(from, to, m->error);
    tkr_free(from);
    tkr_free(to);
    return status;
}

static tkr_status move_all_but_config(void *user, const char *name, bool is_dir) {
    (void)is_dir;
    return strcmp(name, "config.json") == 0 ? TKR_OK : move_entry(user, name);
}

static tkr_status replace(const tkr_target *target, tkr_error *error) {
    move m = {target->inner, target->path, error};
    char *config = tkr_path_join(target->path, "config.json");
    tkr_status status = config ? tkr_fs_remove(config, error) : no_memory(error);
    if (status == TKR_OK) status = tkr_dir_each(target->path, drop_weights, &m, error);
    if (status == TKR_OK) status = tkr_dir_each(target->inner, move_all_but_config, &m, error);
    if (status == TKR_OK) status = move_entry(&m, "config.json");
    tkr_free(config);
    return status;
}

tkr_status tkr_target_finish(tkr_target *target, tkr_error *error) {
    if (target->replace) return replace(target, error);
    if (tkr_path_exists(target->path)) { /* an empty folder */
        tkr_status status = tkr_fs_remove_tree(target->path, error);
        if (status != TKR_OK) return status;
    }
    return tkr_fs_rename(target->inner, target->path, error);
}

/* ---- copies ---- */

typedef struct copy {
    const char *from, *to;
    unsigned depth;
    tkr_error *error;
} copy;

typedef struct sink {
    tkr_out *out;
    tkr_error *error;
} sink;

static tkr_status put_chunk(void *user, const void *data, size_t size) {
    const sink *s = user;
    return tkr_out_write(s->out, data, size, s->error);
}

static tkr_status copy_file(const char *from, const char *to, tkr_error *error) {
    sink s = {NULL, error};
    tkr_status status = tkr_out_open(&s.out, to, error);
    if (status != TKR_OK) return status;
    status = tkr_fs_each_chunk(from, put_chunk, &s, error);
    tkr_status closed = tkr_out_close(&s.out, status == TKR_OK ? error : NULL);
    return status != TKR_OK ? status : closed;
}

static tkr_status copy_entry(void *user, const char *name, bool is_dir);

static tkr_status copy_folder(const char *from, const char *to, unsigned depth, tkr_error *error) {
    copy c = {from, to, depth, error};
    tkr_status status = tkr_mkdirs(to, error);
    return status == TKR_OK ? tkr_dir_each(from, copy_entry, &c, error) : status;
}

static tkr_status copy_entry(void *user, const char *name, bool is_dir) {
    const copy *c = user;
    char *from = tkr_path_join(c->from, name), *to = tkr_path_join(c->to, name);
    tkr_status status = from && to ? TKR_OK : no_memory(c->error);
    if (status == TKR_OK && !is_dir)
        status = copy_file(from, to, c->error);
    else if (status == TKR_OK && c->depth < MAX_DEPTH)
        status = copy_folder(from, to, c->depth + 1, c->error);
    tkr_free(from);
    tkr_free(to);
    return status;
}

/* Folders of modules are called "1_Pooling", "2_Dense", ... */
static bool is_module_folder(const char *name) {
    size_t digits = strspn(name, "0123456789");
    return digits > 0 && name[digits] == '_';
}

static bool is_wanted(const char *name, bool is_dir) {
    static const char *const ends[] = {".json", ".txt", ".model", ".tiktoken", ".jinja", ".md"};
    static const char *const starts[] = {"LICENSE", "LICENCE", "NOTICE"};
    if (is_dir) return is_module_folder(name);
    if (name[0] == '.' || is_weights(name) || strcmp(name, "config.json") == 0) return false;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends_with(name, ends[i])) return true;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (strncmp(name, starts[i], strlen(starts[i])) == 0) return true;
    return false;
}

static tkr_status copy_wanted(void *user, const char *name, bool is_dir) {
    return is_wanted(name, is_dir) ? copy_entry(user, name, is_dir) : TKR_OK;
}

tkr_status tkr_target_copy_files(const tkr_target *target, const char *source, tkr_error *error) {
    copy c = {source, target->inner, 0, error};
    return tkr_dir_each(source, copy_wanted, &c, error);
}

static int append_text(const char *data, size_t size, void *user) { return tkr_buf_append(user, data, size) ? 0 : -1; }

tkr_status tkr_target_write_config(const tkr_target *target, const char *source, unsigned bits, size_t group,
                                   tkr_error *error) {
    json_t *json = NULL;
    tkr_buf text = {0};
    char *from = tkr_path_join(source, "config.json"), *to = tkr_path_join(target->inner, "config.json");
    tkr_status status = from && to ? TKR_OK : no_memory(error);
    if (status == TKR_OK) status = tkr_json_file(&json, from, error);
    if (status == TKR_OK) {
        json_t *settings =
            json_pack("{s:I, s:i, s:s}", "group_size", (json_int_t)group, "bits", (int)bits, "mode", "affine");
        if (json_object_set_new(json, "quantization", settings) != 0 ||
            json_dump_callback(json, append_text, &text, JSON_INDENT(2)) != 0 || !tkr_buf_putc(&text, '\n'))
            status = no_memory(error);
    }
    if (status == TKR_OK) status = tkr_file_write_atomic(to, text.data, text.size, error);
    json_decref(json);
    tkr_buf_free(&text);
    tkr_free(from);
    tkr_free(to);
    return status;
}
