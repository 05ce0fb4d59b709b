/* Acknowledges the messages "done" of its batch and then fails: the others come again. */
#include "tenantry.h"

TN_QUEUE(batch) {
    tn_value messages = tn_get(batch, "messages");
    tn_writer ids = {0}, out = {0};
    uint32_t done = 0;
    TN_EACH(message, messages) {
        if (!tn_is(tn_text_of(tn_get(message, "body")), "done")) continue;
        tn_write_str(&ids, tn_text_of(tn_get(message, "id")));
        done++;
    }
    tn_write_map(&out, 2);
    tn_write_key(&out, "error");
    tn_write_map(&out, 2);
    tn_write_key(&out, "code");
    tn_write_key(&out, "half_done");
    tn_write_key(&out, "message");
    tn_write_key(&out, "the rest comes again");
    tn_write_key(&out, "ack");
    tn_write_array(&out, done);
    tn_write_raw(&out, ids.data, ids.size);
    return tn_return(&out);
}
