/* Counts its visits in the KV namespace that is bound as COUNTER. Two visits at the same time may count as
 * one: KV has no transactions. */
#include "tenantry.h"

TN_FETCH(request) {
    tn_result got = tn_kv_get("COUNTER", tn_str("visits"));
    if (!got.ok) return tn_respond_failure(500, got);
    uint64_t visits = tn_number(tn_entry_value(got), 0) + 1;
    tn_result stored = tn_kv_put("COUNTER", tn_str("visits"), tn_decimal(visits));
    if (!stored.ok) return tn_respond_failure(500, stored);
    return tn_respond_text(200, TN_CONCAT(tn_decimal(visits), tn_str("\n")));
}
