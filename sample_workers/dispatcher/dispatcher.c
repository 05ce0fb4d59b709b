/* A dispatch worker: the header `x-tenant` names the worker, of the dispatch namespace that is bound as
 * TENANTS, that answers. The tenant's worker is told its plan (`params.plan`: variable PLAN), and gets at
 * most CPU_MS milliseconds of CPU time when there is such a variable. */
#include "tenantry.h"

static void write_options(tn_writer *to, tn_value request) {
    tn_text plan = tn_var(request, "PLAN");
    uint64_t cpu_ms = tn_number(tn_var(request, "CPU_MS"), 0);
    tn_write_map(to, cpu_ms ? 2 : 1);
    tn_write_key(to, "params");
    tn_write_map(to, 1);
    tn_write_key(to, "plan");
    tn_write_str(to, plan.size ? plan : tn_str("free"));
    if (!cpu_ms) return;
    tn_write_key(to, "limits");
    tn_write_map(to, 1);
    tn_write_key(to, "cpu_ms");
    tn_write_int(to, (int64_t)cpu_ms);
}

TN_FETCH(request) {
    tn_text tenant = tn_header(request, "x-tenant");
    if (!tenant.size) return tn_respond_text(400, tn_str("Say who is meant: x-tenant: NAME\n"));
    tn_result answer = tn_dispatch_fetch("TENANTS", tenant, request, write_options);
    if (answer.ok) return tn_pass_through(answer.value);
    if (tn_is(answer.code, "worker_not_found"))
        return tn_respond_text(404, TN_CONCAT(answer.message, tn_str("\n")));
    return tn_respond_failure(tn_is(answer.code, "invalid_argument") ? 400 : 502, answer);
}
