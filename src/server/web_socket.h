/* SPDX-License-Identifier: Apache-2.0 */
/* server/web_socket: the messages of /ws: operations without an exchange, answered as they finish. */
#ifndef TKR_SERVER_WEB_SOCKET_H
#define TKR_SERVER_WEB_SOCKET_H

#include "server/transport.h"

/* Fills ws_open, ws_message and ws_close; app->user is the tkr_server. */
void tkr_web_socket_app_init(tkr_http_app *app);

#endif
