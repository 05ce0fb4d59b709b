/* Runs at times: writes when it last ran, and by which schedule, to the KV namespace that is bound as RUNS.
 * A visitor is told. */
#include "tenantry.h"

TN_SCHEDULED(tick) {
    tn_text at = tn_decimal((uint64_t)tn_int(tn_get(tick, "scheduled_time_ms"), 0));
    tn_text line = TN_CONCAT(at, tn_str(" "), tn_text_of(tn_get(tick, "cron")));
    tn_log(TN_INFO, TN_CONCAT(tn_str("scheduled run at "), line));
    if (!tn_kv_put("RUNS", tn_str("last"), line).ok) __builtin_trap();
    return 0;
}

TN_FETCH(request) {
    tn_result got = tn_kv_get("RUNS", tn_str("last"));
    if (!got.ok) return tn_respond_failure(500, got);
    tn_text line = tn_found(got) ? tn_entry_value(got) : tn_str("never");
    return tn_respond_text(200, TN_CONCAT(line, tn_str("\n")));
}
