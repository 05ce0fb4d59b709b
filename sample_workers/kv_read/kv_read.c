/* Answers with one value of the KV namespace that is bound as STORE: the one whose key is the path. */
#include "tenantry.h"

TN_FETCH(request) {
    tn_result got = tn_kv_get("STORE", tn_path(request));
    if (!got.ok) return tn_respond_failure(500, got);
    if (!tn_found(got)) return tn_respond_text(404, tn_str("There is no such key.\n"));
    return tn_respond_text(200, tn_entry_value(got));
}
