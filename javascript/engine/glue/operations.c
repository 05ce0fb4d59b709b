/* What JavaScript asks of the host, and the event loop.
 *
 * An operation is packed when it is asked for, and waits here until the microtasks have run; then everything that
 * was asked goes out in one `call`, which returns when something is done. Timers are no operations: the earliest is
 * how long the call waits; only when nothing else is pending does one `sleep` stand for it.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

IMPORT("tenantry_v1", "call") extern uint32_t host_call(const uint8_t *call, size_t size);
IMPORT("tenantry_v1", "take") extern uint32_t host_take(uint8_t *to, uint32_t offset, uint32_t size);

/* Of one call, all of them with room for what is around the operations (docs/guest-abi.md has the host's). */
#define CALL_BYTES ((1 << 20) - 4096)
#define CALL_OPERATIONS 64
#define CALL_VALUES 32000
#define CALL_CANCELS 256
/* Pending at once; who asks for more waits here. */
#define PENDING 250
#define NESTING 28
#define REPLY_NESTING 64
#define LONGEST_SLEEP_MS 900000.0

typedef struct Operation {
    struct Operation *next;
    uint32_t id;
    uint32_t values;
    size_t size;
    uint8_t *bytes;
    bool is_notice;          /* it is done when something happens that may never */
    JSValue resolve, reject; /* undefined: nobody waits */
} Operation;

static Operation *queued, **queued_end = &queued;
static Operation *flying;
static uint32_t flying_count;
/* Queued and flying ones that will be done: while there is one, there is something to wait for. */
static uint32_t expected_count;
static uint32_t next_id = 1;
static uint32_t cancels[CALL_CANCELS];
static uint32_t cancel_count;
static double alarm_ms = INFINITY;
/* Of the operation that `wait` is after. */
static uint32_t awaited_id;
static JSValue awaited;
static bool awaited_failed;

static void operation_free(JSContext *ctx, Operation *operation)
{
    JS_FreeValue(ctx, operation->resolve);
    JS_FreeValue(ctx, operation->reject);
    free(operation->bytes);
    if (!operation->is_notice)
        expected_count--;
    free(operation);
}

/* [id, name, binding, argument…], not queued yet; NULL with an exception. */
static Operation *operation_make(JSContext *ctx, int argc, JSValueConst *argv)
{
    if (!engine_may_ask(ctx))
        return NULL;
    Operation *operation = calloc(1, sizeof *operation);
    if (!operation) {
        JS_ThrowOutOfMemory(ctx);
        return NULL;
    }
    expected_count++;
    operation->resolve = operation->reject = JS_UNDEFINED;
    operation->id = next_id++;
    Writer writer = {.most = CALL_BYTES};
    bool ok = write_array(ctx, &writer, (uint32_t)argc + 1) && write_uint(ctx, &writer, operation->id);
    for (int i = 0; ok && i < argc; i++)
        ok = write_value(ctx, &writer, argv[i], NESTING);
    if (ok && writer.values > CALL_VALUES) {
        JS_ThrowRangeError(ctx, "too large: more than %d values", CALL_VALUES);
        ok = false;
    }
    operation->bytes = writer.bytes;
    operation->size = writer.size;
    operation->values = writer.values;
    if (ok)
        return operation;
    operation_free(ctx, operation);
    return NULL;
}

/* -- one call ------------------------------------------------------------------------------------------------- */

static void unlink_queued(JSContext *ctx, Operation **link)
{
    Operation *found = *link;
    *link = found->next;
    if (queued_end == &found->next)
        queued_end = link;
    operation_free(ctx, found);
}

static Operation *take_flying(uint32_t id)
{
    for (Operation **link = &flying; *link; link = &(*link)->next) {
        Operation *found = *link;
        if (found->id == id) {
            *link = found->next;
            flying_count--;
            return found;
        }
    }
    return NULL;
}

static bool settle(JSContext *ctx, Operation *operation, bool ok, JSValue value)
{
    if (operation->id == awaited_id) {
        awaited = value;
        awaited_failed = !ok;
        awaited_id = 0;
        return true;
    }
    JSValue told = JS_UNDEFINED;
    if (!ok && !JS_IsUndefined(operation->reject)) {
        JSValue error = engine_call(ENTRY_FAILURE, 1, &value);
        told = JS_IsException(error) ? error : JS_Call(ctx, operation->reject, JS_UNDEFINED, 1, &error);
        JS_FreeValue(ctx, error);
    } else if (ok && !JS_IsUndefined(operation->resolve))
        told = JS_Call(ctx, operation->resolve, JS_UNDEFINED, 1, &value);
    JS_FreeValue(ctx, value);
    JS_FreeValue(ctx, told);
    return !JS_IsException(told);
}

/* [id, {ok: value} | {error: {…}}] */
static bool settle_next(JSContext *ctx, Reader *reader)
{
    uint32_t count, id;
    const uint8_t *key;
    size_t size;
    if (!read_array(reader, &count) || count != 2 || !read_uint(reader, &id) || !read_map(reader, &count) ||
        count != 1 || !read_span(reader, &key, &size)) {
        JS_ThrowInternalError(ctx, "a reply of the host has an unknown shape");
        return false;
    }
    JSValue value = read_value(ctx, reader, REPLY_NESTING);
    if (JS_IsException(value))
        return false;
    Operation *operation = take_flying(id);
    if (!operation) {
        JS_FreeValue(ctx, value);
        return true; /* cancelled */
    }
    bool ok = settle(ctx, operation, span_is(key, size, "ok"), value);
    operation_free(ctx, operation);
    return ok;
}

/* {done: […], pending}, in any order */
static bool settle_all(JSContext *ctx, uint32_t size)
{
    uint8_t *reply = malloc(size ? size : 1);
    if (!reply) {
        JS_ThrowOutOfMemory(ctx);
        return false;
    }
    Reader reader = {reply, reply + host_take(reply, 0, size)};
    uint32_t keys, count, pending;
    bool ok = read_map(&reader, &keys);
    bool known = ok;
    while (ok && keys--) {
        const uint8_t *key;
        size_t length;
        known = ok = read_span(&reader, &key, &length);
        if (ok && span_is(key, length, "done")) {
            known = ok = read_array(&reader, &count);
            while (ok && count--)
                ok = settle_next(ctx, &reader);
        } else if (ok)
            known = ok = read_uint(&reader, &pending);
    }
    free(reply);
    if (!known)
        JS_ThrowInternalError(ctx, "a reply of the host has an unknown shape");
    return ok;
}

static bool write_cancels(JSContext *ctx, Writer *call)
{
    bool ok = write_text(ctx, call, "cancel") && write_array(ctx, call, cancel_count);
    for (uint32_t i = 0; ok && i < cancel_count; i++)
        ok = write_uint(ctx, call, cancels[i]);
    cancel_count = 0;
    return ok;
}

/* Hands over the first `count` of `*from`, and settles what is done. */
static bool exchange(JSContext *ctx, Operation **from, uint32_t count, const char *wait, double timeout_ms)
{
    Writer call = {.most = 2 * CALL_BYTES};
    bool has_timeout = timeout_ms < INFINITY;
    bool ok = write_map(ctx, &call, 2 + has_timeout + (cancel_count > 0)) && write_text(ctx, &call, "wait") &&
              write_text(ctx, &call, wait);
    if (ok && has_timeout)
        ok = write_text(ctx, &call, "timeout_ms") && write_uint(ctx, &call, (uint64_t)timeout_ms);
    if (ok && cancel_count)
        ok = write_cancels(ctx, &call);
    ok = ok && write_text(ctx, &call, "ops") && write_array(ctx, &call, count);
    while (ok && count--) {
        Operation *operation = *from;
        ok = write_raw(ctx, &call, operation->bytes, operation->size);
        free(operation->bytes);
        operation->bytes = NULL;
        *from = operation->next;
        operation->next = flying;
        flying = operation;
        flying_count++;
    }
    if (from == &queued && !queued)
        queued_end = &queued;
    if (!ok) {
        writer_free(&call);
        return false;
    }
    uint32_t size = host_call(call.bytes, call.size);
    writer_free(&call);
    return settle_all(ctx, size);
}

/* How many of the queued ones the next call takes. */
static uint32_t next_share(void)
{
    uint32_t count = 0, values = 0;
    size_t bytes = 0;
    for (Operation *operation = queued; operation && count < CALL_OPERATIONS; operation = operation->next) {
        bytes += operation->size;
        values += operation->values + 1;
        if (count && (bytes > CALL_BYTES || values > CALL_VALUES || flying_count + count >= PENDING))
            break;
        if (flying_count >= PENDING)
            break;
        count++;
    }
    return count;
}

/* -- the event loop ------------------------------------------------------------------------------------------- */

static Turn turn_of(bool ok)
{
    return ok ? TURN_DONE : TURN_FAILED;
}

static Turn sleep_until_alarm(JSContext *ctx, double left_ms)
{
    JSValue argv[3] = {JS_NewString(ctx, "sleep"), JS_NULL,
                       JS_NewFloat64(ctx, left_ms < LONGEST_SLEEP_MS ? left_ms : LONGEST_SLEEP_MS)};
    Operation *sleep = operation_make(ctx, 3, argv);
    JS_FreeValue(ctx, argv[0]);
    return turn_of(sleep && exchange(ctx, &sleep, 1, "any", INFINITY));
}

Turn operations_turn(void)
{
    JSContext *ctx = engine_context;
    double left_ms = alarm_ms < INFINITY ? ceil(alarm_ms - clock_now_ms()) : INFINITY;
    bool due = left_ms <= 0;
    bool something_comes = expected_count || left_ms < INFINITY;
    if (queued || (flying && something_comes) || cancel_count) {
        uint32_t count;
        do {
            count = next_share();
            /* More to hand over: the host waits when it has all of it. */
            bool more = false;
            Operation *last = queued;
            for (uint32_t i = 0; i < count; i++)
                last = last->next;
            more = count && last && flying_count + count < PENDING;
            bool waits = !due && !more && (flying || count) && something_comes;
            if (!exchange(ctx, &queued, count, waits ? "any" : "none", waits ? left_ms : INFINITY))
                return TURN_FAILED;
            if (!more)
                break;
        } while (queued);
    } else if (left_ms == INFINITY)
        return TURN_NOTHING_TO_WAIT_FOR;
    else if (!due) {
        Turn slept = sleep_until_alarm(ctx, left_ms);
        if (slept == TURN_FAILED)
            return slept;
    }
    if (alarm_ms > clock_now_ms())
        return TURN_DONE;
    JSValue ran = engine_call(ENTRY_TIMERS, 0, NULL);
    bool ok = !JS_IsException(ran);
    JS_FreeValue(ctx, ran);
    return turn_of(ok);
}

bool operations_flush(void)
{
    for (Operation **link = &queued; *link;)
        if ((*link)->is_notice)
            unlink_queued(engine_context, link);
        else
            link = &(*link)->next;
    while (queued && flying_count < PENDING)
        if (!exchange(engine_context, &queued, next_share(), "none", INFINITY))
            return false;
    return true;
}

/* -- what the prelude has of it ------------------------------------------------------------------------------- */

/* operation(name, binding, argument…) → a promise of its value */
static JSValue start(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value;
    JSValue settling[2];
    JSValue promise = JS_NewPromiseCapability(ctx, settling);
    if (JS_IsException(promise))
        return promise;
    Operation *operation = operation_make(ctx, argc, argv);
    if (!operation) {
        JS_FreeValue(ctx, settling[0]);
        JS_FreeValue(ctx, settling[1]);
        JS_FreeValue(ctx, promise);
        return JS_EXCEPTION;
    }
    operation->resolve = settling[0];
    operation->reject = settling[1];
    *queued_end = operation;
    queued_end = &operation->next;
    return promise;
}

/* notice(name): as operation(), of what may never happen: an event whose code waits for nothing else has hung */
static JSValue start_notice(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    JSValueConst given[2] = {argv[0], JS_NULL};
    (void)argc;
    Operation **link = queued_end;
    JSValue promise = start(ctx, this_value, 2, given);
    if (!JS_IsException(promise)) {
        (*link)->is_notice = true;
        expected_count--;
    }
    return promise;
}

/* last() → the id of the newest operation, to cancel it by */
static JSValue last(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc, (void)argv;
    return JS_NewUint32(ctx, next_id - 1);
}

/* cancel(id): its promise stays as it is; nothing comes of it any more */
static JSValue cancel(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc;
    uint32_t id;
    if (JS_ToUint32(ctx, &id, argv[0]) < 0)
        return JS_EXCEPTION;
    for (Operation **link = &queued; *link; link = &(*link)->next) {
        if ((*link)->id != id)
            continue;
        unlink_queued(ctx, link);
        return JS_UNDEFINED;
    }
    Operation *found = take_flying(id);
    if (!found)
        return JS_UNDEFINED;
    operation_free(ctx, found);
    if (cancel_count == CALL_CANCELS && !exchange(ctx, &queued, 0, "none", INFINITY))
        return JS_EXCEPTION;
    cancels[cancel_count++] = id;
    return JS_UNDEFINED;
}

/* wait(name, binding, argument…) → its value: the whole worker stands still until then */
static JSValue wait_for(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value;
    Operation *operation = operation_make(ctx, argc, argv);
    if (!operation)
        return JS_EXCEPTION;
    uint32_t id = awaited_id = operation->id;
    bool ok = exchange(ctx, &operation, 1, "all", INFINITY);
    while (ok && awaited_id == id) { /* it did not fit into the reply */
        Operation *none = NULL;
        ok = exchange(ctx, &none, 0, "any", INFINITY);
    }
    awaited_id = 0;
    if (!ok)
        return JS_EXCEPTION;
    if (!awaited_failed)
        return awaited;
    JSValue error = engine_call(ENTRY_FAILURE, 1, &awaited);
    JS_FreeValue(ctx, awaited);
    return JS_IsException(error) ? error : JS_Throw(ctx, error);
}

/* alarm(ms) says when the next timer is due; Infinity: there is none */
static JSValue set_alarm(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc;
    return JS_ToFloat64(ctx, &alarm_ms, argv[0]) < 0 ? JS_EXCEPTION : JS_UNDEFINED;
}

/* pending() → operations that are queued, or not done */
static JSValue pending(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc, (void)argv;
    uint32_t count = flying_count;
    for (Operation *operation = queued; operation; operation = operation->next)
        count++;
    return JS_NewUint32(ctx, count);
}

void operations_define(JSContext *ctx, JSValueConst host)
{
    static const JSCFunctionListEntry functions[] = {
        JS_CFUNC_DEF("operation", 2, start),
        JS_CFUNC_DEF("notice", 1, start_notice),
        JS_CFUNC_DEF("last", 0, last),
        JS_CFUNC_DEF("cancel", 1, cancel),
        JS_CFUNC_DEF("wait", 2, wait_for),
        JS_CFUNC_DEF("alarm", 1, set_alarm),
        JS_CFUNC_DEF("pending", 0, pending),
    };
    JS_SetPropertyFunctionList(ctx, host, functions, sizeof functions / sizeof *functions);
}
