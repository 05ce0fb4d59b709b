/* Fetches what ?url= names and passes the answer through: its body goes past the worker. Whether it may is
 * the platform's egress policy; a denial answers 403 with the reason. */
#include "tenantry.h"

TN_FETCH(request) {
    tn_text url = tn_query(request, "url", NULL);
    if (!url.size) return tn_respond_text(400, tn_str("Say what to fetch: ?url=https://example.com/\n"));
    tn_result fetched = tn_fetch_url(url);
    if (fetched.ok) return tn_pass_through(fetched.value);
    uint16_t status = tn_is(fetched.code, "denied")             ? 403
                      : tn_is(fetched.code, "invalid_argument") ? 400
                      : tn_is(fetched.code, "timeout")          ? 504
                                                                : 502;
    return tn_respond_failure(status, fetched);
}
