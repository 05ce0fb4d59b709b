//! The SDK for workers in Zig; docs/guest-abi.md is the contract.
//!
//!     const tenantry = @import("tenantry");
//!     fn fetch(request: tenantry.Request) !tenantry.Response {
//!         return .text(200, "hello\n");
//!     }
//!     comptime { tenantry.worker(.{ .fetch = fetch }); }
//!
//! A worker's instance lives for one event: memory is handed out and never freed. What an operation answers
//! is valid until the next one; `keep` copies it. An error that a handler returns is an exception of the
//! worker.
const std = @import("std");

const abi = struct {
    extern "tenantry_v1" fn call(data: [*]const u8, size: u32) u32;
    extern "tenantry_v1" fn take(into: [*]u8, offset: u32, size: u32) u32;
    extern "tenantry_v1" fn log(level: u32, text: [*]const u8, size: u32) void;
};

// ---- memory ----

extern var __heap_base: u8;
var next: usize = 0;

/// Room for `size` bytes, aligned to 16. Traps when the memory limit is reached.
pub fn alloc(size: usize) []u8 {
    if (next == 0) next = @intFromPtr(&__heap_base);
    const start = std.mem.alignForward(usize, next, 16);
    const have = @wasmMemorySize(0) * 65536;
    if (size > std.math.maxInt(usize) - start) @trap();
    if (start + size > have) {
        const pages = (start + size - have + 65535) / 65536;
        if (@wasmMemoryGrow(0, pages) < 0) @trap();
    }
    next = start + size;
    return @as([*]u8, @ptrFromInt(start))[0..size];
}

fn exportedAlloc(size: u32) callconv(.c) usize {
    return @intFromPtr(alloc(size).ptr);
}

/// A copy that outlives the next operation.
pub fn keep(text: []const u8) []const u8 {
    const copy = alloc(text.len);
    @memcpy(copy, text);
    return copy;
}

pub fn concat(pieces: []const []const u8) []const u8 {
    var writer: Writer = .{};
    for (pieces) |piece| writer.raw(piece);
    return writer.written();
}

pub const Level = enum(u32) { debug, info, notice, warn, err };

pub fn log(level: Level, line: []const u8) void {
    abi.log(@backingInt(level), line.ptr, line.len);
}

// ---- MessagePack ----

pub const Kind = enum { none, nil, boolean, int, real, str, bin, array, map };

/// One MessagePack value. Reading never fails: what is missing or of another type is "", null or `none`.
pub const Value = struct {
    /// From the value's first byte to the end of the message.
    data: []const u8 = "",

    const Head = struct { kind: Kind, count: usize = 0, number: u64 = 0, rest: []const u8 = "" };

    fn head(self: Value) Head {
        if (self.data.len == 0) return .{ .kind = .none };
        const first = self.data[0];
        const rest = self.data[1..];
        return switch (first) {
            0x00...0x7f => .{ .kind = .int, .number = first, .rest = rest },
            0x80...0x8f => .{ .kind = .map, .count = first & 15, .rest = rest },
            0x90...0x9f => .{ .kind = .array, .count = first & 15, .rest = rest },
            0xa0...0xbf => .{ .kind = .str, .count = first & 31, .rest = rest },
            0xc0 => .{ .kind = .nil, .rest = rest },
            0xc2, 0xc3 => .{ .kind = .boolean, .number = first & 1, .rest = rest },
            0xc4...0xc6 => sized(.bin, @as(usize, 1) << @intCast(first - 0xc4), rest),
            0xca, 0xcb => numbered(.real, @as(usize, 4) << @intCast(first - 0xca), rest),
            0xcc...0xcf => numbered(.int, @as(usize, 1) << @intCast(first - 0xcc), rest),
            0xd0...0xd3 => signed(@as(usize, 1) << @intCast(first - 0xd0), rest),
            0xd9...0xdb => sized(.str, @as(usize, 1) << @intCast(first - 0xd9), rest),
            0xdc, 0xdd => sized(.array, @as(usize, 2) << @intCast(first - 0xdc), rest),
            0xde, 0xdf => sized(.map, @as(usize, 2) << @intCast(first - 0xde), rest),
            0xe0...0xff => signed(1, self.data),
            else => .{ .kind = .none },
        };
    }

    fn numbered(of: Kind, width: usize, rest: []const u8) Head {
        if (rest.len < width) return .{ .kind = .none };
        var number: u64 = 0;
        for (rest[0..width]) |byte| number = number << 8 | byte;
        return .{ .kind = of, .number = number, .rest = rest[width..] };
    }

    fn signed(width: usize, rest: []const u8) Head {
        var found = numbered(.int, width, rest);
        const shift: u6 = @intCast(64 - 8 * width);
        found.number = @bitCast(@as(i64, @bitCast(found.number << shift)) >> shift);
        return found;
    }

    fn sized(of: Kind, width: usize, rest: []const u8) Head {
        var found = numbered(of, width, rest);
        found.count = @intCast(found.number);
        return found;
    }

    /// What follows this value. Counts what is left instead of recursing.
    fn after(self: Value) Value {
        var left: u64 = 1;
        var at = self;
        while (left > 0) : (left -= 1) {
            const found = at.head();
            switch (found.kind) {
                .none => return .{},
                .str, .bin => {
                    if (found.count > found.rest.len) return .{};
                    at.data = found.rest[found.count..];
                    continue;
                },
                .array => left += found.count,
                .map => left += 2 * @as(u64, found.count),
                else => {},
            }
            at.data = found.rest;
        }
        return at;
    }

    pub fn kind(self: Value) Kind {
        return self.head().kind;
    }

    pub fn missing(self: Value) bool {
        return self.kind() == .none or self.kind() == .nil;
    }

    /// A str's or bin's bytes.
    pub fn text(self: Value) []const u8 {
        const found = self.head();
        if (found.kind != .str and found.kind != .bin) return "";
        return if (found.count > found.rest.len) "" else found.rest[0..found.count];
    }

    pub fn int(self: Value) ?i64 {
        const found = self.head();
        return if (found.kind == .int) @bitCast(found.number) else null;
    }

    pub fn truth(self: Value) bool {
        const found = self.head();
        return found.kind == .boolean and found.number != 0;
    }

    pub fn get(self: Value, key: []const u8) Value {
        const found = self.head();
        if (found.kind != .map) return .{};
        var at: Value = .{ .data = found.rest };
        for (0..found.count) |_| {
            const item = at.after();
            if (std.mem.eql(u8, at.text(), key)) return item;
            at = item.after();
        }
        return .{};
    }

    pub fn items(self: Value) Items {
        const found = self.head();
        return .{ .left = if (found.kind == .array) found.count else 0, .at = .{ .data = found.rest } };
    }

    pub const Items = struct {
        left: usize,
        at: Value,

        pub fn next(self: *Items) ?Value {
            if (self.left == 0) return null;
            const item = self.at;
            self.left -= 1;
            self.at = item.after();
            return item;
        }
    };

    /// The bytes of this value alone.
    pub fn encoded(self: Value) []const u8 {
        return self.data[0 .. self.data.len - self.after().data.len];
    }
};

pub const Writer = struct {
    room: []u8 = &.{},
    size: usize = 0,

    pub fn written(self: *const Writer) []const u8 {
        return self.room[0..self.size];
    }

    pub fn raw(self: *Writer, data: []const u8) void {
        if (self.size + data.len > self.room.len) {
            const larger = alloc((self.size + data.len) * 2 + 256);
            @memcpy(larger[0..self.size], self.room[0..self.size]);
            self.room = larger;
        }
        @memcpy(self.room[self.size..][0..data.len], data);
        self.size += data.len;
    }

    fn byte(self: *Writer, first: u8) void {
        self.raw(&.{first});
    }

    fn sized(self: *Writer, first: u8, count: usize) void {
        var bytes: [5]u8 = undefined;
        bytes[0] = first;
        std.mem.writeInt(u32, bytes[1..5], @intCast(count), .big);
        self.raw(&bytes);
    }

    pub fn nil(self: *Writer) void {
        self.byte(0xc0);
    }

    pub fn int(self: *Writer, number: i64) void {
        var bytes: [9]u8 = undefined;
        bytes[0] = 0xd3;
        std.mem.writeInt(i64, bytes[1..9], number, .big);
        self.raw(&bytes);
    }

    pub fn array(self: *Writer, count: usize) void {
        self.sized(0xdd, count);
    }

    pub fn map(self: *Writer, count: usize) void {
        self.sized(0xdf, count);
    }

    /// What is no UTF-8 is written with '?' for all that isn't ASCII: as it is, the host would end the
    /// worker.
    pub fn str(self: *Writer, text: []const u8) void {
        self.sized(0xdb, text.len);
        self.raw(text);
        if (std.unicode.utf8ValidateSlice(text)) return;
        for (self.room[self.size - text.len .. self.size]) |*char| {
            if (char.* & 0x80 != 0) char.* = '?';
        }
    }

    pub fn bin(self: *Writer, bytes: []const u8) void {
        self.sized(0xc6, bytes.len);
        self.raw(bytes);
    }

    pub fn real(self: *Writer, number: f64) void {
        var bytes: [9]u8 = undefined;
        bytes[0] = 0xcb;
        std.mem.writeInt(u64, bytes[1..9], @bitCast(number), .big);
        self.raw(&bytes);
    }

    pub fn boolean(self: *Writer, truth: bool) void {
        self.byte(if (truth) 0xc3 else 0xc2);
    }

    /// A tuple's values: null, booleans, numbers and texts.
    pub fn tuple(self: *Writer, values: anytype) void {
        self.array(values.len);
        inline for (values) |each| self.any(each);
    }

    fn any(self: *Writer, of: anytype) void {
        switch (@typeInfo(@TypeOf(of))) {
            .null => self.nil(),
            .optional => if (of) |inner| self.any(inner) else self.nil(),
            .bool => self.boolean(of),
            .int, .comptime_int => self.int(of),
            .float, .comptime_float => self.real(of),
            else => self.str(of),
        }
    }

    /// A value that was read, as it is.
    pub fn value(self: *Writer, from: Value) void {
        if (from.kind() == .none) self.nil() else self.raw(from.encoded());
    }
};

// ---- operations ----

pub const OperationError = error{OperationFailed};

/// Why the last operation failed; valid until the next.
pub var failure: struct { code: []const u8 = "", message: []const u8 = "" } = .{};

var call_writer: Writer = .{};
var reply: Writer = .{};
var operation_id: i64 = 0;

/// Begins an operation with `arguments` arguments, which the caller writes; `finish` sends it and waits.
pub fn begin(name: []const u8, binding: ?[]const u8, arguments: usize) *Writer {
    operation_id += 1;
    call_writer.size = 0;
    call_writer.map(2);
    call_writer.str("wait");
    call_writer.str("all");
    call_writer.str("ops");
    call_writer.array(1);
    call_writer.array(3 + arguments);
    call_writer.int(operation_id);
    call_writer.str(name);
    if (binding) |text| call_writer.str(text) else call_writer.nil();
    return &call_writer;
}

pub fn finish() OperationError!Value {
    const size = abi.call(call_writer.room.ptr, call_writer.size);
    if (reply.room.len < size) reply.room = alloc(size * 2);
    _ = abi.take(reply.room.ptr, 0, size);
    var done = (Value{ .data = reply.room[0..size] }).get("done").items();
    while (done.next()) |entry| {
        var parts = entry.items();
        if ((parts.next() orelse continue).int() != operation_id) continue;
        const outcome = parts.next() orelse continue;
        const problem = outcome.get("error");
        if (problem.missing()) return outcome.get("ok");
        failure = .{ .code = problem.get("code").text(), .message = problem.get("message").text() };
        return error.OperationFailed;
    }
    @trap(); // the host answers every operation that a call waits for
}

pub fn sleep(ms: i64) OperationError!void {
    begin("sleep", null, 1).int(ms);
    _ = try finish();
}

pub const Kv = struct {
    binding: []const u8,

    /// null when there is no such key. Values above 64 KiB are streams: see `Stream`.
    pub fn get(self: Kv, key: []const u8) OperationError!?[]const u8 {
        begin("kv.get", self.binding, 1).str(key);
        const entry = try finish();
        if (entry.missing()) return null;
        const stream = entry.get("value_stream").int() orelse return entry.get("value").text();
        return try (Stream{ .id = stream }).readAll(1 << 20);
    }

    pub fn put(self: Kv, key: []const u8, value: []const u8) OperationError!void {
        const writer = begin("kv.put", self.binding, 2);
        writer.str(key);
        writer.bin(value);
        _ = try finish();
    }

    pub fn delete(self: Kv, key: []const u8) OperationError!void {
        begin("kv.delete", self.binding, 1).str(key);
        _ = try finish();
    }

    /// The number after the addition; an absent one counts as 0.
    pub fn increment(self: Kv, key: []const u8, delta: i64) OperationError!i64 {
        const writer = begin("kv.increment", self.binding, 2);
        writer.str(key);
        writer.int(delta);
        return (try finish()).int() orelse 0;
    }

    /// Whether `value` was written, since `expected` was there; null: since nothing was.
    pub fn compareAndSwap(self: Kv, key: []const u8, expected: ?[]const u8, value: []const u8) OperationError!bool {
        const writer = begin("kv.compare_and_swap", self.binding, 3);
        writer.str(key);
        if (expected) |bytes| writer.bin(bytes) else writer.nil();
        writer.bin(value);
        return (try finish()).truth();
    }

    /// A map: `get(key)` is an entry with its `value`, or missing.
    pub fn getMany(self: Kv, keys: []const []const u8) OperationError!Value {
        const writer = begin("kv.get_many", self.binding, 1);
        writer.array(keys.len);
        for (keys) |key| writer.str(key);
        return finish();
    }

    /// A page of `keys`, with a `cursor` to go on from where there are more.
    pub fn list(self: Kv, prefix: []const u8, limit: usize, cursor: ?[]const u8) OperationError!Value {
        const writer = begin("kv.list", self.binding, 1);
        writer.map(if (cursor == null) 2 else 3);
        writer.str("prefix");
        writer.str(prefix);
        writer.str("limit");
        writer.int(@intCast(limit));
        if (cursor) |from| {
            writer.str("cursor");
            writer.str(from);
        }
        return finish();
    }
};

/// A SQL database. Parameters are a tuple: `.{ 7, "text", null, 1.5, true }`.
pub const Sql = struct {
    binding: []const u8,

    /// `results` are rows, as maps.
    pub fn query(self: Sql, sql: []const u8, params: anytype) OperationError!Value {
        const writer = begin("d1.query", self.binding, 2);
        writer.str(sql);
        writer.tuple(params);
        return finish();
    }

    /// Several statements in one transaction: a tuple of `.{ sql, .{ params } }`. An array of answers.
    pub fn batch(self: Sql, statements: anytype) OperationError!Value {
        const writer = begin("d1.batch", self.binding, 1);
        writer.array(statements.len);
        inline for (statements) |statement| {
            writer.array(2);
            writer.str(statement[0]);
            writer.tuple(statement[1]);
        }
        return finish();
    }

    /// A script, statement by statement.
    pub fn exec(self: Sql, script: []const u8) OperationError!void {
        begin("d1.exec", self.binding, 1).str(script);
        _ = try finish();
    }
};

/// Responses that are kept by their URL.
pub const Cache = struct {
    binding: []const u8,

    /// A Response map, for `Response.passThrough`; null when there is no fresh one.
    pub fn match(self: Cache, url: []const u8) OperationError!?Value {
        begin("cache.match", self.binding, 1).value(requestOf(url));
        const found = try finish();
        return if (found.missing()) null else found;
    }

    /// Keep a body for so many seconds; false where it was not.
    pub fn put(self: Cache, url: []const u8, body: []const u8, seconds: u32) OperationError!bool {
        const request = requestOf(url);
        var digits: [32]u8 = undefined;
        const age = std.fmt.bufPrint(&digits, "max-age={d}", .{seconds}) catch unreachable;
        const writer = begin("cache.put", self.binding, 2);
        writer.value(request);
        writer.map(3);
        writer.str("status");
        writer.int(200);
        writer.str("headers");
        writer.array(1);
        writer.tuple(.{ "cache-control", age });
        writer.str("body");
        writer.bin(body);
        return (try finish()).get("stored").truth();
    }

    /// Whether there was one.
    pub fn delete(self: Cache, url: []const u8) OperationError!bool {
        begin("cache.delete", self.binding, 1).value(requestOf(url));
        return (try finish()).truth();
    }
};

fn requestOf(url: []const u8) Value {
    var writer: Writer = .{};
    writer.map(1);
    writer.str("url");
    writer.str(url);
    return .{ .data = writer.written() };
}

pub fn secret(binding: []const u8) OperationError![]const u8 {
    _ = begin("secret.get", binding, 0);
    return (try finish()).text();
}

/// Whether one more use of `key` is within the limit; counted when it is.
pub fn rateLimit(binding: []const u8, key: []const u8) OperationError!bool {
    const writer = begin("rate_limit.limit", binding, 1);
    writer.map(1);
    writer.str("key");
    writer.str(key);
    return (try finish()).get("success").truth();
}

pub const DataPoint = struct { index: []const u8 = "", blobs: []const []const u8 = &.{}, doubles: []const f64 = &.{} };

/// Answers at once: whoever queries the dataset sees it in a second or two.
pub fn writeDataPoint(binding: []const u8, point: DataPoint) OperationError!void {
    const writer = begin("analytics.write", binding, 1);
    writer.map(3);
    writer.str("indexes");
    writer.array(1);
    writer.str(point.index);
    writer.str("blobs");
    writer.array(point.blobs.len);
    for (point.blobs) |blob| writer.str(blob);
    writer.str("doubles");
    writer.array(point.doubles.len);
    for (point.doubles) |number| writer.real(number);
    _ = try finish();
}

/// Bytes that come over time: a request's body, a fetched one, a large value.
pub const Stream = struct {
    id: i64,

    /// One of this worker's own: hand its id on as a body_stream, then write and end it.
    pub fn open() OperationError!Stream {
        _ = begin("stream.open", null, 0);
        return .{ .id = (try finish()).int() orelse 0 };
    }

    /// Waits while the reader is slow.
    pub fn write(self: Stream, data: []const u8) OperationError!void {
        const writer = begin("stream.write", null, 2);
        writer.int(self.id);
        writer.bin(data);
        _ = try finish();
    }

    pub fn end(self: Stream) OperationError!void {
        begin("stream.end", null, 1).int(self.id);
        _ = try finish();
    }

    /// What is left of it is not read.
    pub fn close(self: Stream) OperationError!void {
        begin("stream.close", null, 1).int(self.id);
        _ = try finish();
    }

    /// The next chunk, empty at the end; valid until the next operation.
    pub fn read(self: Stream, most: usize) OperationError![]const u8 {
        const writer = begin("stream.read", null, 2);
        writer.int(self.id);
        writer.int(@intCast(most));
        return (try finish()).text();
    }

    pub fn readAll(self: Stream, most: usize) OperationError![]const u8 {
        var all: Writer = .{};
        while (all.size < most) {
            const chunk = try self.read(most - all.size);
            if (chunk.len == 0) break;
            all.raw(chunk);
        }
        return all.written();
    }
};

/// A message to the queue, as bytes.
pub fn queueSend(binding: []const u8, body: []const u8) OperationError!void {
    const writer = begin("queue.send", binding, 2);
    writer.bin(body);
    writer.map(1);
    writer.str("content_type");
    writer.str("bytes");
    _ = try finish();
}

/// Messages to the queue, as bytes: all of them, or none.
pub fn queueSendBatch(binding: []const u8, bodies: []const []const u8) OperationError!void {
    const writer = begin("queue.send_batch", binding, 1);
    writer.array(bodies.len);
    for (bodies) |body| {
        writer.map(2);
        writer.str("body");
        writer.bin(body);
        writer.str("content_type");
        writer.str("bytes");
    }
    _ = try finish();
}

pub const Pair = struct { name: []const u8, value: []const u8 };
pub const Fetch = struct { method: []const u8 = "GET", url: []const u8, headers: []const Pair = &.{}, body: ?[]const u8 = null };

/// A request of the worker's own making; names of headers in lower case.
pub fn fetchWith(request: Fetch) OperationError!Value {
    const writer = begin("fetch", null, 1);
    writer.map(if (request.body == null) 3 else 4);
    writer.str("method");
    writer.str(request.method);
    writer.str("url");
    writer.str(request.url);
    writer.str("headers");
    writer.array(request.headers.len);
    for (request.headers) |header| writer.tuple(.{ header.name, header.value });
    if (request.body) |body| {
        writer.str("body");
        writer.bin(body);
    }
    return finish();
}

/// A GET; the answer is a Response map that `Response.passThrough` can return.
pub fn fetchUrl(url: []const u8) OperationError!Value {
    const writer = begin("fetch", null, 1);
    writer.map(1);
    writer.str("url");
    writer.str(url);
    return finish();
}

/// Sends a request on, by the network: method, URL, headers and body as they came.
pub fn fetchOn(request: Request) OperationError!Value {
    begin("fetch", null, 1).value(request.value);
    return finish();
}

/// Hands a request on to the worker behind a service binding.
pub fn serviceFetch(binding: []const u8, request: Request) OperationError!Value {
    begin("service.fetch", binding, 1).value(request.value);
    return finish();
}

/// Hands a request on to the worker `script` of a dispatch namespace; `params` reach it as `param`.
pub fn dispatchFetch(binding: []const u8, script: []const u8, request: Request, params: []const Pair) OperationError!Value {
    const writer = begin("dispatch.fetch", binding, 3);
    writer.str(script);
    writer.value(request.value);
    writer.map(1);
    writer.str("params");
    writer.map(params.len);
    for (params) |each| {
        writer.str(each.name);
        writer.str(each.value);
    }
    return finish();
}

/// A response that is sent as it is made: start, write…, end; then the handler returns `.{}`.
pub const Streamed = struct {
    pub fn start(status: u16, content_type: []const u8) OperationError!Streamed {
        const writer = begin("response.start", null, 2);
        writer.int(status);
        writer.array(1);
        writer.tuple(.{ "content-type", content_type });
        _ = try finish();
        return .{};
    }

    /// Waits while the visitor is slow.
    pub fn write(_: Streamed, data: []const u8) OperationError!void {
        begin("response.write", null, 1).bin(data);
        _ = try finish();
    }

    /// The visitor has it all; the worker may go on.
    pub fn end(_: Streamed) OperationError!void {
        _ = begin("response.end", null, 0);
        _ = try finish();
    }
};

// ---- requests and responses ----

pub const Request = struct {
    value: Value,

    pub fn method(self: Request) []const u8 {
        return self.value.get("method").text();
    }

    /// Absolute.
    pub fn url(self: Request) []const u8 {
        return self.value.get("url").text();
    }

    /// "/" and so on, without the query, still percent-encoded.
    pub fn path(self: Request) []const u8 {
        const whole = self.url();
        const authority = (std.mem.indexOf(u8, whole, "://") orelse return whole) + 3;
        const start = std.mem.indexOfScalarPos(u8, whole, authority, '/') orelse return "/";
        return whole[start .. std.mem.indexOfScalarPos(u8, whole, start, '?') orelse whole.len];
    }

    /// The first header of this name, which is given in lower case.
    pub fn header(self: Request, name: []const u8) ?[]const u8 {
        var pairs = self.value.get("headers").items();
        while (pairs.next()) |pair| {
            var parts = pair.items();
            const found = parts.next() orelse continue;
            if (std.mem.eql(u8, found.text(), name)) return (parts.next() orelse continue).text();
        }
        return null;
    }

    /// A plain-text variable of this worker.
    pub fn variable(self: Request, name: []const u8) ?[]const u8 {
        const found = self.value.get("vars").get(name);
        return if (found.missing()) null else found.text();
    }

    /// What the dispatch worker passed.
    pub fn param(self: Request, name: []const u8) ?[]const u8 {
        const found = self.value.get("params").get(name);
        return if (found.missing()) null else found.text();
    }

    /// At most `most` bytes of the body.
    pub fn body(self: Request, most: usize) OperationError![]const u8 {
        const stream = self.value.get("body_stream").int() orelse return self.value.get("body").text();
        return (Stream{ .id = stream }).readAll(most);
    }
};

/// Encoded; null means that the response was streamed (or, for another trigger, that all is well).
pub const Response = struct {
    encoded: ?[]const u8 = null,

    pub fn text(status: u16, content: []const u8) Response {
        return with(status, "text/plain; charset=utf-8", content);
    }

    pub fn with(status: u16, content_type: []const u8, content: []const u8) Response {
        var writer: Writer = .{};
        writer.map(3);
        writer.str("status");
        writer.int(status);
        writer.str("headers");
        writer.array(1);
        writer.array(2);
        writer.str("content-type");
        writer.str(content_type);
        writer.str("body");
        writer.bin(content);
        return .{ .encoded = writer.written() };
    }

    pub fn passThrough(response: Value) Response {
        return .{ .encoded = keep(response.encoded()) };
    }

    /// A header that an outbound worker sets; null removes it. Its name is in lower case.
    pub const Header = struct { name: []const u8, value: ?[]const u8 };

    /// Of an outbound worker: the request goes on without it, its body unread. A null `url` stays as it was.
    pub fn goOn(url: ?[]const u8, headers: []const Header) Response {
        var writer: Writer = .{};
        writer.map(1);
        writer.str("continue");
        writer.map(if (url == null) 1 else 2);
        if (url) |changed| {
            writer.str("url");
            writer.str(changed);
        }
        writer.str("set_headers");
        writer.array(headers.len);
        for (headers) |header| {
            writer.array(2);
            writer.str(header.name);
            if (header.value) |value| writer.str(value) else writer.nil();
        }
        return .{ .encoded = writer.written() };
    }

    fn exception(name: []const u8) Response {
        var writer: Writer = .{};
        writer.map(1);
        writer.str("error");
        writer.map(2);
        writer.str("code");
        writer.str(name);
        writer.str("message");
        if (failure.code.len > 0) {
            writer.str(concat(&.{ failure.code, ": ", failure.message }));
        } else writer.str("the handler returned an error");
        return .{ .encoded = writer.written() };
    }
};

// ---- handlers ----

/// Exports the handlers: `.{ .fetch = f, .queue = g, .scheduled = h }`, those that there are. Each takes a
/// Request (of which a queue batch or a cron tick only has `value` and `variable`) and returns !Response.
pub fn worker(comptime handlers: anytype) void {
    @export(&exportedAlloc, .{ .name = "alloc" });
    if (@hasField(@TypeOf(handlers), "fetch")) handler("fetch", handlers.fetch);
    if (@hasField(@TypeOf(handlers), "queue")) handler("queue", handlers.queue);
    if (@hasField(@TypeOf(handlers), "scheduled")) handler("scheduled", handlers.scheduled);
}

fn handler(comptime name: []const u8, comptime run: anytype) void {
    const Exported = struct {
        fn entry(data: [*]const u8, size: u32) callconv(.c) u64 {
            const answer: Response = run(Request{ .value = .{ .data = data[0..size] } }) catch |problem|
                Response.exception(@errorName(problem));
            const encoded = answer.encoded orelse return 0;
            return @as(u64, @intFromPtr(encoded.ptr)) << 32 | encoded.len;
        }
    };
    @export(&Exported.entry, .{ .name = name });
}
