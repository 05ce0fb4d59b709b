/* Writes a data point for each visit to the dataset that is bound as VISITS: who came by which host, to which path, and
 * how many bytes were sent along. */
#include "tenantry.h"

TN_FETCH(request) {
    tn_text path = tn_path(request);
    tn_text blobs[] = {path, tn_method(request)};
    double doubles[] = {1, (double)tn_body(request, 1 << 20).size};
    tn_result written = tn_analytics_write("VISITS", tn_header(request, "host"), blobs, 2, doubles, 2);
    if (!written.ok) return tn_respond_failure(500, written);
    return tn_respond_text(200, TN_CONCAT(tn_str("Counted a visit to "), path, tn_str("\n")));
}
