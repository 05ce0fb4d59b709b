/* Reads the body to its end and answers with its length and Adler-32 checksum (RFC 1950), in decimal. */
#include "tenantry.h"

typedef struct {
    uint64_t size;
    uint32_t a, b;
} sum;

static void add(sum *to, tn_text chunk) {
    to->size += chunk.size;
    for (uint32_t at = 0; at < chunk.size;) {
        /* 5552 bytes: the most before b could overflow 32 bits. */
        uint32_t end = chunk.size - at > 5552 ? at + 5552 : chunk.size;
        for (; at < end; at++) {
            to->a += (uint8_t)chunk.data[at];
            to->b += to->a;
        }
        to->a %= 65521;
        to->b %= 65521;
    }
}

TN_FETCH(request) {
    sum total = {0, 1, 0};
    int64_t stream = tn_int(tn_get(request, "body_stream"), 0);
    if (!stream) add(&total, tn_text_of(tn_get(request, "body")));
    while (stream) {
        tn_result chunk = tn_stream_read(stream, 65536);
        if (!chunk.ok) return tn_respond_failure(400, chunk);
        tn_text bytes = tn_text_of(chunk.value);
        if (!bytes.size) break;
        add(&total, bytes);
    }
    tn_text size = tn_decimal(total.size), checksum = tn_decimal((uint64_t)total.b << 16 | total.a);
    return tn_respond_text(200, TN_CONCAT(size, tn_str(" "), checksum, tn_str("\n")));
}
