/* A user worker that fetches whenever it can: for a visitor (?url=, with method and body), for a queue's batch and a
 * cron tick (variable URL). What fails is answered as "code: message". */
#include "tenantry.h"

TN_FETCH(request) {
    tn_text url = tn_query(request, "url", NULL);
    if (!url.size) return tn_respond_text(400, tn_str("?url= says what to fetch\n"));
    tn_writer *call = tn_begin("fetch", NULL, 1);
    tn_value body = tn_get(request, "body"), stream = tn_get(request, "body_stream");
    tn_write_map(call, 4);
    tn_write_key(call, "url");
    tn_write_str(call, url);
    tn_write_key(call, "method");
    tn_write_value(call, tn_get(request, "method"));
    tn_write_key(call, "headers");
    tn_write_value(call, tn_get(request, "headers"));
    tn_write_key(call, stream.at ? "body_stream" : "body");
    tn_write_value(call, stream.at ? stream : body);
    tn_result fetched = tn_finish(call);
    return fetched.ok ? tn_pass_through(fetched.value) : tn_respond_failure(502, fetched);
}

static uint64_t in_the_background(tn_value event) {
    if (!tn_fetch_url(tn_var(event, "URL")).ok) __builtin_trap();
    return 0;
}

TN_QUEUE(batch) { return in_the_background(batch); }
TN_SCHEDULED(tick) { return in_the_background(tick); }
