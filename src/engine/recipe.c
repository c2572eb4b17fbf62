/* SPDX-License-Identifier: Apache-2.0 */
/* engine/recipe: how texts and pictures of an input become the text that a model's tokenizer reads, and what a model
 * can read at all. Refuses inputs that the model has no vector for. */
#include <stdio.h>
#include <string.h>

#include "core/utf8.h"
#include "engine/engine.h"
#include "tokenizer/unicode.h"

/* Of a list of frames without times, as the reference takes it. */
#define LIST_FPS 2.0

size_t tkr_input_images(const tkr_input *input) {
    size_t n = 0;
    if (input->kind != TKR_INPUT_PARTS) return 0;
    for (size_t i = 0; i < input->n_parts; i++) {
        const tkr_part *part = &input->parts[i];
        n += part->kind == TKR_PART_FRAMES ? tkr_part_pairs(part) : tkr_part_is_image(part);
    }
    return n;
}

static size_t text_bytes(const tkr_input *input) {
    size_t n = 0;
    if (input->kind != TKR_INPUT_PARTS) return input->n_text;
    for (size_t i = 0; i < input->n_parts; i++)
        if (!tkr_part_is_image(&input->parts[i])) n += input->parts[i].n_data;
    return n;
}

bool tkr_put_part_texts(tkr_buf *out, const tkr_input *input) {
    bool good = true;
    for (size_t i = 0; i < input->n_parts; i++)
        if (!tkr_part_is_image(&input->parts[i]))
            good = good && tkr_buf_append(out, input->parts[i].data, input->parts[i].n_data);
    return good;
}

/* ---- what a model can read ---- */

static bool reads_both(const tkr_vision_arch *vision) {
    return !vision->two_towers && vision->recipe->with_visuals && strstr(vision->recipe->with_visuals, "{text}");
}

size_t tkr_max_images(const tkr_checkpoint *checkpoint) {
    const tkr_vision_arch *vision = checkpoint->arch ? checkpoint->arch->vision : NULL;
    if (!vision) return 0;
    return vision->max_visuals ? vision->max_visuals : SIZE_MAX;
}

const char *tkr_modalities(const tkr_checkpoint *checkpoint) {
    const tkr_vision_arch *vision = checkpoint->arch ? checkpoint->arch->vision : NULL;
    if (!vision) return "text";
    const bool one = tkr_max_images(checkpoint) == 1;
    if (!reads_both(vision)) return one ? "text, image" : "text, image, images";
    return one ? "text, image, text+image" : "text, image, text+image, images";
}

static tkr_status check_settings(const tkr_checkpoint *c, const tkr_input *input, tkr_error *error) {
    const char *family = c->arch->vision->processor;
    const bool fixed = strcmp(family, "fixed") == 0;
    if (fixed && (input->min_pixels || input->max_pixels))
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "min_pixels and max_pixels were given, but %s takes every picture at %zu x %zu pixels",
                        c->arch->name, c->vision.image_size, c->vision.image_size);
    if (!fixed && (input->interpolate || input->width || input->height))
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "interpolated positions were asked for, but %s takes pictures of any size; min_pixels and "
                        "max_pixels bound it",
                        c->arch->name);
    if ((input->width || input->height) && !input->interpolate)
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "a size was given without interpolate_pos_encoding: %s takes %zu x %zu pixels", c->arch->name,
                        c->vision.image_size, c->vision.image_size);
    if (input->min_pixels && input->max_pixels && input->min_pixels > input->max_pixels)
        return TKR_FAIL(error, INVALID_ARGUMENT, "min_pixels %zu is more than max_pixels %zu", input->min_pixels,
                        input->max_pixels);
    if (input->hub_limits && strcmp(family, "qwen3_vl") != 0)
        return TKR_FAIL(error, INVALID_ARGUMENT, "hub_limits is for qwen3_vl models; this is %s", c->arch->name);
    return TKR_OK;
}

static tkr_status check_images(const tkr_checkpoint *c, const tkr_input *input, size_t n, tkr_error *error) {
    const char *name = c->arch ? c->arch->name : "this model";
    const tkr_vision_arch *vision = c->arch ? c->arch->vision : NULL;
    if (!vision) {
        char known[160];
        tkr_list_architectures(known, sizeof known, true);
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "the input has a picture, but %s reads text only; models that read pictures: %s (-m demo is "
                        "one)",
                        name, known);
    }
    const size_t most = tkr_max_images(c);
    if (n > most)
        return TKR_FAIL(error, INVALID_ARGUMENT, "the input has %zu pictures; %s takes %zu of an input (it reads: %s)",
                        n, name, most, tkr_modalities(c));
    if (text_bytes(input) > 0 && !reads_both(vision))
        return TKR_FAIL(
            error, INVALID_ARGUMENT,
            "the input has text and a picture; %s has a vector for either, not for both together (it reads: "
            "%s)",
            name, tkr_modalities(c));
    return check_settings(c, input, error);
}

tkr_status tkr_check_input(const tkr_checkpoint *c, const tkr_input *input, tkr_error *error) {
    const tkr_recipe *recipe = tkr_checkpoint_recipe(c);
    if (input->kind == TKR_INPUT_PAIR && recipe)
        return TKR_FAIL(error, INVALID_ARGUMENT, "a text pair was given, but %s reads: %s", c->arch->name,
                        tkr_modalities(c));
    if (input->kind != TKR_INPUT_PARTS) return TKR_OK;
    if (input->n_parts == 0 || !input->parts)
        return TKR_FAIL(error, INVALID_ARGUMENT, "an input of parts has none; give it a text or a picture");
    for (size_t i = 0; i < input->n_parts; i++) {
        const tkr_part *part = &input->parts[i];
        if (part->kind < TKR_PART_TEXT || part->kind > TKR_PART_FRAMES)
            return TKR_FAIL(error, INVALID_ARGUMENT, "part %zu is of unknown kind %d", i + 1, (int)part->kind);
        const bool frames = part->kind == TKR_PART_FRAMES;
        if (frames ? !part->frames || part->n_frames == 0
                   : !part->data && (part->n_data > 0 || tkr_part_is_image(part)))
            return TKR_FAIL(error, INVALID_ARGUMENT, "part %zu has no %s", i + 1, frames ? "frames" : "data");
        if (frames && !(c->arch && c->arch->vision && recipe->frames))
            return TKR_FAIL(error, INVALID_ARGUMENT, "part %zu is a video, which %s doesn't read as a whole", i + 1,
                            c->arch ? c->arch->name : "this model");
    }
    const size_t n = tkr_input_images(input);
    return n ? check_images(c, input, n, error) : TKR_OK;
}

/* ---- templates ---- */

static bool is_space(uint32_t c) { return (tkr_uni(c) & TKR_UNI_SPACE) != 0 || (c >= 0x1C && c <= 0x1F); }

/* General category P of Unicode 14: BERT's punctuation (of Unicode 8) without the ASCII symbols that it adds and two
 * characters that left the category, with those that have come since. */
static bool is_punctuation(uint32_t c) {
    static const uint32_t later[][2] = {
        {0x61D, 0x61D},     {0x9FD, 0x9FD},     {0xA76, 0xA76},     {0xC77, 0xC77},     {0xC84, 0xC84},
        {0x1B7D, 0x1B7E},   {0x2E43, 0x2E4F},   {0x2E52, 0x2E5D},   {0x10EAD, 0x10EAD}, {0x10F55, 0x10F59},
        {0x10F86, 0x10F89}, {0x1144B, 0x1144F}, {0x1145A, 0x1145B}, {0x1145D, 0x1145D}, {0x11660, 0x1166C},
        {0x116B9, 0x116B9}, {0x1183B, 0x1183B}, {0x11944, 0x11946}, {0x119E2, 0x119E2}, {0x11A3F, 0x11A46},
        {0x11A9A, 0x11A9C}, {0x11A9E, 0x11AA2}, {0x11C41, 0x11C45}, {0x11C70, 0x11C71}, {0x11EF7, 0x11EF8},
        {0x11FFF, 0x11FFF}, {0x12FF1, 0x12FF2}, {0x16E97, 0x16E9A}, {0x16FE2, 0x16FE2}, {0x1E95E, 0x1E95F}};
    if (c < 128) return (tkr_uni(c) & TKR_UNI_PUNCT) != 0 && !strchr("$+<=>^`|~", (int)c);
    for (size_t i = 0; i < sizeof later / sizeof *later; i++)
        if (c >= later[i][0] && c <= later[i][1]) return true;
    return (tkr_uni(c) & TKR_UNI_PUNCT) != 0 && c != 0x166D && c != 0x111C9;
}

static void trim(const char **text, size_t *size) {
    size_t begin = 0, end = 0;
    bool seen = false;
    for (size_t at = 0; at < *size;) {
        const size_t from = at;
        if (is_space(tkr_utf8_next(*text, *size, &at, NULL))) continue;
        begin = seen ? begin : from;
        end = at;
        seen = true;
    }
    *text += begin;
    *size = end - begin;
}

/* Qwen3-VL-Embedding's rule: stripped, and a full stop where it doesn't end in punctuation. */
static bool put_sentence(tkr_buf *out, const char *text) {
    size_t size = strlen(text);
    uint32_t last = '.';
    trim(&text, &size);
    for (size_t at = 0; at < size;) last = tkr_utf8_next(text, size, &at, NULL);
    return tkr_buf_append(out, text, size) && (is_punctuation(last) || tkr_buf_putc(out, '.'));
}

/* What the places of a template stand for. */
typedef struct filling {
    const tkr_recipe *recipe;
    const tkr_input *input;
    const char *instruction, *prefix;
    tkr_prompt prompt; /* in front of the text */
    size_t n_pictures; /* frames of videos included */
} filling;

static bool put_text(tkr_buf *out, const filling *f) {
    const tkr_input *input = f->input;
    bool good = true;
    for (size_t i = 0; i < 3; i++) good = good && tkr_buf_append(out, f->prompt.parts[i], strlen(f->prompt.parts[i]));
    if (input->kind != TKR_INPUT_PARTS) return good && tkr_buf_append(out, input->text, input->n_text);
    return good && tkr_put_part_texts(out, input);
}

/* A second as Python's format(t, ".1f"), whatever the host's locale. */
static bool put_second(tkr_buf *out, double second) {
    char text[64];
    const int n = snprintf(text, sizeof text, "%.1f", second);
    if (n < 3 || n >= (int)sizeof text) return false;
    text[n - 2] = '.';
    return tkr_buf_printf(out, "<%s seconds>", text);
}

/* The last frame stands twice in an odd number of them: at the time that comes next in a list, as in the reference. */
static double second_of(const tkr_part *video, size_t frame) {
    if (!video->times) return (double)frame / LIST_FPS;
    return video->times[frame < video->n_frames ? frame : video->n_frames - 1];
}

/* Videos stand before pictures, as in the reference. */
static bool put_visuals(tkr_buf *out, const filling *f) {
    const tkr_recipe *recipe = f->recipe;
    size_t n_pictures = f->n_pictures;
    bool good = true;
    for (size_t i = 0; i < f->input->n_parts && f->input->kind == TKR_INPUT_PARTS; i++) {
        const tkr_part *part = &f->input->parts[i];
        if (part->kind != TKR_PART_FRAMES || !recipe->frames) continue;
        good = good && tkr_buf_append(out, recipe->before_video, strlen(recipe->before_video));
        for (size_t k = 0; good && k < tkr_part_pairs(part); k++) {
            const double first = second_of(part, TKR_VIDEO_PAIR * k), second = second_of(part, TKR_VIDEO_PAIR * k + 1);
            good = put_second(out, (first + second) / 2) && tkr_buf_append(out, recipe->frames, strlen(recipe->frames));
        }
        good = good && tkr_buf_append(out, recipe->after_video, strlen(recipe->after_video));
        n_pictures -= tkr_part_pairs(part);
    }
    for (size_t i = 0; i < n_pictures; i++) good = good && tkr_buf_append(out, recipe->visual, strlen(recipe->visual));
    return good;
}

/* Fills one place, whose name is `name` with its closing brace; false after running out of memory. */
static bool put_place(tkr_buf *out, const filling *f, const char *name, size_t *used) {
    static const char *const names[] = {"instruction}", "visuals}", "text}", "prefix}"};
    size_t which = 0;
    while (which < 4 && strncmp(name, names[which], strlen(names[which])) != 0) which++;
    *used = which < 4 ? strlen(names[which]) : 0;
    switch (which) {
    case 0:
        return f->recipe->instruction_ends_sentence ? put_sentence(out, f->instruction)
                                                    : tkr_buf_append(out, f->instruction, strlen(f->instruction));
    case 1: return put_visuals(out, f);
    case 2: return put_text(out, f);
    case 3: return tkr_buf_append(out, f->prefix, strlen(f->prefix));
    default: return tkr_buf_putc(out, '{');
    }
}

static bool put_template(tkr_buf *out, const char *template, const filling *f) {
    bool good = true;
    while (*template && good) {
        const size_t plain = strcspn(template, "{");
        good = tkr_buf_append(out, template, plain);
        template += plain;
        if (*template == '{' && good) {
            size_t used = 0;
            good = put_place(out, f, ++template, &used);
            template += used;
        }
    }
    return good;
}

/* A task is the {instruction} of templates that have one, and so is a prompt of the checkpoint by name; a prompt is
 * their {prefix}, or goes in front of the text. */
static tkr_status find_words(filling *f, const tkr_encode_request *r, tkr_error *error) {
    const tkr_recipe *recipe = f->recipe;
    const tkr_input *input = r->input;
    const bool own = input->instruction || input->prompt || input->prompt_name;
    const char *task = own ? input->instruction : r->options->instruction;
    const char *prompt = own ? input->prompt : r->options->prompt;
    f->instruction = recipe->default_instruction;
    f->prefix = recipe->default_prefix ? recipe->default_prefix : "";
    f->prompt = (tkr_prompt){{"", "", ""}};
    tkr_status status = tkr_prompt_find(&f->prompt, r->checkpoint, input, r->options, error);
    if (recipe->default_instruction && task) f->instruction = task;
    if (status != TKR_OK || task) return status;
    if (recipe->default_instruction && !prompt) {
        if (f->prompt.parts[0][0]) f->instruction = f->prompt.parts[0];
        f->prompt.parts[0] = "";
    } else if (recipe->default_prefix) {
        if (prompt || f->prompt.parts[0][0]) f->prefix = f->prompt.parts[0];
        f->prompt.parts[0] = "";
    }
    return TKR_OK;
}

tkr_status tkr_render_input(tkr_buf *out, const tkr_encode_request *r, tkr_error *error) {
    static const tkr_recipe plain = {.text_only = NULL};
    const tkr_recipe *recipe = tkr_checkpoint_recipe(r->checkpoint);
    tkr_input given = *r->input;
    filling f = {.recipe = recipe ? recipe : &plain, .input = &given, .n_pictures = tkr_input_images(r->input)};
    const char *template = f.n_pictures ? f.recipe->with_visuals : f.recipe->text_only;
    tkr_status status = find_words(&f, r, error);
    if (status != TKR_OK) return status;
    if (!given.text) given.text = "";
    if (f.recipe->empty && f.n_pictures == 0 && text_bytes(&given) == 0) {
        given.kind = TKR_INPUT_TEXT;
        given.text = f.recipe->empty;
        given.n_text = strlen(f.recipe->empty);
    }
    const bool good = template ? put_template(out, template, &f) : put_text(out, &f);
    return good ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory for a text of %zu bytes", text_bytes(&given));
}

/* ---- ids ---- */

size_t tkr_picture_tokens(const tkr_encode_request *r) {
    size_t n = 0;
    if (r->checkpoint->arch->vision->two_towers) return 0;
    for (size_t i = 0; i < r->n_pictures; i++) {
        const tkr_patches *p = &r->pictures[i].patches;
        n += tkr_visual_tokens(&r->checkpoint->vision, &(tkr_visual){p->t, p->h, p->w});
    }
    return n;
}

static size_t pairs_of(const tkr_input *input) {
    size_t n = 0;
    for (size_t i = 0; i < input->n_parts && input->kind == TKR_INPUT_PARTS; i++)
        if (input->parts[i].kind == TKR_PART_FRAMES) n += tkr_part_pairs(&input->parts[i]);
    return n;
}

/* Placeholders of a model's prompt that a text spells out would stand for pictures that aren't there. */
static tkr_status check_placeholders(size_t *n, const tkr_tok_result *ids, const tkr_encode_request *r,
                                     tkr_error *error) {
    const tkr_vision_config *v = &r->checkpoint->vision;
    const size_t n_pictures = tkr_input_images(r->input), n_pairs = pairs_of(r->input);
    size_t n_images = 0, n_videos = 0;
    for (size_t i = 0; i < ids->n; i++) {
        n_images += ids->ids[i] == v->image_token;
        n_videos += v->video_token != v->image_token && ids->ids[i] == v->video_token;
    }
    *n = n_images + n_videos;
    if (*n == n_pictures && n_videos == n_pairs) return TKR_OK;
    if (n_images < n_pictures - n_pairs || n_videos < n_pairs)
        return TKR_FAIL(error, FORMAT, "the tokenizer gives %zu placeholders (ids %d, %d) for %zu pictures", *n,
                        (int)v->image_token, (int)v->video_token, n_pictures);
    const char *piece = tkr_tok_piece(r->tok, n_videos > n_pairs ? v->video_token : v->image_token);
    return TKR_FAIL(error, INVALID_ARGUMENT,
                    "the text spells out \"%.40s\", which stands for a picture in this model's prompt; take it out",
                    piece ? piece : "?");
}

/* Arrays of a result in a buffer of our own. */
typedef struct wide_ids {
    int32_t *ids;
    uint64_t *offsets;
    uint8_t *types, *special;
} wide_ids;

/* false: no memory. */
static bool carve(wide_ids *w, tkr_buf *buf, size_t n) {
    size_t bytes = 0;
    buf->size = 0;
    if (!tkr_mul_size(&bytes, n, 2 * sizeof(uint64_t) + sizeof(int32_t) + 2) || !tkr_buf_reserve(buf, bytes + 16)) {
        buf->failed = false;
        return false;
    }
    char *at = (char *)(((uintptr_t)buf->data + 15) & ~(uintptr_t)15);
    w->offsets = (uint64_t *)(void *)at;
    w->ids = (int32_t *)(void *)(at + n * 2 * sizeof(uint64_t));
    w->types = (uint8_t *)(w->ids + n);
    w->special = w->types + n;
    return true;
}

static void put_id(wide_ids *w, size_t to, const tkr_tok_result *from, size_t i) {
    w->ids[to] = from->ids[i];
    w->types[to] = from->type_ids[i];
    w->special[to] = from->special ? from->special[i] : 0;
    w->offsets[2 * to] = from->offsets ? from->offsets[2 * i] : 0;
    w->offsets[2 * to + 1] = from->offsets ? from->offsets[2 * i + 1] : 0;
}

/* Each placeholder becomes as many as its picture has features; a picture that isn't processed stays one. */
static tkr_status put_pictures(tkr_tok_result *ids, const tkr_encode_request *r, tkr_error *error) {
    wide_ids w = {0};
    size_t n_placeholders = 0, to = 0, picture = 0;
    tkr_status status = check_placeholders(&n_placeholders, ids, r, error);
    if (status != TKR_OK || r->n_pictures == 0) return status;
    const size_t n = ids->n - n_placeholders + tkr_picture_tokens(r);
    if (!carve(&w, r->wide, n)) return TKR_FAIL(error, NO_MEMORY, "no memory for %zu tokens", n);
    for (size_t i = 0; i < ids->n; i++) {
        size_t copies = 1;
        if (tkr_is_placeholder(&r->checkpoint->vision, ids->ids[i])) {
            const tkr_patches *p = &r->pictures[picture++].patches;
            copies = tkr_visual_tokens(&r->checkpoint->vision, &(tkr_visual){p->t, p->h, p->w});
        }
        while (copies-- > 0) put_id(&w, to++, ids, i);
    }
    *ids = (tkr_tok_result){w.ids, w.types, ids->offsets ? w.offsets : NULL, w.special, n, n};
    return TKR_OK;
}

/* SigLIP reads texts of one length: padding is part of the model. */
static tkr_status pad(tkr_tok_result *ids, const tkr_encode_request *r, tkr_error *error) {
    wide_ids w = {0};
    const size_t n = r->checkpoint->config.max_positions;
    const int32_t pad_id = tkr_tok_id(r->tok, r->checkpoint->pad_piece);
    if (pad_id < 0)
        return TKR_FAIL(error, FORMAT, "%s: the padding token \"%.60s\" is not in the tokenizer", r->checkpoint->folder,
                        r->checkpoint->pad_piece);
    if (ids->n >= n) return TKR_OK;
    if (!carve(&w, r->wide, n)) return TKR_FAIL(error, NO_MEMORY, "no memory for %zu tokens", n);
    for (size_t i = 0; i < ids->n; i++) put_id(&w, i, ids, i);
    for (size_t i = ids->n; i < n; i++) {
        w.ids[i] = pad_id;
        w.types[i] = 0;
        w.special[i] = 1;
        w.offsets[2 * i] = w.offsets[2 * i + 1] = 0;
    }
    const size_t untruncated = ids->n_untruncated > n ? ids->n_untruncated : n;
    *ids = (tkr_tok_result){w.ids, w.types, ids->offsets ? w.offsets : NULL, w.special, n, untruncated};
    return TKR_OK;
}

tkr_status tkr_widen_ids(tkr_tok_result *ids, const tkr_encode_request *r, tkr_error *error) {
    if (!r->checkpoint->arch->vision->two_towers) return put_pictures(ids, r, error);
    return tkr_checkpoint_recipe(r->checkpoint)->pad_text && !r->plain ? pad(ids, r, error) : TKR_OK;
}
