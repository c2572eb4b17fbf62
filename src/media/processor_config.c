/* SPDX-License-Identifier: Apache-2.0 */
/* media/processor_config: a checkpoint's preprocessor_config.json in all its historical spellings. Refuses by name what
 * would change the pixels and isn't built. */
#include <string.h>

#include "core/file.h"
#include "media/processor_internal.h"

#define MAX_EDGE 65536

/* What the reference's class has for what the file leaves out. */
typedef struct defaults {
    bool qwen, crop;
    double mean[3], std[3];
    size_t shortest, side; /* of "size": {"shortest_edge"} or a square */
} defaults;

#define CLIP_MEAN \
    { 0.48145466, 0.4578275, 0.40821073 }
#define CLIP_STD \
    { 0.26862954, 0.26130258, 0.27577711 }
static const defaults siglip = {.mean = {0.5, 0.5, 0.5}, .std = {0.5, 0.5, 0.5}, .side = 224};
static const defaults clip = {.crop = true, .mean = CLIP_MEAN, .std = CLIP_STD, .shortest = 224};
static const defaults qwen = {.qwen = true, .mean = CLIP_MEAN, .std = CLIP_STD};

/* Names of the classes without the ends Fast (torchvision) and Pil. Both backends of a processor mean the same
 * settings; the pixels are Pillow's. */
static const struct known {
    const char *name;
    const defaults *defaults;
} known[] = {
    {"SiglipImageProcessor", &siglip}, {"CLIPImageProcessor", &clip},       {"CLIPFeatureExtractor", &clip},
    {"Qwen2VLImageProcessor", &qwen},  {"Qwen2_5_VLImageProcessor", &qwen},
};

static bool same_type(const char *type, const char *name) {
    const size_t n = strlen(name);
    return strncmp(type, name, n) == 0 &&
           (type[n] == '\0' || strcmp(type + n, "Fast") == 0 || strcmp(type + n, "Pil") == 0);
}

static tkr_status find_defaults(const defaults **out, const json_t *json, bool qwen_family, const char *what,
                                tkr_error *error) {
    const char *type = NULL;
    tkr_status status = tkr_json_get_string(&type, json, "image_processor_type", false, what, error);
    if (status == TKR_OK && !type)
        status = tkr_json_get_string(&type, json, "feature_extractor_type", false, what, error);
    if (status != TKR_OK) return status;
    if (!type) {
        *out = &qwen; /* the only one of that family */
        return qwen_family ? TKR_OK
                           : TKR_FAIL(error, FORMAT,
                                      "%s: field \"image_processor_type\" is missing, expected "
                                      "SiglipImageProcessor or CLIPImageProcessor",
                                      what);
    }
    *out = NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (same_type(type, known[i].name)) *out = known[i].defaults;
    }
    if (!*out)
        return TKR_FAIL(error, UNSUPPORTED,
                        "%s: image_processor_type \"%.60s\" is not supported; supported: SiglipImageProcessor, "
                        "CLIPImageProcessor, Qwen2VLImageProcessor, each also with Fast at its end",
                        what, type);
    if ((*out)->qwen != qwen_family)
        return TKR_FAIL(error, UNSUPPORTED, "%s: image_processor_type \"%.60s\" does not belong to this architecture",
                        what, type);
    return TKR_OK;
}

/* ---- sizes ---- */

enum { HEIGHT, WIDTH, SHORTEST, LONGEST, MIN_PIXELS, MAX_PIXELS, N_KEYS };
static const char *const size_keys[N_KEYS] = {"height",       "width",      "shortest_edge",
                                              "longest_edge", "min_pixels", "max_pixels"};

/* "size" or "crop_size": a number (a square, or the shorter side), [height, width], or an object. Keys that are absent
 * are left at 0. */
static tkr_status read_size(size_t out[N_KEYS], const json_t *json, const char *field, bool number_is_square,
                            int64_t most, const char *what, tkr_error *error) {
    const json_t *value = json_object_get(json, field);
    int64_t number = 0;
    memset(out, 0, N_KEYS * sizeof *out);
    if (!value || json_is_null(value)) return TKR_OK;
    if (json_is_array(value) && json_array_size(value) == 2) {
        for (size_t i = 0; i < 2; i++) {
            const json_t *side = json_array_get(value, i);
            if (!json_is_integer(side) || json_integer_value(side) < 1 || json_integer_value(side) > most)
                return TKR_FAIL(error, FORMAT, "%s: field \"%s\" must hold two sizes of 1 to %lld", what, field,
                                (long long)most);
            out[HEIGHT + i] = (size_t)json_integer_value(side);
        }
        return TKR_OK;
    }
    if (!json_is_object(value)) {
        tkr_status status = tkr_json_get_int(&number, json, field, 1, most, true, what, error);
        out[number_is_square ? HEIGHT : SHORTEST] = (size_t)number;
        out[number_is_square ? WIDTH : SHORTEST] = (size_t)number;
        return status;
    }
    const char *key;
    json_t *one;
    json_object_foreach((json_t *)(uintptr_t)value, key, one) {
        size_t i = 0;
        while (i < N_KEYS && strcmp(key, size_keys[i]) != 0) i++;
        if (json_is_null(one)) continue;
        if (i == N_KEYS)
            return TKR_FAIL(error, UNSUPPORTED,
                            "%s: %s with \"%.40s\" is not supported; supported: height and width, shortest_edge, "
                            "longest_edge, min_pixels, max_pixels",
                            what, field, key);
        tkr_status status = tkr_json_get_int(&number, value, key, 1, most, true, what, error);
        if (status != TKR_OK) return status;
        out[i] = (size_t)number;
    }
    return TKR_OK;
}

/* FIXED: where a picture comes out at image_size x image_size, whatever it was. */
static tkr_status read_fixed(tkr_processor *p, const json_t *json, const defaults *d, const char *what,
                             tkr_error *error) {
    size_t size[N_KEYS], crop[N_KEYS];
    bool do_resize = true;
    p->crop = d->crop;
    tkr_status status = tkr_json_get_bool(&do_resize, json, "do_resize", false, what, error);
    if (status == TKR_OK) status = tkr_json_get_bool(&p->crop, json, "do_center_crop", false, what, error);
    if (status == TKR_OK) status = read_size(size, json, "size", false, MAX_EDGE, what, error);
    if (status == TKR_OK) status = read_size(crop, json, "crop_size", true, MAX_EDGE, what, error);
    if (status != TKR_OK) return status;
    if (json_is_null(json_object_get(json, "size")) || !json_object_get(json, "size")) {
        size[SHORTEST] = d->shortest;
        size[HEIGHT] = size[WIDTH] = d->side;
    }
    if (!crop[HEIGHT] && !crop[SHORTEST]) crop[HEIGHT] = crop[WIDTH] = 224;
    if (size[MIN_PIXELS] || size[MAX_PIXELS] || (size[LONGEST] && !size[SHORTEST]) || !size[HEIGHT] != !size[WIDTH] ||
        !size[HEIGHT] == !size[SHORTEST])
        return TKR_FAIL(error, FORMAT, "%s: field \"size\" must hold height and width, or shortest_edge", what);
    if (p->crop && (!crop[HEIGHT] || !crop[WIDTH]))
        return TKR_FAIL(error, FORMAT, "%s: field \"crop_size\" must hold height and width", what);
    if (!p->crop && (!do_resize || size[SHORTEST]))
        return TKR_FAIL(error, UNSUPPORTED,
                        "%s: %s without do_center_crop gives pictures of different sizes, the model takes %zu x %zu",
                        what, do_resize ? "size with shortest_edge" : "do_resize false", p->image_size, p->image_size);
    const size_t *last = p->crop ? crop : size;
    if (last[HEIGHT] != p->image_size || last[WIDTH] != p->image_size)
        return TKR_FAIL(error, FORMAT, "%s: %s is %zu x %zu, but the model's image_size is %zu", what,
                        p->crop ? "crop_size" : "size", last[WIDTH], last[HEIGHT], p->image_size);
    if (do_resize) {
        p->height = size[HEIGHT];
        p->width = size[WIDTH];
        p->shortest = size[SHORTEST];
        p->longest = size[LONGEST];
    }
    return TKR_OK;
}

/* Qwen: the limits, and sizes of patches that must be the model's. */
static tkr_status read_qwen(tkr_processor *p, const json_t *json, const char *what, tkr_error *error) {
    const struct {
        const char *name;
        size_t value;
    } same[] = {
        {"patch_size", p->patch_size}, {"temporal_patch_size", p->temporal_patch_size}, {"merge_size", p->merge_size}};
    const int64_t most = (int64_t)1 << 40;
    size_t size[N_KEYS];
    bool do_resize = true;
    tkr_status status = tkr_json_get_bool(&do_resize, json, "do_resize", false, what, error);
    if (status == TKR_OK) status = read_size(size, json, "size", false, most, what, error);
    for (size_t i = 0; status == TKR_OK && i < sizeof same / sizeof *same; i++) {
        int64_t value = (int64_t)same[i].value;
        status = tkr_json_get_int(&value, json, same[i].name, 1, 4096, false, what, error);
        if (status == TKR_OK && (size_t)value != same[i].value)
            status = TKR_FAIL(error, FORMAT, "%s: %s is %lld, but the model's is %zu", what, same[i].name,
                              (long long)value, same[i].value);
    }
    if (status != TKR_OK) return status;
    if (!do_resize) return TKR_FAIL(error, UNSUPPORTED, "%s: do_resize false is not supported; supported: true", what);
    if (size[HEIGHT] || size[WIDTH])
        return TKR_FAIL(error, FORMAT, "%s: field \"size\" must hold shortest_edge and longest_edge (in pixels)", what);
    /* fields of the file win over those of "size", and these over the class's */
    int64_t least = (int64_t)(size[SHORTEST] ? size[SHORTEST] : size[MIN_PIXELS] ? size[MIN_PIXELS] : 56 * 56);
    int64_t limit = (int64_t)(size[LONGEST] ? size[LONGEST] : size[MAX_PIXELS] ? size[MAX_PIXELS] : 28 * 28 * 1280);
    status = tkr_json_get_int(&least, json, "min_pixels", 1, most, false, what, error);
    if (status == TKR_OK) status = tkr_json_get_int(&limit, json, "max_pixels", 1, most, false, what, error);
    if (status == TKR_OK && least > limit)
        status = TKR_FAIL(error, FORMAT, "%s: min_pixels %lld is more than max_pixels %lld", what, (long long)least,
                          (long long)limit);
    p->min_pixels = (size_t)least;
    p->max_pixels = (size_t)limit;
    return status;
}

/* ---- values ---- */

/* A number for all channels, or one a channel. */
static tkr_status read_channels(double out[3], const json_t *json, const char *field, double min, const char *what,
                                tkr_error *error) {
    const json_t *value = json_object_get(json, field);
    if (!value || json_is_null(value)) return TKR_OK;
    for (size_t c = 0; c < 3; c++) {
        const json_t *one = json_is_array(value) ? json_array_get(value, c) : value;
        if (!json_is_number(one) || (json_is_array(value) && json_array_size(value) != 3))
            return TKR_FAIL(error, FORMAT, "%s: field \"%s\" must hold three numbers", what, field);
        out[c] = json_number_value(one);
        if (!(out[c] >= min && out[c] <= 1e6))
            return TKR_FAIL(error, FORMAT, "%s: field \"%s\" holds %g, expected %g to 1e6", what, field, out[c], min);
    }
    return TKR_OK;
}

/* As NumPy computes it: rescaled in double, rounded to float, then (x - mean) / std in float. torchvision: mean and std
 * are scaled instead. */
static float value_of(size_t v, const double *rescale, const double *mean, const double *std, bool torchvision) {
    const float x = (float)v;
    if (!mean) return !rescale ? x : torchvision ? x * (float)*rescale : (float)((double)v * *rescale);
    if (!rescale) return (x - (float)*mean) / (float)*std;
    if (!torchvision) return ((float)((double)v * *rescale) - (float)*mean) / (float)*std;
    const float inverse = (float)(1.0 / *rescale);
    return (x - (float)*mean * inverse) / ((float)*std * inverse);
}

static tkr_status read_values(tkr_processor *p, const json_t *json, const defaults *d, const char *what,
                              tkr_error *error) {
    bool do_rescale = true, do_normalize = true;
    double factor = 1 / 255.0, mean[3], std[3];
    memcpy(mean, d->mean, sizeof mean);
    memcpy(std, d->std, sizeof std);
    tkr_status status = tkr_json_get_bool(&do_rescale, json, "do_rescale", false, what, error);
    if (status == TKR_OK) status = tkr_json_get_bool(&do_normalize, json, "do_normalize", false, what, error);
    if (status == TKR_OK) status = tkr_json_get_double(&factor, json, "rescale_factor", 1e-6, 1e6, false, what, error);
    if (status == TKR_OK) status = read_channels(mean, json, "image_mean", -1e6, what, error);
    if (status == TKR_OK) status = read_channels(std, json, "image_std", 1e-6, what, error);
    for (size_t c = 0; status == TKR_OK && c < 3; c++) {
        for (size_t v = 0; v < 256; v++) {
            p->table[c][v] =
                value_of(v, do_rescale ? &factor : NULL, do_normalize ? &mean[c] : NULL, &std[c], p->torchvision);
        }
    }
    return status;
}

tkr_status tkr_processor_read(tkr_processor *processor, const json_t *json, const char *what, tkr_error *error) {
    static const tkr_json_flag flags[] = {
        {"do_convert_rgb", true}, {"do_pad", false}, {"do_flip_channel_order", false}, {"do_splitting", false}};
    const bool qwen_family = processor->family != TKR_PROCESSOR_FIXED;
    const defaults *d = NULL;
    int64_t filter = TKR_FILTER_BICUBIC;
    if (!json_is_object(json))
        return TKR_FAIL(error, FORMAT, "%s: holds %s, expected an object", what, tkr_json_type_name(json));
    tkr_status status = find_defaults(&d, json, qwen_family, what, error);
    if (status == TKR_OK) status = tkr_json_require(json, flags, sizeof flags / sizeof *flags, what, error);
    if (status == TKR_OK) status = tkr_json_get_int(&filter, json, "resample", 0, 1000, false, what, error);
    if (status == TKR_OK && filter > TKR_FILTER_BOX)
        status = TKR_FAIL(error, UNSUPPORTED,
                          "%s: resample %lld is not supported; supported: 0 nearest, 1 lanczos, 2 "
                          "bilinear, 3 bicubic, 4 box",
                          what, (long long)filter);
    processor->filter = (tkr_filter)filter;
    if (status == TKR_OK && processor->torchvision && filter != TKR_FILTER_BILINEAR && filter != TKR_FILTER_BICUBIC)
        status = TKR_FAIL(error, UNSUPPORTED,
                          "%s: resample %lld is not supported with torchvision's arithmetic; "
                          "supported: 2 bilinear, 3 bicubic",
                          what, (long long)filter);
    if (status == TKR_OK) status = read_values(processor, json, d, what, error);
    if (status != TKR_OK) return status;
    return qwen_family ? read_qwen(processor, json, what, error) : read_fixed(processor, json, d, what, error);
}

/* ---- file ---- */

/* processor_config.json is new, and holds the picture's part only where the checkpoint was saved lately. */
static tkr_status read_folder(tkr_processor *processor, const char *folder, tkr_error *error) {
    char *combined = tkr_path_join(folder, "processor_config.json");
    char *plain = tkr_path_join(folder, "preprocessor_config.json");
    json_t *json = NULL;
    tkr_status status = TKR_OK;
    if (!combined || !plain) status = TKR_FAIL(error, NO_MEMORY, "%s: out of memory", folder);
    if (status == TKR_OK && tkr_path_exists(combined)) status = tkr_json_file(&json, combined, error);
    const json_t *part = json_object_get(json, "image_processor");
    if (status == TKR_OK && part) {
        status = tkr_processor_read(processor, part, combined, error);
    } else if (status == TKR_OK) {
        json_decref(json);
        json = NULL;
        status = tkr_path_exists(plain)
                     ? tkr_json_file(&json, plain, error)
                     : TKR_FAIL(error, NOT_FOUND,
                                "%s: no such file; it says how the model takes its pictures (processor_config.json "
                                "with an image_processor would do too)",
                                plain);
        if (status == TKR_OK) status = tkr_processor_read(processor, json, plain, error);
    }
    json_decref(json);
    tkr_free(combined);
    tkr_free(plain);
    return status;
}

tkr_status tkr_processor_load(tkr_processor **processor, const tkr_processor_options *options, tkr_error *error) {
    tkr_processor *p = tkr_calloc(1, sizeof *p);
    *processor = NULL;
    if (!p) return TKR_FAIL(error, NO_MEMORY, "%s: out of memory", options->folder);
    p->family = options->family;
    p->patch_size = options->patch_size;
    p->temporal_patch_size = options->temporal_patch_size;
    p->merge_size = options->merge_size;
    p->image_size = options->image_size;
    p->torchvision = options->torchvision;
    if (options->kernels) {
        p->kernels = *options->kernels;
    } else {
        tkr_kernels_init(&p->kernels, 0);
    }
    const tkr_status status = read_folder(p, options->folder, error);
    if (status != TKR_OK) {
        tkr_free(p);
        return status;
    }
    *processor = p;
    return TKR_OK;
}

void tkr_processor_free(tkr_processor **processor) {
    tkr_free(*processor);
    *processor = NULL;
}
