/* SPDX-License-Identifier: Apache-2.0 */
/* core/address: which network addresses are public, and sockets to them. */
#ifndef TKR_CORE_ADDRESS_H
#define TKR_CORE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

/* Whether a struct sockaddr of `size` bytes is an address of the public Internet: not private, loopback, link-local,
 * shared, multicast, reserved or of documentation, nor an IPv6 form of such an IPv4 address. */
bool tkr_address_is_public(const void *address, size_t size);
/* Whether the text means this machine only: 127.0.0.0/8, ::1, their mapped forms, "localhost". */
bool tkr_address_is_loopback(const char *text);
/* What tells one user of an address from another, as 16 bytes: an IPv4 address, or the first 64 bits of an IPv6 one,
 * which a user has whole. false when the text is no address. */
bool tkr_address_network(unsigned char out[16], const char *text);
/* A socket that children don't inherit; -1 when there is none. */
int tkr_socket_open(int family, int type, int protocol);

#endif
