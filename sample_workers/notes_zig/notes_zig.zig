//! Keeps notes in the KV namespace that is bound as NOTES: PUT /name stores the body, GET reads it, DELETE
//! forgets it.
const std = @import("std");
const tenantry = @import("tenantry");

const notes: tenantry.Kv = .{ .binding = "NOTES" };

fn fetch(request: tenantry.Request) !tenantry.Response {
    const name = request.path()[1..];
    if (name.len == 0) return .text(400, "Say which note: /NAME\n");
    if (std.mem.eql(u8, request.method(), "GET")) {
        const note = try notes.get(name) orelse return .text(404, "There is no such note.\n");
        return .text(200, note);
    }
    if (std.mem.eql(u8, request.method(), "PUT")) {
        try notes.put(name, try request.body(1 << 20));
        tenantry.log(.info, tenantry.concat(&.{ "stored the note ", name }));
        return .text(201, "stored\n");
    }
    if (std.mem.eql(u8, request.method(), "DELETE")) {
        try notes.delete(name);
        return .text(200, "forgotten\n");
    }
    return .text(405, "GET, PUT or DELETE\n");
}

comptime {
    tenantry.worker(.{ .fetch = fetch });
}
