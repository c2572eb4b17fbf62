/* SPDX-License-Identifier: Apache-2.0 */
/* LoRA adapters: merged values against plain sums, names of both kinds, and everything that is refused. */
#define _XOPEN_SOURCE 700
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/fsops.h"
#include "core/json.h"
#include "formats/adapter.h"
#include "formats/safetensors_write.h"

static char scratch[600]; /* a folder with one subfolder a case */

static int make_scratch(void **state) {
    (void)state;
    snprintf(scratch, sizeof scratch, "%s/test_adapter.XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    return mkdtemp(scratch) ? 0 : -1;
}

static int remove_scratch(void **state) {
    (void)state;
    char command[700];
    snprintf(command, sizeof command, "rm -rf '%s'", scratch);
    return system(command);
}

typedef struct made {
    const char *name;
    int64_t rows, cols; /* rows 0: a vector */
} made;

/* Small numbers that differ everywhere. */
static float value_of(size_t tensor, size_t i) { return sinf((float)(tensor * 1000 + i)) / 2; }

static void write_tensors(const char *folder, const char *file, const made *tensors, size_t n) {
    tkr_tensor_plan plans[8] = {{0}};
    tkr_tensor_writer *writer = NULL;
    char from[800], to[800];
    assert_int_equal(tkr_mkdirs(folder, NULL), TKR_OK);
    for (size_t i = 0; i < n; i++) {
        plans[i] =
            (tkr_tensor_plan){.name = tensors[i].name, .dtype = TKR_DTYPE_F32, .n_dims = tensors[i].rows ? 2 : 1};
        plans[i].shape[0] = tensors[i].rows ? tensors[i].rows : tensors[i].cols;
        plans[i].shape[1] = tensors[i].rows ? tensors[i].cols : 0;
    }
    assert_int_equal(tkr_tensor_writer_open(&writer, folder, plans, n, "pt", TKR_SHARD_BYTES, NULL), TKR_OK);
    for (size_t t = tkr_tensor_writer_next(writer); t < n; t = tkr_tensor_writer_next(writer)) {
        const size_t count = (size_t)(tensors[t].cols * (tensors[t].rows ? tensors[t].rows : 1));
        for (size_t i = 0; i < count; i++) {
            const float value = value_of(t, i);
            assert_int_equal(tkr_tensor_writer_append(writer, &value, sizeof value, NULL), TKR_OK);
        }
    }
    assert_int_equal(tkr_tensor_writer_finish(&writer, NULL), TKR_OK);
    snprintf(from, sizeof from, "%s/model.safetensors", folder);
    snprintf(to, sizeof to, "%s/%s", folder, file);
    assert_int_equal(rename(from, to), 0);
}

static void write_config(const char *folder, const char *text) {
    char path[800];
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    assert_int_equal(tkr_file_write_atomic(path, text, strlen(text), NULL), TKR_OK);
}

static const made base_tensors[] = {
    {"model.layers.0.q_proj.weight", 6, 5}, {"model.layers.0.norm.weight", 0, 5}, {"head.weight", 4, 5}};
static const made pairs[] = {{"base_model.model.model.layers.0.q_proj.lora_A.weight", 3, 5},
                             {"base_model.model.model.layers.0.q_proj.lora_B.weight", 6, 3}};
static const char good[] = "{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 12, \"bias\": \"none\", "
                           "\"base_model_name_or_path\": \"../base\", \"use_dora\": false, \"modules_to_save\": null, "
                           "\"init_lora_weights\": \"gaussian\", \"rank_pattern\": {}}";

/* Folder of an adapter; `config` NULL: the good one. */
static const char *make_adapter(const char *name, const made *tensors, size_t n, const char *config) {
    static char folder[700];
    snprintf(folder, sizeof folder, "%s/%s", scratch, name);
    write_tensors(folder, "adapter_model.safetensors", tensors, n);
    write_config(folder, config ? config : good);
    return folder;
}

static tkr_tensors *open_base(const char *name, const made *tensors, size_t n) {
    char folder[700];
    tkr_tensors *set = NULL;
    snprintf(folder, sizeof folder, "%s/%s", scratch, name);
    write_tensors(folder, "model.safetensors", tensors, n);
    assert_int_equal(tkr_tensors_open_folder(&set, folder, NULL), TKR_OK);
    return set;
}

static void check_merged(const tkr_tensors *set, float scale, tkr_pool *pool) {
    const tkr_tensor_view *view = tkr_tensors_find(set, base_tensors[0].name);
    float got[30], part[10];
    assert_non_null(view->low_rank);
    assert_int_equal(tkr_adapter_rows(got, view, 0, 6, pool, NULL), TKR_OK);
    for (size_t r = 0; r < 6; r++)
        for (size_t c = 0; c < 5; c++) {
            double sum = 0;
            for (size_t k = 0; k < 3; k++) sum += (double)value_of(1, r * 3 + k) * (double)value_of(0, k * 5 + c);
            assert_true(fabs((double)value_of(0, r * 5 + c) + (double)scale * sum - (double)got[r * 5 + c]) < 1e-6);
        }
    assert_int_equal(tkr_adapter_rows(part, view, 2, 2, NULL, NULL), TKR_OK);
    assert_memory_equal(part, got + 10, sizeof part);
    assert_null(tkr_tensors_find(set, "head.weight")->low_rank);
}

static void merged_values(void **state) {
    (void)state;
    tkr_adapter *adapter = NULL;
    tkr_pool *pool = NULL;
    tkr_tensors *set = open_base("base", base_tensors, 3);
    const char *folder = make_adapter("plain", pairs, 2, NULL);
    assert_true(tkr_adapter_is(folder));
    assert_false(tkr_adapter_is(scratch));
    assert_int_equal(tkr_adapter_open(&adapter, folder, NULL), TKR_OK);
    assert_string_equal(tkr_adapter_base(adapter), "../base");
    assert_int_equal(tkr_tensors_n_files(set), 1);
    assert_int_equal(tkr_adapter_apply(set, &adapter, NULL), TKR_OK);
    assert_null(adapter);
    assert_int_equal(tkr_tensors_n_files(set), 3); /* whoever keeps what was made of the files sees a change of any */
    assert_int_equal(tkr_pool_create(&pool, 2, NULL), TKR_OK);
    check_merged(set, 4, pool);
    tkr_pool_free(&pool);
    /* one adapter is enough */
    assert_int_equal(tkr_adapter_open(&adapter, folder, NULL), TKR_OK);
    assert_int_equal(tkr_adapter_apply(set, &adapter, NULL), TKR_UNSUPPORTED);
    tkr_adapter_free(&adapter);
    tkr_tensors_free(&set);
}

static void scale_by_the_root(void **state) {
    (void)state;
    tkr_adapter *adapter = NULL;
    tkr_tensors *set = open_base("base2", base_tensors, 3);
    const char *folder =
        make_adapter("root", pairs, 2, "{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 6, \"use_rslora\": true}");
    assert_int_equal(tkr_adapter_open(&adapter, folder, NULL), TKR_OK);
    assert_null(tkr_adapter_base(adapter));
    assert_int_equal(tkr_adapter_apply(set, &adapter, NULL), TKR_OK);
    check_merged(set, 6 / sqrtf(3), NULL);
    tkr_tensors_free(&set);
}

/* Adapters of newer libraries say language_model where the base's files don't, and "default" in between. */
static void other_names(void **state) {
    (void)state;
    static const made renamed[] = {
        {"base_model.model.model.language_model.layers.0.q_proj.lora_A.default.weight", 3, 5},
        {"base_model.model.model.language_model.layers.0.q_proj.lora_B.default.weight", 6, 3}};
    tkr_adapter *adapter = NULL;
    tkr_tensors *set = open_base("base3", base_tensors, 3);
    assert_int_equal(tkr_adapter_open(&adapter, make_adapter("renamed", renamed, 2, NULL), NULL), TKR_OK);
    assert_int_equal(tkr_adapter_apply(set, &adapter, NULL), TKR_OK);
    check_merged(set, 4, NULL);
    tkr_tensors_free(&set);
}

static void refused_configs(void **state) {
    (void)state;
    static const struct {
        const char *config;
        tkr_status status;
        const char *says;
    } bad[] = {
        {"{\"peft_type\": \"IA3\", \"r\": 3, \"lora_alpha\": 1}", TKR_UNSUPPORTED, "IA3"},
        {"{\"r\": 3, \"lora_alpha\": 1}", TKR_FORMAT, "peft_type"},
        {"{\"peft_type\": \"LORA\", \"lora_alpha\": 1}", TKR_FORMAT, "\"r\""},
        {"{\"peft_type\": \"LORA\", \"r\": 0, \"lora_alpha\": 1}", TKR_FORMAT, "\"r\""},
        {"{\"peft_type\": \"LORA\", \"r\": 3}", TKR_FORMAT, "lora_alpha"},
        {"{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 1, \"use_dora\": true}", TKR_UNSUPPORTED, "use_dora"},
        {"{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 1, \"bias\": \"all\"}", TKR_UNSUPPORTED, "bias"},
        {"{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 1, \"modules_to_save\": [\"x\"]}", TKR_UNSUPPORTED,
         "modules_to_save"},
        {"{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 1, \"rank_pattern\": {\"x\": 2}}", TKR_UNSUPPORTED,
         "rank_pattern"},
        {"{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 1, \"init_lora_weights\": \"pissa_niter_4\"}",
         TKR_UNSUPPORTED, "pissa"},
        {"{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 1}", TKR_FORMAT, "rank 2"},
        {"[]", TKR_FORMAT, "adapter_config.json"},
        {"{", TKR_FORMAT, "adapter_config.json"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tkr_adapter *adapter = NULL;
        tkr_error error = {TKR_OK, NULL, ""};
        char name[32];
        snprintf(name, sizeof name, "config%zu", i);
        const tkr_status status = tkr_adapter_open(&adapter, make_adapter(name, pairs, 2, bad[i].config), &error);
        if (status != bad[i].status || !strstr(error.message, bad[i].says))
            fail_msg("%s: status %d, \"%s\"", bad[i].config, (int)status, error.message);
        assert_null(adapter);
    }
}

static void refused_tensors(void **state) {
    (void)state;
    static const struct {
        made tensors[4];
        size_t n;
        tkr_status status;
    } bad[] = {
        {{{"base_model.model.x.lora_A.weight", 3, 5}}, 1, TKR_FORMAT},
        {{{"base_model.model.x.lora_B.weight", 6, 3}}, 1, TKR_FORMAT},
        {{{"base_model.model.x.lora_A.weight", 3, 5},
          {"base_model.model.x.lora_B.weight", 6, 3},
          {"base_model.model.y.lora_B.weight", 6, 3}},
         3,
         TKR_FORMAT},
        {{{"base_model.model.x.lora_A.weight", 3, 5}, {"base_model.model.x.lora_B.weight", 6, 2}}, 2, TKR_FORMAT},
        {{{"base_model.model.x.lora_A.weight", 0, 3}, {"base_model.model.x.lora_B.weight", 6, 3}}, 2, TKR_FORMAT},
        {{{"base_model.model.x.lora_embedding_A", 3, 5}}, 1, TKR_UNSUPPORTED},
        {{{"base_model.model.x.lora_magnitude_vector", 0, 5}}, 1, TKR_UNSUPPORTED},
        {{{"base_model.model.head.weight", 4, 5}}, 1, TKR_UNSUPPORTED},
        {{{"base_model.model..lora_A.weight", 3, 5}}, 1, TKR_UNSUPPORTED},
        {{{"lora_A.weight", 3, 5}}, 1, TKR_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tkr_adapter *adapter = NULL;
        tkr_error error = {TKR_OK, NULL, ""};
        char name[32];
        snprintf(name, sizeof name, "tensors%zu", i);
        const tkr_status status =
            tkr_adapter_open(&adapter, make_adapter(name, bad[i].tensors, bad[i].n, NULL), &error);
        if (status != bad[i].status) fail_msg("case %zu: status %d, \"%s\"", i, (int)status, error.message);
        assert_null(adapter);
    }
}

/* A base that the adapter wasn't made for. */
static void other_bases(void **state) {
    (void)state;
    static const struct {
        made tensors[3];
        size_t n;
        const char *says;
    } bad[] = {
        {{{"model.layers.0.q_proj.weight", 6, 4}, {"head.weight", 4, 5}}, 2, "[6, 4]"},
        {{{"model.layers.0.q_proj.weight", 5, 5}, {"head.weight", 4, 5}}, 2, "[5, 5]"},
        {{{"model.layers.1.q_proj.weight", 6, 5}, {"head.weight", 4, 5}}, 2, "has none"},
        {{{"model.layers.0.q_proj.weight", 6, 5}, {"layers.0.q_proj.weight", 6, 5}}, 2, "more than one"},
        {{{"model.layers.0.q_proj.weight", 0, 5}, {"head.weight", 4, 5}}, 2, "[5]"},
    };
    const char *folder = make_adapter("other", pairs, 2, NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tkr_adapter *adapter = NULL;
        tkr_error error = {TKR_OK, NULL, ""};
        char name[32];
        snprintf(name, sizeof name, "other_base%zu", i);
        tkr_tensors *set = open_base(name, bad[i].tensors, bad[i].n);
        assert_int_equal(tkr_adapter_open(&adapter, folder, NULL), TKR_OK);
        assert_int_equal(tkr_adapter_apply(set, &adapter, &error), TKR_FORMAT);
        if (!strstr(error.message, bad[i].says) || !strstr(error.message, "base model") ||
            !strstr(error.message, "q_proj"))
            fail_msg("%s", error.message);
        for (size_t v = 0; v < tkr_tensors_count(set); v++) assert_null(tkr_tensors_at(set, v)->low_rank);
        assert_non_null(adapter);
        tkr_adapter_free(&adapter);
        tkr_tensors_free(&set);
    }
}

static void missing_files(void **state) {
    (void)state;
    tkr_adapter *adapter = NULL;
    char folder[700];
    snprintf(folder, sizeof folder, "%s/nothing", scratch);
    assert_int_equal(tkr_adapter_open(&adapter, folder, NULL), TKR_NOT_FOUND);
    assert_int_equal(tkr_mkdirs(folder, NULL), TKR_OK);
    write_config(folder, good);
    assert_int_equal(tkr_adapter_open(&adapter, folder, NULL), TKR_NOT_FOUND);
}

typedef struct fault {
    size_t at, seen;
} fault;

static bool allow(void *user, char kind) {
    (void)kind;
    fault *f = user;
    return f->seen++ != f->at;
}

static void every_fault(void **state) {
    (void)state;
    const char *folder = make_adapter("fault", pairs, 2, NULL);
    tkr_tensors *set = open_base("fault_base", base_tensors, 3);
    for (size_t at = 0;; at++) {
        tkr_adapter *adapter = NULL;
        fault f = {.at = at};
        tkr_error error = {TKR_OK, NULL, ""};
        float rows[30];
        tkr_seam_set(allow, &f);
        tkr_status status = tkr_adapter_open(&adapter, folder, &error);
        if (status == TKR_OK) status = tkr_adapter_apply(set, &adapter, &error);
        if (status == TKR_OK)
            status = tkr_adapter_rows(rows, tkr_tensors_find(set, base_tensors[0].name), 0, 6, NULL, &error);
        tkr_seam_set(NULL, NULL);
        tkr_adapter_free(&adapter);
        if (f.seen <= at) {
            assert_int_equal(status, TKR_OK);
            assert_true(at > 5);
            break;
        }
        assert_true(status == TKR_NO_MEMORY || status == TKR_IO);
        if (tkr_tensors_n_files(set) > 1) { /* it was laid over: a fresh base for the next */
            tkr_tensors_free(&set);
            set = open_base("fault_base", base_tensors, 3);
        }
    }
    tkr_tensors_free(&set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merged_values),   cmocka_unit_test(scale_by_the_root), cmocka_unit_test(other_names),
        cmocka_unit_test(refused_configs), cmocka_unit_test(refused_tensors),   cmocka_unit_test(other_bases),
        cmocka_unit_test(missing_files),   cmocka_unit_test(every_fault),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
