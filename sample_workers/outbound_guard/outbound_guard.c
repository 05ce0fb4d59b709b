/* An outbound worker: it is asked before a request of a user worker leaves. Its variables name hosts:
 *
 *   AUTH_HOST      goes on with `authorization: Bearer …`, the secret bound as TOKEN
 *   MOVED_HOST     goes on to the host MOVED_TO instead
 *   BLOCKED_HOST   403
 *   ANSWERED_HOST  is answered here, with who asks and the param `plan`
 *
 * Everything else is fetched from here, as Cloudflare's outbound workers do it. */
#include "tenantry.h"

/* Whether the request goes to the host that a variable names. A URL's port is part of its host here. */
static bool leads_to(tn_value request, const char *variable) {
    tn_text host = tn_var(request, variable);
    return host.size && tn_same(host, tn_header(request, "host"));
}

static tn_text moved(tn_value request) {
    tn_text url = tn_url(request), path = tn_url_part(url, false);
    tn_text rest = {path.data, (uint32_t)(url.data + url.size - path.data)};
    bool tls = url.size > 4 && url.data[4] == 's';
    return TN_CONCAT(tn_str(tls ? "https://" : "http://"), tn_var(request, "MOVED_TO"), rest);
}

TN_FETCH(request) {
    if (leads_to(request, "AUTH_HOST")) {
        tn_result token = tn_secret("TOKEN");
        if (!token.ok) return tn_respond_failure(502, token);
        return tn_continue((tn_text){0}, "authorization",
                           TN_CONCAT(tn_str("Bearer "), tn_text_of(token.value)));
    }
    if (leads_to(request, "MOVED_HOST")) return tn_continue(moved(request), NULL, (tn_text){0});
    if (leads_to(request, "BLOCKED_HOST"))
        return tn_respond_text(403, tn_str("This platform's workers do not call that host.\n"));
    if (leads_to(request, "ANSWERED_HOST"))
        return tn_respond_text(200, TN_CONCAT(tn_param(request, "tenantry.namespace"), tn_str("/"),
                                              tn_param(request, "tenantry.script"), tn_str(" of "),
                                              tn_param(request, "tenantry.tenant"), tn_str(", plan "),
                                              tn_param(request, "plan"), tn_str("\n")));
    tn_result fetched = tn_fetch(request);
    if (fetched.ok) return tn_pass_through(fetched.value);
    return tn_respond_failure(tn_is(fetched.code, "denied") ? 403 : 502, fetched);
}
