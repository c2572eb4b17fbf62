/* SPDX-License-Identifier: Apache-2.0 */
/* media/document_pictures: asks for the list piece by piece, checks it, and leaves out what was there before. */
#include "media/document_pictures.h"

#include <stdio.h>
#include <string.h>

#include "core/cpu.h"
#include "core/file.h"
#include "core/utf8.h"

/* For all pieces of a list. */
#define LIST_SECONDS 300.0
enum { MAX_DEADLY = 3 }; /* pictures that end the decoder, or take too long */

typedef struct listing {
    tkr_document_pictures *out;
    const tkr_document *document;
    const char *name;
    tkr_buf list;           /* tkr_document_picture: becomes out->list, which looks into it */
    uint32_t page, picture; /* where the list goes on */
    bool one_by_one;        /* a piece failed: by which picture? */
    unsigned n_deadly;
    uint64_t at;                  /* of the last picture */
    size_t n_bytes, n_characters; /* of the text, counted so far */
} listing;

/* Where page `page` begins, or the next one that has text. */
static uint64_t page_begin(const tkr_document *d, uint32_t page) {
    uint32_t low = 0, high = d->header.n_blocks; /* pages of blocks ascend */
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (d->blocks[middle].page < page)
            low = middle + 1;
        else
            high = middle;
    }
    return low < d->header.n_blocks ? d->blocks[low].begin : d->header.n_text;
}

static bool was_there(const tkr_document_pictures *p, const tkr_picture_entry *e) {
    for (size_t i = 0; i < p->n; i++) {
        const tkr_picture_entry *other = &p->list[i].entry;
        if (other->digest == e->digest && other->n_bytes == e->n_bytes && other->width == e->width) return true;
    }
    return false;
}

static bool is_sound(const listing *l, const tkr_picture_entry *e, const tkr_picture_header *header, const char *text) {
    const tkr_document *d = l->document;
    const bool pdf = d->header.type == TKR_DOCUMENT_PDF;
    return e->page <= d->header.n_pages && e->n_bytes > 0 && e->at >= l->at && e->at <= d->header.n_text &&
           (e->at == d->header.n_text || !tkr_utf8_goes_on(d->text[e->at])) && e->alt <= header->n_text &&
           e->n_alt <= header->n_text - e->alt && tkr_utf8_valid_prefix(text + e->alt, (size_t)e->n_alt) == e->n_alt &&
           (e->is_rgb != 0) == pdf && (!e->is_rgb || (uint64_t)e->width * e->height * 3 == e->n_bytes);
}

static bool add(listing *l, const tkr_picture_entry *entry, const char *text) {
    tkr_document_pictures *out = l->out;
    l->n_characters += tkr_utf8_count(l->document->text + l->n_bytes, (size_t)entry->at - l->n_bytes);
    l->n_bytes = (size_t)entry->at;
    const char *alt = tkr_arena_strndup(&out->alt, text + entry->alt, (size_t)entry->n_alt);
    const tkr_document_picture picture = {.entry = *entry, .at_characters = l->n_characters, .alt = alt};
    if (!alt || !tkr_buf_append(&l->list, &picture, sizeof picture)) return false;
    out->list = (tkr_document_picture *)(void *)l->list.data;
    out->n++;
    return true;
}

static void note(listing *l, const tkr_picture_header *header) {
    if (l->out->n_failed == 0 && header->n_failed > 0)
        memcpy(l->out->note, header->note, tkr_utf8_valid_prefix(header->note, strlen(header->note)));
    l->out->n_failed += header->n_failed;
}

/* One piece of the list. */
static tkr_status take(listing *l, const tkr_image *raw, tkr_error *error) {
    const size_t room = raw->width * raw->height * 3;
    tkr_picture_header header;
    if (room < sizeof header) return tkr_document_senseless(l->name, error);
    memcpy(&header, raw->rgb, sizeof header);
    header.note[sizeof header.note - 1] = '\0';
    const size_t size = sizeof header + (size_t)header.n * sizeof(tkr_picture_entry);
    const bool goes_on =
        header.next_page > l->page || (header.next_page == l->page && header.next_picture > l->picture);
    const bool over = header.next_page == 0 && header.next_picture == 0;
    if (header.magic != TKR_PICTURES_MAGIC || header.n > TKR_MAX_DOCUMENT_PICTURES || size > room ||
        header.n_text > room - size || (!over && !goes_on) || header.next_page > l->document->header.n_pages)
        return tkr_document_senseless(l->name, error);
    const char *text = (const char *)raw->rgb + size;
    for (uint32_t i = 0; i < header.n && l->out->n < TKR_MAX_DOCUMENT_PICTURES; i++) {
        tkr_picture_entry entry;
        memcpy(&entry, raw->rgb + sizeof header + i * sizeof entry, sizeof entry);
        if (entry.is_rgb) entry.at = page_begin(l->document, entry.page);
        if (!is_sound(l, &entry, &header, text)) return tkr_document_senseless(l->name, error);
        if (was_there(l->out, &entry)) continue;
        l->at = entry.at;
        if (!add(l, &entry, text)) return TKR_FAIL(error, NO_MEMORY, "%s: no memory for a list of pictures", l->name);
    }
    note(l, &header);
    l->page = header.next_page;
    l->picture = header.next_picture;
    return TKR_OK;
}

/* A piece can't be had: looks at its pictures one by one, leaves out that which is to blame, and goes on. */
static bool go_on(listing *l, const char *why) {
    if (l->document->header.type != TKR_DOCUMENT_PDF || l->n_deadly == MAX_DEADLY) return false;
    if (!l->one_by_one) {
        l->one_by_one = true;
        return true;
    }
    if (l->out->n_failed++ == 0) (void)snprintf(l->out->note, sizeof l->out->note, "page %u: %.200s", l->page + 1, why);
    l->picture++;
    l->n_deadly++;
    l->one_by_one = false;
    return true;
}

/* The document is still good for all else. */
static void give_up(listing *l, const char *why) {
    if (l->out->n_failed++ == 0)
        (void)snprintf(l->out->note, sizeof l->out->note, "from page %u on: %.200s", l->page + 1, why);
}

tkr_status tkr_document_pictures_list(tkr_document_pictures *pictures, const tkr_document *document, tkr_jail *jail,
                                      const char *name, const void *bytes, size_t n_bytes, const tkr_stop *stop,
                                      tkr_error *error) {
    const double until = tkr_now() + LIST_SECONDS;
    listing l = {.out = pictures, .document = document, .name = name};
    tkr_status status = TKR_OK;
    bool more = true;
    *pictures = (tkr_document_pictures){0};
    do {
        const tkr_jail_job job = {.kind = TKR_DECODER_PICTURES,
                                  .name = name,
                                  .bytes = bytes,
                                  .n_bytes = n_bytes,
                                  .page = l.page,
                                  .side = l.picture,
                                  .n_items = l.one_by_one,
                                  .stop = stop};
        tkr_image raw;
        tkr_error why = {TKR_OK, NULL, ""};
        status = tkr_jail_run(&raw, jail, &job, &why);
        if (status == TKR_OK) {
            status = take(&l, &raw, error);
            more = l.page > 0 || l.picture > 0;
            tkr_image_free(&raw);
        } else if (tkr_stop_ask(stop) != TKR_OK || status == TKR_NO_MEMORY) {
            status = tkr_error_set(error, TKR_HERE, status, "%s", why.message);
        } else {
            status = TKR_OK;
            more = go_on(&l, why.message);
            if (!more) give_up(&l, why.message);
        }
        if (status == TKR_OK && more && tkr_now() > until) {
            give_up(&l, "looking at its pictures takes too long");
            more = false;
        }
    } while (status == TKR_OK && more && pictures->n < TKR_MAX_DOCUMENT_PICTURES);
    if (status != TKR_OK) tkr_document_pictures_free(pictures);
    return status;
}

void tkr_document_pictures_free(tkr_document_pictures *pictures) {
    tkr_free(pictures->list);
    tkr_arena_free(&pictures->alt);
    *pictures = (tkr_document_pictures){0};
}

tkr_status tkr_document_picture_get(tkr_image *image, const tkr_document_picture *picture, tkr_jail *jail,
                                    const char *name, const void *bytes, size_t n_bytes, const tkr_stop *stop,
                                    tkr_error *error) {
    const tkr_picture_entry *e = &picture->entry;
    const tkr_jail_job job = {
        .kind = TKR_DECODER_PICTURE, .name = name, .bytes = bytes, .n_bytes = n_bytes, .place = e->place, .stop = stop};
    const tkr_status status = tkr_jail_run(image, jail, &job, error);
    if (status != TKR_OK) return status;
    const size_t size = image->width * image->height * 3;
    if (e->is_rgb ? image->width == e->width && image->height == e->height : size - e->n_bytes < 3) return TKR_OK;
    tkr_image_free(image);
    return tkr_document_senseless(name, error);
}
