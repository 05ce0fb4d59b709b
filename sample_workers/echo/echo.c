/* Sends the request back. Three ways:
 *   GET  /headers    method, URL and headers as text
 *   POST /           the body, read and written chunk by chunk by the worker
 *   POST /?pass      the body, handed over by the host: it never enters the worker
 */
#include "tenantry.h"

static uint64_t list_headers(tn_value request) {
    tn_text list = TN_CONCAT(tn_method(request), tn_str(" "), tn_url(request), tn_str("\n"));
    TN_EACH(pair, tn_get(request, "headers")) {
        tn_text name = tn_text_of(tn_item(pair, 0)), value = tn_text_of(tn_item(pair, 1));
        list = TN_CONCAT(list, name, tn_str(": "), value, tn_str("\n"));
    }
    return tn_respond_text(200, list);
}

/* Headers of the answer: what came in, told apart from the answer's own by a prefix. */
static void write_headers(tn_writer *out, tn_value request) {
    tn_text type = tn_header(request, "content-type");
    tn_write_array(out, 2);
    tn_write_array(out, 2);
    tn_write_key(out, "content-type");
    tn_write_str(out, type.size ? type : tn_str("application/octet-stream"));
    tn_write_array(out, 2);
    tn_write_key(out, "x-echo-method");
    tn_write_str(out, tn_method(request));
}

static uint64_t pass_body(tn_value request) {
    const char *kind = tn_missing(tn_get(request, "body_stream")) ? "body" : "body_stream";
    tn_writer out = {0};
    tn_write_map(&out, 3);
    tn_write_key(&out, "status");
    tn_write_int(&out, 200);
    tn_write_key(&out, "headers");
    write_headers(&out, request);
    tn_write_key(&out, kind);
    tn_write_value(&out, tn_get(request, kind));
    return tn_return(&out);
}

TN_FETCH(request) {
    bool pass;
    tn_query(request, "pass", &pass);
    if (tn_is(tn_path(request), "/headers")) return list_headers(request);
    /* A small body came with the request: then there is nothing to stream. */
    int64_t stream = tn_int(tn_get(request, "body_stream"), 0);
    if (pass || !stream) return pass_body(request);

    tn_writer *call = tn_begin("response.start", NULL, 2);
    tn_write_int(call, 200);
    write_headers(call, request);
    tn_finish(call);
    for (;;) {
        tn_result read = tn_stream_read(stream, 65536);
        if (!read.ok) __builtin_trap(); /* the upload broke off: so does the answer */
        tn_text chunk = tn_text_of(read.value);
        if (!chunk.size) break;
        if (!tn_response_write(chunk).ok) __builtin_trap(); /* never take a part for the whole */
    }
    tn_response_end();
    return 0;
}
