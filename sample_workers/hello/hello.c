/* Answers every request with the same line: the smallest worker there is. */
#include "tenantry.h"

TN_FETCH(request) {
    return tn_respond_text(200, tn_str("Hello from C!\n"));
}
