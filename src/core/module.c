/* SPDX-License-Identifier: Apache-2.0 */
/* core/module: dlopen and dlsym; the folders around this library and this program. */
#define _GNU_SOURCE
#include "core/module.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <mach-o/dyld.h>
#endif

#include "core/file.h"

struct tkr_module {
    void *handle;
    char *path;
};

/* ---- where modules lie ---- */

/* Cuts the name off; false when there is no folder in front of it. */
static bool keep_folder(char *path) {
    char *slash = strrchr(path, '/');
    if (!slash) return false;
    slash[slash == path ? 1 : 0] = '\0';
    return true;
}

/* The folder of the program that runs. */
static bool program_folder(char out[PATH_MAX]) {
#if defined(__APPLE__)
    char given[PATH_MAX];
    uint32_t size = sizeof given;
    if (_NSGetExecutablePath(given, &size) != 0 || !realpath(given, out)) return false;
#else
    const ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
    if (n <= 0) return false;
    out[n] = '\0';
#endif
    return keep_folder(out);
}

/* The folder of the file that holds this code: libtkr, or the program that it is linked into, whose name the loader may
 * only know as it was typed. */
static bool library_folder(char out[PATH_MAX]) {
    static const char here = 0;
    Dl_info info;
    if (dladdr(&here, &info) == 0 || !info.dli_fname || !strchr(info.dli_fname, '/')) return false;
    return realpath(info.dli_fname, out) != NULL && keep_folder(out);
}

/* Where things lie as seen from the folder of the program or library; NULL-terminated. */
static const char *const module_places[] = {
    "", "tkr-embed", "../lib/tkr-embed", "../tkr-embed", "../libexec/tkr-embed", "../../libexec/tkr-embed", NULL,
};
static const char *const data_places[] = {"share/tkr-embed", "../share/tkr-embed", "../../share/tkr-embed", NULL};

/* NULL without an error: not there. *denied: what kept this user from looking in the first place that did; *error has
 * it then. */
static tkr_status look_around(char **path, tkr_status *denied, const char *folder, const char *const *places,
                              const char *name, tkr_error *error) {
    for (size_t i = 0; places[i]; i++) {
        char *at = tkr_path_join(folder, places[i]), *file = at ? tkr_path_join(at, name) : NULL;
        tkr_free(at);
        if (!file) return TKR_FAIL(error, NO_MEMORY, "no memory to look for %s", name);
        if (tkr_path_exists(file)) {
            *path = file;
            return TKR_OK;
        }
        if (*denied == TKR_OK) *denied = tkr_path_check_access(file, error);
        tkr_free(file);
    }
    return TKR_OK;
}

static tkr_status find(char **path, const char *name, const char *variable, const char *const *places,
                       tkr_error *error) {
    const char *given = tkr_env(variable);
    char folder[PATH_MAX];
    *path = NULL;
    if (given) {
        *path = tkr_strdup(given);
        return *path ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory to look for %s", name);
    }
    tkr_status status = TKR_OK, denied = TKR_OK;
    if (library_folder(folder)) status = look_around(path, &denied, folder, places, name, error);
    if (status == TKR_OK && !*path && program_folder(folder))
        status = look_around(path, &denied, folder, places, name, error);
    return status == TKR_OK && !*path ? denied : status;
}

tkr_status tkr_data_find(char **path, const char *name, const char *variable, tkr_error *error) {
    char *found = NULL;
    tkr_status status = find(&found, name, variable, data_places, error);
    if (status != TKR_OK) return status;
    if (!found)
        return TKR_FAIL(error, NOT_FOUND, "%s is not in the share/tkr-embed beside this program or of its installation",
                        name);
    *path = found;
    return TKR_OK;
}

tkr_status tkr_module_find(char **path, const char *name, const char *variable, tkr_error *error) {
    char *found = NULL;
    tkr_status status = find(&found, name, variable, module_places, error);
    if (status != TKR_OK) return status;
    if (!found)
        return TKR_FAIL(
            error, NOT_FOUND,
            "%s is not beside this program, nor in the lib/tkr-embed or libexec/tkr-embed of its installation", name);
    *path = found;
    return TKR_OK;
}

/* ---- loading ---- */

tkr_status tkr_module_open(tkr_module **out, const char *path, tkr_error *error) {
    tkr_module *module = tkr_calloc(1, sizeof *module);
    tkr_status status = TKR_OK;
    if (!module || !(module->path = tkr_strdup(path))) {
        status = TKR_FAIL(error, NO_MEMORY, "no memory for the module %s", path);
        goto fail;
    }
    if (!tkr_seam_allows('r')) {
        status = TKR_FAIL(error, IO, "%s: cannot be read", path);
        goto fail;
    }
    module->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!module->handle) {
        const char *reason = dlerror();
        status = TKR_FAIL(error, UNSUPPORTED, "%s: cannot be loaded: %s", path, reason ? reason : "unknown reason");
        goto fail;
    }
    *out = module;
    return TKR_OK;
fail:
    tkr_module_close(&module);
    return status;
}

tkr_status tkr_module_symbol(tkr_module_fn **symbol, const tkr_module *module, const char *name, tkr_error *error) {
    void *found = dlsym(module->handle, name);
    if (!found)
        return TKR_FAIL(error, UNSUPPORTED, "%s: is not a module of tkr-embed: it has no function %s", module->path,
                        name);
    memcpy(symbol, &found, sizeof found); /* POSIX: the two are of one size; ISO C has no cast between them */
    return TKR_OK;
}

const char *tkr_module_path(const tkr_module *module) { return module->path; }

void tkr_module_close(tkr_module **out) {
    if (!out || !*out) return;
    tkr_module *module = *out;
    if (module->handle) (void)dlclose(module->handle);
    tkr_free(module->path);
    tkr_free(module);
    *out = NULL;
}
