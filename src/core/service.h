/* SPDX-License-Identifier: Apache-2.0 */
/* core/service: what a service manager and a super-user expect of a server: sockets handed over, readiness, another
 * user. For a program's start, before it has threads. */
#ifndef TKR_CORE_SERVICE_H
#define TKR_CORE_SERVICE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

/* The first descriptor that systemd hands over; they follow one another. */
enum { TKR_SERVICE_FIRST_SOCKET = 3 };
/* Sockets that systemd (socket activation) hands to this process: LISTEN_PID, LISTEN_FDS; 0: none. Children don't
 * inherit them, and neither variable. */
size_t tkr_service_sockets(void);
/* Who can reach those sockets; asks before tkr_service_sockets() is called. */
typedef enum tkr_service_reach { TKR_SERVICE_NO_SOCKETS, TKR_SERVICE_LOCAL, TKR_SERVICE_PUBLIC } tkr_service_reach;
tkr_service_reach tkr_service_sockets_reach(void);
/* Tells systemd (Type=notify), such as "READY=1" or "STOPPING=1"; nothing happens without it. */
void tkr_service_notify(const char *state);

/* TKR_NOT_FOUND when there is no such user. */
tkr_status tkr_user_find(const char *name, tkr_error *error);
/* Whether this process is the super-user. */
bool tkr_user_is_root(void);
/* Whether this process is the super-user, and the file or folder belongs to that user. */
bool tkr_user_owns(const char *name, const char *path);
/* Gives a file or Unix socket that this process, the super-user, has just made to that user and its group. TKR_DENIED
 * for what isn't that: a link, a file that has other names or another owner. */
tkr_status tkr_user_give(const char *name, const char *path, tkr_error *error);
/* Becomes the user with its groups, for good. TKR_DENIED unless this process is the super-user or that user. */
tkr_status tkr_user_become(const char *name, tkr_error *error);

#endif
