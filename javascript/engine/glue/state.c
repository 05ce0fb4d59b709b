/* The one runtime and context, and the way into the prelude. */
#include <string.h>

#include "engine.h"

IMPORT("tenantry_v1", "log") extern void host_log(uint32_t level, const char *text, size_t size);

/* Of the shadow stack, which has 1 MiB: what is left is for the C functions below the last check. A call takes up to four
 * times as much of the native stack, of which the host gives 1 MiB: with 320 KiB here recursion through a getter trapped. */
#define STACK_BYTES (256 << 10)
enum { LEVEL_ERROR = 4 };

JSRuntime *engine_runtime;
JSContext *engine_context;
Phase engine_phase;

const char *const engine_entry_names[ENTRY_COUNT] = {
    "handle", "timers", "failure", "rejection", "report", "describe", "resolve", "builtin", "commonjs", "configure", "loaded",
};
static JSValue entries[ENTRY_COUNT];
static bool has_rejections;

void engine_enter(Phase phase)
{
    engine_phase = phase;
    if (engine_runtime)
        JS_UpdateStackTop(engine_runtime);
}

bool engine_may_ask(JSContext *ctx)
{
    if (engine_phase == SERVING)
        return true;
    JS_ThrowPlainError(ctx, "Disallowed operation called within global scope. Asynchronous I/O (ex: fetch() or "
                            "connect()), setting a timeout, and generating random values are not allowed within "
                            "global scope. To fix this error, perform this operation within a handler.");
    return false;
}

bool engine_set_entries(JSValueConst given)
{
    for (int i = 0; i < ENTRY_COUNT; i++) {
        entries[i] = JS_GetPropertyStr(engine_context, given, engine_entry_names[i]);
        if (!JS_IsFunction(engine_context, entries[i])) {
            JS_ThrowTypeError(engine_context, "the prelude lacks `%s`", engine_entry_names[i]);
            return false;
        }
    }
    return true;
}

JSValue engine_call(Entry entry, int argc, JSValue *argv)
{
    return JS_Call(engine_context, entries[entry], JS_UNDEFINED, argc, argv);
}

static void log_text(int level, JSValueConst value)
{
    size_t size;
    const char *text = text_of(engine_context, &size, value);
    if (!text) {
        JS_FreeValue(engine_context, JS_GetException(engine_context));
        return;
    }
    host_log((uint32_t)level, text, size);
    JS_FreeCString(engine_context, text);
}

/* What nobody can catch any more. */
static void log_exception(void)
{
    JSValue error = JS_GetException(engine_context);
    log_text(LEVEL_ERROR, error);
    JS_FreeValue(engine_context, error);
}

void engine_run_jobs(void)
{
    JSContext *ctx;
    do {
        int done;
        for (;;) {
            flow_leave(engine_context);
            if ((done = JS_ExecutePendingJob(engine_runtime, &ctx)) == 0)
                break;
            if (done < 0)
                log_exception();
        }
        if (!has_rejections)
            return;
        has_rejections = false;
        JSValue reported = engine_call(ENTRY_REPORT, 0, NULL);
        if (JS_IsException(reported))
            log_exception();
        JS_FreeValue(engine_context, reported);
    } while (JS_IsJobPending(engine_runtime));
}

static void rejected(JSContext *ctx, JSValueConst promise, JSValueConst reason, bool is_handled, void *opaque)
{
    (void)opaque;
    has_rejections = true;
    JSValue argv[3] = {promise, reason, JS_NewBool(ctx, is_handled)};
    JSValue kept = engine_call(ENTRY_REJECTION, 3, argv);
    if (JS_IsException(kept))
        JS_FreeValue(ctx, JS_GetException(ctx));
    JS_FreeValue(ctx, kept);
}

/* log(level, text) */
static JSValue log_line(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc;
    int level;
    if (JS_ToInt32(ctx, &level, argv[0]) < 0)
        return JS_EXCEPTION;
    if (engine_phase != BUILDING)
        log_text(level, argv[1]);
    return JS_UNDEFINED;
}

/* serving() → whether an event is being served */
static JSValue is_serving(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc, (void)argv;
    return JS_NewBool(ctx, engine_phase == SERVING);
}

/* mayAsk() throws unless an event is being served */
static JSValue may_ask(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc, (void)argv;
    return engine_may_ask(ctx) ? JS_UNDEFINED : JS_EXCEPTION;
}

static void define_host(JSValueConst host)
{
    static const JSCFunctionListEntry functions[] = {
        JS_CFUNC_DEF("log", 2, log_line),
        JS_CFUNC_DEF("serving", 0, is_serving),
        JS_CFUNC_DEF("mayAsk", 0, may_ask),
    };
    JS_SetPropertyFunctionList(engine_context, host, functions, sizeof functions / sizeof *functions);
    text_define(engine_context, host);
    url_define(engine_context, host);
    form_define(engine_context, host);
    clock_define(engine_context, host);
    operations_define(engine_context, host);
    events_define(engine_context, host);
    flow_define(engine_context, host);
    modules_define(engine_context, host);
}

bool engine_open(const JSMallocFunctions *functions)
{
    engine_runtime = functions ? JS_NewRuntime2(functions, NULL) : JS_NewRuntime();
    if (!engine_runtime)
        return false;
    JS_SetMaxStackSize(engine_runtime, STACK_BYTES);
    engine_context = JS_NewContext(engine_runtime);
    if (!engine_context)
        return false;
    for (int i = 0; i < ENTRY_COUNT; i++)
        entries[i] = JS_UNDEFINED;
    return true;
}

/* Evaluates the prelude, a compiled script whose value is a function: host → the entries. */
bool engine_start(const uint8_t *prelude, size_t size)
{
    JSContext *ctx = engine_context;
    JSValue code = JS_ReadObject(ctx, prelude, size, JS_READ_OBJ_BYTECODE);
    JSValue start = JS_IsException(code) ? code : JS_EvalFunction(ctx, code);
    if (JS_IsException(start))
        return false;
    JSValue host = JS_NewObjectProto(ctx, JS_NULL);
    define_host(host);
    JSValue given = JS_Call(ctx, start, JS_UNDEFINED, 1, &host);
    JS_FreeValue(ctx, host);
    JS_FreeValue(ctx, start);
    if (JS_IsException(given) || !engine_set_entries(given))
        return false;
    JS_FreeValue(ctx, given);
    engine_run_jobs();
    JS_SetHostPromiseRejectionTracker(engine_runtime, rejected, NULL);
    engine_allow_eval(ctx, false);
    JS_RunGC(engine_runtime);
    return true;
}
