/* Answers a path only so often: the rate limit is bound as LIMIT. */
#include "tenantry.h"

TN_FETCH(request) {
    if (!tn_rate_limit("LIMIT", tn_path(request))) return tn_respond_text(429, tn_str("Too often.\n"));
    return tn_respond_text(200, tn_str("Welcome.\n"));
}
