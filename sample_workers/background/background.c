/* Answers at once, then goes on: waits ?ms= (100), and writes to the KV namespace that is bound as STORE.
 * GET /last tells what was written last. */
#include "tenantry.h"

TN_FETCH(request) {
    if (tn_is(tn_path(request), "/last")) {
        tn_result got = tn_kv_get("STORE", tn_str("background"));
        if (!got.ok) return tn_respond_failure(500, got);
        if (!tn_found(got)) return tn_respond_text(404, tn_str("nothing yet\n"));
        return tn_respond_text(200, tn_entry_value(got));
    }
    tn_response_start(200, "text/plain; charset=utf-8");
    tn_response_write(tn_str("answered; the work goes on\n"));
    tn_response_end(); /* from here on the visitor has it all */
    tn_sleep((int64_t)tn_number(tn_query(request, "ms", NULL), 100));
    tn_text value = tn_query(request, "value", NULL);
    tn_kv_put("STORE", tn_str("background"), value.size ? value : tn_str("done"));
    return 0;
}
