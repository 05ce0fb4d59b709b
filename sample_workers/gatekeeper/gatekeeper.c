/* Lets in who knows the secret: the header `x-key` must equal the secret that is bound as API_KEY. The secret
 * is asked of the host when it is needed, and never leaves the worker. */
#include "tenantry.h"

TN_FETCH(request) {
    tn_text given = tn_keep(tn_header(request, "x-key"));
    tn_result secret = tn_secret("API_KEY");
    if (!secret.ok) return tn_respond_failure(500, secret);
    if (!given.size || !tn_same(given, tn_text_of(secret.value)))
        return tn_respond_text(401, tn_str("Say the key: x-key: KEY\n"));
    return tn_respond_text(200, tn_str("Come in.\n"));
}
