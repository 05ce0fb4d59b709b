/* Streams ?bytes= bytes (1 MiB) in chunks of 64 KiB, each the letters a to z over and over. */
#include "tenantry.h"

enum { CHUNK = 65536 };

TN_FETCH(request) {
    static char chunk[CHUNK];
    uint64_t left = tn_number(tn_query(request, "bytes", NULL), 1 << 20);
    for (uint32_t i = 0; i < CHUNK; i++) chunk[i] = (char)('a' + i % 26);
    tn_response_start(200, "application/octet-stream");
    while (left) {
        uint32_t size = left < CHUNK ? (uint32_t)left : CHUNK;
        if (!tn_response_write((tn_text){chunk, size}).ok) __builtin_trap(); /* never take a part for the whole */
        left -= size;
    }
    tn_response_end();
    return 0;
}
