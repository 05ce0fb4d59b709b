//! Uses everything that the Zig SDK offers: Zig only compiles what is used.
const tenantry = @import("tenantry");

fn fetch(request: tenantry.Request) !tenantry.Response {
    _ = .{ request.method(), request.path(), request.header("host"), request.variable("A"), request.param("B") };
    try tenantry.queueSend("QUEUE", try request.body(1000));
    try tenantry.sleep(5);
    const fetched = tenantry.fetchUrl("http://origin.example/") catch
        return .text(502, tenantry.concat(&.{ tenantry.failure.code, "\n" }));
    if (request.param("url")) |url| return .goOn(url, &.{ .{ .name = "a", .value = "b" }, .{ .name = "c", .value = null } });
    if (request.header("on")) |_| return .passThrough(try tenantry.fetchOn(request));
    if (fetched.missing()) return .passThrough(try tenantry.serviceFetch("BACKEND", request));
    return .passThrough(fetched);
}

fn queue(batch: tenantry.Request) !tenantry.Response {
    var messages = batch.value.get("messages").items();
    while (messages.next()) |message| tenantry.log(.warn, message.get("body").text());
    return .{};
}

fn scheduled(tick: tenantry.Request) !tenantry.Response {
    const at = tick.value.get("scheduled_time_ms").int() orelse return error.NoTime;
    const kv: tenantry.Kv = .{ .binding = "RUNS" };
    try kv.delete("last");
    if (at < 0) return error.BeforeTheEpoch;
    return .{};
}

comptime {
    tenantry.worker(.{ .fetch = fetch, .queue = queue, .scheduled = scheduled });
}
