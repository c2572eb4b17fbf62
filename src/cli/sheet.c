/* SPDX-License-Identifier: Apache-2.0 */
/* cli/sheet: see sheet.h. Names and words of others go in as text only; the page's policy allows inline styles and
 * pictures in the page itself, nothing else. */
#include "cli/sheet.h"

#include <stdio.h>
#include <string.h>

#include "core/base64.h"

static const char head[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src "
    "'unsafe-inline'\">\n"
    "<style>\n"
    ":root { color-scheme: light dark; --edge: #8884; --bar: #3b82f6; }\n"
    "body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }\n"
    "h1 { font-size: 1.35rem; font-weight: 600; margin: 0 0 .25rem; }\n"
    "p { margin: .25rem 0; opacity: .75; }\n"
    "header img { max-width: 9rem; max-height: 9rem; border-radius: 6px; display: block; margin: .5rem 0; }\n"
    "ol { list-style: none; margin: 1.5rem 0; padding: 0; display: grid; gap: 1rem;\n"
    "     grid-template-columns: repeat(auto-fill, minmax(12rem, 1fr)); }\n"
    "li { border: 1px solid var(--edge); border-radius: 10px; overflow: hidden; }\n"
    "figure { margin: 0; }\n"
    ".frame { height: 12rem; display: flex; align-items: center; justify-content: center; background: #8881; }\n"
    ".frame img { max-width: 100%; max-height: 100%; }\n"
    ".frame { position: relative; }\n"
    ".frame time { position: absolute; right: .5rem; bottom: .5rem; padding: .05rem .4rem; border-radius: 4px; "
    "background: #000b; color: #fff; font-size: .8rem; font-variant-numeric: tabular-nums; }\n"
    ".frame blockquote { margin: 0; width: 100%; padding: .75rem; font-size: .85rem; align-self: flex-start; "
    "max-height: 100%; "
    "overflow: auto; white-space: pre-line; box-sizing: border-box; }\n"
    ".frame span { padding: 1rem; font-size: .85rem; opacity: .75; }\n"
    "b { font-weight: 600; } small { display: block; opacity: .6; }\n"
    "figcaption { padding: .6rem .75rem .7rem; overflow-wrap: anywhere; }\n"
    ".score { display: flex; justify-content: space-between; font-variant-numeric: tabular-nums; font-size: .85rem; }\n"
    ".bar { height: 4px; border-radius: 2px; background: #8882; margin: .25rem 0 .4rem; }\n"
    ".bar i { display: block; height: 100%; border-radius: 2px; background: var(--bar); }\n"
    "</style>\n";

static void put(tkr_buf *out, const char *html) { tkr_buf_append(out, html, strlen(html)); }

static void text(tkr_buf *out, const char *s) {
    for (; *s; s++) {
        switch (*s) {
        case '&': put(out, "&amp;"); break;
        case '<': put(out, "&lt;"); break;
        case '>': put(out, "&gt;"); break;
        case '"': put(out, "&quot;"); break;
        case '\'': put(out, "&#39;"); break;
        default: tkr_buf_putc(out, (unsigned char)*s < ' ' && *s != '\n' ? ' ' : *s); break;
        }
    }
}

static void picture(tkr_buf *out, const tkr_cli_sheet *sheet, const tkr_cli_hit *h) {
    tkr_buf png = {0};
    tkr_error error = {0};
    size_t width = 0, height = 0;
    if (sheet->thumbnail(sheet->user, &png, &width, &height, h, &error) == TKR_OK) {
        tkr_buf_printf(out, "<img width=\"%zu\" height=\"%zu\" alt=\"", width, height);
        text(out, h->path);
        put(out, "\" src=\"data:image/png;base64,");
        (void)tkr_base64_encode(out, png.data, png.size); /* out->failed tells */
        put(out, "\">");
    } else {
        put(out, "<span>");
        text(out, error.message);
        put(out, "</span>");
    }
    tkr_buf_free(&png);
}

/* "0:07.5" */
static void put_time(tkr_buf *out, double seconds) {
    char whole[32];
    const double tenths = (seconds - (double)(long long)seconds) * 10;
    tkr_cli_duration(whole, (double)(long long)seconds);
    tkr_buf_printf(out, tenths >= 1 ? "%s.%d" : "%s", whole, (int)tenths);
}

void tkr_cli_hit_place(tkr_buf *out, const tkr_cli_hit *h) {
    if (h->unit != NULL && h->page > 0) {
        const bool several = h->last_page > h->page;
        tkr_buf_printf(out, several ? ", %ss %zu to %zu" : ", %s %zu", h->unit, h->page, h->last_page);
    }
    if (h->kind == TKR_CLI_HIT_VIDEO) {
        put(out, ", ");
        put_time(out, h->start_s);
        put(out, " to ");
        put_time(out, h->end_s);
        put(out, ", best at ");
        put_time(out, h->frame_s);
    }
}

static void hit(tkr_buf *out, const tkr_cli_sheet *sheet, size_t index) {
    const tkr_cli_hit *h = &sheet->hits[index];
    const double best = sheet->hits[0].score, part = best > 0 && h->score > 0 ? h->score / best : 0;
    const char *slash = strrchr(h->path, '/'), *name = slash != NULL && slash[1] != '\0' ? slash + 1 : h->path;
    put(out, "<li><figure><div class=\"frame\">");
    if (h->kind == TKR_CLI_HIT_TEXT) {
        put(out, "<blockquote>");
        text(out, h->text);
        put(out, "</blockquote>");
    } else {
        picture(out, sheet, h);
    }
    if (h->kind == TKR_CLI_HIT_VIDEO) {
        put(out, "<time>");
        put_time(out, h->frame_s);
        put(out, "</time>");
    }
    tkr_buf_printf(out,
                   "</div><figcaption><div class=\"score\"><span>%zu</span><span>%.4f</span></div>"
                   "<div class=\"bar\"><i style=\"width:%.0f%%\"></i></div>",
                   index + 1, h->score, 100 * part);
    put(out, "<b>");
    text(out, name);
    put(out, "</b>");
    tkr_cli_hit_place(out, h);
    if (h->heading != NULL) {
        put(out, "<small>");
        text(out, h->heading);
        put(out, "</small>");
    }
    if (name != h->path) {
        put(out, "<small>");
        text(out, h->path);
        put(out, "</small>");
    }
    put(out, "</figcaption></figure></li>\n");
}

tkr_status tkr_cli_sheet_write(tkr_buf *out, const tkr_cli_sheet *sheet, tkr_error *error) {
    const char *title = sheet->query != NULL ? sheet->query : sheet->query_image;
    tkr_buf_append(out, head, sizeof head - 1);
    put(out, "<title>");
    text(out, title);
    put(out, " - tkr-embed search</title>\n</head>\n<body>\n<header>\n<h1>");
    text(out, title);
    put(out, "</h1>\n");
    if (sheet->query_image != NULL) {
        const tkr_cli_hit query = {.path = sheet->query_image};
        picture(out, sheet, &query);
    }
    tkr_buf_printf(out, "<p>The %zu closest of %zu %s, by %s. Model: ", sheet->n_hits, sheet->n_all, sheet->what,
                   sheet->maxsim ? "MaxSim (sum of cosines)" : "cosine");
    text(out, sheet->model);
    put(out, "</p>\n");
    if (sheet->note != NULL) {
        put(out, "<p>");
        text(out, sheet->note);
        put(out, "</p>\n");
    }
    put(out, "</header>\n<ol>\n");
    for (size_t i = 0; i < sheet->n_hits; i++) {
        hit(out, sheet, i);
    }
    put(out, "</ol>\n</body>\n</html>\n");
    return out->failed ? TKR_FAIL(error, NO_MEMORY, "no memory for the contact sheet") : TKR_OK;
}
