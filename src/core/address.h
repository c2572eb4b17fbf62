/* SPDX-License-Identifier: Apache-2.0 */
/* core/address: which network addresses are public, and sockets to them. */
#ifndef TKR_CORE_ADDRESS_H
#define TKR_CORE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

/* Whether a struct sockaddr of `size` bytes is an address of the public Internet: not private, loopback, link-local,
 * shared, multicast, reserved or of documentation, nor an IPv6 form of such an IPv4 address. */
bool tkr_address_is_public(const void *address, size_t size);
/* A socket that children don't inherit; -1 when there is none. */
int tkr_socket_open(int family, int type, int protocol);

#endif
