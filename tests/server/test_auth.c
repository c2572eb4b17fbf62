/* SPDX-License-Identifier: Apache-2.0 */
/* tests/server/test_auth: keys and their file, scopes, limits of keys and addresses, reloading, who may listen where.
 */
#define _XOPEN_SOURCE 700 /* setenv, mkdtemp */
#include <math.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "../countdown.h"
#include "core/file.h"
#include "core/sync.h"
#include "folder.h"
#include "server/auth.h"
#include "server/auth_keys.h"
#include "server/auth_limits.h"

static const char keys_file[] = "keys";

static void is_near(double value, double wanted, double tolerance) {
    if (!(fabs(value - wanted) <= tolerance)) fail_msg("%.9g, expected %.9g +- %g", value, wanted, tolerance);
}

static tkr_settings *settings_of(const tkr_setting_flag *flags, size_t n) {
    tkr_settings *settings = NULL;
    tkr_error error = {0};
    if (tkr_settings_load(&settings, NULL, flags, n, &error) != TKR_OK) fail_msg("%s", error.message);
    return settings;
}

static tkr_auth *open_auth(const tkr_setting_flag *flags, size_t n) {
    tkr_settings *settings = settings_of(flags, n);
    tkr_auth *auth = NULL;
    tkr_error error = {0};
    if (tkr_auth_create(&auth, settings, &error) != TKR_OK) fail_msg("%s", error.message);
    tkr_settings_free(&settings);
    return auth;
}

static tkr_status refused(const char *says, const tkr_setting_flag *flags, size_t n) {
    tkr_settings *settings = settings_of(flags, n);
    tkr_auth *auth = NULL;
    tkr_error error = {0};
    const tkr_status status = tkr_auth_create(&auth, settings, &error);
    assert_null(auth);
    if (strstr(error.message, says) == NULL) fail_msg("%s, not: %s", error.message, says);
    tkr_settings_free(&settings);
    return status;
}

static void new_key(char key[64], const char *name, unsigned scopes, uint64_t requests, uint64_t tokens) {
    const tkr_key_request request = {keys_file, name, scopes, requests, tokens, NULL};
    tkr_error error = {0};
    if (tkr_auth_new_key(key, &request, &error) != TKR_OK) fail_msg("%s", error.message);
}

/* The verdict on a bearer; nothing stays held. */
static tkr_verdict check(tkr_auth *auth, tkr_scope scope, const char *key) {
    char header[128];
    const tkr_identity *identity = NULL;
    double wait = 0;
    (void)snprintf(header, sizeof header, "Bearer %s", key);
    const tkr_verdict verdict = tkr_auth_check(&identity, &wait, auth, scope, header, NULL, "192.0.2.1");
    tkr_auth_release(auth, identity);
    return verdict;
}

static void test_new_keys(void **state) {
    char a[64], b[64];
    struct stat info;
    tkr_buf text = {0};
    (void)state;
    (void)remove(keys_file);
    new_key(a, "alice", TKR_SCOPE_EMBED, 0, 0);
    new_key(b, "bob@example.org", TKR_SCOPE_EMBED | TKR_SCOPE_ADMIN, 60, 1000);
    assert_int_equal(strlen(a), 44);
    assert_int_equal(strncmp(a, "tkr_", 4), 0);
    assert_int_equal(strspn(a + 4, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"), 40);
    assert_string_not_equal(a, b);
    assert_int_equal(stat(keys_file, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    assert_int_equal(tkr_file_read(&text, keys_file, 1 << 20, NULL), TKR_OK);
    assert_null(strstr(text.data, a));
    assert_null(strstr(text.data, a + 4));
    assert_non_null(strstr(text.data, "\nbob@example.org sha256:"));
    assert_non_null(strstr(text.data, " scopes=embed,admin requests=60 tokens=1000 created=20"));
    tkr_buf_free(&text);
}

static void add_name(void *user, const tkr_key_request *key) {
    char scopes[64];
    tkr_auth_scopes_text(scopes, key->scopes);
    tkr_buf_printf(user, "%s(%s,%llu,%llu) ", key->name, scopes, (unsigned long long)key->requests_per_minute,
                   (unsigned long long)key->tokens_per_minute);
}

static void names_are(const char *wanted) {
    tkr_buf names = {0};
    tkr_error error = {0};
    if (tkr_auth_each_key(keys_file, add_name, &names, &error) != TKR_OK) fail_msg("%s", error.message);
    assert_string_equal(names.data != NULL ? names.data : "", wanted);
    tkr_buf_free(&names);
}

static void test_list_and_revoke(void **state) {
    char key[64];
    tkr_error error = {0};
    const tkr_key_request again = {keys_file, "two", TKR_SCOPE_EMBED, 0, 0, NULL};
    const tkr_key_request bad = {keys_file, "a b", TKR_SCOPE_EMBED, 0, 0, NULL};
    tkr_buf text = {0};
    (void)state;
    write_file(keys_file, "# mine, stays\n\n");
    assert_int_equal(chmod(keys_file, 0640), 0);
    new_key(key, "one", TKR_SCOPE_EMBED, 0, 0);
    new_key(key, "two", TKR_SCOPE_METRICS, 5, 0);
    new_key(key, "three", TKR_SCOPE_ADMIN, 0, 6);
    names_are("one(embed,0,0) two(metrics,5,0) three(admin,0,6) ");
    assert_int_equal(tkr_auth_new_key(key, &again, &error), TKR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "has a key \"two\" already"));
    assert_int_equal(tkr_auth_new_key(key, &bad, &error), TKR_INVALID_ARGUMENT);
    assert_int_equal(tkr_auth_revoke_key(keys_file, "thre", &error), TKR_NOT_FOUND);
    assert_non_null(strstr(error.message, "has no key \"thre\", did you mean \"three\"?"));
    assert_int_equal(tkr_auth_revoke_key(keys_file, "zzzzzz", &error), TKR_NOT_FOUND);
    assert_non_null(strstr(error.message, "it has one, two, three"));
    assert_int_equal(tkr_auth_revoke_key(keys_file, "two", &error), TKR_OK);
    names_are("one(embed,0,0) three(admin,0,6) ");
    assert_int_equal(tkr_file_read(&text, keys_file, 1 << 20, NULL), TKR_OK);
    assert_int_equal(strncmp(text.data, "# mine, stays\n\none ", 19), 0);
    struct stat info;
    assert_int_equal(stat(keys_file, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0640); /* the mode that somebody chose */
    tkr_buf_free(&text);
}

#define HEX32 "0123456789abcdef0123456789abcdef"
#define HASH "sha256:" HEX32 HEX32
static const struct {
    const char *text, *says;
} bad_files[] = {
    {"a " HASH "\nb " HASH "\n", "keys:2: key \"b\" has the name or the hash of another line"},
    {"a " HASH "\n# x\na sha256:f" HEX32 "123456789abcdef0123456789abcdef\n", "keys:3: key \"a\" has the name or"},
    {"a tkr_plainkey\n", "keys:1: key \"a\" has no hash \"sha256:...\""},
    {"a\n", "keys:1: one word only, expected NAME sha256:..."},
    {"a sha256:12\n", "keys:1: key \"a\" has no hash"},
    {"a sha256:" HEX32 "0123456789ABCDEF0123456789abcdef\n", "keys:1: key \"a\" has no hash"},
    {"a " HASH " scopes=all\n", "keys:1: key \"a\" has \"scopes=all\", expected scopes="},
    {"a " HASH " scopes=\n", "keys:1: key \"a\" has \"scopes=\""},
    {"a " HASH " requests=-1\n", "keys:1: key \"a\" has \"requests=-1\""},
    {"a " HASH " tokens=many\n", "keys:1: key \"a\" has \"tokens=many\""},
    {"a " HASH " admin\n", "keys:1: key \"a\" has \"admin\""},
    {"a\x01 " HASH "\n", "keys:1: the name of a key is"},
    {"\xC3\xA4 " HASH "\n", "keys:1: the name of a key is"},
};

static void test_bad_files(void **state) {
    (void)state;
    const tkr_setting_flag flag = {TKR_SET_KEYS_FILE, keys_file};
    for (size_t i = 0; i < sizeof bad_files / sizeof *bad_files; i++) {
        write_file(keys_file, bad_files[i].text);
        assert_int_equal(chmod(keys_file, 0600), 0);
        assert_int_equal(refused(bad_files[i].says, &flag, 1), TKR_FORMAT);
    }
    tkr_error error = {0};
    tkr_key_lines lines = {0};
    tkr_buf_append(&lines.text, "a\0b\n", 4);
    assert_int_equal(tkr_key_lines_parse(&lines, "keys", &error), TKR_FORMAT);
    tkr_key_lines_free(&lines);
    /* What the key looks like must not get into a log. */
    write_file(keys_file, "a tkr_plainkey\n");
    assert_int_equal(tkr_auth_each_key(keys_file, add_name, NULL, &error), TKR_FORMAT);
    assert_null(strstr(error.message, "plainkey"));
}

static void test_permissions(void **state) {
    const tkr_setting_flag flag = {TKR_SET_KEYS_FILE, keys_file};
    static const unsigned modes[] = {0620, 0602, 0666, 0777};
    (void)state;
    write_file(keys_file, "a " HASH "\n");
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(chmod(keys_file, modes[i]), 0);
        assert_int_equal(refused("others may write this keys file", &flag, 1), TKR_DENIED);
    }
    assert_int_equal(chmod(keys_file, 0644), 0);
    tkr_auth *auth = open_auth(&flag, 1);
    tkr_auth_free(&auth);
    (void)remove(keys_file);
    assert_int_equal(refused("`tkr-embed key new NAME --keys-file keys` makes one", &flag, 1), TKR_NOT_FOUND);
}

/* ---- who may listen where ---- */

static void test_public_addresses(void **state) {
    static const char *const public[] = {"0.0.0.0",     "::",      "192.168.1.5", "10.0.0.1",
                                         "example.org", "fe80::1", "128.0.0.1"};
    static const char *const local[] = {"127.0.0.1", "127.9.9.9", "::1", "localhost", "::ffff:127.0.0.1"};
    tkr_setting_flag flags[2] = {{TKR_SET_HOST, NULL}, {TKR_SET_NO_AUTH, "1"}};
    (void)state;
    for (size_t i = 0; i < sizeof public / sizeof *public; i++) {
        flags[0].text = public[i];
        assert_int_equal(refused("there is no API key", flags, 1), TKR_DENIED);
        tkr_auth *auth = open_auth(flags, 2);
        assert_int_equal(check(auth, TKR_SCOPE_EMBED, "x"), TKR_PASS);
        tkr_auth_free(&auth);
    }
    for (size_t i = 0; i < sizeof local / sizeof *local; i++) {
        flags[0].text = local[i];
        tkr_auth *auth = open_auth(flags, 1);
        tkr_auth_free(&auth);
    }
    write_file(keys_file, "# none yet\n"); /* a file without keys is none */
    assert_int_equal(chmod(keys_file, 0600), 0);
    const tkr_setting_flag empty[] = {{TKR_SET_HOST, "0.0.0.0"}, {TKR_SET_KEYS_FILE, keys_file}};
    assert_int_equal(refused("there is no API key", empty, 2), TKR_DENIED);
}

/* ---- checking ---- */

static void test_without_keys(void **state) {
    (void)state;
    tkr_auth *auth = open_auth(NULL, 0);
    const tkr_identity *identity = NULL;
    double wait = 0;
    assert_int_equal(tkr_auth_check(&identity, &wait, auth, TKR_SCOPE_EMBED, NULL, NULL, "127.0.0.1"), TKR_PASS);
    assert_null(identity);
    assert_int_equal(check(auth, TKR_SCOPE_METRICS, "whatever"), TKR_PASS);
    assert_int_equal(check(auth, TKR_SCOPE_NONE, "whatever"), TKR_PASS);
    assert_int_equal(check(auth, TKR_SCOPE_ADMIN, "whatever"), TKR_NO_KEY); /* needs a key, or its own socket */
    tkr_auth_free(&auth);
}

static void test_scopes(void **state) {
    char embed[64], metrics[64], admin[64], all[64];
    (void)state;
    (void)remove(keys_file);
    new_key(embed, "embed", TKR_SCOPE_EMBED, 0, 0);
    new_key(metrics, "metrics", TKR_SCOPE_METRICS, 0, 0);
    new_key(admin, "admin", TKR_SCOPE_ADMIN, 0, 0);
    new_key(all, "all", TKR_SCOPE_EMBED | TKR_SCOPE_METRICS | TKR_SCOPE_ADMIN, 0, 0);
    tkr_setting_flag flags[] = {{TKR_SET_KEYS_FILE, keys_file}, {TKR_SET_PUBLIC_METRICS, "0"}};
    tkr_auth *auth = open_auth(flags, 2);
    const struct {
        const char *key;
        unsigned scopes;
    } rows[] = {{embed, 1}, {metrics, 2}, {admin, 4}, {all, 7}, {"tkr_unknown", 0}, {"", 0}};
    for (size_t i = 0; i < 6; i++) {
        for (unsigned scope = 1; scope < 8; scope *= 2) {
            const tkr_verdict verdict = check(auth, (tkr_scope)scope, rows[i].key);
            assert_int_equal(verdict, rows[i].scopes & scope ? TKR_PASS
                                      : rows[i].scopes       ? TKR_WRONG_SCOPE
                                                             : TKR_NO_KEY);
        }
        assert_int_equal(check(auth, TKR_SCOPE_NONE, rows[i].key), TKR_PASS);
    }
    tkr_auth_free(&auth);
    flags[1].text = "1";
    auth = open_auth(flags, 2);
    assert_int_equal(check(auth, TKR_SCOPE_METRICS, "tkr_unknown"), TKR_PASS);
    assert_int_equal(check(auth, TKR_SCOPE_EMBED, "tkr_unknown"), TKR_NO_KEY);
    tkr_auth_free(&auth);
}

static void test_headers(void **state) {
    static const struct {
        const char *authorization, *x_api_key;
        tkr_verdict verdict;
    } rows[] = {
        {"Bearer key-of-mine", NULL, TKR_PASS},
        {"bearer   key-of-mine", NULL, TKR_PASS},
        {NULL, "key-of-mine", TKR_PASS},
        {"Basic dXNlcjpwYXNz", "key-of-mine", TKR_PASS},
        {"Bearer other", "key-of-mine", TKR_NO_KEY}, /* the first one counts */
        {"key-of-mine", NULL, TKR_NO_KEY},
        {"Bearer", NULL, TKR_NO_KEY},
        {"Bearer ", NULL, TKR_NO_KEY},
        {"Bearer key-of-min", NULL, TKR_NO_KEY},
        {"Bearer key-of-mine2", NULL, TKR_NO_KEY},
        {"Bearer KEY-OF-MINE", NULL, TKR_NO_KEY},
        {"Bearer second", NULL, TKR_PASS},
        {NULL, NULL, TKR_NO_KEY},
        {"", "", TKR_NO_KEY},
    };
    (void)state;
    setenv("TKR_API_KEY", "key-of-mine, second", 1);
    tkr_auth *auth = open_auth(NULL, 0);
    unsetenv("TKR_API_KEY");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const tkr_identity *identity = NULL;
        double wait = 0;
        assert_int_equal(tkr_auth_check(&identity, &wait, auth, TKR_SCOPE_EMBED, rows[i].authorization,
                                        rows[i].x_api_key, "127.0.0.1"),
                         rows[i].verdict);
        assert_true((identity != NULL) == (rows[i].verdict == TKR_PASS));
        if (identity != NULL) assert_string_equal(identity->name, "api_key");
        tkr_auth_release(auth, identity);
    }
    assert_int_equal(check(auth, TKR_SCOPE_METRICS, "second"), TKR_PASS);
    assert_int_equal(check(auth, TKR_SCOPE_ADMIN, "second"), TKR_WRONG_SCOPE);
    tkr_auth_free(&auth);
}

/* ---- limits ---- */

static void test_buckets(void **state) {
    tkr_bucket bucket = {0};
    const double begin = 5000;
    (void)state;
    assert_true(tkr_bucket_left(&bucket, 60, begin) == 60);
    for (int i = 0; i < 60; i++) {
        assert_true(tkr_bucket_wait(&bucket, 60, 1, begin) == 0);
        tkr_bucket_spend(&bucket, 60, 1, begin);
    }
    is_near(tkr_bucket_wait(&bucket, 60, 1, begin), 1, 1e-9);
    is_near(tkr_bucket_wait(&bucket, 60, 1, begin + 0.25), 0.75, 1e-9);
    assert_true(tkr_bucket_wait(&bucket, 60, 1, begin + 1) < 1e-9);
    is_near(tkr_bucket_left(&bucket, 60, begin + 30), 30, 1e-9);
    assert_true(tkr_bucket_left(&bucket, 60, begin + 1e6) == 60); /* never more than a minute gives */
    tkr_bucket_spend(&bucket, 60, 90, begin + 1e6);               /* known only afterwards: a debt */
    is_near(tkr_bucket_left(&bucket, 60, begin + 1e6), -30, 1e-6);
    is_near(tkr_bucket_wait(&bucket, 60, 1, begin + 1e6), 31, 1e-6);
}

static void test_address_limits(void **state) {
    tkr_address_limits *limits = NULL;
    char address[32];
    (void)state;
    assert_int_equal(tkr_address_limits_create(&limits, 2, 100, NULL), TKR_OK);
    const double now = 1000;
    for (int i = 0; i < 2; i++) assert_true(tkr_address_limits_take(limits, "192.0.2.1", now) == 0);
    is_near(tkr_address_limits_take(limits, "192.0.2.1", now), 30, 1e-9);
    is_near(tkr_address_limits_take(limits, "::ffff:192.0.2.1", now), 30, 1e-9); /* the same one */
    assert_true(tkr_address_limits_take(limits, "192.0.2.2", now) == 0);
    /* One user has all of an IPv6 network of 64 bits. */
    assert_true(tkr_address_limits_take(limits, "2001:db8::1", now) == 0);
    assert_true(tkr_address_limits_take(limits, "2001:db8::2", now) == 0);
    assert_true(tkr_address_limits_take(limits, "2001:db8::3", now) > 0);
    assert_true(tkr_address_limits_take(limits, "2001:db8:0:1::3", now) == 0);
    for (int i = 0; i < 9; i++) assert_true(tkr_address_limits_take(limits, "unix", now) == 0);
    /* Bounded: those that were away longest are forgotten, who stays is not. */
    for (int i = 0; i < 5000; i++) {
        (void)snprintf(address, sizeof address, "10.0.%d.%d", i / 250, i % 250);
        assert_true(tkr_address_limits_take(limits, address, now) == 0);
        if (i % 50 == 0) assert_true(tkr_address_limits_take(limits, "192.0.2.1", now) > 0);
    }
    assert_true(tkr_address_limits_take(limits, "192.0.2.1", now) > 0);
    assert_true(tkr_address_limits_take(limits, "2001:db8::1", now) == 0);
    tkr_address_limits_free(&limits);
}

static void test_key_limits(void **state) {
    char key[64], header[80];
    (void)state;
    (void)remove(keys_file);
    new_key(key, "limited", TKR_SCOPE_EMBED, 3, 100);
    const tkr_setting_flag flags[] = {{TKR_SET_KEYS_FILE, keys_file}, {TKR_SET_KEY_RPM, "1000"}};
    tkr_auth *auth = open_auth(flags, 2);
    (void)snprintf(header, sizeof header, "Bearer %s", key);
    const tkr_identity *identity = NULL, *first = NULL;
    double wait = 0;
    assert_int_equal(tkr_auth_check(&first, &wait, auth, TKR_SCOPE_EMBED, header, NULL, "192.0.2.1"), TKR_PASS);
    tkr_buf fields = {0};
    tkr_auth_add_fields(&fields, auth, first);
    assert_non_null(strstr(fields.data, "X-RateLimit-Limit-Requests: 3\r\nX-RateLimit-Remaining-Requests: 2\r\n"));
    assert_non_null(strstr(fields.data, "X-RateLimit-Limit-Tokens: 100\r\nX-RateLimit-Remaining-Tokens: 100\r\n"));
    tkr_buf_free(&fields);
    tkr_auth_count_tokens(auth, first, 160);
    assert_int_equal(tkr_auth_check(&identity, &wait, auth, TKR_SCOPE_EMBED, header, NULL, "192.0.2.1"), TKR_TOO_FAST);
    assert_ptr_equal(identity, first); /* so that the refusal has its fields */
    tkr_auth_add_fields(&fields, auth, identity);
    assert_non_null(strstr(fields.data, "X-RateLimit-Limit-Tokens: 100\r\nX-RateLimit-Remaining-Tokens: 0\r\n"));
    tkr_buf_free(&fields);
    tkr_auth_release(auth, identity);
    is_near(wait, 61 * 60 / 100.0, 0.5);
    tkr_auth_release(auth, first);
    tkr_auth_free(&auth);

    auth = open_auth(flags, 2);
    for (int i = 0; i < 3; i++) assert_int_equal(check(auth, TKR_SCOPE_EMBED, key), TKR_PASS);
    assert_int_equal(tkr_auth_check(&identity, &wait, auth, TKR_SCOPE_EMBED, header, NULL, "192.0.2.1"), TKR_TOO_FAST);
    is_near(wait, 20, 0.5);
    tkr_auth_release(auth, identity);
    tkr_auth_free(&auth);

    auth = open_auth(flags, 2); /* the messages of a WebSocket are requests, too */
    assert_int_equal(tkr_auth_check(&first, &wait, auth, TKR_SCOPE_EMBED, header, NULL, "192.0.2.1"), TKR_PASS);
    identity = tkr_auth_retain(auth, first);
    tkr_auth_release(auth, first);
    for (int i = 0; i < 2; i++) assert_int_equal(check(auth, TKR_SCOPE_EMBED, key), TKR_PASS);
    assert_int_equal(tkr_auth_check(&first, &wait, auth, TKR_SCOPE_EMBED, header, NULL, "192.0.2.1"), TKR_TOO_FAST);
    is_near(wait, 20, 0.5);
    tkr_auth_release(auth, first);
    tkr_auth_release(auth, identity);
    tkr_auth_free(&auth);
}

static void test_address_limit(void **state) {
    const tkr_setting_flag flag = {TKR_SET_ADDRESS_RPM, "4"};
    const tkr_identity *identity = NULL;
    double wait = 0;
    (void)state;
    tkr_auth *auth = open_auth(&flag, 1);
    for (int i = 0; i < 4; i++) assert_int_equal(check(auth, TKR_SCOPE_EMBED, ""), TKR_PASS);
    assert_int_equal(check(auth, TKR_SCOPE_EMBED, ""), TKR_TOO_FAST);
    assert_int_equal(check(auth, TKR_SCOPE_NONE, ""), TKR_PASS); /* health is always answered */
    assert_int_equal(tkr_auth_check(&identity, &wait, auth, TKR_SCOPE_EMBED, NULL, NULL, "192.0.2.9"), TKR_PASS);
    assert_int_equal(tkr_auth_check(&identity, &wait, auth, TKR_SCOPE_EMBED, NULL, NULL, "192.0.2.1"), TKR_TOO_FAST);
    assert_true(wait > 14 && wait <= 15);
    assert_null(identity);
    tkr_auth_free(&auth);
}

/* ---- reloading ---- */

static void test_reload(void **state) {
    char one[64], two[64], header[80];
    const tkr_setting_flag flag = {TKR_SET_KEYS_FILE, keys_file};
    tkr_error error = {0};
    (void)state;
    (void)remove(keys_file);
    new_key(one, "one", TKR_SCOPE_EMBED, 2, 0);
    tkr_auth *auth = open_auth(&flag, 1);
    (void)snprintf(header, sizeof header, "Bearer %s", one);
    const tkr_identity *held = NULL;
    double wait = 0;
    assert_int_equal(tkr_auth_check(&held, &wait, auth, TKR_SCOPE_EMBED, header, NULL, "::1"), TKR_PASS);
    new_key(two, "two", TKR_SCOPE_EMBED, 0, 0);
    assert_int_equal(check(auth, TKR_SCOPE_EMBED, two), TKR_NO_KEY);
    assert_int_equal(tkr_auth_reload(auth, false, &error), TKR_OK);
    assert_int_equal(check(auth, TKR_SCOPE_EMBED, two), TKR_PASS);
    assert_int_equal(check(auth, TKR_SCOPE_EMBED, one), TKR_PASS);
    assert_int_equal(check(auth, TKR_SCOPE_EMBED, one), TKR_TOO_FAST); /* what was spent stays spent */
    assert_int_equal(tkr_auth_revoke_key(keys_file, "one", &error), TKR_OK);
    assert_int_equal(tkr_auth_reload(auth, false, &error), TKR_OK);
    assert_int_equal(check(auth, TKR_SCOPE_EMBED, one), TKR_NO_KEY);
    assert_string_equal(held->name, "one"); /* valid while it is held */
    tkr_auth_count_tokens(auth, held, 5);
    tkr_auth_release(auth, held);
    /* A broken file keeps the keys, and is told once. */
    write_file(keys_file, "nonsense\n");
    assert_int_equal(tkr_auth_reload(auth, false, &error), TKR_FORMAT);
    assert_int_equal(tkr_auth_reload(auth, false, &error), TKR_OK);
    assert_int_equal(tkr_auth_reload(auth, true, &error), TKR_FORMAT);
    assert_int_equal(check(auth, TKR_SCOPE_EMBED, two), TKR_PASS);
    assert_int_equal(remove(keys_file), 0);
    assert_int_equal(tkr_auth_reload(auth, false, &error), TKR_NOT_FOUND);
    assert_int_equal(tkr_auth_reload(auth, false, &error), TKR_OK);
    assert_int_equal(check(auth, TKR_SCOPE_EMBED, two), TKR_PASS);
    /* A file without keys takes all of them back: it doesn't open the server. */
    write_file(keys_file, "# none\n");
    assert_int_equal(chmod(keys_file, 0600), 0);
    assert_int_equal(tkr_auth_reload(auth, false, &error), TKR_OK);
    assert_int_equal(check(auth, TKR_SCOPE_EMBED, two), TKR_NO_KEY);
    tkr_auth_free(&auth);
}

typedef struct storm {
    tkr_auth *auth;
    const char *key;
    atomic_bool *stop;
    size_t n_passed, n_other;
} storm;

static void check_on(void *arg) {
    storm *s = arg;
    while (!atomic_load(s->stop)) {
        const tkr_verdict verdict = check(s->auth, TKR_SCOPE_EMBED, s->key);
        s->n_passed += verdict == TKR_PASS;
        s->n_other += verdict != TKR_PASS;
    }
}

/* A key that stays is good at every moment of a storm of reloads. */
static void test_reload_storm(void **state) {
    char key[64], other[64];
    const tkr_setting_flag flags[] = {{TKR_SET_KEYS_FILE, keys_file}, {TKR_SET_ADDRESS_RPM, "1000000000"}};
    atomic_bool stop = false;
    tkr_error error = {0};
    (void)state;
    (void)remove(keys_file);
    new_key(key, "stays", TKR_SCOPE_EMBED, 0, 0);
    tkr_auth *auth = open_auth(flags, 2);
    storm storms[3];
    tkr_thread *threads[3];
    for (size_t i = 0; i < 3; i++) {
        storms[i] = (storm){auth, key, &stop, 0, 0};
        assert_int_equal(tkr_thread_start(&threads[i], "check", check_on, &storms[i], &error), TKR_OK);
    }
    for (int i = 0; i < 30; i++) {
        new_key(other, "comes-and-goes", TKR_SCOPE_EMBED, 0, 0);
        assert_int_equal(tkr_auth_reload(auth, true, &error), TKR_OK);
        assert_int_equal(tkr_auth_revoke_key(keys_file, "comes-and-goes", &error), TKR_OK);
        assert_int_equal(tkr_auth_reload(auth, true, &error), TKR_OK);
    }
    atomic_store(&stop, true);
    for (size_t i = 0; i < 3; i++) {
        tkr_thread_join(&threads[i]);
        assert_true(storms[i].n_passed > 0 && storms[i].n_other == 0);
    }
    tkr_auth_free(&auth);
}

static void test_failures(void **state) {
    char key[64];
    (void)state;
    (void)remove(keys_file);
    setenv("TKR_API_KEY", "key-of-the-environment", 1);
    new_key(key, "one", TKR_SCOPE_EMBED, 0, 0);
    const tkr_setting_flag flags[] = {{TKR_SET_KEYS_FILE, keys_file}, {TKR_SET_ADDRESS_RPM, "9"}};
    tkr_settings *settings = settings_of(flags, 2);
    unsetenv("TKR_API_KEY");
    for (long n = 0;; n++) {
        tkr_auth *auth = NULL;
        tkr_error error = {0};
        countdown count = {n};
        tkr_seam_set(fail_nth, &count);
        const tkr_status status = tkr_auth_create(&auth, settings, &error);
        tkr_seam_set(NULL, NULL);
        tkr_auth_free(&auth);
        if (count.left >= 0) break;
        assert_true(status == TKR_NO_MEMORY || status == TKR_IO);
    }
    for (long n = 0;; n++) { /* the file is there whole or as it was */
        const tkr_key_request request = {keys_file, "two", TKR_SCOPE_EMBED, 0, 0, NULL};
        tkr_error error = {0};
        countdown count = {n};
        tkr_seam_set(fail_nth, &count);
        const tkr_status status = tkr_auth_new_key(key, &request, &error);
        tkr_seam_set(NULL, NULL);
        names_are(status == TKR_OK ? "one(embed,0,0) two(embed,0,0) " : "one(embed,0,0) ");
        if (status == TKR_OK) break;
    }
    tkr_settings_free(&settings);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_keys),         cmocka_unit_test(test_list_and_revoke),
        cmocka_unit_test(test_bad_files),        cmocka_unit_test(test_permissions),
        cmocka_unit_test(test_public_addresses), cmocka_unit_test(test_without_keys),
        cmocka_unit_test(test_scopes),           cmocka_unit_test(test_headers),
        cmocka_unit_test(test_buckets),          cmocka_unit_test(test_address_limits),
        cmocka_unit_test(test_key_limits),       cmocka_unit_test(test_address_limit),
        cmocka_unit_test(test_reload),           cmocka_unit_test(test_reload_storm),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
