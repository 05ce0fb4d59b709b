/* The SDK for workers in C: include it once, write a handler, compile. docs/guest-abi.md is the contract.
 *
 *     #include "tenantry.h"
 *     TN_FETCH(request) { return tn_respond_text(200, tn_str("hello\n")); }
 *
 * Three rules keep it small:
 *  - A worker's instance lives for one event, so memory is handed out and never freed (tn_alloc).
 *  - What an operation answers (values, errors, chunks) is valid until the next operation; tn_keep copies it.
 *  - Reading never fails: what is missing or of another type is an empty text, a 0 or a TN_NONE.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TN_IMPORT(name) __attribute__((import_module("tenantry_v1"), import_name(name)))
#define TN_EXPORT(name) __attribute__((export_name(name)))
/* Called from many places: one copy of it keeps a worker small. */
#define TN_SHARED __attribute__((noinline, unused))

TN_IMPORT("call") uint32_t tn_abi_call(const void *data, uint32_t size);
TN_IMPORT("take") uint32_t tn_abi_take(void *into, uint32_t offset, uint32_t size);
TN_IMPORT("log") void tn_abi_log(uint32_t level, const void *text, uint32_t size);

/* ---- memory and text ---- */

static inline void tn_move(void *to, const void *from, uint32_t size) { __builtin_memcpy(to, from, size); }

/* Room for `size` bytes, aligned to 16; traps when the memory limit is reached. */
#ifdef __wasi__ /* with a libc, whose malloc owns the heap */
#include <stdlib.h>
static TN_SHARED void *tn_alloc(uint32_t size) {
    void *room = malloc(size ? size : 1);
    if (!room) __builtin_trap();
    return room;
}
#else
static TN_SHARED void *tn_alloc(uint32_t size) {
    extern uint8_t __heap_base;
    static uintptr_t next;
    if (!next) next = (uintptr_t)&__heap_base;
    uintptr_t start = (next + 15) & ~(uintptr_t)15, end = start + size;
    if (end < start) __builtin_trap();
    uintptr_t have = __builtin_wasm_memory_size(0) * 65536;
    if (end > have) {
        uintptr_t pages = (end - have + 65535) / 65536;
        if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1) __builtin_trap();
    }
    next = end;
    return (void *)start;
}
#endif
TN_EXPORT("alloc") void *tn_export_alloc(uint32_t size) { return tn_alloc(size); }

/* Text or bytes somewhere in memory; not terminated. */
typedef struct {
    const char *data;
    uint32_t size;
} tn_text;

static inline tn_text tn_str(const char *text) {
    uint32_t size = 0;
    while (text[size]) size++;
    return (tn_text){text, size};
}
static TN_SHARED bool tn_same(tn_text a, tn_text b) {
    if (a.size != b.size) return false;
    for (uint32_t i = 0; i < a.size; i++)
        if (a.data[i] != b.data[i]) return false;
    return true;
}
static TN_SHARED bool tn_is(tn_text a, const char *b) { return tn_same(a, tn_str(b)); }
/* A copy that outlives the next operation. */
static TN_SHARED tn_text tn_keep(tn_text text) {
    void *copy = tn_alloc(text.size);
    tn_move(copy, text.data, text.size);
    return (tn_text){copy, text.size};
}
static TN_SHARED tn_text tn_join(tn_text a, tn_text b) {
    char *both = tn_alloc(a.size + b.size);
    tn_move(both, a.data, a.size);
    tn_move(both + a.size, b.data, b.size);
    return (tn_text){both, a.size + b.size};
}
static TN_SHARED tn_text tn_concat(const tn_text *pieces, uint32_t count) {
    tn_text all = {0};
    for (uint32_t i = 0; i < count; i++) all = tn_join(all, pieces[i]);
    return all;
}
#define TN_CONCAT(...) \
    tn_concat((const tn_text[]){__VA_ARGS__}, sizeof((const tn_text[]){__VA_ARGS__}) / sizeof(tn_text))

static TN_SHARED tn_text tn_decimal(uint64_t number) {
    char *end = (char *)tn_alloc(20) + 20, *at = end;
    do *--at = (char)('0' + number % 10);
    while (number /= 10);
    return (tn_text){at, (uint32_t)(end - at)};
}
/* The decimal digits that `text` begins with; `otherwise` when there are none. */
static TN_SHARED uint64_t tn_number(tn_text text, uint64_t otherwise) {
    uint64_t value = 0;
    uint32_t i = 0;
    for (; i < text.size && text.data[i] >= '0' && text.data[i] <= '9'; i++)
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    return i ? value : otherwise;
}
enum { TN_DEBUG, TN_INFO, TN_NOTICE, TN_WARN, TN_ERROR };
static inline void tn_log(uint32_t level, tn_text line) { tn_abi_log(level, line.data, line.size); }

/* ---- reading MessagePack ---- */

typedef enum { TN_NONE, TN_NIL, TN_BOOL, TN_INT, TN_REAL, TN_STR, TN_BIN, TN_ARRAY, TN_MAP } tn_kind;
/* One value, somewhere between `at` and `end`. {0} is a value that isn't there. */
typedef struct {
    const uint8_t *at, *end;
} tn_value;
/* What its first bytes say: `count` bytes or items follow at `body`. */
typedef struct {
    tn_kind kind;
    uint32_t count;
    uint64_t bits;
    const uint8_t *body;
} tn_head;

static TN_SHARED uint64_t tn_big_endian(const uint8_t *at, uint32_t size) {
    uint64_t value = 0;
    while (size--) value = value << 8 | *at++;
    return value;
}

static TN_SHARED tn_head tn_read_head(tn_value value) {
    const uint8_t *at = value.at;
    tn_head none = {TN_NONE, 0, 0, value.end};
    if (at >= value.end) return none;
    uint8_t first = *at++;
    if (first < 0x80) return (tn_head){TN_INT, 0, first, at};
    if (first < 0x90) return (tn_head){TN_MAP, first & 15, 0, at};
    if (first < 0xa0) return (tn_head){TN_ARRAY, first & 15, 0, at};
    if (first < 0xc0) return (tn_head){TN_STR, first & 31, 0, at};
    if (first >= 0xe0) return (tn_head){TN_INT, 0, (uint64_t)(int64_t)(int8_t)first, at};
    /* From 0xc0: the kind, and how many bytes of size or number follow. */
    static const uint8_t kinds[32] = {TN_NIL, 0,       TN_BOOL, TN_BOOL, TN_BIN, TN_BIN, TN_BIN,   0,
                                      0,      0,       TN_REAL, TN_REAL, TN_INT, TN_INT, TN_INT,   TN_INT,
                                      TN_INT, TN_INT,  TN_INT,  TN_INT,  0,      0,      0,        0,
                                      0,      TN_STR,  TN_STR,  TN_STR,  TN_ARRAY, TN_ARRAY, TN_MAP, TN_MAP};
    static const uint8_t widths[32] = {0, 0, 0, 0, 1, 2, 4, 0, 0, 0, 4, 8, 1, 2, 4, 8,
                                       1, 2, 4, 8, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4};
    tn_kind kind = kinds[first - 0xc0];
    uint32_t width = widths[first - 0xc0];
    if (kind == TN_NONE || width > (uint32_t)(value.end - at)) return none;
    uint64_t number = tn_big_endian(at, width);
    at += width;
    if (kind == TN_BOOL) return (tn_head){kind, 0, first & 1, at};
    if (kind == TN_INT && first >= 0xd0) /* signed: spread the sign */
        number = (uint64_t)((int64_t)(number << (64 - 8 * width)) >> (64 - 8 * width));
    if (kind >= TN_STR) return (tn_head){kind, (uint32_t)number, 0, at};
    return (tn_head){kind, 0, number, at};
}

/* Where the value ends; counts what is left instead of recursing. */
static TN_SHARED const uint8_t *tn_skip(tn_value value) {
    for (uint64_t left = 1; left && value.at < value.end; left--) {
        tn_head head = tn_read_head(value);
        if (head.kind == TN_NONE) return value.end;
        value.at = head.body;
        if (head.kind == TN_STR || head.kind == TN_BIN) value.at += head.count;
        if (head.kind == TN_ARRAY) left += head.count;
        if (head.kind == TN_MAP) left += 2 * (uint64_t)head.count;
    }
    return value.at;
}

static inline tn_kind tn_kind_of(tn_value value) { return tn_read_head(value).kind; }
static inline bool tn_missing(tn_value value) { return tn_kind_of(value) <= TN_NIL; }
static inline uint32_t tn_count(tn_value value) { return tn_read_head(value).count; }
static TN_SHARED int64_t tn_int(tn_value value, int64_t otherwise) {
    tn_head head = tn_read_head(value);
    return head.kind == TN_INT ? (int64_t)head.bits : otherwise;
}
static inline bool tn_bool(tn_value value) {
    tn_head head = tn_read_head(value);
    return head.kind == TN_BOOL && head.bits;
}
/* A str's or bin's bytes. */
static TN_SHARED tn_text tn_text_of(tn_value value) {
    tn_head head = tn_read_head(value);
    if (head.kind != TN_STR && head.kind != TN_BIN) return (tn_text){"", 0};
    if (head.count > (uint32_t)(value.end - head.body)) return (tn_text){"", 0};
    return (tn_text){(const char *)head.body, head.count};
}
/* TN_EACH(item, array) { … }: `item` is a tn_value, one after the other. The outer loop, which runs once, is
 * only there to declare the counter; `break` and `continue` mean what they should. */
static inline tn_value tn_first(tn_value array) { return (tn_value){tn_read_head(array).body, array.end}; }
static inline tn_value tn_next(tn_value item) { return (tn_value){tn_skip(item), item.end}; }
#define TN_EACH(item, array)                                                          \
    for (uint32_t item##_left = tn_kind_of(array) == TN_ARRAY ? tn_count(array) : 0, item##_once = 1; \
         item##_once; item##_once = 0)                                                \
        for (tn_value item = tn_first(array); item##_left; item##_left--, item = tn_next(item))

static TN_SHARED tn_value tn_item(tn_value array, uint32_t index) {
    TN_EACH(item, array) {
        if (index-- == 0) return item;
    }
    return (tn_value){0};
}
static TN_SHARED tn_value tn_get(tn_value map, const char *key) {
    tn_head head = tn_read_head(map);
    if (head.kind != TN_MAP) return (tn_value){0};
    tn_value at = {head.body, map.end};
    for (uint32_t i = 0; i < head.count; i++) {
        tn_value item = tn_next(at);
        if (tn_is(tn_text_of(at), key)) return item;
        at = tn_next(item);
    }
    return (tn_value){0};
}

/* ---- writing MessagePack ---- */

typedef struct {
    uint8_t *data;
    uint32_t size, room;
} tn_writer;

static TN_SHARED uint8_t *tn_reserve(tn_writer *to, uint32_t size) {
    if (to->size + size > to->room) {
        uint32_t room = (to->size + size) * 2 + 256;
        uint8_t *data = tn_alloc(room);
        tn_move(data, to->data, to->size);
        to->data = data;
        to->room = room;
    }
    uint8_t *at = to->data + to->size;
    to->size += size;
    return at;
}
static TN_SHARED void tn_write_raw(tn_writer *to, const void *data, uint32_t size) {
    tn_move(tn_reserve(to, size), data, size);
}
static TN_SHARED void tn_write_number(tn_writer *to, uint8_t first, uint64_t number, uint32_t width) {
    uint8_t *at = tn_reserve(to, 1 + width);
    *at = first;
    for (uint32_t i = width; i; i--, number >>= 8) at[i] = (uint8_t)number;
}
static TN_SHARED void tn_write_nil(tn_writer *to) { tn_write_number(to, 0xc0, 0, 0); }
static TN_SHARED void tn_write_int(tn_writer *to, int64_t value) {
    if (value >= 0 && value < 0x80) tn_write_number(to, (uint8_t)value, 0, 0);
    else tn_write_number(to, 0xd3, (uint64_t)value, 8);
}
static TN_SHARED void tn_write_real(tn_writer *to, double value) {
    uint64_t bits;
    tn_move(&bits, &value, 8);
    tn_write_number(to, 0xcb, bits, 8);
}
static TN_SHARED void tn_write_array(tn_writer *to, uint32_t count) { tn_write_number(to, 0xdd, count, 4); }
static TN_SHARED void tn_write_map(tn_writer *to, uint32_t count) { tn_write_number(to, 0xdf, count, 4); }
static TN_SHARED bool tn_is_utf8(tn_text text) {
    for (uint32_t i = 0; i < text.size;) {
        uint8_t first = (uint8_t)text.data[i++];
        if (first < 0x80) continue;
        if (first < 0xc2 || first > 0xf4) return false;
        uint32_t more = first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
        if ( more > text.size - i) return false;
        for (uint32_t j = 0; j < more; j++) {
            uint8_t next = (uint8_t)text.data[i++];
            /* The second byte excludes overlong forms, surrogates and what is beyond U+10FFFF. */
            uint8_t least = j || (first != 0xe0 && first != 0xf0) ? 0x80 : first == 0xe0 ? 0xa0 : 0x90;
            uint8_t most = j || (first != 0xed && first != 0xf4) ? 0xbf : first == 0xed ? 0x9f : 0x8f;
            if (next < least || next > most) return false;
        }
    }
    return true;
}
/* What is no UTF-8 (a visitor's bytes may be anything) is written with '?' for all that isn't ASCII: as it
 * is, the host would end the worker for it. */
static TN_SHARED void tn_write_str(tn_writer *to, tn_text text) {
    if (!tn_is_utf8(text)) {
        text = tn_keep(text);
        for (uint32_t i = 0; i < text.size; i++)
            if (text.data[i] & 0x80) ((char *)text.data)[i] = '?';
    }
    if (text.size < 32) tn_write_number(to, (uint8_t)(0xa0 | text.size), 0, 0);
    else tn_write_number(to, 0xdb, text.size, 4);
    tn_write_raw(to, text.data, text.size);
}
static TN_SHARED void tn_write_bin(tn_writer *to, tn_text bytes) {
    tn_write_number(to, 0xc6, bytes.size, 4);
    tn_write_raw(to, bytes.data, bytes.size);
}
static TN_SHARED void tn_write_key(tn_writer *to, const char *key) { tn_write_str(to, tn_str(key)); }
/* A value that was read, as it is; one that isn't there is written as nil. */
static TN_SHARED void tn_write_value(tn_writer *to, tn_value value) {
    if (tn_kind_of(value) == TN_NONE) tn_write_nil(to);
    else tn_write_raw(to, value.at, (uint32_t)(tn_skip(value) - value.at));
}

/* ---- the request ---- */

static inline tn_text tn_method(tn_value request) { return tn_text_of(tn_get(request, "method")); }
static inline tn_text tn_url(tn_value request) { return tn_text_of(tn_get(request, "url")); }
/* A plain-text variable of this worker. */
static inline tn_text tn_var(tn_value event, const char *name) {
    return tn_text_of(tn_get(tn_get(event, "vars"), name));
}
/* What the dispatch worker passed. */
static inline tn_text tn_param(tn_value request, const char *name) {
    return tn_text_of(tn_get(tn_get(request, "params"), name));
}
/* The first header of this name, which is given in lower case. */
static TN_SHARED tn_text tn_header(tn_value request, const char *name) {
    TN_EACH(pair, tn_get(request, "headers")) {
        if (tn_is(tn_text_of(tn_item(pair, 0)), name)) return tn_text_of(tn_item(pair, 1));
    }
    return (tn_text){"", 0};
}
/* Splits an absolute URL: what follows the authority, up to '?', and what follows that. */
static TN_SHARED tn_text tn_url_part(tn_text url, bool query) {
    const char *at = url.data, *end = url.data + url.size;
    for (uint32_t slashes = 0; at < end && slashes < 3; at++) slashes += *at == '/';
    const char *mark = at;
    while (mark < end && *mark != '?') mark++;
    if (query) return mark < end ? (tn_text){mark + 1, (uint32_t)(end - mark - 1)} : (tn_text){"", 0};
    return (tn_text){at - 1, (uint32_t)(mark - at + 1)};
}
/* "/" and so on, still percent-encoded. */
static inline tn_text tn_path(tn_value request) { return tn_url_part(tn_url(request), false); }

static inline int tn_hex(char c) {
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}
static TN_SHARED tn_text tn_percent_decode(tn_text text) {
    char *out = tn_alloc(text.size);
    uint32_t size = 0;
    for (uint32_t i = 0; i < text.size; i++) {
        char c = text.data[i] == '+' ? ' ' : text.data[i];
        if (c == '%' && i + 2 < text.size && tn_hex(text.data[i + 1]) >= 0 && tn_hex(text.data[i + 2]) >= 0) {
            c = (char)(tn_hex(text.data[i + 1]) << 4 | tn_hex(text.data[i + 2]));
            i += 2;
        }
        out[size++] = c;
    }
    return (tn_text){out, size};
}
/* The decoded value of a query parameter. `found`, when given, tells an empty one from none. */
static TN_SHARED tn_text tn_query(tn_value request, const char *name, bool *found) {
    tn_text query = tn_url_part(tn_url(request), true);
    if (found) *found = true;
    for (uint32_t at = 0; at < query.size;) {
        uint32_t end = at, equals;
        while (end < query.size && query.data[end] != '&') end++;
        for (equals = at; equals < end && query.data[equals] != '=';) equals++;
        if (tn_is((tn_text){query.data + at, equals - at}, name)) {
            uint32_t from = equals < end ? equals + 1 : end;
            return tn_percent_decode((tn_text){query.data + from, end - from});
        }
        at = end + 1;
    }
    if (found) *found = false;
    return (tn_text){"", 0};
}

/* ---- operations ---- */

/* `ok`: value is what the operation answered; else `code` and `message` say why it failed. */
typedef struct {
    bool ok;
    tn_value value;
    tn_text code, message;
} tn_result;

/* One writer for every call and one buffer for every reply, so that a loop over a stream stays small. */
static tn_writer tn_call_writer;
static int64_t tn_operation_id;

/* Begins an operation with `arguments` arguments, which the caller writes; tn_finish sends it and waits. */
static TN_SHARED tn_writer *tn_begin(const char *name, const char *binding, uint32_t arguments) {
    tn_writer *call = &tn_call_writer;
    call->size = 0;
    tn_write_map(call, 2);
    tn_write_key(call, "wait");
    tn_write_key(call, "all");
    tn_write_key(call, "ops");
    tn_write_array(call, 1);
    tn_write_array(call, 3 + arguments);
    tn_write_int(call, ++tn_operation_id);
    tn_write_key(call, name);
    if (binding) tn_write_key(call, binding);
    else tn_write_nil(call);
    return call;
}
static TN_SHARED tn_result tn_finish(tn_writer *call) {
    static tn_writer reply;
    reply.size = 0;
    uint32_t size = tn_abi_call(call->data, call->size);
    tn_abi_take(tn_reserve(&reply, size), 0, size);
    tn_value whole = {reply.data, reply.data + size};
    TN_EACH(done, tn_get(whole, "done")) {
        if (tn_int(tn_item(done, 0), 0) != tn_operation_id) continue;
        tn_value outcome = tn_item(done, 1), error = tn_get(outcome, "error");
        return (tn_result){tn_missing(error), tn_get(outcome, "ok"), tn_text_of(tn_get(error, "code")),
                           tn_text_of(tn_get(error, "message"))};
    }
    __builtin_trap(); /* the host answers every operation that a call waits for */
}

static inline tn_result tn_sleep(int64_t ms) {
    tn_writer *call = tn_begin("sleep", NULL, 1);
    tn_write_int(call, ms);
    return tn_finish(call);
}
static inline tn_result tn_kv_put(const char *binding, tn_text key, tn_text value) {
    tn_writer *call = tn_begin("kv.put", binding, 2);
    tn_write_str(call, key);
    tn_write_bin(call, value);
    return tn_finish(call);
}
static inline tn_result tn_kv_delete(const char *binding, tn_text key) {
    tn_writer *call = tn_begin("kv.delete", binding, 1);
    tn_write_str(call, key);
    return tn_finish(call);
}
/* The value is the number after the addition. */
static inline tn_result tn_kv_increment(const char *binding, tn_text key, int64_t delta) {
    tn_writer *call = tn_begin("kv.increment", binding, 2);
    tn_write_str(call, key);
    tn_write_int(call, delta);
    return tn_finish(call);
}
/* Whether `value` was written, since `expected` was there; NULL: since nothing was. */
static inline tn_result tn_kv_compare_and_swap(const char *binding, tn_text key, const tn_text *expected,
                                               tn_text value) {
    tn_writer *call = tn_begin("kv.compare_and_swap", binding, 3);
    tn_write_str(call, key);
    if (expected) tn_write_bin(call, *expected);
    else tn_write_nil(call);
    tn_write_bin(call, value);
    return tn_finish(call);
}
/* The value is a map: tn_get(result.value, key) is an entry, or nil. */
static inline tn_result tn_kv_get_many(const char *binding, const char *const *keys, uint32_t count) {
    tn_writer *call = tn_begin("kv.get_many", binding, 1);
    tn_write_array(call, count);
    for (uint32_t i = 0; i < count; i++) tn_write_key(call, keys[i]);
    return tn_finish(call);
}
/* A page of `keys`, with a `cursor` to go on from where there are more; an empty `cursor` begins. */
static inline tn_result tn_kv_list(const char *binding, tn_text prefix, uint32_t limit, tn_text cursor) {
    tn_writer *call = tn_begin("kv.list", binding, 1);
    tn_write_map(call, cursor.size ? 3 : 2);
    tn_write_key(call, "prefix");
    tn_write_str(call, prefix);
    tn_write_key(call, "limit");
    tn_write_int(call, limit);
    if (cursor.size) {
        tn_write_key(call, "cursor");
        tn_write_str(call, cursor);
    }
    return tn_finish(call);
}
/* Sent as bytes, which any body is. */
static inline tn_result tn_queue_send(const char *binding, tn_text body) {
    tn_writer *call = tn_begin("queue.send", binding, 2);
    tn_write_bin(call, body);
    tn_write_map(call, 1);
    tn_write_key(call, "content_type");
    tn_write_key(call, "bytes");
    return tn_finish(call);
}
/* All of them, or none. */
static inline tn_result tn_queue_send_batch(const char *binding, const tn_text *bodies, uint32_t count) {
    tn_writer *call = tn_begin("queue.send_batch", binding, 1);
    tn_write_array(call, count);
    for (uint32_t i = 0; i < count; i++) {
        tn_write_map(call, 2);
        tn_write_key(call, "body");
        tn_write_bin(call, bodies[i]);
        tn_write_key(call, "content_type");
        tn_write_key(call, "bytes");
    }
    return tn_finish(call);
}
/* A data point. Answers at once: whoever queries the dataset sees it in a second or two. */
static inline tn_result tn_analytics_write(const char *binding, tn_text index, const tn_text *blobs, uint32_t blob_count,
                                           const double *doubles, uint32_t double_count) {
    tn_writer *call = tn_begin("analytics.write", binding, 1);
    tn_write_map(call, 3);
    tn_write_key(call, "indexes");
    tn_write_array(call, 1);
    tn_write_str(call, index);
    tn_write_key(call, "blobs");
    tn_write_array(call, blob_count);
    for (uint32_t i = 0; i < blob_count; i++) tn_write_str(call, blobs[i]);
    tn_write_key(call, "doubles");
    tn_write_array(call, double_count);
    for (uint32_t i = 0; i < double_count; i++) tn_write_real(call, doubles[i]);
    return tn_finish(call);
}
static inline tn_result tn_secret(const char *binding) {
    return tn_finish(tn_begin("secret.get", binding, 0));
}

/* A cached response for a URL, of which tn_found says whether it is there; and to keep one for so many seconds. */
static inline tn_result tn_cache_match(const char *binding, tn_text url) {
    tn_writer *call = tn_begin("cache.match", binding, 1);
    tn_write_map(call, 1);
    tn_write_key(call, "url");
    tn_write_str(call, url);
    return tn_finish(call);
}
static inline tn_result tn_cache_put(const char *binding, tn_text url, tn_text body, uint32_t seconds) {
    tn_writer *call = tn_begin("cache.put", binding, 2);
    tn_write_map(call, 1);
    tn_write_key(call, "url");
    tn_write_str(call, url);
    tn_write_map(call, 3);
    tn_write_key(call, "status");
    tn_write_int(call, 200);
    tn_write_key(call, "headers");
    tn_write_array(call, 1);
    tn_write_array(call, 2);
    tn_write_key(call, "cache-control");
    tn_write_str(call, TN_CONCAT(tn_str("max-age="), tn_decimal(seconds)));
    tn_write_key(call, "body");
    tn_write_bin(call, body);
    return tn_finish(call);
}
static inline tn_result tn_cache_delete(const char *binding, tn_text url) {
    tn_writer *call = tn_begin("cache.delete", binding, 1);
    tn_write_map(call, 1);
    tn_write_key(call, "url");
    tn_write_str(call, url);
    return tn_finish(call);
}
/* Whether one more use of `key` is within the limit; counted when it is. */
static inline bool tn_rate_limit(const char *binding, tn_text key) {
    tn_writer *call = tn_begin("rate_limit.limit", binding, 1);
    tn_write_map(call, 1);
    tn_write_key(call, "key");
    tn_write_str(call, key);
    tn_result result = tn_finish(call);
    return result.ok && tn_bool(tn_get(result.value, "success"));
}

/* SQL: tn_sql begins a statement with `params` parameters, which the caller writes; tn_finish runs it. The answer's
 * rows are maps: TN_EACH(row, tn_rows(result)). */
static TN_SHARED tn_writer *tn_sql(const char *binding, const char *sql, uint32_t params) {
    tn_writer *call = tn_begin("d1.query", binding, 2);
    tn_write_key(call, sql);
    tn_write_array(call, params);
    return call;
}
static inline tn_value tn_rows(tn_result result) { return tn_get(result.value, "results"); }
/* Several statements in one transaction: tn_sql_batch, for each a tn_sql_statement and its parameters, tn_finish. The
 * value is an array of answers. */
static TN_SHARED tn_writer *tn_sql_batch(const char *binding, uint32_t statements) {
    tn_writer *call = tn_begin("d1.batch", binding, 1);
    tn_write_array(call, statements);
    return call;
}
static TN_SHARED void tn_sql_statement(tn_writer *call, const char *sql, uint32_t params) {
    tn_write_array(call, 2);
    tn_write_key(call, sql);
    tn_write_array(call, params);
}
/* A script, statement by statement. */
static inline tn_result tn_sql_exec(const char *binding, const char *sql) {
    tn_writer *call = tn_begin("d1.exec", binding, 1);
    tn_write_key(call, sql);
    return tn_finish(call);
}

/* Streams: a chunk is bytes, nil at the end. */
static TN_SHARED tn_result tn_stream_read(int64_t stream, uint32_t most) {
    tn_writer *call = tn_begin("stream.read", NULL, 2);
    tn_write_int(call, stream);
    tn_write_int(call, most);
    return tn_finish(call);
}
static inline tn_result tn_stream_close(int64_t stream) {
    tn_writer *call = tn_begin("stream.close", NULL, 1);
    tn_write_int(call, stream);
    return tn_finish(call);
}

/* A stream of this worker's own, whose id is the value: hand it on as a body_stream, then write and end it. */
static inline tn_result tn_stream_open(void) { return tn_finish(tn_begin("stream.open", NULL, 0)); }
static inline tn_result tn_stream_write(int64_t stream, tn_text data) {
    tn_writer *call = tn_begin("stream.write", NULL, 2);
    tn_write_int(call, stream);
    tn_write_bin(call, data);
    return tn_finish(call);
}
static inline tn_result tn_stream_end(int64_t stream) {
    tn_writer *call = tn_begin("stream.end", NULL, 1);
    tn_write_int(call, stream);
    return tn_finish(call);
}

/* All of a stream, at most `most` bytes of it. Traps when the sender broke off: half a body is none. */
static TN_SHARED tn_text tn_read_all(int64_t stream, uint32_t most) {
    tn_writer all = {0};
    while (all.size < most) {
        tn_result read = tn_stream_read(stream, most - all.size);
        if (!read.ok) __builtin_trap();
        tn_text chunk = tn_text_of(read.value);
        if (!chunk.size) break;
        tn_write_raw(&all, chunk.data, chunk.size);
    }
    return (tn_text){(const char *)all.data, all.size};
}
/* The body of a request, or of a Response that an operation answered, at most `most` bytes of it. */
static inline tn_text tn_body(tn_value message, uint32_t most) {
    int64_t stream = tn_int(tn_get(message, "body_stream"), 0);
    return stream ? tn_read_all(stream, most) : tn_text_of(tn_get(message, "body"));
}
/* The entry under a key; nil when there is none: see tn_found and tn_entry_value. */
static inline tn_result tn_kv_get(const char *binding, tn_text key) {
    tn_writer *call = tn_begin("kv.get", binding, 1);
    tn_write_str(call, key);
    return tn_finish(call);
}
static inline bool tn_found(tn_result got) { return got.ok && !tn_missing(got.value); }
/* An entry's value, at most 1 MiB of it; empty when there was none. */
static inline tn_text tn_entry_value(tn_result got) {
    int64_t stream = tn_int(tn_get(got.value, "value_stream"), 0);
    return stream ? tn_read_all(stream, 1 << 20) : tn_text_of(tn_get(got.value, "value"));
}
/* The answer of each of these is a Response map: tn_pass_through returns it to the visitor. */
static inline tn_result tn_fetch_url(tn_text url) {
    tn_writer *call = tn_begin("fetch", NULL, 1);
    tn_write_map(call, 1);
    tn_write_key(call, "url");
    tn_write_str(call, url);
    return tn_finish(call);
}
/* A request of the worker's own making. `headers` are names, in lower case, and values in turns; `count` of both. */
static inline tn_result tn_fetch_with(const char *method, tn_text url, const tn_text *headers, uint32_t count, tn_text body) {
    tn_writer *call = tn_begin("fetch", NULL, 1);
    tn_write_map(call, body.size ? 4 : 3);
    tn_write_key(call, "method");
    tn_write_key(call, method);
    tn_write_key(call, "url");
    tn_write_str(call, url);
    tn_write_key(call, "headers");
    tn_write_array(call, count / 2);
    for (uint32_t i = 0; i + 1 < count; i += 2) {
        tn_write_array(call, 2);
        tn_write_str(call, headers[i]);
        tn_write_str(call, headers[i + 1]);
    }
    if (body.size) {
        tn_write_key(call, "body");
        tn_write_bin(call, body);
    }
    return tn_finish(call);
}
/* Sends a request on, by the network: method, URL, headers and body as they came. */
static inline tn_result tn_fetch(tn_value request) {
    tn_writer *call = tn_begin("fetch", NULL, 1);
    tn_write_value(call, request);
    return tn_finish(call);
}
/* Hands the request on: method, URL, headers and body as they came (a Request may be sent as it is). */
static inline tn_result tn_service_fetch(const char *binding, tn_value request) {
    tn_writer *call = tn_begin("service.fetch", binding, 1);
    tn_write_value(call, request);
    return tn_finish(call);
}
/* The same, to the worker `script` of the dispatch namespace. `write_options` writes one map, like
 * {params: {…}, limits: {…}}, or is NULL. */
static inline tn_result tn_dispatch_fetch(const char *binding, tn_text script, tn_value request,
                                   void (*write_options)(tn_writer *, tn_value request)) {
    tn_writer *call = tn_begin("dispatch.fetch", binding, write_options ? 3 : 2);
    tn_write_str(call, script);
    tn_write_value(call, request);
    if (write_options) write_options(call, request);
    return tn_finish(call);
}

/* ---- the response ---- */

/* A handler's result that points at what was written. */
static inline uint64_t tn_return(const tn_writer *from) {
    return (uint64_t)(uintptr_t)from->data << 32 | from->size;
}
static TN_SHARED uint64_t tn_respond(uint16_t status, const char *content_type, tn_text body) {
    tn_writer out = {0};
    tn_write_map(&out, 3);
    tn_write_key(&out, "status");
    tn_write_int(&out, status);
    tn_write_key(&out, "headers");
    tn_write_array(&out, 1);
    tn_write_array(&out, 2);
    tn_write_key(&out, "content-type");
    tn_write_key(&out, content_type);
    tn_write_key(&out, "body");
    tn_write_bin(&out, body);
    return tn_return(&out);
}
static inline uint64_t tn_respond_text(uint16_t status, tn_text body) {
    return tn_respond(status, "text/plain; charset=utf-8", body);
}
/* A fetched Response as this worker's own: its body goes past the guest, whether bytes or a stream. */
static inline uint64_t tn_pass_through(tn_value response) {
    tn_writer out = {0};
    tn_write_value(&out, response);
    return tn_return(&out);
}
/* Of an outbound worker: the request goes on without it, its body unread. An empty `url` stays as it was; `header`,
 * in lower case, gets `value`, unless it is NULL. */
static TN_SHARED uint64_t tn_continue(tn_text url, const char *header, tn_text value) {
    tn_writer out = {0};
    tn_write_map(&out, 1);
    tn_write_key(&out, "continue");
    tn_write_map(&out, (url.size ? 1 : 0) + (header ? 1 : 0));
    if (url.size) {
        tn_write_key(&out, "url");
        tn_write_str(&out, url);
    }
    if (header) {
        tn_write_key(&out, "set_headers");
        tn_write_array(&out, 1);
        tn_write_array(&out, 2);
        tn_write_key(&out, header);
        tn_write_str(&out, value);
    }
    return tn_return(&out);
}
/* "code: message" of a failed operation. */
static inline uint64_t tn_respond_failure(uint16_t status, tn_result failed) {
    return tn_respond_text(status, TN_CONCAT(failed.code, tn_str(": "), failed.message, tn_str("\n")));
}

/* Streamed: start, write…, end; then the handler returns 0. */
static inline tn_result tn_response_start(uint16_t status, const char *content_type) {
    tn_writer *call = tn_begin("response.start", NULL, 2);
    tn_write_int(call, status);
    tn_write_array(call, 1);
    tn_write_array(call, 2);
    tn_write_key(call, "content-type");
    tn_write_key(call, content_type);
    return tn_finish(call);
}
static inline tn_result tn_response_write(tn_text data) {
    tn_writer *call = tn_begin("response.write", NULL, 1);
    tn_write_bin(call, data);
    return tn_finish(call);
}
static inline tn_result tn_response_end(void) { return tn_finish(tn_begin("response.end", NULL, 0)); }

/* ---- handlers ---- */

#define TN_HANDLER(trigger, event)                                                          \
    static uint64_t tn_on_##trigger(tn_value);                                              \
    TN_EXPORT(#trigger) uint64_t tn_export_##trigger(const uint8_t *data, uint32_t size) { \
        return tn_on_##trigger((tn_value){data, data + size});                              \
    }                                                                                       \
    static uint64_t tn_on_##trigger(__attribute__((unused)) tn_value event)
#define TN_FETCH(request) TN_HANDLER(fetch, request)
#define TN_QUEUE(batch) TN_HANDLER(queue, batch)
#define TN_SCHEDULED(tick) TN_HANDLER(scheduled, tick)
