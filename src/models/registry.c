/* SPDX-License-Identifier: Apache-2.0 */
/* models/registry: finds the architecture of a config.json's model_type in archs.def. */
#include <string.h>

#include "models/model.h"

#define TKR_ARCH(name) extern const tkr_arch tkr_arch_##name;
#include "models/archs.def"
#undef TKR_ARCH

static const tkr_arch *const archs[] = {
#define TKR_ARCH(name) &tkr_arch_##name,
#include "models/archs.def"
#undef TKR_ARCH
    NULL,
};

const tkr_arch *const *tkr_archs(void) { return archs; }

const tkr_arch *tkr_arch_find(const char *model_type) {
    for (size_t i = 0; archs[i]; i++)
        for (size_t t = 0; archs[i]->model_types[t]; t++)
            if (strcmp(archs[i]->model_types[t], model_type) == 0) return archs[i];
    return NULL;
}

tkr_status tkr_activation_parse(tkr_activation *out, const char *name, const char *what, tkr_error *error) {
    static const struct {
        const char *name;
        tkr_activation activation;
    } names[] = {
        {"gelu", TKR_ACT_GELU_ERF},
        {"gelu_python", TKR_ACT_GELU_ERF},
        {"gelu_new", TKR_ACT_GELU_TANH},
        {"gelu_fast", TKR_ACT_GELU_TANH},
        {"gelu_pytorch_tanh", TKR_ACT_GELU_TANH},
        {"gelu_accurate", TKR_ACT_GELU_TANH},
        {"relu", TKR_ACT_RELU},
        {"tanh", TKR_ACT_TANH},
        {"silu", TKR_ACT_SILU},
        {"swish", TKR_ACT_SILU},
        {"quick_gelu", TKR_ACT_QUICK_GELU},
        {"linear", TKR_ACT_NONE},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i].name, name) == 0) {
            *out = names[i].activation;
            return TKR_OK;
        }
    }
    return TKR_FAIL(error, UNSUPPORTED,
                    "%s: activation \"%s\" is not supported; supported: gelu, gelu_new, gelu_pytorch_tanh, quick_gelu, "
                    "relu, tanh, silu",
                    what, name);
}
