/* SPDX-License-Identifier: Apache-2.0 */
/* A decoder that crashes, hangs, lies or talks nonsense costs its input an error; the next input is decoded. */
#include "golden.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/process.h"
#include "core/task.h"
#include "jail_fake.h"

static void each_misdeed(void **state) {
    (void)state;
    static const struct {
        const char *what, *said;
        tkr_status status;
    } cases[] = {
        {"a", "the decoder crashed (signal 6, SIGABRT)", TKR_FORMAT},
        {"s", "the decoder crashed (signal 11, SIGSEGV)", TKR_FORMAT},
        {"k", "SIGSYS: a system call that it may not make", TKR_FORMAT},
        {"e", "exited with status 7", TKR_FORMAT},
        {"h", "decoding took longer than 1 s", TKR_DEADLINE},
        {"c", "the decoder was ended", TKR_FORMAT},
        {"p", "exited with status 0", TKR_FORMAT},
        {"m", "senseless", TKR_FORMAT},
        {"t", "AAAA", TKR_FORMAT},
        {"0", "senseless", TKR_FORMAT},
        {"1", "senseless", TKR_FORMAT},
        {"2", "senseless", TKR_FORMAT},
        {"3", "senseless", TKR_FORMAT},
        {"4", "senseless", TKR_FORMAT},
        {"5", "senseless", TKR_FORMAT},
        {"7", "senseless", TKR_FORMAT},
        {"8", "decoding took longer than 1 s", TKR_DEADLINE},
        {"r", "decoding took longer than 1 s", TKR_DEADLINE},
    };
    tkr_jail *jail = fake_jail(1, 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tkr_image image;
        tkr_error error = {0};
        const unsigned before = who(jail);
        assert_int_equal(who(jail), before); /* warm */
        assert_int_equal(ask(jail, cases[i].what, &image, NULL, &error), cases[i].status);
        assert_null(image.rgb);
        if (!strstr(error.message, cases[i].said) || strstr(error.message, "cat.jpg: ") != error.message) {
            fail_msg("%s: %s", cases[i].what, error.message);
        }
        if (cases[i].what[0] != 't') assert_int_not_equal(who(jail), before); /* replaced */
    }
    tkr_image image;
    tkr_error error;
    assert_int_equal(ask(jail, "6", &image, NULL, &error), TKR_OK);
    tkr_image_free(&image);
    tkr_jail_free(&jail);
}

static double cpu_seconds(void) {
    struct timespec t;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* A decoder that is about to be done for ever keeps nobody awake. */
static void waits_asleep(void **state) {
    (void)state;
    tkr_jail *jail = fake_jail(1, 1);
    tkr_image image;
    (void)who(jail);
    const double began = cpu_seconds();
    assert_int_equal(ask(jail, "q", &image, NULL, NULL), TKR_DEADLINE);
    assert_true(cpu_seconds() - began < 0.1);
    tkr_jail_free(&jail);
}

/* Rows are copied once: what the decoder writes there later isn't seen. */
static void rows_are_copied_once(void **state) {
    (void)state;
    tkr_jail *jail = fake_jail(1, 5);
    tkr_image image;
    tkr_error error = {0};
    if (ask(jail, "d", &image, NULL, &error) != TKR_OK) fail_msg("%s", error.message);
    assert_int_equal(image.width * image.height, 16);
    for (size_t i = 0; i < 48; i++) assert_int_equal(image.rgb[i], i < 24 ? 7 : 9);
    tkr_image_free(&image);
    tkr_jail_free(&jail);
}

typedef struct client {
    tkr_jail *jail;
    const char *what;
    unsigned n_ok, n_failed;
} client;

static void ask_often(void *arg) {
    client *c = arg;
    for (int i = 0; i < 30; i++) {
        tkr_image image;
        const tkr_status status = ask(c->jail, c->what, &image, NULL, NULL);
        c->n_ok += status == TKR_OK;
        c->n_failed += status != TKR_OK;
        tkr_image_free(&image);
    }
}

/* Crashes beside good inputs: these don't notice. */
static void others_do_not_notice(void **state) {
    (void)state;
    enum { N = 6 };
    tkr_jail *jail = fake_jail(2, 1);
    client clients[N];
    tkr_task *tasks[N];
    for (size_t i = 0; i < N; i++) clients[i] = (client){.jail = jail, .what = i % 2 ? "s" : "x"};
    for (size_t i = 0; i < N; i++) tasks[i] = tkr_task_start(ask_often, &clients[i]);
    for (size_t i = 0; i < N; i++) {
        tkr_task_wait(&tasks[i]);
        assert_int_equal(i % 2 ? clients[i].n_failed : clients[i].n_ok, 30);
    }
    tkr_jail_free(&jail);
}

/* From here on this process's kernel knows neither of the two calls that the jail asks for. */
static bool forbid(unsigned call) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* In a child that lacks a call: 0 when the jail says what is missing, and --no-jail works. */
static int run_without(unsigned call, const char *missing) {
    tkr_jail_options options = jail_options();
    tkr_jail *jail = NULL;
    tkr_image image = {0};
    tkr_error error = {0};
    tkr_buf bytes = picture("files/%s", "jpeg_420.jpg");
    int failed = 0;
    if (!forbid(call)) return 1;
    if (tkr_jail_create(&jail, &options, &error) != TKR_UNSUPPORTED || jail) failed |= 2;
    if (!strstr(error.message, missing) || !strstr(error.message, "--no-jail")) failed |= 4;
    options.unconfined = true;
    if (tkr_jail_create(&jail, &options, &error) != TKR_OK ||
        tkr_jail_image(&image, jail, "x", bytes.data, bytes.size, TKR_ALPHA_DROP, NULL, &error) != TKR_OK) {
        failed |= 8;
    }
    tkr_image_free(&image);
    tkr_jail_free(&jail);
    tkr_buf_free(&bytes);
    return failed;
}

static void says_what_is_missing(void **state) {
    (void)state;
    static const struct {
        unsigned call;
        const char *missing;
    } cases[] = {{444, "Landlock"}, {SYS_seccomp, "seccomp"}};
    for (size_t i = 0; i < 2; i++) {
        int result = -1;
        const pid_t pid = fork();
        if (pid == 0) _exit(run_without(cases[i].call, cases[i].missing));
        assert_int_equal(waitpid(pid, &result, 0), pid);
        assert_true(WIFEXITED(result));
        assert_int_equal(WEXITSTATUS(result), 0);
    }
}

/* The shared memory can't be made shorter or longer by either side, and is zero at first. */
static void shared_memory(void **state) {
    (void)state;
    tkr_shared shared;
    tkr_error error = {0};
    assert_int_equal(tkr_shared_create(&shared, 1 << 20, &error), TKR_OK);
    for (size_t i = 0; i < shared.size; i += 4096) assert_int_equal(shared.data[i], 0);
    memset(shared.data, 7, shared.size);
    tkr_shared_release(&shared, 4096, shared.size - 4096);
    assert_int_equal(shared.data[0], 7);
    tkr_shared_free(&shared);
    tkr_shared_free(&shared);
}

int main(void) {
    (void)setenv("HF_TOKEN", "secret", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_misdeed),         cmocka_unit_test(waits_asleep),
        cmocka_unit_test(rows_are_copied_once), cmocka_unit_test(others_do_not_notice),
        cmocka_unit_test(says_what_is_missing), cmocka_unit_test(shared_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
