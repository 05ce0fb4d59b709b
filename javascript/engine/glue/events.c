/* What the host calls for an event: `alloc`, then one of the handlers. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

/* What a handler may return, with room for what is around a body; the prelude streams what is larger. */
#define RESULT_BYTES ((size_t)16 << 20)
#define EVENT_NESTING 64
#define RESULT_NESTING 30

EXPORT(alloc) uint8_t *engine_alloc(size_t size)
{
    return malloc(size ? size : 1);
}

static int64_t answer(const uint8_t *bytes, size_t size)
{
    return (int64_t)((uint64_t)(uintptr_t)bytes << 32 | size);
}

/* {error: {code, message}} */
static int64_t answer_error(JSContext *ctx, const char *message)
{
    Writer writer = {.most = RESULT_BYTES};
    if (write_map(ctx, &writer, 1) && write_text(ctx, &writer, "error") && write_map(ctx, &writer, 2) &&
        write_text(ctx, &writer, "code") && write_text(ctx, &writer, "exception") &&
        write_text(ctx, &writer, "message") && write_text(ctx, &writer, message))
        return answer(writer.bytes, writer.size);
    __builtin_trap(); /* no room for a hundred bytes: the host sees that the memory is full */
}

static int64_t answer_exception(JSContext *ctx)
{
    JSValue error = JS_GetException(ctx);
    const char *text = JS_ToCString(ctx, error);
    JS_FreeValue(ctx, error);
    if (!text) {
        JS_FreeValue(ctx, JS_GetException(ctx));
        return answer_error(ctx, "an error that can't be shown");
    }
    int64_t result = answer_error(ctx, text);
    JS_FreeCString(ctx, text);
    return result;
}

/* Of who waits for what the handler answers. Once it has left, it is over when the prelude says so. */
static enum { IS_THERE, HAS_LEFT, IS_OVER } visitor;

/* leaving(isOver) */
static JSValue set_leaving(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc;
    visitor = JS_ToBool(ctx, argv[0]) ? IS_OVER : HAS_LEFT;
    return JS_UNDEFINED;
}

void events_define(JSContext *ctx, JSValueConst host)
{
    static const JSCFunctionListEntry functions[] = {JS_CFUNC_DEF("leaving", 1, set_leaving)};
    JS_SetPropertyFunctionList(ctx, host, functions, sizeof functions / sizeof *functions);
}

static bool goes_on(JSContext *ctx, JSValueConst promise)
{
    return visitor == HAS_LEFT || (visitor == IS_THERE && JS_PromiseState(ctx, promise) == JS_PROMISE_PENDING);
}

static int64_t serve(const char *handler, uint8_t *input, size_t size)
{
    JSContext *ctx = engine_context;
    engine_enter(SERVING);
    random_unseed();
    Reader reader = {input, input + size};
    JSValue argv[2] = {JS_NewString(ctx, handler), read_value(ctx, &reader, EVENT_NESTING)};
    free(input);
    if (JS_IsException(argv[1]))
        return answer_exception(ctx);
    JSValue promise = engine_call(ENTRY_HANDLE, 2, argv);
    JS_FreeValue(ctx, argv[0]);
    JS_FreeValue(ctx, argv[1]);
    if (JS_IsException(promise))
        return answer_exception(ctx);
    engine_run_jobs();
    /* No promise: it is the result. */
    while (goes_on(ctx, promise)) {
        Turn turn = operations_turn();
        if (turn == TURN_FAILED)
            return answer_exception(ctx);
        engine_run_jobs();
        if (turn == TURN_NOTHING_TO_WAIT_FOR && goes_on(ctx, promise))
            return answer_error(ctx, "The Workers runtime canceled this request because it detected that your "
                                     "Worker's code had hung and would never generate a response.");
    }
    if (!operations_flush())
        return answer_exception(ctx);
    if (visitor == IS_OVER)
        return 0;
    bool is_promise = JS_IsPromise(promise);
    JSValue result = is_promise ? JS_PromiseResult(ctx, promise) : promise;
    if (is_promise && JS_PromiseState(ctx, promise) == JS_PROMISE_REJECTED) {
        JS_Throw(ctx, result);
        return answer_exception(ctx);
    }
    if (JS_IsUndefined(result) || JS_IsNull(result))
        return 0;
    Writer writer = {.most = RESULT_BYTES};
    if (!write_value(ctx, &writer, result, RESULT_NESTING))
        return answer_exception(ctx);
    return answer(writer.bytes, writer.size);
}

EXPORT(fetch) int64_t engine_fetch(uint8_t *input, size_t size)
{
    return serve("fetch", input, size);
}

EXPORT(queue) int64_t engine_queue(uint8_t *input, size_t size)
{
    return serve("queue", input, size);
}

EXPORT(scheduled) int64_t engine_scheduled(uint8_t *input, size_t size)
{
    return serve("scheduled", input, size);
}

EXPORT(tail) int64_t engine_tail(uint8_t *input, size_t size)
{
    return serve("tail", input, size);
}
