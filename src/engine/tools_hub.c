/* SPDX-License-Identifier: Apache-2.0 */
/* engine/tools_hub: aliases, cache listing and pull for the command line and the server. */
#include <string.h>

#include "core/json.h"
#include "engine/engine.h"
#include "engine/tools.h"

typedef struct cache_walk {
    tkr_status (*fn)(void *user, const tkr_tools_cached *model);
    void *user;
} cache_walk;

/* The registry name of a folder's config.json, or its model_type copied to `type` when it isn't supported. */
static const char *folder_architecture(const char *folder, char *type, size_t size, bool *runnable) {
    const char *name = NULL;
    json_t *json = NULL;
    char *path = tkr_path_join(folder, "config.json");
    *runnable = false;
    type[0] = '\0';
    if (path && tkr_json_file(&json, path, NULL) == TKR_OK &&
        tkr_json_get_string(&name, json, "model_type", true, path, NULL) == TKR_OK) {
        const tkr_arch *arch = tkr_arch_find(name);
        const json_t *map = json_object_get(json, "auto_map");
        *runnable = arch && (!map || arch->native_adapter);
        strncpy(type, arch ? arch->name : name, size - 1);
        type[size - 1] = '\0';
    }
    json_decref(json);
    tkr_free(path);
    return type[0] ? type : NULL;
}

static tkr_status each_cached(void *user, const tkr_hub_cached *cached) {
    const cache_walk *walk = user;
    char type[64];
    tkr_tools_cached out = {.repository = cached->repository,
                            .revision = cached->revision,
                            .folder = cached->folder,
                            .bytes = cached->bytes,
                            .complete = cached->complete};
    out.architecture = folder_architecture(cached->folder, type, sizeof type, &out.runnable);
    out.runnable = out.runnable && out.complete;
    return walk->fn(walk->user, &out);
}

tkr_status tkr_tools_cache(tkr_status (*fn)(void *user, const tkr_tools_cached *model), void *user,
                           const tkr_model_options *options, tkr_error *error) {
    cache_walk walk = {fn, user};
    tkr_hub_options hub = tkr_engine_hub_options(options);
    return tkr_hub_list(each_cached, &walk, &hub, error);
}

static bool has_architecture(const char *name) {
    for (const tkr_arch *const *arch = tkr_archs(); *arch; arch++)
        if (strcmp((*arch)->name, name) == 0) return true;
    return false;
}

static tkr_status tell_demo(tkr_status (*fn)(void *user, const tkr_tools_alias *alias), void *user) {
    char *folder = NULL;
    const tkr_hub_options hub = {.offline = true};
    const bool there = tkr_hub_resolve(&folder, TKR_HUB_DEMO, &hub, NULL) == TKR_OK;
    const tkr_tools_alias demo = {TKR_HUB_DEMO, "(comes with the program: emoji)", "siglip", there, there};
    tkr_free(folder);
    return there ? fn(user, &demo) : TKR_OK;
}

tkr_status tkr_tools_aliases(tkr_status (*fn)(void *user, const tkr_tools_alias *alias), void *user,
                             const tkr_model_options *options, tkr_error *error) {
    size_t count = 0;
    const tkr_hub_alias *aliases = tkr_hub_aliases(&count);
    tkr_hub_options hub = tkr_engine_hub_options(options);
    hub.offline = true; /* only look */
    tkr_status status = TKR_OK;
    for (size_t i = 0; status == TKR_OK && i < count; i++) {
        char *folder = NULL;
        tkr_error ignored;
        tkr_tools_alias out = {aliases[i].alias, aliases[i].repository, aliases[i].architecture, false, false};
        out.runnable = has_architecture(aliases[i].architecture);
        tkr_status found = tkr_hub_resolve(&folder, aliases[i].repository, &hub, &ignored);
        if (found == TKR_NO_MEMORY) return TKR_FAIL(error, NO_MEMORY, "no memory to list the aliases");
        out.cached = found == TKR_OK;
        tkr_free(folder);
        status = fn(user, &out);
    }
    return status == TKR_OK ? tell_demo(fn, user) : status;
}

const char *const *tkr_tools_architectures(void) {
#define TKR_ARCH(name) #name,
    static const char *const names[] = {
#include "models/archs.def"
        NULL};
#undef TKR_ARCH
    return names;
}

tkr_status tkr_tools_pull(char **folder, const char *reference, const tkr_model_options *options, tkr_error *error) {
    tkr_hub_options hub = tkr_engine_hub_options(options);
    return tkr_hub_pull(folder, reference, &hub, error);
}

tkr_status tkr_tools_check_reference(const char *reference, const tkr_model_options *options, tkr_error *error) {
    const tkr_hub_options hub = tkr_engine_hub_options(options);
    return tkr_hub_check(reference, &hub, error);
}

void tkr_tools_free(char **text) {
    if (!text) return;
    tkr_free(*text);
    *text = NULL;
}
