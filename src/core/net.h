/* SPDX-License-Identifier: Apache-2.0 */
/* core/net: listening sockets, what is accepted from them, and the process's table of descriptors. */
#ifndef TKR_CORE_NET_H
#define TKR_CORE_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef struct tkr_listener {
    int fd;        /* -1: closed */
    bool local;    /* a Unix socket */
    char url[192]; /* "http://127.0.0.1:8000" with the port that the system chose; "unix:/run/tkr.sock" */
    char *path;    /* of a Unix socket that was made here, else NULL */
    uint64_t device, inode;
} tkr_listener;

/* Who connected. */
typedef struct tkr_peer {
    char text[46]; /* "192.0.2.1", "2001:db8::1", "unix" */
    uint64_t key;  /* one for each IPv4 address and each /64 of IPv6; 0: a Unix socket */
} tkr_peer;

/* Opens "127.0.0.1:8000", "[::1]:8000", "localhost:0", "unix:/run/tkr.sock" (with these permissions; the file of a
 * server that has ended is replaced), "private:/run/admin.sock" (the same with 0600) or adopts "fd:3". "[::]" takes
 * IPv4 as well. `scheme`, "http" or "https", is for the URL. Fills *listener. */
tkr_status tkr_listener_open(tkr_listener *listener, const char *address, const char *scheme, unsigned unix_mode,
                             tkr_error *error);
/* Closes, and removes the file of a Unix socket that was made here. Once more is harmless. */
void tkr_listener_close(tkr_listener *listener);

typedef enum tkr_accept_result {
    TKR_ACCEPT_ONE,
    TKR_ACCEPT_NONE, /* nobody waits any more */
    TKR_ACCEPT_FULL, /* no descriptor or memory left */
    TKR_ACCEPT_FAILED,
} tkr_accept_result;
/* A connection that doesn't block and that children don't inherit. */
tkr_accept_result tkr_listener_accept(int *fd, tkr_peer *peer, const tkr_listener *listener);

/* A descriptor that does nothing, kept to be given up when there are no others; -1 when there is none. */
int tkr_fd_spare(void);
void tkr_fd_close(int fd);
/* Lets this process have `wanted` descriptors, as far as the system allows; returns how many it may have. */
size_t tkr_fd_limit(size_t wanted);
/* A descriptor that can be polled, numbered `number` or above, which makes the kernel's table of them as long; cheap
 * before the first thread starts. -1 when there is none. */
int tkr_fd_high(size_t number);
/* Whether bytes have come to a socket that nobody has read yet. */
bool tkr_socket_has_input(int fd);
/* Bytes written to a socket that the other side has not acknowledged yet; 0 where the system does not tell. */
size_t tkr_socket_unsent(int fd);
/* Writing to a socket whose peer has gone is an error from now on, no longer the end of the process. */
void tkr_ignore_broken_pipes(void);

#endif
