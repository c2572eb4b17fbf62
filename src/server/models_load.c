/* SPDX-License-Identifier: Apache-2.0 */
/* server/models_load: loads and frees models within one memory budget for all of them. Refuses what doesn't fit, and
 * says who uses what. */
#include <stdio.h>
#include <string.h>

#include "core/cpu.h"
#include "core/file.h"
#include "server/models_internal.h"

#define MEASURE_TEXT "the quick brown fox jumps over the lazy dog and runs on through the wood "
#define MEASURE_TEXTS 32
#define MEASURE_SECONDS 0.5 /* that the longer measurement may take */

/* ---- options ---- */

/* The index of a word in "a|b|c"; -1 when it isn't there. */
static int word_index(const char *words, const char *word) {
    const size_t n = strlen(word);
    for (int i = 0;; i++) {
        const size_t length = strcspn(words, "|");
        if (length == n && memcmp(words, word, n) == 0) return i;
        if (words[length] == '\0') return -1;
        words += length + 1;
    }
}

/* Of the settings, for a new entry. */
static const tkr_setting_value *common(const tkr_models *models, tkr_setting_id id) {
    return models->first ? tkr_setting_of_others(models->settings, id) : tkr_setting_of(models->settings, id);
}

/* A CHOICE: of the entry where it says one, else of the settings. */
static tkr_status choose(int *out, const tkr_models *models, tkr_setting_id id, const char *own, tkr_error *error) {
    const tkr_setting *setting = &tkr_settings_table[id];
    *out = own ? word_index(setting->argument, own) : (int)common(models, id)->number;
    if (*out >= 0) return TKR_OK;
    return TKR_FAIL(error, INVALID_ARGUMENT, "%s is \"%s\"; known: %s", setting->key, own, setting->argument);
}

/* A copy of a text in the entry's arena; NULL stays NULL. */
static bool copy(const char **out, tkr_served_model *served, const char *text) {
    *out = text ? tkr_arena_strndup(&served->arena, text, strlen(text)) : NULL;
    return *out || !text;
}

static bool copy_setting(const char **out, tkr_served_model *served, const tkr_models *models, tkr_setting_id id,
                         const char *own) {
    const char *text = own ? own : common(models, id)->text;
    return copy(out, served, text && *text ? text : NULL);
}

static bool copy_hosts(tkr_served_model *served, const tkr_setting_value *hosts) {
    const char **list = tkr_arena_alloc(&served->arena, (hosts->n_list + 1) * sizeof *list);
    if (!list) return false;
    for (size_t i = 0; i < hosts->n_list; i++)
        if (!copy(&list[i], served, hosts->list[i])) return false;
    served->options.allow_hosts = list;
    served->options.n_allow_hosts = hosts->n_list;
    return true;
}

static bool copy_texts(tkr_served_model *served, const tkr_models *models, const tkr_model_entry *entry) {
    const tkr_settings *s = models->settings;
    const bool first = !models->first; /* the alias of the settings is the first one's */
    const char *alias = entry->alias ? entry->alias : first ? tkr_setting_of(s, TKR_SET_MODEL_ALIAS)->text : NULL;
    tkr_model_options *o = &served->options;
    return copy_setting(&served->reference, served, models, TKR_SET_MODEL, entry->name) &&
           copy(&served->name, served, alias ? alias : served->reference) &&
           copy_setting(&o->pooling, served, models, TKR_SET_POOLING, entry->pooling) &&
           copy_setting(&o->device, served, models, TKR_SET_DEVICE, entry->device) &&
           copy_setting(&o->cache_dir, served, models, TKR_SET_CACHE_DIR, NULL) &&
           copy_setting(&o->weight_cache_dir, served, models, TKR_SET_WEIGHT_CACHE, NULL) &&
           copy_setting(&o->cpu, served, models, TKR_SET_CPU, NULL) &&
           copy_hosts(served, tkr_setting_of(s, TKR_SET_ALLOW_URL));
}

/* Bytes of a download came, or a second without any is over: whether it is to end. */
static int on_download(void *user, const char *file, uint64_t done, uint64_t total) {
    const tkr_models *models = user;
    (void)file;
    (void)done;
    (void)total;
    return atomic_load(&models->leaving);
}

tkr_status tkr_model_configure(tkr_served_model *served, tkr_models *models, const tkr_model_entry *entry,
                               tkr_error *error) {
    const tkr_settings *s = models->settings;
    tkr_model_options *o = &served->options;
    int quantization = 0, precision = 0;
    tkr_model_options_init(o);
    tkr_status status = choose(&quantization, models, TKR_SET_QUANTIZATION, entry->quantization, error);
    if (status == TKR_OK) status = choose(&precision, models, TKR_SET_PRECISION, entry->precision, error);
    if (status != TKR_OK) return status;
    if (!copy_texts(served, models, entry)) return TKR_FAIL(error, NO_MEMORY, "no memory for a model's settings");
    const uint64_t side = tkr_setting_of(s, TKR_SET_IMAGE_SIZE)->number;
    o->quantization = (tkr_quantization)quantization;
    o->precision = (tkr_precision)precision;
    o->threads = (unsigned)tkr_setting_of(s, TKR_SET_THREADS)->number;
    o->batch_tokens = (size_t)tkr_setting_of(s, TKR_SET_BATCH_TOKENS)->number;
    o->max_tokens = (size_t)(entry->max_tokens ? entry->max_tokens : common(models, TKR_SET_MAX_TEXT_LENGTH)->number);
    o->max_pixels = (size_t)(side * side);
    o->max_image_pixels = (size_t)tkr_setting_of(s, TKR_SET_MAX_IMAGE_PIXELS)->number;
    o->trust_remote_code = tkr_setting_on(s, TKR_SET_TRUST_REMOTE_CODE);
    o->offline = tkr_setting_on(s, TKR_SET_OFFLINE);
    o->no_weight_cache = tkr_setting_on(s, TKR_SET_NO_WEIGHT_CACHE);
    o->no_jail = tkr_setting_on(s, TKR_SET_NO_JAIL);
    o->download = on_download;
    o->download_user = models;
    o->log = models->log.fn;
    o->log_user = models->log.user;
    served->lazy = entry->lazy;
    return TKR_OK;
}

/* ---- memory ---- */

static double mib(uint64_t bytes) { return (double)bytes / (1 << 20); }

/* What a new model may take. */
typedef struct room {
    bool on_device; /* of a GPU's memory, which others use already */
    uint64_t budget, left;
    char users[256]; /* "minilm (90 MiB), ..." */
} room;

/* Adds up what is loaded, and what is not freed yet. Under the lock. */
static void find_room(room *r, const tkr_models *models, const tkr_served_model *wanted) {
    const bool cpu_only = wanted->options.device && strcmp(wanted->options.device, "cpu") == 0;
    tkr_device_memory device = {0};
    *r = (room){.budget = models->max_memory};
    for (const tkr_served_model *m = models->first; m && !cpu_only; m = m->next) {
        if (!m->instance || !m->instance->on_device) continue;
        r->on_device = true;
        tkr_model_get_device_memory(&device, m->instance->model);
    }
    tkr_machine machine;
    tkr_machine_read(&machine);
    if (r->budget == 0) r->budget = (r->on_device ? device.total : machine.memory) / 4 * 3;
    uint64_t used = 0;
    size_t n = 0;
    for (const tkr_served_model *m = models->first; m; m = m->next) {
        if (!m->instance || m->instance->on_device != r->on_device) continue;
        used += m->instance->bytes;
        if (n < sizeof r->users)
            n += (size_t)snprintf(r->users + n, sizeof r->users - n, "%s%s (%.0f MiB)", n ? ", " : "", m->name,
                                  mib(m->instance->bytes));
    }
    for (const tkr_model_instance *i = models->retired; i; i = i->next)
        if (i->on_device == r->on_device) used += i->bytes;
    r->left = used < r->budget ? r->budget - used : 0;
}

static tkr_status no_room(const room *r, const char *reason, tkr_error *error) {
    return TKR_FAIL(error, LIMIT, "%s; of %.0f MiB for all models %.0f are left beside %s", reason, mib(r->budget),
                    mib(r->left), r->users);
}

/* ---- loading ---- */

static void free_instance(tkr_model_instance *instance) {
    tkr_session_free(&instance->sessions[0]);
    tkr_session_free(&instance->sessions[1]);
    tkr_model_free(&instance->model);
    tkr_free(instance);
}

/* Two sessions where both have room for their workspace, else one. */
static tkr_status open_sessions(tkr_model_instance *instance, const room *r, tkr_error *error) {
    const tkr_model_info *info = tkr_model_get_info(instance->model);
    instance->on_device = strncmp(info->device, "cpu", 3) != 0;
    instance->bytes = info->weights_bytes + info->workspace_bytes;
    tkr_status status = tkr_session_create(&instance->sessions[0], instance->model, error);
    if (status != TKR_OK || instance->bytes + info->workspace_bytes > r->left) return status;
    instance->bytes += info->workspace_bytes;
    return tkr_session_create(&instance->sessions[1], instance->model, error);
}

/* Seconds that n texts took; 0 when they can't be computed. */
static double time_texts(size_t *n_tokens, tkr_session *session, const tkr_input *inputs, size_t n) {
    tkr_result *result = NULL;
    const double begin = tkr_now();
    *n_tokens = 0;
    if (tkr_embed(&result, session, inputs, n, NULL, NULL) != TKR_OK) return 0;
    const double seconds = tkr_now() - begin;
    for (size_t i = 0; i < n; i++) *n_tokens += tkr_result_get(result, i).n_tokens;
    tkr_result_free(&result);
    return seconds;
}

/* What the scheduler starts with: the speed of one text, or where that is fast of several. */
static double measure(tkr_session *session) {
    tkr_input inputs[MEASURE_TEXTS];
    size_t n_tokens = 0;
    for (size_t i = 0; i < MEASURE_TEXTS; i++)
        inputs[i] = (tkr_input){.text = MEASURE_TEXT, .n_text = sizeof MEASURE_TEXT - 1};
    double seconds = time_texts(&n_tokens, session, inputs, 1);
    if (seconds > 0 && seconds * MEASURE_TEXTS < MEASURE_SECONDS)
        seconds = time_texts(&n_tokens, session, inputs, MEASURE_TEXTS);
    return seconds > 0 ? (double)n_tokens / seconds : 0;
}

/* Requests that name no prompt would all be refused by a model that lacks the default one. */
static tkr_status check_prompt(const tkr_model_info *info, const tkr_settings *settings, const char *name,
                               tkr_error *error) {
    const char *wanted = tkr_setting_of(settings, TKR_SET_DEFAULT_PROMPT)->text;
    char known[256] = "";
    size_t n = 0;
    if (!wanted || *wanted == '\0') return TKR_OK;
    for (size_t i = 0; i < info->n_prompts; i++) {
        if (strcmp(info->prompts[i].name, wanted) == 0) return TKR_OK;
        if (n < sizeof known)
            n += (size_t)snprintf(known + n, sizeof known - n, "%s\"%s\"", n ? ", " : "", info->prompts[i].name);
    }
    return TKR_FAIL(error, INVALID_ARGUMENT, "%s: the model %.100s has no prompt \"%.60s\"; it has %s",
                    tkr_settings_table[TKR_SET_DEFAULT_PROMPT].key, name, wanted, n ? known : "none");
}

static tkr_status check_leaving(const tkr_models *models, tkr_error *error) {
    return atomic_load(&models->leaving) ? TKR_FAIL(error, CANCELLED, "not loaded: the server is shutting down")
                                         : TKR_OK;
}

static tkr_status load(tkr_model_instance *instance, tkr_served_model *served, const tkr_models *models, const room *r,
                       tkr_error *error) {
    tkr_model_options options = served->options;
    const bool alone = r->users[0] == '\0';
    options.max_memory = alone ? models->max_memory : r->left; /* alone the library's own rule holds */
    if (r->left < 1) return no_room(r, "no memory is left", error);
    tkr_status status = check_leaving(models, error);
    if (status == TKR_OK) status = tkr_model_load(&instance->model, served->reference, &options, error);
    if (status == TKR_LIMIT && !alone) {
        const tkr_error reason = *error;
        return no_room(r, reason.message, error);
    }
    if (status == TKR_OK)
        status = check_prompt(tkr_model_get_info(instance->model), models->settings, served->name, error);
    if (status == TKR_OK) status = open_sessions(instance, r, error);
    if (status == TKR_OK) status = check_leaving(models, error);
    if (status != TKR_OK || !models->warm_up) return status;
    tkr_session *const interactive = instance->sessions[1] ? instance->sessions[1] : instance->sessions[0];
    status = tkr_tools_warm_up(interactive, error);
    if (status == TKR_OK) atomic_store(&served->tokens_per_s, measure(instance->sessions[0]));
    return status;
}

/* NULL: why it could not be loaded is in *error. */
static tkr_model_instance *load_instance(tkr_served_model *served, const tkr_models *models, const room *r,
                                         tkr_error *error) {
    tkr_model_instance *instance = tkr_calloc(1, sizeof *instance);
    if (!instance) {
        TKR_FAIL(error, NO_MEMORY, "no memory to load %s", served->name);
        return NULL;
    }
    if (load(instance, served, models, r, error) == TKR_OK) return instance;
    free_instance(instance);
    return NULL;
}

static void become_ready(tkr_served_model *served, tkr_model_instance *instance, double seconds) {
    served->instance = instance;
    served->model = instance->model;
    served->info = tkr_model_get_info(instance->model);
    served->tokenizer = tkr_tools_tokenizer(instance->model);
    served->sessions[0] = instance->sessions[0];
    served->sessions[1] = instance->sessions[1] ? instance->sessions[1] : instance->sessions[0];
    served->loaded_at = tkr_wall_clock();
    served->load_s = seconds;
    atomic_store(&served->last_used, tkr_now());
    served->state = TKR_MODEL_READY;
}

/* Takes the loader's turn; nothing is being freed then. Under the lock. */
static void take_turn(tkr_models *models) {
    while (models->loading) tkr_cond_wait(&models->changed, &models->lock);
    models->loading = true;
    tkr_mutex_unlock(&models->lock);
    tkr_models_collect(models);
    tkr_mutex_lock(&models->lock);
    while (models->n_freeing > 0) tkr_cond_wait(&models->changed, &models->lock);
}

tkr_status tkr_model_wake(tkr_models *models, tkr_served_model *served, tkr_error *error) {
    room r;
    tkr_error why = {TKR_OK, NULL, ""};
    served->state = TKR_MODEL_LOADING;
    take_turn(models);
    find_room(&r, models, served);
    tkr_mutex_unlock(&models->lock);
    const double begin = tkr_now();
    tkr_model_instance *instance = load_instance(served, models, &r, &why);
    const double seconds = tkr_now() - begin;
    if (instance)
        tkr_log_line(&models->log, TKR_LOG_INFO, "model %s is ready after %.2f seconds (%.0f MiB)", served->name,
                     seconds, mib(instance->bytes));
    else
        tkr_log_line(&models->log, why.status == TKR_CANCELLED ? TKR_LOG_INFO : TKR_LOG_ERROR, "model %s: %s",
                     served->name, why.message);
    tkr_mutex_lock(&models->lock);
    if (instance) {
        become_ready(served, instance, seconds);
    } else {
        served->state = TKR_MODEL_FAILED;
        served->error = why;
        served->failed_at = tkr_now();
        if (error) *error = why;
    }
    models->loading = false;
    tkr_cond_broadcast(&models->changed);
    return why.status;
}

/* ---- freeing ---- */

void tkr_model_sleep(tkr_models *models, tkr_served_model *served) {
    tkr_model_instance *instance = served->instance;
    instance->next = models->retired;
    models->retired = instance;
    served->instance = NULL;
    served->model = NULL;
    served->info = NULL;
    served->tokenizer = NULL;
    served->sessions[0] = served->sessions[1] = NULL;
    served->unload_wanted = false;
    served->state = TKR_MODEL_ASLEEP;
}

void tkr_models_collect(void *arg) {
    tkr_models *models = arg;
    tkr_mutex_lock(&models->lock);
    tkr_model_instance *list = models->retired;
    models->retired = NULL;
    models->n_freeing++;
    tkr_mutex_unlock(&models->lock);
    for (tkr_model_instance *next = NULL; list; list = next) {
        next = list->next;
        free_instance(list);
    }
    tkr_mutex_lock(&models->lock);
    models->n_freeing--;
    tkr_cond_broadcast(&models->changed);
    tkr_mutex_unlock(&models->lock);
}
