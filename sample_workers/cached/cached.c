/* Makes a page once a minute, and answers with the one in the cache that is bound as CACHE meanwhile. MADE counts how
 * many were made. */
#include "tenantry.h"

TN_FETCH(request) {
    tn_result kept = tn_cache_match("CACHE", tn_url(request));
    if (!kept.ok) return tn_respond_failure(500, kept);
    if (tn_found(kept)) return tn_respond_text(200, tn_text_of(tn_get(kept.value, "body")));

    tn_result got = tn_kv_get("MADE", tn_str("count"));
    if (!got.ok) return tn_respond_failure(500, got);
    tn_text count = tn_decimal(tn_number(tn_entry_value(got), 0) + 1);
    tn_text page = TN_CONCAT(tn_str("page "), count, tn_str("\n"));
    tn_result stored = tn_kv_put("MADE", tn_str("count"), count);
    if (stored.ok) stored = tn_cache_put("CACHE", tn_url(request), page, 60);
    if (!stored.ok) return tn_respond_failure(500, stored);
    return tn_respond_text(200, page);
}
