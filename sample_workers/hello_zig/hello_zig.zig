//! Greets with the variable GREETING, and says which plan the dispatch worker passed, if one did.
const tenantry = @import("tenantry");

fn fetch(request: tenantry.Request) !tenantry.Response {
    const greeting = request.variable("GREETING") orelse "Hello";
    const plan = request.param("plan") orelse return .text(200, tenantry.concat(&.{ greeting, " from Zig!\n" }));
    return .text(200, tenantry.concat(&.{ greeting, " from Zig! Your plan: ", plan, "\n" }));
}

comptime {
    tenantry.worker(.{ .fetch = fetch });
}
