/* SPDX-License-Identifier: Apache-2.0 */
/* Videos through the jail: the golden clips' frames and times, animations, several threads, and what is no video. */
#define _DEFAULT_SOURCE 1
#include "video_mutate.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <unistd.h>

typedef struct taken {
    size_t wanted[64], n_wanted; /* n_wanted 0: all */
    size_t n_frames, n;
    double fps, last;
    tkr_status choice;    /* what `choose` says */
    unsigned shown[256];  /* number that the i-th frame shows */
    size_t width, height; /* of the last frame */
} taken;

static tkr_status choose(void *user, tkr_buf *indices, const tkr_clip *clip, tkr_error *error) {
    taken *t = user;
    t->n_frames = clip->n_frames;
    t->fps = clip->fps;
    t->last = clip->times[clip->n_frames - 1];
    if (t->choice != TKR_OK) return tkr_error_set(error, TKR_HERE, t->choice, "not this one");
    for (size_t i = 0; i < (t->n_wanted ? t->n_wanted : clip->n_frames); i++) {
        const size_t index = t->n_wanted ? t->wanted[i] : i;
        assert_true(tkr_buf_append(indices, &index, sizeof index));
    }
    return TKR_OK;
}

static tkr_status take(void *user, size_t i, tkr_image *image, tkr_error *error) {
    taken *t = user;
    (void)error;
    assert_true(i < 256);
    t->width = image->width;
    t->height = image->height;
    t->shown[i] = image->width == CLIP_WIDTH && image->height == CLIP_HEIGHT ? number_shown(image->rgb) : 999;
    t->n++;
    return TKR_OK;
}

static tkr_status run(taken *t, tkr_jail *jail, const char *name, const tkr_buf *bytes, tkr_error *error) {
    const tkr_clip_request request = {.choose = choose, .take = take, .user = t};
    return tkr_jail_video(jail, name, bytes->data, bytes->size, &request, error);
}

static tkr_jail *open_video_jail(void) {
    tkr_jail_options options = jail_options();
    options.kind = TKR_JAIL_VIDEOS;
    return open_jail(&options);
}

static void golden_clips(void **state) {
    (void)state;
    tkr_jail *jail = open_video_jail();
    json_t *videos = golden_json("golden/video/videos.json");
    for (size_t c = 0; c < N_CLIPS; c++) {
        tkr_buf bytes = clip_bytes(clip_names[c]);
        const json_t *facts = clip_facts(videos, clip_names[c]), *pts = json_object_get(facts, "pts_seconds");
        tkr_error error = {TKR_OK, NULL, ""};
        taken all = {.n_wanted = 0}, some = {.wanted = {3, 9, 21, 28}, .n_wanted = 4};
        if (run(&all, jail, clip_names[c], &bytes, &error) != TKR_OK ||
            run(&some, jail, clip_names[c], &bytes, &error) != TKR_OK)
            fail_msg("%s", error.message);
        assert_int_equal(all.n, json_array_size(pts));
        assert_true(fabs(all.last - json_number_value(json_array_get(pts, all.n - 1))) < 6e-7);
        for (size_t i = 0; i < all.n; i++) assert_int_equal(all.shown[i], i);
        assert_int_equal(some.n, 4);
        for (size_t i = 0; i < 4; i++) assert_int_equal(some.shown[i], some.wanted[i]);
        tkr_buf_free(&bytes);
    }
    json_decref(videos);
    tkr_jail_free(&jail);
}

typedef struct first_frame {
    tkr_image image;
    size_t n_frames;
    double last;
} first_frame;

static tkr_status choose_first(void *user, tkr_buf *indices, const tkr_clip *clip, tkr_error *error) {
    first_frame *f = user;
    const size_t index = 0;
    (void)error;
    f->n_frames = clip->n_frames;
    f->last = clip->times[clip->n_frames - 1];
    return tkr_buf_append(indices, &index, sizeof index) ? TKR_OK : TKR_NO_MEMORY;
}

static tkr_status keep_image(void *user, size_t i, tkr_image *image, tkr_error *error) {
    (void)i, (void)error;
    ((first_frame *)user)->image = *image;
    *image = (tkr_image){0};
    return TKR_OK;
}

/* Animations are videos; their first frame is what they are as a picture. So is a picture a video of one frame. */
static void animations(void **state) {
    (void)state;
    static const struct {
        const char *name;
        bool moves;
    } files[] = {
        {"formats/anim.gif", true}, {"formats/anim.webp", true}, {"formats/L.webp", false}, {"formats/L.png", false}};
    tkr_jail *videos = open_video_jail(), *pictures = open_jail(NULL);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        tkr_buf bytes = picture("%s", files[i].name);
        tkr_error error = {TKR_OK, NULL, ""};
        first_frame f = {.n_frames = 0};
        const tkr_clip_request request = {.choose = choose_first, .take = keep_image, .user = &f};
        if (tkr_jail_video(videos, files[i].name, bytes.data, bytes.size, &request, &error) != TKR_OK)
            fail_msg("%s", error.message);
        tkr_image still = decode_or_fail(pictures, files[i].name, &bytes, TKR_ALPHA_DROP);
        print_message("%s: %zu frames, the last at %.3f s\n", files[i].name, f.n_frames, f.last);
        assert_true(files[i].moves ? f.n_frames > 1 && f.last > 0 : f.n_frames == 1 && f.last == 0);
        assert_int_equal(f.image.width, still.width);
        assert_int_equal(f.image.height, still.height);
        assert_memory_equal(f.image.rgb, still.rgb, still.width * still.height * 3);
        tkr_image_free(&f.image);
        tkr_image_free(&still);
        tkr_buf_free(&bytes);
    }
    tkr_jail_free(&videos);
    tkr_jail_free(&pictures);
}

/* The caller's refusal is the input's, and the process stays. */
static void a_caller_that_refuses(void **state) {
    (void)state;
    tkr_jail *jail = open_video_jail();
    tkr_buf bytes = clip_bytes(clip_names[0]);
    tkr_error error = {TKR_OK, NULL, ""};
    taken refusing = {.choice = TKR_LIMIT}, wrong = {.wanted = {30}, .n_wanted = 1},
          good = {.wanted = {29}, .n_wanted = 1};
    assert_int_equal(run(&refusing, jail, "clip", &bytes, &error), TKR_LIMIT);
    assert_string_equal(error.message, "clip: not this one");
    assert_int_equal(run(&wrong, jail, "clip", &bytes, &error), TKR_INTERNAL);
    assert_int_equal(run(&good, jail, "clip", &bytes, &error), TKR_OK);
    assert_int_equal(good.shown[0], 29);
    tkr_buf_free(&bytes);
    tkr_jail_free(&jail);
}

static void what_is_no_video(void **state) {
    (void)state;
    static const struct {
        const char *path, *says;
        tkr_status status;
    } files[] = {{"golden/video/broken/empty.webm", "is empty", TKR_FORMAT},
                 {"golden/video/broken/text.mp4", "no video", TKR_UNSUPPORTED},
                 {"golden/video/broken/truncated.mp4", "no video", TKR_UNSUPPORTED},
                 {"golden/video/videos.json", "no video", TKR_UNSUPPORTED}};
    tkr_jail *jail = open_video_jail();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        tkr_buf bytes = golden_bytes(files[i].path);
        tkr_error error = {TKR_OK, NULL, ""};
        taken t = {.n_wanted = 0};
        assert_int_equal(run(&t, jail, files[i].path, &bytes, &error), files[i].status);
        if (!strstr(error.message, files[i].says)) fail_msg("%s", error.message);
        tkr_buf_free(&bytes);
    }
    tkr_jail_free(&jail);
}

static void a_cut_file_gives_whole_frames(void **state) {
    (void)state;
    tkr_jail *jail = open_video_jail();
    tkr_buf bytes = golden_bytes("golden/video/broken/truncated.webm");
    tkr_error error = {TKR_OK, NULL, ""};
    taken t = {.n_wanted = 0};
    if (run(&t, jail, "cut", &bytes, &error) == TKR_OK) {
        assert_true(t.n > 0 && t.n <= t.n_frames && t.n_frames < 29);
        for (size_t i = 0; i < t.n; i++) assert_int_equal(t.shown[i], i);
    } else {
        assert_int_equal(error.status, TKR_FORMAT);
    }
    tkr_buf_free(&bytes);
    tkr_jail_free(&jail);
}

static tkr_status stop_at_once(void *user) {
    (void)user;
    return TKR_CANCELLED;
}

static void a_caller_that_gives_up(void **state) {
    (void)state;
    tkr_jail *jail = open_video_jail();
    tkr_buf bytes = clip_bytes(clip_names[2]);
    tkr_error error = {TKR_OK, NULL, ""};
    taken t = {.n_wanted = 0};
    const tkr_stop stop = {.ask = stop_at_once};
    const tkr_clip_request request = {.choose = choose, .take = take, .user = &t, .stop = &stop};
    assert_int_equal(tkr_jail_video(jail, "clip", bytes.data, bytes.size, &request, &error), TKR_CANCELLED);
    assert_int_equal(run(&t, jail, "clip", &bytes, &error), TKR_OK);
    tkr_buf_free(&bytes);
    tkr_jail_free(&jail);
}

/* ---- again, of the same file ---- */

/* Kills this process's children, and waits until they are dead. */
static void end_decoders(void) {
    DIR *folder = opendir("/proc");
    unsigned n = 0;
    assert_non_null(folder);
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char path[300], state = 'R';
        int parent = 0;
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        for (bool killed = false; entry->d_name[0] >= '0' && entry->d_name[0] <= '9' && state != 'Z'; killed = true) {
            FILE *file = fopen(path, "r");
            const bool mine = file && fscanf(file, "%*d (%*[^)]) %c %d", &state, &parent) == 2 && parent == getpid();
            if (file) fclose(file);
            if (!mine) break;
            if (!killed) n += kill(atoi(entry->d_name), SIGKILL) == 0;
        }
    }
    closedir(folder);
    assert_true(n > 0);
}

static tkr_status run_again(taken *t, tkr_jail *jail, const tkr_buf *bytes, const tkr_file_id *file, bool more) {
    const tkr_clip_request request = {.choose = choose, .take = take, .user = t, .file = file, .more = more};
    tkr_error error = {TKR_OK, NULL, ""};
    const size_t index = t->wanted[0];
    *t = (taken){.wanted = {index}, .n_wanted = 1};
    const tkr_status status = tkr_jail_video(jail, "clip", bytes->data, bytes->size, &request, &error);
    if (status == TKR_OK) assert_int_equal(t->shown[0], index);
    assert_int_equal(error.status, status);
    return status;
}

/* A file that stays open isn't read again: other bytes under its name tell. */
static void a_file_that_stays_open(void **state) {
    (void)state;
    tkr_jail_options options = jail_options();
    options.kind = TKR_JAIL_VIDEOS;
    options.n_processes = 1;
    tkr_jail *jail = open_jail(&options);
    tkr_buf bytes = clip_bytes(clip_names[0]), zeros = {0};
    while (zeros.size < bytes.size) assert_true(tkr_buf_putc(&zeros, '\0'));
    const tkr_file_id file = {.device = 1, .inode = 2, .size = bytes.size, .modified_ns = 3};
    tkr_file_id changed = file;
    changed.modified_ns++;
    taken t = {.wanted = {7}};
    assert_int_equal(run_again(&t, jail, &bytes, &file, true), TKR_OK);
    t.wanted[0] = 20;
    assert_int_equal(run_again(&t, jail, &zeros, &file, true), TKR_OK);
    t.wanted[0] = 3; /* the last one */
    assert_int_equal(run_again(&t, jail, &zeros, &file, false), TKR_OK);
    assert_int_equal(run_again(&t, jail, &zeros, &file, false), TKR_UNSUPPORTED);
    assert_int_equal(run_again(&t, jail, &bytes, &file, true), TKR_OK);
    assert_int_equal(run_again(&t, jail, &zeros, &changed, true), TKR_UNSUPPORTED);
    assert_int_equal(run_again(&t, jail, &bytes, &file, true), TKR_OK);
    assert_int_equal(run_again(&t, jail, &zeros, NULL, true), TKR_UNSUPPORTED);
    assert_int_equal(run_again(&t, jail, &bytes, &file, true), TKR_OK);
    end_decoders(); /* nobody's fault */
    t.wanted[0] = 9;
    assert_int_equal(run_again(&t, jail, &bytes, &file, true), TKR_OK);
    assert_int_equal(run_again(&t, jail, &zeros, &file, true), TKR_OK);
    tkr_buf_free(&bytes);
    tkr_buf_free(&zeros);
    tkr_jail_free(&jail);
}

/* 200 damaged files. */
static void mutations(void **state) {
    (void)state;
    mutate_videos(200, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(golden_clips),
                                       cmocka_unit_test(animations),
                                       cmocka_unit_test(a_caller_that_refuses),
                                       cmocka_unit_test(what_is_no_video),
                                       cmocka_unit_test(a_cut_file_gives_whole_frames),
                                       cmocka_unit_test(a_caller_that_gives_up),
                                       cmocka_unit_test(a_file_that_stays_open),
                                       cmocka_unit_test(mutations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
