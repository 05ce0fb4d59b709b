/* On whose behalf code runs: one value, which whoever waits for a promise, or asks for a microtask, gets back when his
 * function is called. `node:async_hooks` keeps its stores in it.
 *
 * Promises' reactions are bound where they are registered, as other engines do it; QuickJS's own promise hook is not told of
 * them. While there is no flow, nothing of this costs anything but a comparison.
 */
#include "engine.h"

static JSValue flow = JS_UNDEFINED;

bool flow_is_there(void)
{
    return !JS_IsUndefined(flow);
}

void flow_leave(JSContext *ctx)
{
    if (JS_IsUndefined(flow))
        return;
    JSValue left = flow;
    flow = JS_UNDEFINED;
    JS_FreeValue(ctx, left);
}

static JSValue call_in_flow(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv, int magic, JSValue *data)
{
    (void)magic;
    JSValue outer = flow;
    flow = JS_DupValue(ctx, data[0]);
    JSValue result = JS_Call(ctx, data[1], this_value, argc, argv);
    JS_FreeValue(ctx, flow);
    flow = outer;
    return result;
}

JSValue flow_bind(JSContext *ctx, JSValueConst function)
{
    JSValueConst data[2] = {flow, function};
    return JS_NewCFunctionData(ctx, call_in_flow, 1, 0, 2, data);
}

/* flow() → the value of now; undefined where there is none */
static JSValue get_flow(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc, (void)argv;
    return JS_DupValue(ctx, flow);
}

/* enterFlow(value): until the function that is on the stack's bottom returns, or another is entered */
static JSValue enter_flow(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc;
    JSValue left = flow;
    flow = JS_DupValue(ctx, argv[0]);
    JS_FreeValue(ctx, left);
    return JS_UNDEFINED;
}

void flow_define(JSContext *ctx, JSValueConst host)
{
    static const JSCFunctionListEntry functions[] = {
        JS_CFUNC_DEF("flow", 0, get_flow),
        JS_CFUNC_DEF("enterFlow", 1, enter_flow),
    };
    JS_SetPropertyFunctionList(ctx, host, functions, sizeof functions / sizeof *functions);
}
