/* SPDX-License-Identifier: Apache-2.0 */
/* server/server: what the command line knows of the server: start it, and wait until it has ended. */
#ifndef TKR_SERVER_SERVER_H
#define TKR_SERVER_SERVER_H

#include "server/settings.h"
#include "tkr/embed.h"

typedef struct tkr_server tkr_server;

/* Whether a server with these settings could start, as far as that is known without listening or loading a model. */
tkr_status tkr_server_check(const tkr_settings *settings, tkr_error *error);
/* Whether its models are there, or could be downloaded; asks no network. For who doesn't start it: loading says the
 * same. `warn` is told of models that are loaded with their first request, as what they lack may come until then. */
tkr_status tkr_server_check_models(const tkr_settings *settings, void (*warn)(void *user, const char *line), void *user,
                                   tkr_error *error);
/* Opens log and sockets, drops privileges, starts threads; models load in tkr_server_run. Returns a server. */
tkr_status tkr_server_create(tkr_server **server, const tkr_settings *settings, tkr_error *error);
/* The addresses it listens on, as URLs; NULL beyond the last. */
const char *tkr_server_url(const tkr_server *server, size_t index);
/* Serves until SIGTERM or SIGINT and the drain that follows. `started` is called when the models are loaded (NULL:
 * none). A model that can't be loaded ends it with that error. */
tkr_status tkr_server_run(tkr_server *server, void (*started)(void *user), void *user, tkr_error *error);
/* Calls fn for each model, the default one first; `info` is NULL while it isn't loaded. For `started`. */
void tkr_server_each_model(tkr_server *server, void (*fn)(void *user, const char *name, const tkr_model_info *info),
                           void *user);
void tkr_server_free(tkr_server **server);

/* Whether the server at `url` ("http://127.0.0.1:8000", "unix:/run/tkr.sock") is ready; TKR_BUSY: it isn't yet, or not
 * any more; TKR_NETWORK: nobody answers within `seconds`. */
tkr_status tkr_server_probe(const char *url, double seconds, tkr_error *error);

#endif
