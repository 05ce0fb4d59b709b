/* What a deployment calls, in two fresh instances: `js_compile` makes bytecode of a tenant's files, `js_load`
 * evaluates their top level; `js_warm` may follow in the same one. What they leave in memory is the tenant's difference to the engine; so whatever
 * it needed only for a while is overwritten with zeros before it is freed.
 */
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "heap.h"

#define INPUT_MODULES 10000
#define OUTPUT_BYTES ((size_t)256 << 20)
#define RESULT_NESTING 16
/* A collection marks everything there is; in an event, which begins anew the next time, it is hardly ever worth it. */
#define GC_ROOM_BYTES (4 << 20)
#define LOAD_GC_ROOM_BYTES (16 << 20)
/* A collection counts every object of the prelude down and up again, and so writes to 300 pages, each of which is copied
 * for that. What less than this can leave in cycles is not worth it. */
#define WORTH_COLLECTING_BYTES (64 << 10)

static int64_t answer(Writer *writer)
{
    return (int64_t)((uint64_t)(uintptr_t)writer->bytes << 32 | writer->size);
}

/* {error: {kind, message, …}} of the pending exception */
static int64_t answer_failure(JSContext *ctx)
{
    JSValue error = JS_GetException(ctx);
    JSValue described = engine_call(ENTRY_DESCRIBE, 1, &error);
    JS_FreeValue(ctx, error);
    Writer writer = {.most = OUTPUT_BYTES};
    if (!JS_IsException(described) && write_map(ctx, &writer, 1) && write_text(ctx, &writer, "error") &&
        write_value(ctx, &writer, described, RESULT_NESTING)) {
        JS_FreeValue(ctx, described);
        return answer(&writer);
    }
    /* Nothing is left to say it with: out of memory, most of all. */
    JS_FreeValue(ctx, JS_GetException(ctx));
    static const char text[] = "\x81\xa5" "error" "\x82\xa4" "kind" "\xad" "InternalError" "\xa7" "message"
                               "\xad" "out of memory";
    Writer last = {.bytes = (uint8_t *)text, .size = sizeof text - 1};
    return answer(&last);
}

static void bad_input(JSContext *ctx)
{
    JS_ThrowInternalError(ctx, "the argument has an unknown shape");
}

/* [[name, type, bytes]…]; what it gives borrows from the reader. */
static bool read_modules(JSContext *ctx, Reader *reader, ModuleTable *table)
{
    uint32_t parts;
    if (!read_array(reader, &table->count) || table->count > INPUT_MODULES) {
        table->count = 0;
        bad_input(ctx);
        return false;
    }
    table->modules = calloc(table->count ? table->count : 1, sizeof *table->modules);
    if (!table->modules) {
        JS_ThrowOutOfMemory(ctx);
        return false;
    }
    for (uint32_t i = 0; i < table->count; i++) {
        Module *module = &table->modules[i];
        const uint8_t *name, *type;
        size_t name_size, type_size;
        module->compiled = JS_UNDEFINED;
        if (!read_array(reader, &parts) || parts != 3 || !read_span(reader, &name, &name_size) ||
            !read_span(reader, &type, &type_size) || !read_span(reader, &module->bytes, &module->size)) {
            bad_input(ctx);
            return false;
        }
        module->type = module_type(type, type_size);
        module->name = js_strndup(ctx, (const char *)name, name_size);
        if (!module->name)
            return false;
        if (module->type == MODULE_UNKNOWN) {
            JS_ThrowTypeError(ctx, "\"%s\" is of an unknown type", module->name);
            return false;
        }
    }
    return true;
}

static char *copy_name(JSContext *ctx, const uint8_t *bytes, size_t size)
{
    return js_strndup(ctx, (const char *)bytes, size);
}

static bool configure(JSContext *ctx, JSValue flags)
{
    JSValue done = engine_call(ENTRY_CONFIGURE, 1, &flags);
    bool ok = !JS_IsException(done);
    JS_FreeValue(ctx, done);
    return ok;
}

/* -- js_compile ----------------------------------------------------------------------------------------------- */

static bool write_module(JSContext *ctx, Writer *writer, Module *module)
{
    bool ok = write_array(ctx, writer, 3) && write_text(ctx, writer, module->name) &&
              write_text(ctx, writer, module_type_name(module->type));
    if (!ok || JS_IsUndefined(module->compiled))
        return ok && write_bytes(ctx, writer, module->bytes, module->size);
    size_t size;
    uint8_t *code =
        JS_WriteObject(ctx, &size, module->compiled, JS_WRITE_OBJ_BYTECODE | JS_WRITE_OBJ_STRIP_SOURCE);
    ok = code && write_bytes(ctx, writer, code, size);
    js_free(ctx, code);
    return ok;
}

/* The main module's imports, and then whatever an `import()` may ask for: there a file that is no code of its type
 * is left out, as elsewhere nobody looks at it before it is imported. */
static bool compile_all(JSContext *ctx, ModuleTable *table, Module *main)
{
    if (!module_compile(ctx, main))
        return false;
    for (uint32_t i = 0; i < table->count; i++) {
        Module *module = &table->modules[i];
        if (module->type != MODULE_SCRIPT && !module_compile(ctx, module)) {
            JS_FreeValue(ctx, JS_GetException(ctx));
            module->type = MODULE_UNKNOWN;
        }
    }
    return true;
}

EXPORT(js_compile) int64_t js_compile(uint8_t *input, size_t size)
{
    JSContext *ctx = engine_context;
    engine_enter(LOADING);
    engine_allow_eval(ctx, true);
    Reader reader = {input, input + size};
    ModuleTable table = {.compiling = true};
    char *main_name = NULL;
    JSValue flags = JS_UNDEFINED;
    const uint8_t *key, *value;
    size_t key_size, value_size;
    uint32_t keys;
    bool ok = read_map(&reader, &keys);
    if (!ok)
        bad_input(ctx);
    while (ok && keys--) {
        if (!read_span(&reader, &key, &key_size)) {
            bad_input(ctx);
            ok = false;
        } else if (span_is(key, key_size, "main")) {
            ok = read_span(&reader, &value, &value_size) && (main_name = copy_name(ctx, value, value_size));
            if (!ok)
                bad_input(ctx);
        } else if (span_is(key, key_size, "modules"))
            ok = read_modules(ctx, &reader, &table);
        else {
            JS_FreeValue(ctx, flags);
            flags = read_value(ctx, &reader, RESULT_NESTING);
            ok = !JS_IsException(flags);
        }
    }
    ok = ok && configure(ctx, flags);
    if (!ok || !main_name) {
        if (ok)
            bad_input(ctx);
        return answer_failure(ctx);
    }
    modules_use(&table);
    Module *main = modules_find(&table, main_name);
    if (!main || (main->type != MODULE_ESM && main->type != MODULE_SCRIPT && main->type != MODULE_COMMONJS)) {
        JS_ThrowTypeError(ctx, "the main module \"%s\" is %s", main_name, main ? "no JavaScript" : "not among the files");
        return answer_failure(ctx);
    }
    if (!compile_all(ctx, &table, main))
        return answer_failure(ctx);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < table.count; i++)
        kept += table.modules[i].type != MODULE_UNKNOWN;
    Writer code = {.most = OUTPUT_BYTES}, writer = {.most = OUTPUT_BYTES};
    ok = write_array(ctx, &code, 3) && write_text(ctx, &code, main_name) && write_array(ctx, &code, kept);
    for (uint32_t i = 0; ok && i < table.count; i++)
        ok = table.modules[i].type == MODULE_UNKNOWN || write_module(ctx, &code, &table.modules[i]);
    ok = ok && write_value(ctx, &code, flags, RESULT_NESTING) && write_map(ctx, &writer, 1) &&
         write_text(ctx, &writer, "ok") && write_map(ctx, &writer, 1) && write_text(ctx, &writer, "code") && write_bytes(ctx, &writer, code.bytes, code.size);
    return ok ? answer(&writer) : answer_failure(ctx);
}

/* -- js_load -------------------------------------------------------------------------------------------------- */

/* The main module first, with what it imports; then all others, since an `import()` finds only what was read. */
static bool read_code(JSContext *ctx, ModuleTable *table, const char *main_name, JSValue *main)
{
    Module *first = modules_find(table, main_name);
    *main = JS_UNDEFINED;
    if (first && (first->type == MODULE_ESM || first->type == MODULE_SCRIPT)) {
        *main = module_read(ctx, first);
        if (JS_IsException(*main))
            return false;
    }
    for (uint32_t i = 0; i < table->count; i++) {
        Module *module = &table->modules[i];
        if (module->definition || module->type != MODULE_ESM)
            continue;
        JSValue code = module_read(ctx, module);
        if (JS_IsException(code))
            return false;
        JS_FreeValue(ctx, code);
    }
    return true;
}

/* The main module's namespace, or undefined for a script; an exception when its top level threw. */
static JSValue evaluate(JSContext *ctx, JSValue main)
{
    JSModuleDef *definition = NULL;
    if (JS_IsModule(main)) {
        definition = JS_VALUE_GET_PTR(main);
        if (JS_ResolveModule(ctx, main) < 0) {
            JS_FreeValue(ctx, main);
            return JS_EXCEPTION;
        }
    }
    JSValue done = JS_EvalFunction(ctx, main);
    if (JS_IsException(done))
        return done;
    /* What it is rejected with is the answer. */
    if (definition && JS_IsPromise(done))
        JS_PromiseMarkAsHandled(ctx, done);
    engine_run_jobs();
    if (!definition) {
        JS_FreeValue(ctx, done);
        return JS_UNDEFINED;
    }
    JSPromiseStateEnum state = JS_PromiseState(ctx, done);
    JSValue result = state == JS_PROMISE_REJECTED ? JS_Throw(ctx, JS_PromiseResult(ctx, done)) : JS_UNDEFINED;
    JS_FreeValue(ctx, done);
    if (state == JS_PROMISE_PENDING)
        return JS_ThrowPlainError(ctx, "Top-level await in module is unsettled: what it waits for never comes, "
                                       "because nothing may be asked of the host within global scope");
    return state == JS_PROMISE_REJECTED ? result : JS_GetModuleNamespace(ctx, definition);
}

static JSValue load_code(JSContext *ctx, Reader *code, ModuleTable *table)
{
    const uint8_t *name;
    size_t size;
    uint32_t parts;
    if (!read_array(code, &parts) || parts != 3 || !read_span(code, &name, &size)) {
        bad_input(ctx);
        return JS_EXCEPTION;
    }
    char *main_name = copy_name(ctx, name, size);
    if (!main_name || !read_modules(ctx, code, table))
        return JS_EXCEPTION;
    JSValue flags = read_value(ctx, code, RESULT_NESTING);
    if (JS_IsException(flags) || !configure(ctx, flags))
        return JS_EXCEPTION;
    JS_FreeValue(ctx, flags);
    modules_use(table);
    JSValue main;
    bool ok = read_code(ctx, table, main_name, &main);
    if (ok && JS_IsUndefined(main)) { /* CommonJS: what an `import` of it gives */
        JSValue imported = JS_LoadModule(ctx, "", main_name);
        if (JS_IsException(imported))
            return imported;
        engine_run_jobs();
        JSPromiseStateEnum state = JS_PromiseState(ctx, imported);
        JSValue result = JS_PromiseResult(ctx, imported);
        JS_FreeValue(ctx, imported);
        js_free(ctx, main_name);
        return state == JS_PROMISE_REJECTED ? JS_Throw(ctx, result) : result;
    }
    js_free(ctx, main_name);
    return ok ? evaluate(ctx, main) : JS_EXCEPTION;
}

static void forget(JSContext *ctx, ModuleTable *table)
{
    for (uint32_t i = 0; i < table->count; i++)
        js_free(ctx, table->modules[i].name);
    memset(table->modules, 0, table->count * sizeof *table->modules);
    free(table->modules);
    table->modules = NULL;
    table->count = 0;
}

/* The last step of what leaves its memory behind; the argument goes too. The heap had `before` bytes. */
static void settle_memory(uint8_t *input, size_t size, size_t before)
{
    random_unseed();
    if (engine_heap_bytes(engine_runtime) > before + WORTH_COLLECTING_BYTES)
        JS_RunGC(engine_runtime);
    JS_SetGCThreshold(engine_runtime, engine_heap_bytes(engine_runtime) + GC_ROOM_BYTES);
    memset(input, 0, size);
    free(input);
    heap_seal(0);
}

EXPORT(js_load) int64_t js_load(uint8_t *input, size_t size)
{
    JSContext *ctx = engine_context;
    engine_enter(LOADING);
    size_t before = engine_heap_bytes(engine_runtime);
    JS_SetGCThreshold(engine_runtime, before + LOAD_GC_ROOM_BYTES);
    Reader reader = {input, input + size}, code = {NULL, NULL};
    ModuleTable table = {.compiling = false};
    const uint8_t *key, *value;
    size_t key_size, value_size;
    uint32_t keys;
    bool ok = read_map(&reader, &keys);
    while (ok && keys--) {
        ok = read_span(&reader, &key, &key_size) && read_span(&reader, &value, &value_size);
        if (ok && span_is(key, key_size, "code"))
            code = (Reader){value, value + value_size};
        else if (ok && span_is(key, key_size, "seed"))
            random_seed(value, value_size);
    }
    if (!ok || !code.at) {
        bad_input(ctx);
        return answer_failure(ctx);
    }
    JSValue namespace = load_code(ctx, &code, &table);
    if (JS_IsException(namespace))
        return answer_failure(ctx);
    JSValue loaded = engine_call(ENTRY_LOADED, 1, &namespace);
    JS_FreeValue(ctx, namespace);
    if (JS_IsException(loaded))
        return answer_failure(ctx);
    engine_run_jobs();
    Writer writer = {.most = OUTPUT_BYTES};
    ok = write_map(ctx, &writer, 1) && write_text(ctx, &writer, "ok") &&
         write_value(ctx, &writer, loaded, RESULT_NESTING);
    JS_FreeValue(ctx, loaded);
    if (!ok)
        return answer_failure(ctx);
    modules_use(NULL);
    forget(ctx, &table);
    settle_memory(input, size, before);
    return answer(&writer);
}

/* -- js_warm -------------------------------------------------------------------------------------------------- */

/* One request, an event as `fetch` gets it, in an instance that was loaded: what the worker makes at its first request
 * and keeps (a router, a compiled schema) it finds there in each one then. Nothing may be asked of the host. */
EXPORT(js_warm) int64_t js_warm(uint8_t *input, size_t size)
{
    JSContext *ctx = engine_context;
    engine_enter(LOADING);
    random_seed(input, size);
    Reader reader = {input, input + size};
    JSValue argv[2] = {JS_NewString(ctx, "fetch"), read_value(ctx, &reader, RESULT_NESTING)};
    if (JS_IsException(argv[1]))
        return answer_failure(ctx);
    JSValue result = engine_call(ENTRY_HANDLE, 2, argv);
    JS_FreeValue(ctx, argv[0]);
    JS_FreeValue(ctx, argv[1]);
    if (JS_IsException(result))
        return answer_failure(ctx);
    engine_run_jobs();
    if (JS_IsPromise(result)) {
        JSPromiseStateEnum state = JS_PromiseState(ctx, result);
        JSValue settled = state == JS_PROMISE_PENDING ? JS_UNDEFINED : JS_PromiseResult(ctx, result);
        JS_FreeValue(ctx, result);
        result = settled;
    }
    JSValue error = JS_IsObject(result) ? JS_GetPropertyStr(ctx, result, "error") : JS_UNDEFINED;
    bool answered = JS_IsObject(result) && JS_IsUndefined(error);
    Writer writer = {.most = OUTPUT_BYTES};
    bool ok = write_map(ctx, &writer, 1) && write_text(ctx, &writer, "ok") && write_map(ctx, &writer, 2) &&
              write_text(ctx, &writer, "answered") && write_value(ctx, &writer, JS_NewBool(ctx, answered), 0) &&
              write_text(ctx, &writer, "error") && write_value(ctx, &writer, error, RESULT_NESTING);
    JS_FreeValue(ctx, error);
    JS_FreeValue(ctx, result);
    if (!ok)
        return answer_failure(ctx);
    settle_memory(input, size, 0); /* it is made once, and what it leaves is copied for each event */
    return answer(&writer);
}
