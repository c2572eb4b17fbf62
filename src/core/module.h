/* SPDX-License-Identifier: Apache-2.0 */
/* core/module: shared libraries that are loaded on demand, and where they lie. Refuses to unload: a module's threads
 * and static objects live as long as the process. */
#ifndef TKR_CORE_MODULE_H
#define TKR_CORE_MODULE_H

#include "core/error.h"

typedef struct tkr_module tkr_module;
typedef void tkr_module_fn(void);

/* Returns the path of the module file or helper program `name`: what environment `variable` says, as it is; else the
 * first that exists beside this library or program, in tkr-embed/ below that folder, or in the lib/tkr-embed/ or
 * libexec/tkr-embed/ of its installation prefix. Free with tkr_free. TKR_NOT_FOUND: there is none. */
tkr_status tkr_module_find(char **path, const char *name, const char *variable, tkr_error *error);
/* The same for a file or folder of the program's data: in the share/tkr-embed/ beside this library or program, or of
 * its installation prefix. */
tkr_status tkr_data_find(char **path, const char *name, const char *variable, tkr_error *error);
/* Loads the library and what it needs, every symbol at once. TKR_UNSUPPORTED with the loader's reason. Returns a
 * module.
 */
tkr_status tkr_module_open(tkr_module **module, const char *path, tkr_error *error);
/* Sets *symbol to the function `name`. TKR_UNSUPPORTED when the module has none. */
tkr_status tkr_module_symbol(tkr_module_fn **symbol, const tkr_module *module, const char *name, tkr_error *error);
const char *tkr_module_path(const tkr_module *module);
/* Accepts NULL. What the module gave stays valid. */
void tkr_module_close(tkr_module **module);

#endif
