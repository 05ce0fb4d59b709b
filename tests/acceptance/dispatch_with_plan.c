/* A dispatch worker: the header `x-tenant` names who answers; `x-param: NAME=VALUE` is an outbound param of the call. */
#include "tenantry.h"

static void write_options(tn_writer *to, tn_value request) {
    tn_text given = tn_header(request, "x-param");
    uint32_t equals = 0;
    while (equals < given.size && given.data[equals] != '=') equals++;
    tn_write_map(to, given.size ? 1 : 0);
    if (!given.size) return;
    tn_write_key(to, "outbound");
    tn_write_map(to, 1);
    tn_write_str(to, (tn_text){given.data, equals});
    tn_write_str(to, (tn_text){given.data + equals + 1, given.size - equals - 1});
}

TN_FETCH(request) {
    tn_result answer = tn_dispatch_fetch("TENANTS", tn_header(request, "x-tenant"), request, write_options);
    return answer.ok ? tn_pass_through(answer.value) : tn_respond_failure(502, answer);
}
