/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of the public Internet, and those that are not, IPv4 inside IPv6 included. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "core/address.h"

static bool is_public(const char *text) {
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) return tkr_address_is_public(&v4, sizeof v4);
    assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return tkr_address_is_public(&v6, sizeof v6);
}

static void public_ones(void **state) {
    static const char *const addresses[] = {
        "1.1.1.1",      "8.8.8.8",        "11.0.0.0",         "100.63.255.255",  "100.128.0.0",  "172.15.255.255",
        "172.32.0.0",   "192.0.1.0",      "192.167.255.1",    "198.17.255.255",  "198.20.0.0",   "223.255.255.255",
        "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1", "2001:4860::1", "2a00:1450::200e"};
    (void)state;
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++)
        if (!is_public(addresses[i])) fail_msg("%s should be public", addresses[i]);
}

static void the_others(void **state) {
    static const char *const addresses[] = {"0.0.0.0",
                                            "0.255.255.255",
                                            "10.0.0.1",
                                            "10.255.255.255",
                                            "100.64.0.1",
                                            "100.127.255.255",
                                            "127.0.0.1",
                                            "127.255.255.255",
                                            "169.254.0.1",
                                            "169.254.169.254",
                                            "172.16.0.1",
                                            "172.31.255.255",
                                            "192.0.0.1",
                                            "192.0.2.1",
                                            "192.168.0.1",
                                            "192.168.255.255",
                                            "198.18.0.1",
                                            "198.19.255.255",
                                            "198.51.100.1",
                                            "203.0.113.1",
                                            "224.0.0.1",
                                            "239.1.1.1",
                                            "240.0.0.1",
                                            "255.255.255.255",
                                            "::",
                                            "::1",
                                            "::ffff:127.0.0.1",
                                            "::ffff:10.0.0.1",
                                            "::ffff:169.254.169.254",
                                            "::127.0.0.1",
                                            "64:ff9b::7f00:1",
                                            "2002:7f00:1::1",
                                            "2002:a00:1::1",
                                            "fe80::1",
                                            "fec0::1",
                                            "fc00::1",
                                            "fd00:ec2::254",
                                            "ff02::1",
                                            "2001:db8::1",
                                            "2001:0:1::1",
                                            "2001:10::1",
                                            "3fff::1",
                                            "100::1",
                                            "5f00::1"};
    (void)state;
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++)
        if (is_public(addresses[i])) fail_msg("%s should not be public", addresses[i]);
}

static void no_address_at_all(void **state) {
    struct sockaddr other = {.sa_family = AF_UNIX};
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    (void)state;
    v4.sin_addr.s_addr = htonl(0x08080808);
    assert_false(tkr_address_is_public(&other, sizeof other));
    assert_false(tkr_address_is_public(&v4, 4));
    assert_true(tkr_address_is_public(&v4, sizeof v4));
}

static void loopback(void **state) {
    static const char *const yes[] = {"127.0.0.1",       "127.255.0.9",      "::1",
                                      "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "localhost"};
    static const char *const no[] = {
        "0.0.0.0", "::",         "128.0.0.1",      "10.0.0.1",     "::2",  "::ffff:10.0.0.1",
        "",        "localhost.", "127.0.0.1.evil", "127.0.0.1:80", "[::1]"};
    (void)state;
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (!tkr_address_is_loopback(yes[i])) fail_msg("%s is loopback", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (tkr_address_is_loopback(no[i])) fail_msg("%s is not loopback", no[i]);
}

static void same_network(const char *a, const char *b, bool same) {
    unsigned char x[16], y[16];
    assert_true(tkr_address_network(x, a) && tkr_address_network(y, b));
    assert_int_equal(memcmp(x, y, sizeof x) == 0, same);
}

static void networks(void **state) {
    unsigned char network[16];
    (void)state;
    same_network("192.0.2.1", "::ffff:192.0.2.1", true);
    same_network("192.0.2.1", "192.0.2.2", false);
    same_network("2001:db8::1", "2001:db8::ffff:1", true);
    same_network("2001:db8:0:0::1", "2001:db8:0:1::1", false);
    same_network("fe80::1%eth0", "fe80::2", true);
    assert_false(tkr_address_network(network, "unix"));
    assert_false(tkr_address_network(network, ""));
    assert_false(tkr_address_network(network, "1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(public_ones), cmocka_unit_test(the_others),
                                       cmocka_unit_test(no_address_at_all), cmocka_unit_test(loopback),
                                       cmocka_unit_test(networks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
