/* SPDX-License-Identifier: Apache-2.0 */
/* core/address: the special-purpose registries of IANA (RFC 6890 and its successors). What isn't known to be public is
 * not. */
#include "core/address.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

static const struct {
    uint32_t base;
    unsigned bits;
} special[] = {
    {0x00000000, 8},  /* this network */
    {0x0A000000, 8},  /* private */
    {0x64400000, 10}, /* shared by carriers */
    {0x7F000000, 8},  /* loopback */
    {0xA9FE0000, 16}, /* link-local */
    {0xAC100000, 12}, /* private */
    {0xC0000000, 24}, /* protocol assignments */
    {0xC0000200, 24}, /* documentation */
    {0xC0586300, 24}, /* 6to4 relays */
    {0xC0A80000, 16}, /* private */
    {0xC6120000, 15}, /* benchmarking */
    {0xC6336400, 24}, /* documentation */
    {0xCB007100, 24}, /* documentation */
    {0xE0000000, 3},  /* multicast, reserved, broadcast */
};

static bool is_public4(uint32_t address) {
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if ((address ^ special[i].base) >> (32 - special[i].bits) == 0) return false;
    return true;
}

static uint32_t word(const uint8_t *bytes) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static const uint8_t mapped[12] = {[10] = 0xFF, [11] = 0xFF}; /* ::ffff:0:0/96 */

static bool is_mapped(const uint8_t a[16]) { return memcmp(a, mapped, sizeof mapped) == 0; }

static bool is_public6(const uint8_t a[16]) {
    static const uint8_t nat64[12] = {0x00, 0x64, 0xFF, 0x9B};
    if (is_mapped(a) || memcmp(a, nat64, sizeof nat64) == 0) return is_public4(word(a + 12));
    if ((a[0] & 0xE0) != 0x20) return false;                          /* global unicast is 2000::/3 */
    if (a[0] == 0x20 && a[1] == 0x02) return is_public4(word(a + 2)); /* 6to4 */
    if (a[0] == 0x20 && a[1] == 0x01 && a[2] < 2) return false;       /* 2001::/23: Teredo, benchmarking, ORCHID */
    if (a[0] == 0x20 && a[1] == 0x01 && a[2] == 0x0D && a[3] == 0xB8) return false; /* documentation */
    return !(a[0] == 0x3F && a[1] == 0xFF && (a[2] & 0xF0) == 0);                   /* documentation */
}

bool tkr_address_is_public(const void *address, size_t size) {
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr any;
    if (size < sizeof any) return false;
    memcpy(&any, address, sizeof any);
    if (any.sa_family == AF_INET && size >= sizeof v4) {
        memcpy(&v4, address, sizeof v4);
        return is_public4(ntohl(v4.sin_addr.s_addr));
    }
    if (any.sa_family != AF_INET6 || size < sizeof v6) return false;
    memcpy(&v6, address, sizeof v6);
    return is_public6(v6.sin6_addr.s6_addr);
}

/* IPv4 addresses in their mapped form; `text` without a scope ("fe80::1%eth0"). */
static bool parse(uint8_t out[16], const char *text) {
    char plain[INET6_ADDRSTRLEN];
    const size_t n = strcspn(text, "%");
    if (n >= sizeof plain) return false;
    memcpy(plain, text, n);
    plain[n] = '\0';
    memcpy(out, mapped, sizeof mapped);
    return inet_pton(AF_INET, plain, out + 12) == 1 || inet_pton(AF_INET6, plain, out) == 1;
}

bool tkr_address_is_loopback(const char *text) {
    static const uint8_t one[16] = {[15] = 1};
    uint8_t a[16];
    if (strcmp(text, "localhost") == 0) return true;
    return parse(a, text) && (is_mapped(a) ? a[12] == 127 : memcmp(a, one, sizeof one) == 0);
}

bool tkr_address_network(unsigned char out[16], const char *text) {
    if (!parse(out, text)) return false;
    if (!is_mapped(out)) memset(out + 8, 0, 8);
    return true;
}

int tkr_socket_open(int family, int type, int protocol) {
    const int fd = socket(family, type, protocol);
    if (fd >= 0) (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}
