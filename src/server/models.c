/* SPDX-License-Identifier: Apache-2.0 */
/* server/models: the set of models: names, holds, states. Never blocks but where it says so. */
#include "server/models.h"

#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "server/models_internal.h"

#define RETRY_SECONDS 5.0 /* after a failure, until a request loads again */

/* ---- the set ---- */

static void free_entry(tkr_served_model *served) {
    tkr_arena_free(&served->arena);
    tkr_free(served);
}

static bool has_name(const tkr_served_model *served, const char *name) {
    return strcmp(served->name, name) == 0 || strcmp(served->reference, name) == 0;
}

static tkr_served_model *find_exactly(const tkr_models *models, const char *name) {
    tkr_served_model *m = models->first;
    while (m && !has_name(m, name)) m = m->next;
    return m;
}

/* Ollama's clients add ":latest" to names without a tag. */
static tkr_served_model *find(const tkr_models *models, const char *name) {
    static const char latest[] = ":latest";
    char plain[256];
    const size_t n = strlen(name), n_latest = sizeof latest - 1;
    tkr_served_model *m = find_exactly(models, name);
    if (m || n <= n_latest || n - n_latest >= sizeof plain || strcmp(name + n - n_latest, latest) != 0) return m;
    (void)snprintf(plain, sizeof plain, "%.*s", (int)(n - n_latest), name);
    return find_exactly(models, plain);
}

/* A new entry behind the others, when its name is free; else NULL. Under the lock. */
static tkr_served_model *append(tkr_models *models, const tkr_model_entry *entry, tkr_error *error) {
    tkr_served_model *served = tkr_calloc(1, sizeof *served);
    if (!served) {
        TKR_FAIL(error, NO_MEMORY, "no memory for a model's settings");
        return NULL;
    }
    tkr_status status = tkr_model_configure(served, models, entry, error);
    /* Two entries may have one reference, loaded differently: each needs a name of its own. */
    tkr_served_model **at = &models->first;
    for (; status == TKR_OK && *at; at = &(*at)->next)
        if (has_name(*at, served->name))
            status = TKR_FAIL(error, BUSY, "a model \"%s\" is there already", served->name);
    if (status != TKR_OK) {
        free_entry(served);
        return NULL;
    }
    *at = served;
    return served;
}

static void remove_entry(tkr_models *models, tkr_served_model *served) {
    tkr_served_model **at = &models->first;
    while (*at != served) at = &(*at)->next;
    *at = served->next;
    free_entry(served);
}

tkr_status tkr_models_create(tkr_models **out, const tkr_settings *settings, const tkr_log *log, tkr_error *error) {
    tkr_models *models = tkr_calloc(1, sizeof *models);
    if (!models) return TKR_FAIL(error, NO_MEMORY, "no memory for the models");
    tkr_mutex_init(&models->lock);
    tkr_cond_init(&models->changed);
    if (log) models->log = *log;
    models->settings = settings;
    models->max_memory = tkr_setting_of(settings, TKR_SET_MAX_MEMORY)->number;
    models->warm_up = tkr_setting_on(settings, TKR_SET_WARMUP);
    models->strict_names = tkr_setting_on(settings, TKR_SET_STRICT_MODEL);
    models->idle_unload = tkr_setting_of(settings, TKR_SET_IDLE_UNLOAD)->real;
    tkr_error why;
    bool fine = append(models, &(tkr_model_entry){.name = NULL}, &why) != NULL;
    for (size_t i = 0; fine && i < settings->n_models; i++) fine = append(models, &settings->models[i], &why) != NULL;
    if (!fine) {
        tkr_models_free(&models);
        if (error) *error = why;
        return why.status;
    }
    *out = models;
    return TKR_OK;
}

void tkr_models_free(tkr_models **out) {
    if (!out || !*out) return;
    tkr_models *models = *out;
    tkr_task_wait(&models->collector);
    for (tkr_served_model *m = models->first; m; m = m->next)
        if (m->state == TKR_MODEL_READY) tkr_model_sleep(models, m);
    tkr_models_collect(models);
    while (models->first) remove_entry(models, models->first);
    tkr_cond_destroy(&models->changed);
    tkr_mutex_destroy(&models->lock);
    tkr_free(models);
    *out = NULL;
}

tkr_status tkr_models_load_all(tkr_models *models, tkr_error *error) {
    tkr_status status = TKR_OK;
    tkr_mutex_lock(&models->lock);
    tkr_served_model *m = models->first;
    for (; m && status == TKR_OK; m = m->next) {
        if (m->lazy || m->added || m->state == TKR_MODEL_READY || m->state == TKR_MODEL_LOADING) continue;
        m->holders++; /* it stays while the lock is away */
        status = tkr_model_wake(models, m, error);
        m->holders--;
    }
    tkr_mutex_unlock(&models->lock);
    return status;
}

/* ---- holds ---- */

static tkr_status unknown(const tkr_models *models, const char *name, tkr_error *error) {
    char names[256] = "";
    size_t n = 0;
    for (const tkr_served_model *m = models->first; m && n < sizeof names; m = m->next)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s\"%s\"", n ? ", " : "", m->name);
    return TKR_FAIL(error, NOT_FOUND, "there is no model \"%.200s\"; there is %s", name, names);
}

tkr_status tkr_models_hold(tkr_served_model **model, tkr_models *models, const char *name, tkr_error *error) {
    tkr_mutex_lock(&models->lock);
    const bool any = !name || *name == '\0' || (!models->strict_names && models->first && !models->first->next);
    tkr_served_model *m = any ? models->first : find(models, name);
    tkr_status status = TKR_OK;
    if (!m || (m->added && m->unload_wanted)) {
        status = unknown(models, name ? name : "", error);
    } else {
        m->holders++;
        atomic_store_explicit(&m->last_used, tkr_now(), memory_order_relaxed);
        *model = m;
        if (m->state != TKR_MODEL_READY) status = TKR_FAIL(error, BUSY, "the model %s is not loaded yet", m->name);
    }
    tkr_mutex_unlock(&models->lock);
    return status;
}

tkr_status tkr_models_wake(tkr_models *models, tkr_served_model *m, tkr_error *error) {
    tkr_status status = TKR_OK;
    tkr_mutex_lock(&models->lock);
    bool waited = false;
    while (m->state == TKR_MODEL_LOADING) {
        waited = true;
        tkr_cond_wait(&models->changed, &models->lock);
    }
    if (m->state == TKR_MODEL_FAILED && (waited || tkr_now() - m->failed_at < RETRY_SECONDS)) {
        status = m->error.status;
        if (error) *error = m->error;
    } else if (m->state != TKR_MODEL_READY) {
        status = tkr_model_wake(models, m, error);
    }
    tkr_mutex_unlock(&models->lock);
    return status;
}

/* Does what an unload is waiting for, when nobody holds the model any more. Under the lock. */
static void unload_unheld(tkr_models *models, tkr_served_model *m) {
    if (m->holders > 0 || !m->unload_wanted) return;
    if (m->state == TKR_MODEL_READY) tkr_model_sleep(models, m);
    m->unload_wanted = false;
    if (m->added) remove_entry(models, m);
}

void tkr_models_release(tkr_models *models, tkr_served_model *model) {
    tkr_mutex_lock(&models->lock);
    model->holders--;
    atomic_store_explicit(&model->last_used, tkr_now(), memory_order_relaxed);
    unload_unheld(models, model);
    tkr_mutex_unlock(&models->lock);
}

/* ---- admin ---- */

tkr_status tkr_models_add(tkr_models *models, const char *name, const char *reference, const char *quantization,
                          tkr_error *error) {
    const tkr_model_entry entry = {.name = reference, .alias = name, .quantization = quantization, .lazy = true};
    if (!reference || *reference == '\0') return TKR_FAIL(error, INVALID_ARGUMENT, "no model was named");
    tkr_error why = {TKR_OK, NULL, ""};
    tkr_mutex_lock(&models->lock);
    tkr_served_model *m = append(models, &entry, &why);
    if (m) {
        m->added = true;
        m->holders++;
        /* Others may wait for one that failed: it goes with the last of them. */
        if (tkr_model_wake(models, m, &why) != TKR_OK) m->unload_wanted = true;
        m->holders--;
        unload_unheld(models, m);
    }
    tkr_mutex_unlock(&models->lock);
    if (why.status != TKR_OK && error) *error = why;
    return why.status;
}

tkr_status tkr_models_unload(tkr_models *models, const char *name, tkr_error *error) {
    tkr_status status = TKR_OK;
    tkr_mutex_lock(&models->lock);
    tkr_served_model *m = find_exactly(models, name);
    if (!m) {
        status = unknown(models, name, error);
    } else if (m->state == TKR_MODEL_LOADING) {
        status = TKR_FAIL(error, BUSY, "the model %s is being loaded", m->name);
    } else if (m->state == TKR_MODEL_READY || m->added) {
        m->unload_wanted = true;
        unload_unheld(models, m);
    }
    tkr_mutex_unlock(&models->lock);
    if (status == TKR_OK) tkr_models_collect(models);
    return status;
}

void tkr_models_tick(tkr_models *models) {
    const double now = tkr_now();
    tkr_mutex_lock(&models->lock);
    for (tkr_served_model *m = models->first; m && models->idle_unload > 0; m = m->next)
        if (m->state == TKR_MODEL_READY && m->holders == 0 && now - atomic_load(&m->last_used) > models->idle_unload) {
            tkr_log_line(&models->log, TKR_LOG_INFO, "model %s goes to sleep: nobody used it for %.0f seconds", m->name,
                         models->idle_unload);
            tkr_model_sleep(models, m);
        }
    const bool collect = models->retired && models->n_freeing == 0;
    tkr_mutex_unlock(&models->lock);
    if (!collect) return;
    tkr_task_wait(&models->collector);
    models->collector = tkr_task_start(tkr_models_collect, models);
}

void tkr_models_leave(tkr_models *models) { atomic_store(&models->leaving, true); }

bool tkr_models_are_loading(tkr_models *models) {
    tkr_mutex_lock(&models->lock);
    const bool loading = models->loading;
    tkr_mutex_unlock(&models->lock);
    return loading;
}

void tkr_models_each(tkr_models *models, void (*fn)(void *user, const tkr_served_model *model), void *user) {
    tkr_mutex_lock(&models->lock);
    for (const tkr_served_model *m = models->first; m; m = m->next) fn(user, m);
    tkr_mutex_unlock(&models->lock);
}
