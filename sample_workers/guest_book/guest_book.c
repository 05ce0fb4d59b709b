/* A guest book in the SQL database that is bound as DB. GET shows the last entries, POST signs: the name is the query
 * parameter `name`, the entry is the body. GET /entries/7 shows one. */
#include "tenantry.h"

static tn_result make_table(void) {
    return tn_finish(tn_sql("DB",
                            "CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, name TEXT NOT NULL,"
                            " entry TEXT NOT NULL CHECK (length(entry) BETWEEN 1 AND 500))",
                            0));
}

static tn_result sign(tn_value request) {
    tn_text name = tn_query(request, "name", NULL), entry = tn_keep(tn_body(request, 4096));
    tn_writer *call = tn_sql("DB", "INSERT INTO entries (name, entry) VALUES (?, ?) RETURNING id", 2);
    tn_write_str(call, name);
    tn_write_str(call, entry);
    return tn_finish(call);
}

static tn_text show(tn_value row) {
    return TN_CONCAT(tn_decimal((uint64_t)tn_int(tn_get(row, "id"), 0)), tn_str(" "), tn_text_of(tn_get(row, "name")),
                     tn_str(": "), tn_text_of(tn_get(row, "entry")), tn_str("\n"));
}

TN_FETCH(request) {
    tn_text path = tn_path(request);
    if (tn_is(tn_method(request), "POST")) {
        tn_result signed_it = sign(request);
        /* Who signs first finds no table yet. */
        if (!signed_it.ok && tn_is(signed_it.code, "invalid_argument")) {
            tn_result made = make_table();
            if (!made.ok) return tn_respond_failure(503, made);
            signed_it = sign(request);
        }
        if (!signed_it.ok) return tn_respond_failure(tn_is(signed_it.code, "conflict") ? 400 : 503, signed_it);
        uint64_t id = (uint64_t)tn_int(tn_get(tn_item(tn_rows(signed_it), 0), "id"), 0);
        return tn_respond_text(201, TN_CONCAT(tn_decimal(id), tn_str("\n")));
    }
    tn_writer *call;
    if (path.size > 9 && tn_same((tn_text){path.data, 9}, tn_str("/entries/"))) {
        call = tn_sql("DB", "SELECT id, name, entry FROM entries WHERE id = ?", 1);
        tn_write_int(call, (int64_t)tn_number((tn_text){path.data + 9, path.size - 9}, 0));
    } else {
        call = tn_sql("DB", "SELECT id, name, entry FROM entries ORDER BY id DESC LIMIT 20", 0);
    }
    tn_result found = tn_finish(call);
    if (!found.ok) return tn_respond_failure(503, found);
    tn_text page = {0};
    TN_EACH(row, tn_rows(found)) page = tn_join(page, show(row));
    return tn_respond_text(page.size ? 200 : 404, page.size ? page : tn_str("nothing there\n"));
}
