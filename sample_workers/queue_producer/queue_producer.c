/* Sends the request's body to the queue that is bound as QUEUE. */
#include "tenantry.h"

TN_FETCH(request) {
    tn_text body = tn_body(request, 128000);
    if (!body.size) return tn_respond_text(400, tn_str("POST what is to be sent.\n"));
    tn_result sent = tn_queue_send("QUEUE", body);
    if (!sent.ok) return tn_respond_failure(500, sent);
    return tn_respond_text(202, tn_str("sent\n"));
}
