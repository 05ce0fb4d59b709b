/* Takes the messages of a queue: logs each and keeps it under its id in the KV namespace bound as SEEN. A
 * body of "retry" asks for the message again, one of "fail" breaks the worker, so that the batch comes again.
 * A visitor may look a message up: GET /<id>, or GET /latest. */
#include "tenantry.h"

TN_QUEUE(batch) {
    tn_value messages = tn_get(batch, "messages");
    tn_writer retry = {0};
    uint32_t retries = 0;
    TN_EACH(message, messages) {
        tn_text id = tn_text_of(tn_get(message, "id")), body = tn_text_of(tn_get(message, "body"));
        tn_log(TN_INFO, TN_CONCAT(tn_str("message "), id, tn_str(": "), body));
        if (tn_is(body, "fail")) __builtin_trap();
        if (tn_is(body, "retry")) {
            tn_write_array(&retry, 2);
            tn_write_str(&retry, id);
            tn_write_int(&retry, 0); /* seconds to wait */
            retries++;
            continue;
        }
        bool stored = tn_kv_put("SEEN", id, body).ok && tn_kv_put("SEEN", tn_str("latest"), body).ok;
        if (!stored) __builtin_trap();
    }
    if (!retries) return 0; /* everything is acknowledged */
    tn_writer out = {0};
    tn_write_map(&out, 1);
    tn_write_key(&out, "retry");
    tn_write_array(&out, retries);
    tn_write_raw(&out, retry.data, retry.size);
    return tn_return(&out);
}

TN_FETCH(request) {
    tn_text path = tn_path(request);
    if (path.size < 2) return tn_respond_text(400, tn_str("Say which message: /ID or /latest\n"));
    tn_result got = tn_kv_get("SEEN", (tn_text){path.data + 1, path.size - 1});
    if (!got.ok) return tn_respond_failure(500, got);
    if (!tn_found(got)) return tn_respond_text(404, tn_str("No such message was delivered.\n"));
    return tn_respond_text(200, tn_entry_value(got));
}
