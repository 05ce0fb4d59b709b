/* QuickJS's own source, and the few things that it lets nobody have from outside. Included, not patched: a release
 * that moves them fails to compile here.
 */

/* Its own allocator gives each size of block 4 KiB for itself, and writes all of them: an event would touch three times
 * as many pages. This makes it hand every block to heap.c. */
#define __SANITIZE_ADDRESS__ 1
#include "quickjs.c"

#include "engine.h"

static JSValue refuse_eval(JSContext *ctx, JSValueConst this_obj, const char *input, size_t input_len,
                           const char *filename, int line, int flags, int scope_idx)
{
    (void)this_obj, (void)input, (void)input_len, (void)filename, (void)line, (void)flags, (void)scope_idx;
    JSValue error = JS_NewObjectProtoClass(ctx, ctx->native_error_proto[JS_EVAL_ERROR], JS_CLASS_ERROR);
    if (JS_IsException(error))
        return error;
    JS_DefinePropertyValue(ctx, error, JS_ATOM_message,
                           JS_NewString(ctx, "Code generation from strings disallowed for this context"),
                           JS_PROP_WRITABLE | JS_PROP_CONFIGURABLE);
    build_backtrace(ctx, error, JS_UNDEFINED, NULL, 0, 0, 0);
    return JS_Throw(ctx, error);
}

void engine_allow_eval(JSContext *ctx, bool allowed)
{
    ctx->eval_internal = allowed ? __JS_EvalInternal : refuse_eval;
}

size_t engine_heap_bytes(JSRuntime *rt)
{
    return rt->malloc_state.malloc_size;
}

int engine_add_property(JSContext *ctx, JSValueConst object, JSAtom name, JSValue value)
{
    JSObject *p = JS_VALUE_GET_OBJ(object);
    if (find_own_property1(p, name))
        return JS_DefinePropertyValue(ctx, object, name, value, JS_PROP_C_W_E);
    JSProperty *property = add_property(ctx, p, name, JS_PROP_C_W_E);
    if (!property) {
        JS_FreeValue(ctx, value);
        return -1;
    }
    property->u.value = value;
    return 1;
}
