/* Asks for every operation through the C SDK, and says of each what came of it. */
#include "tenantry.h"

static tn_text told;

static void note(const char *what, tn_result result, tn_text shown) {
    tn_text value = result.ok ? shown : TN_CONCAT(result.code, tn_str(" "), result.message);
    told = TN_CONCAT(told, tn_str(what), tn_str(": "), value, tn_str("\n"));
}
static tn_text number(tn_value value) { return tn_decimal((uint64_t)tn_int(value, 999)); }
static tn_text truth(tn_value value) { return tn_str(tn_bool(value) ? "yes" : "no"); }

static void write_params(tn_writer *to, tn_value request) {
    (void)request;
    tn_write_map(to, 1);
    tn_write_key(to, "params");
    tn_write_map(to, 1);
    tn_write_key(to, "plan");
    tn_write_key(to, "gold");
}

TN_FETCH(request) {
    tn_text key = tn_str("k"), seven = tn_str("7"), url = tn_str("http://origin.example/");
    if (tn_is(tn_path(request), "/streamed")) {
        tn_response_start(201, "text/plain");
        tn_result chunk = tn_stream_read(tn_int(tn_get(request, "body_stream"), 0), 5);
        tn_response_write(tn_keep(tn_text_of(chunk.value)));
        tn_response_write(tn_str("parts"));
        tn_response_end();
        return 0;
    }
    tn_result got = tn_kv_put("KV", key, seven);
    note("kv.put", got, tn_str("ok"));
    got = tn_kv_increment("KV", key, 3);
    note("kv.increment", got, number(got.value));
    tn_text ten = tn_str("10");
    got = tn_kv_compare_and_swap("KV", key, &ten, tn_str("11"));
    note("kv.compare_and_swap", got, truth(got.value));
    got = tn_kv_compare_and_swap("KV", key, NULL, tn_str("12"));
    note("kv.compare_and_swap", got, truth(got.value));
    got = tn_kv_get("KV", key);
    note("kv.get", got, tn_entry_value(got));
    const char *keys[] = {"k", "none"};
    got = tn_kv_get_many("KV", keys, 2);
    note("kv.get_many", got, tn_text_of(tn_get(tn_get(got.value, "k"), "value")));
    got = tn_kv_list("KV", tn_str(""), 10, (tn_text){0});
    note("kv.list", got, tn_text_of(tn_get(tn_item(tn_get(got.value, "keys"), 0), "name")));
    note("kv.delete", tn_kv_delete("KV", key), tn_str("ok"));
    note("queue.send", tn_queue_send("QUEUE", key), tn_str("ok"));
    tn_text bodies[] = {key, seven};
    note("queue.send_batch", tn_queue_send_batch("QUEUE", bodies, 2), tn_str("ok"));
    note("d1.exec", tn_sql_exec("DB", "CREATE TABLE t (a, b)"), tn_str("ok"));
    tn_writer *batch = tn_sql_batch("DB", 2);
    tn_sql_statement(batch, "INSERT INTO t VALUES (?, ?)", 2);
    tn_write_int(batch, 1);
    tn_write_real(batch, 2.5);
    tn_sql_statement(batch, "SELECT 1", 0);
    got = tn_finish(batch);
    note("d1.batch", got, number(tn_get(tn_get(tn_item(got.value, 0), "meta"), "changes")));
    tn_writer *query = tn_sql("DB", "SELECT a FROM t WHERE b = ?", 1);
    tn_write_real(query, 2.5);
    got = tn_finish(query);
    note("d1.query", got, number(tn_get(tn_item(tn_rows(got), 0), "a")));
    got = tn_secret("SECRET");
    note("secret.get", got, tn_text_of(got.value));
    got = tn_cache_put("CACHE", url, key, 60);
    note("cache.put", got, truth(tn_get(got.value, "stored")));
    got = tn_cache_match("CACHE", url);
    note("cache.match", got, tn_body(got.value, 100));
    got = tn_cache_delete("CACHE", url);
    note("cache.delete", got, truth(got.value));
    told = TN_CONCAT(told, tn_str("rate_limit.limit: "), tn_str(tn_rate_limit("LIMIT", key) ? "yes\n" : "no\n"));
    double doubles[] = {1.5, -2};
    note("analytics.write", tn_analytics_write("POINTS", key, bodies, 2, doubles, 2), tn_str("ok"));
    got = tn_fetch_url(url);
    note("fetch", got, number(tn_get(got.value, "status")));
    tn_text headers[] = {tn_str("x-a"), tn_str("b")};
    got = tn_fetch_with("POST", url, headers, 2, key);
    note("fetch", got, tn_keep(tn_body(got.value, 100)));
    got = tn_service_fetch("SERVICE", request);
    note("service.fetch", got, number(tn_get(got.value, "status")));
    got = tn_dispatch_fetch("DISPATCH", tn_str("shop"), request, write_params);
    note("dispatch.fetch", got, number(tn_get(got.value, "status")));
    got = tn_stream_open();
    int64_t stream = tn_int(got.value, 0);
    note("stream.open", got, tn_str("ok"));
    note("stream.write", tn_stream_write(stream, key), tn_str("ok"));
    note("stream.end", tn_stream_end(stream), tn_str("ok"));
    note("stream.close", tn_stream_close(tn_int(tn_stream_open().value, 0)), tn_str("ok"));
    note("sleep", tn_sleep(1), tn_str("ok"));
    return tn_respond_text(200, told);
}
