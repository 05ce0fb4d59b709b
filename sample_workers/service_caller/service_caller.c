/* Hands every request to the worker that is bound as BACKEND, and its answer back. */
#include "tenantry.h"

TN_FETCH(request) {
    tn_result answer = tn_service_fetch("BACKEND", request);
    return answer.ok ? tn_pass_through(answer.value) : tn_respond_failure(502, answer);
}
