/* SPDX-License-Identifier: Apache-2.0 */
/* routes/native: errors of our own routes. One object, always of the same keys, so that a client needs one check:
 *
 *   {"error": {"code": "invalid_value", "message": "dimensions: is 1000, expected 1 to 384", "status": 400,
 *              "param": "dimensions", "retry_after": 1.5, "request_id": "..."}}
 *
 * "code" is one of the words of TKR_FAULT_LIST and doesn't change; "message" is for people; "param" is there where a
 * field is to blame, "retry_after" (seconds) where trying again helps. Also the plain errors of routes for people. */
#include "server/routes/shape.h"

static void native_error(tkr_operation *op) {
    const tkr_fault *fault = &op->fault;
    tkr_buf *out = &op->response->body;
    op->response->status = tkr_fault_status(fault->kind);
    op->response->content_type = "application/json";
    tkr_buf_printf(out, "{\"error\":{\"code\":\"%s\",\"message\":", tkr_fault_word(fault->kind));
    tkr_put_text(out, fault->message);
    tkr_buf_printf(out, ",\"status\":%u", op->response->status);
    if (fault->param[0] != '\0') {
        tkr_buf_printf(out, ",\"param\":");
        tkr_put_text(out, fault->param);
    }
    if (fault->retry_after_s > 0) {
        tkr_buf_printf(out, ",\"retry_after\":%.3f", fault->retry_after_s);
    }
    if (op->request_id[0] != '\0') {
        tkr_buf_printf(out, ",\"request_id\":");
        tkr_put_text(out, op->request_id);
    }
    tkr_buf_printf(out, "}}");
}

const tkr_api tkr_api_native = {.name = "native", .error = native_error};

static void plain_error(tkr_operation *op) {
    op->response->status = tkr_fault_status(op->fault.kind);
    op->response->content_type = "text/plain; charset=utf-8";
    tkr_buf_printf(&op->response->body, "%s\n", op->fault.message);
}

const tkr_api tkr_api_plain = {.name = "plain", .error = plain_error};
