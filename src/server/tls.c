/* SPDX-License-Identifier: Apache-2.0 */
/* server/tls: OpenSSL between a connection and its bytes, reading from the loop's own buffer so that an idle connection
 * holds none. Certificates can be read again while connections live. Refuses what is older than TLS 1.2. */
#include "server/conn.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

enum { HANDSHAKE_RECORD = 0x16 };

struct tkr_tls {
    tkr_mutex mutex; /* guards context */
    SSL_CTX *context;
    BIO_METHOD *bio;
    char *certificate, *key; /* files */
};

/* ---- memory ---- */

static void *take(size_t size, const char *file, int line) {
    (void)file;
    (void)line;
    return size > 0 ? tkr_malloc(size) : NULL;
}

static void give(void *block, const char *file, int line) {
    (void)file;
    (void)line;
    tkr_free(block);
}

static void *resize(void *block, size_t size, const char *file, int line) {
    if (size > 0) return tkr_realloc(block, size);
    give(block, file, line);
    return NULL;
}

/* ---- bytes below TLS ---- */

static int bio_read(BIO *bio, char *out, size_t n, size_t *got) {
    tkr_conn *conn = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *got = n < conn->n_cipher ? n : conn->n_cipher;
    if (*got == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    memcpy(out, conn->cipher, *got);
    conn->cipher += *got;
    conn->n_cipher -= *got;
    return 1;
}

static int bio_write(BIO *bio, const char *bytes, size_t n, size_t *sent) {
    tkr_conn_send_raw(BIO_get_data(bio), bytes, n);
    *sent = n;
    return 1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer) {
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_new(void) {
    BIO_METHOD *bio = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "loop");
    if (!bio) return NULL;
    (void)BIO_meth_set_read_ex(bio, bio_read);
    (void)BIO_meth_set_write_ex(bio, bio_write);
    (void)BIO_meth_set_ctrl(bio, bio_control);
    return bio;
}

/* ---- certificates ---- */

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *n_out, const unsigned char *in,
                           unsigned n_in, void *user) {
    static const unsigned char known[] = "\x08http/1.1";
    (void)ssl;
    (void)user;
    unsigned char *chosen = NULL;
    if (SSL_select_next_proto(&chosen, n_out, known, sizeof known - 1, in, n_in) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static tkr_status fail(SSL_CTX *context, const char *file, const char *doing, tkr_error *error) {
    char text[160] = "unknown reason";
    const unsigned long code = ERR_peek_last_error();
    if (code != 0) ERR_error_string_n(code, text, sizeof text);
    ERR_clear_error();
    SSL_CTX_free(context);
    return TKR_FAIL(error, FORMAT, "%s: %s: %s", file, doing, text);
}

static tkr_status context_new(SSL_CTX **out, const tkr_tls *tls, tkr_error *error) {
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context) return fail(NULL, tls->certificate, "no memory for TLS", error);
    (void)SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    (void)SSL_CTX_set_options(context,
                              SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_num_tickets(context, 1);
    (void)SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    if (SSL_CTX_use_certificate_chain_file(context, tls->certificate) != 1)
        return fail(context, tls->certificate, "not a certificate chain in PEM", error);
    if (SSL_CTX_use_PrivateKey_file(context, tls->key, SSL_FILETYPE_PEM) != 1)
        return fail(context, tls->key, "not the private key of the certificate, in PEM", error);
    if (SSL_CTX_check_private_key(context) != 1)
        return fail(context, tls->key, "the key doesn't fit the certificate", error);
    *out = context;
    return TKR_OK;
}

tkr_status tkr_tls_create(tkr_tls **out, const char *certificate, const char *key, tkr_error *error) {
    if (!key) return TKR_FAIL(error, INVALID_ARGUMENT, "%s: a certificate needs its key's file, too", certificate);
    (void)CRYPTO_set_mem_functions(take, resize, give); /* refused when something used OpenSSL before us */
    tkr_tls *tls = tkr_calloc(1, sizeof *tls);
    if (!tls) return TKR_FAIL(error, NO_MEMORY, "no memory for TLS");
    tkr_mutex_init(&tls->mutex);
    tls->certificate = tkr_strdup(certificate);
    tls->key = tkr_strdup(key);
    tls->bio = bio_new();
    const tkr_status status = !tls->certificate || !tls->key || !tls->bio
                                  ? TKR_FAIL(error, NO_MEMORY, "no memory for TLS")
                                  : context_new(&tls->context, tls, error);
    if (status == TKR_OK)
        *out = tls;
    else
        tkr_tls_free(&tls);
    return status;
}

tkr_status tkr_transport_check_tls(const char *certificate, const char *key, tkr_error *error) {
    tkr_tls *tls = NULL;
    const tkr_status status = tkr_tls_create(&tls, certificate, key, error);
    tkr_tls_free(&tls);
    return status;
}

tkr_status tkr_tls_reload(tkr_tls *tls, tkr_error *error) {
    SSL_CTX *fresh = NULL;
    const tkr_status status = context_new(&fresh, tls, error);
    if (status != TKR_OK) return status;
    tkr_mutex_lock(&tls->mutex);
    SSL_CTX *old = tls->context;
    tls->context = fresh;
    tkr_mutex_unlock(&tls->mutex);
    SSL_CTX_free(old); /* connections hold it as long as they live */
    return TKR_OK;
}

void tkr_tls_free(tkr_tls **tls) {
    if (!tls || !*tls) return;
    SSL_CTX_free((*tls)->context);
    BIO_meth_free((*tls)->bio);
    tkr_mutex_destroy(&(*tls)->mutex);
    tkr_free((*tls)->certificate);
    tkr_free((*tls)->key);
    tkr_free(*tls);
    *tls = NULL;
}

/* ---- connections ---- */

bool tkr_tls_accept(tkr_tls *tls, tkr_conn *conn) {
    tkr_mutex_lock(&tls->mutex);
    SSL *ssl = SSL_new(tls->context);
    tkr_mutex_unlock(&tls->mutex);
    BIO *bio = ssl ? BIO_new(tls->bio) : NULL;
    if (!bio) {
        SSL_free(ssl);
        ERR_clear_error();
        return false;
    }
    BIO_set_data(bio, conn);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_accept_state(ssl);
    conn->ssl = ssl;
    return true;
}

void tkr_tls_drop(tkr_conn *conn) {
    SSL_free(conn->ssl);
    conn->ssl = NULL;
}

static void on_handshake(tkr_conn *conn) {
    conn->shaken = true;
    tkr_conn_set(conn, TKR_CONN_HEAD, conn->loop->transport->options.idle_timeout);
}

void tkr_tls_input(tkr_conn *conn, const char *bytes, size_t n) {
    if (SSL_in_before(conn->ssl) && (uint8_t)*bytes != HANDSHAKE_RECORD) {
        tkr_tls_drop(conn);
        conn->shaken = true;
        tkr_conn_refuse(conn, 400, "TLS is spoken here: use https", "");
        return;
    }
    conn->cipher = bytes;
    conn->n_cipher = n;
    while (conn->state != TKR_CONN_CLOSED) {
        ERR_clear_error();
        const int got = SSL_read(conn->ssl, conn->loop->plain, sizeof conn->loop->plain);
        if (conn->state == TKR_CONN_CLOSED) break;
        if (!conn->shaken && SSL_is_init_finished(conn->ssl)) on_handshake(conn);
        if (got > 0) {
            tkr_conn_feed(conn, conn->loop->plain, (size_t)got);
            continue;
        }
        const int reason = SSL_get_error(conn->ssl, got);
        if (reason == SSL_ERROR_ZERO_RETURN)
            tkr_conn_end(conn);
        else if (reason != SSL_ERROR_WANT_READ)
            tkr_conn_close(conn);
        break;
    }
    conn->n_cipher = 0;
    ERR_clear_error();
}

bool tkr_tls_write(tkr_conn *conn, const char *bytes, size_t n) {
    size_t written = 0;
    ERR_clear_error();
    const bool good = n == 0 || (SSL_write_ex(conn->ssl, bytes, n, &written) == 1 && written == n);
    ERR_clear_error();
    return good;
}

void tkr_tls_shutdown(tkr_conn *conn) {
    ERR_clear_error();
    (void)SSL_shutdown(conn->ssl);
    ERR_clear_error();
}
