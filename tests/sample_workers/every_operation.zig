//! Asks for every operation through the Zig SDK, and says of each what came of it.
const std = @import("std");
const tenantry = @import("tenantry");

var told: tenantry.Writer = .{};

fn note(what: []const u8, shown: []const u8) void {
    for ([_][]const u8{ what, ": ", shown, "\n" }) |part| told.raw(part);
}

fn number(value: ?i64) []const u8 {
    var digits: [32]u8 = undefined;
    return tenantry.keep(std.fmt.bufPrint(&digits, "{d}", .{value orelse 999}) catch unreachable);
}

fn truth(value: bool) []const u8 {
    return if (value) "yes" else "no";
}

fn fetch(request: tenantry.Request) !tenantry.Response {
    const url = "http://origin.example/";
    if (std.mem.eql(u8, request.path(), "/streamed")) {
        const response = try tenantry.Streamed.start(201, "text/plain");
        const body: tenantry.Stream = .{ .id = request.value.get("body_stream").int() orelse 0 };
        try response.write(try body.read(5));
        try response.write("parts");
        try response.end();
        return .{};
    }
    const kv: tenantry.Kv = .{ .binding = "KV" };
    try kv.put("k", "7");
    note("kv.put", "ok");
    note("kv.increment", number(try kv.increment("k", 3)));
    note("kv.compare_and_swap", truth(try kv.compareAndSwap("k", "10", "11")));
    note("kv.compare_and_swap", truth(try kv.compareAndSwap("k", null, "12")));
    note("kv.get", try kv.get("k") orelse "none");
    note("kv.get_many", (try kv.getMany(&.{ "k", "none" })).get("k").get("value").text());
    var keys = (try kv.list("", 10, null)).get("keys").items();
    note("kv.list", keys.next().?.get("name").text());
    try kv.delete("k");
    note("kv.delete", "ok");
    try tenantry.queueSend("QUEUE", "k");
    note("queue.send", "ok");
    try tenantry.queueSendBatch("QUEUE", &.{ "k", "7" });
    note("queue.send_batch", "ok");
    const db: tenantry.Sql = .{ .binding = "DB" };
    try db.exec("CREATE TABLE t (a, b)");
    note("d1.exec", "ok");
    const batch = try db.batch(.{ .{ "INSERT INTO t VALUES (?, ?)", .{ 1, 2.5 } }, .{ "SELECT 1", .{} } });
    var results = batch.items();
    note("d1.batch", number(results.next().?.get("meta").get("changes").int()));
    var rows = (try db.query("SELECT a FROM t WHERE b = ?", .{2.5})).get("results").items();
    note("d1.query", number(rows.next().?.get("a").int()));
    note("secret.get", try tenantry.secret("SECRET"));
    const cache: tenantry.Cache = .{ .binding = "CACHE" };
    note("cache.put", truth(try cache.put(url, "k", 60)));
    note("cache.match", (try cache.match(url)).?.get("body").text());
    note("cache.delete", truth(try cache.delete(url)));
    note("rate_limit.limit", truth(try tenantry.rateLimit("LIMIT", "k")));
    try tenantry.writeDataPoint("POINTS", .{ .index = "k", .blobs = &.{ "k", "7" }, .doubles = &.{ 1.5, -2 } });
    note("analytics.write", "ok");
    note("fetch", number((try tenantry.fetchUrl(url)).get("status").int()));
    const answer = try tenantry.fetchWith(.{ .method = "POST", .url = url, .headers = &.{.{ .name = "x-a", .value = "b" }}, .body = "k" });
    note("fetch", answer.get("body").text());
    note("service.fetch", number((try tenantry.serviceFetch("SERVICE", request)).get("status").int()));
    const dispatched = try tenantry.dispatchFetch("DISPATCH", "shop", request, &.{.{ .name = "plan", .value = "gold" }});
    note("dispatch.fetch", number(dispatched.get("status").int()));
    const stream = try tenantry.Stream.open();
    note("stream.open", "ok");
    try stream.write("k");
    note("stream.write", "ok");
    try stream.end();
    note("stream.end", "ok");
    try (try tenantry.Stream.open()).close();
    note("stream.close", "ok");
    try tenantry.sleep(1);
    note("sleep", "ok");
    return .text(200, told.written());
}

comptime {
    tenantry.worker(.{ .fetch = fetch });
}
