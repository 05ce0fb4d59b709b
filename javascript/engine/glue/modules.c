/* A tenant's files as modules: who imports what, and what a file of each type is to its importer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

#define READ_NESTING 64

static ModuleTable *current;

static const char *const type_names[MODULE_UNKNOWN] = {"esm", "cjs", "text", "data", "json", "script"};

ModuleType module_type(const uint8_t *bytes, size_t size)
{
    if (span_is(bytes, size, "wasm")) /* there is no WebAssembly in here: its bytes are data */
        return MODULE_DATA;
    for (int type = 0; type < MODULE_UNKNOWN; type++)
        if (span_is(bytes, size, type_names[type]))
            return (ModuleType)type;
    return MODULE_UNKNOWN;
}

const char *module_type_name(ModuleType type)
{
    return type_names[type];
}

Module *modules_find(ModuleTable *table, const char *name)
{
    for (uint32_t i = 0; table && i < table->count; i++)
        if (strcmp(table->modules[i].name, name) == 0)
            return &table->modules[i];
    return NULL;
}

/* -- code ----------------------------------------------------------------------------------------------------- */

static JSValue compile_text(JSContext *ctx, const char *before, const Module *module, const char *after, int flags)
{
    size_t head = strlen(before), tail = strlen(after);
    char *source = js_malloc(ctx, head + module->size + tail + 1);
    if (!source)
        return JS_EXCEPTION;
    memcpy(source, before, head);
    memcpy(source + head, module->bytes, module->size);
    memcpy(source + head + module->size, after, tail + 1);
    JSValue compiled = JS_Eval(ctx, source, head + module->size + tail, module->name, flags | JS_EVAL_FLAG_COMPILE_ONLY);
    js_free(ctx, source);
    return compiled;
}

bool module_compile(JSContext *ctx, Module *module)
{
    if (!JS_IsUndefined(module->compiled))
        return true;
    JSValue compiled;
    switch (module->type) {
    case MODULE_ESM:
        compiled = compile_text(ctx, "", module, "", JS_EVAL_TYPE_MODULE);
        break;
    case MODULE_COMMONJS: /* on one line, so that lines and the file's agree */
        compiled = compile_text(ctx, "(function (exports, require, module, __filename, __dirname) {", module, "\n})",
                                JS_EVAL_TYPE_GLOBAL);
        break;
    case MODULE_SCRIPT:
        compiled = compile_text(ctx, "", module, "", JS_EVAL_TYPE_GLOBAL);
        break;
    default:
        return true;
    }
    if (JS_IsException(compiled))
        return false;
    module->compiled = compiled;
    return true;
}

JSValue module_read(JSContext *ctx, Module *module)
{
    JSValue code = JS_ReadObject(ctx, module->bytes, module->size, JS_READ_OBJ_BYTECODE);
    if (JS_IsModule(code))
        module->definition = JS_VALUE_GET_PTR(code);
    return code;
}

/* -- modules whose only export is a value --------------------------------------------------------------------- */

static int set_default(JSContext *ctx, JSModuleDef *definition)
{
    return JS_SetModuleExport(ctx, definition, "default", JS_GetModulePrivateValue(ctx, definition));
}

static JSModuleDef *value_module(JSContext *ctx, const char *name, JSValue value)
{
    if (JS_IsException(value))
        return NULL;
    JSModuleDef *definition = JS_NewCModule(ctx, name, set_default);
    if (!definition || JS_AddModuleExport(ctx, definition, "default") < 0) {
        JS_FreeValue(ctx, value);
        return NULL;
    }
    JS_SetModulePrivateValue(ctx, definition, value);
    return definition;
}

static JSValue parse_json(JSContext *ctx, const Module *module)
{
    char *text = js_malloc(ctx, module->size + 1); /* the parser wants a NUL behind it */
    if (!text)
        return JS_EXCEPTION;
    memcpy(text, module->bytes, module->size);
    text[module->size] = 0;
    JSValue value = JS_ParseJSON(ctx, text, module->size, module->name);
    js_free(ctx, text);
    return value;
}

/* run(exports, require, module, filename, dirname), given to the prelude, is the module's own function. */
static int set_exports(JSContext *ctx, JSModuleDef *definition)
{
    JSAtom atom = JS_GetModuleName(ctx, definition);
    JSValue argv[2] = {JS_AtomToString(ctx, atom), JS_GetModulePrivateValue(ctx, definition)};
    JS_FreeAtom(ctx, atom);
    JSValue exports = engine_call(ENTRY_COMMONJS, 2, argv);
    JS_FreeValue(ctx, argv[0]);
    JS_FreeValue(ctx, argv[1]);
    return JS_IsException(exports) ? -1 : JS_SetModuleExport(ctx, definition, "default", exports);
}

static JSModuleDef *commonjs_module(JSContext *ctx, Module *module)
{
    JSValue run = JS_UNDEFINED;
    if (!current->compiling) {
        JSValue code = module_read(ctx, module);
        run = JS_IsException(code) ? code : JS_EvalFunction(ctx, code);
        if (JS_IsException(run))
            return NULL;
    } else if (!module_compile(ctx, module))
        return NULL;
    JSModuleDef *definition = JS_NewCModule(ctx, module->name, set_exports);
    if (!definition || JS_AddModuleExport(ctx, definition, "default") < 0) {
        JS_FreeValue(ctx, run);
        return NULL;
    }
    JS_SetModulePrivateValue(ctx, definition, run);
    return definition;
}

/* -- modules of the platform: `cloudflare:workers` and the like ------------------------------------------------ */

static int set_namespace(JSContext *ctx, JSModuleDef *definition)
{
    JSValue namespace = JS_GetModulePrivateValue(ctx, definition);
    JSPropertyEnum *names;
    uint32_t count;
    if (JS_GetOwnPropertyNames(ctx, &names, &count, namespace, JS_GPN_STRING_MASK | JS_GPN_ENUM_ONLY) < 0) {
        JS_FreeValue(ctx, namespace);
        return -1;
    }
    int done = 0;
    for (uint32_t i = 0; i < count && done == 0; i++) {
        const char *name = JS_AtomToCString(ctx, names[i].atom);
        JSValue value = name ? JS_GetProperty(ctx, namespace, names[i].atom) : JS_EXCEPTION;
        done = JS_IsException(value) ? -1 : JS_SetModuleExport(ctx, definition, name, value);
        JS_FreeCString(ctx, name);
    }
    JS_FreePropertyEnum(ctx, names, count);
    JS_FreeValue(ctx, namespace);
    return done;
}

static JSModuleDef *builtin_module(JSContext *ctx, const char *name, JSValue namespace)
{
    JSModuleDef *definition = JS_NewCModule(ctx, name, set_namespace);
    JSPropertyEnum *names;
    uint32_t count;
    if (!definition ||
        JS_GetOwnPropertyNames(ctx, &names, &count, namespace, JS_GPN_STRING_MASK | JS_GPN_ENUM_ONLY) < 0) {
        JS_FreeValue(ctx, namespace);
        return NULL;
    }
    bool ok = true;
    for (uint32_t i = 0; ok && i < count; i++) {
        const char *export = JS_AtomToCString(ctx, names[i].atom);
        ok = export && JS_AddModuleExport(ctx, definition, export) >= 0;
        JS_FreeCString(ctx, export);
    }
    JS_FreePropertyEnum(ctx, names, count);
    JS_SetModulePrivateValue(ctx, definition, namespace);
    return ok ? definition : NULL;
}

/* -- resolution ----------------------------------------------------------------------------------------------- */

/* QuickJS loads a module right after it has asked for its name, which is where the importer is told. */
static char importer[256];

static char *normalize(JSContext *ctx, const char *base, const char *specifier, void *opaque)
{
    (void)opaque;
    snprintf(importer, sizeof importer, "%s", base);
    JSValue argv[2] = {JS_NewString(ctx, base), JS_NewString(ctx, specifier)};
    JSValue resolved = engine_call(ENTRY_RESOLVE, 2, argv);
    JS_FreeValue(ctx, argv[0]);
    JS_FreeValue(ctx, argv[1]);
    const char *name = JS_IsException(resolved) ? NULL : JS_ToCString(ctx, resolved);
    char *copy = name ? js_strdup(ctx, name) : NULL;
    JS_FreeCString(ctx, name);
    JS_FreeValue(ctx, resolved);
    return copy;
}

static JSModuleDef *load(JSContext *ctx, const char *name, void *opaque)
{
    (void)opaque;
    Module *module = modules_find(current, name);
    if (!module) {
        JSValue argument = JS_NewString(ctx, name);
        JSValue namespace = engine_call(ENTRY_BUILTIN, 1, &argument);
        JS_FreeValue(ctx, argument);
        if (JS_IsException(namespace))
            return NULL;
        if (!JS_IsUndefined(namespace))
            return builtin_module(ctx, name, namespace);
        JS_ThrowPlainError(ctx, "No such module \"%s\", imported from \"%s\".", name, importer);
        return NULL;
    }
    switch (module->type) {
    case MODULE_ESM:
        if (current->compiling)
            return module_compile(ctx, module) ? JS_VALUE_GET_PTR(module->compiled) : NULL;
        if (!module->definition)
            JS_FreeValue(ctx, module_read(ctx, module));
        return module->definition;
    case MODULE_COMMONJS:
        return commonjs_module(ctx, module);
    case MODULE_TEXT:
        return value_module(ctx, name, JS_NewStringLen(ctx, (const char *)module->bytes, module->size));
    case MODULE_DATA:
        return value_module(ctx, name, JS_NewArrayBufferCopy(ctx, module->bytes, module->size));
    case MODULE_JSON:
        return value_module(ctx, name, parse_json(ctx, module));
    default:
        break;
    }
    JS_ThrowPlainError(ctx, "\"%s\" can't be imported", name);
    return NULL;
}

/* -- require() ------------------------------------------------------------------------------------------------ */

/* An ES module's namespace, which is evaluated now; one that waits for something can't be had so. */
static JSValue namespace_now(JSContext *ctx, Module *module)
{
    if (!module->definition) {
        JSValue code = module_read(ctx, module);
        if (JS_IsException(code))
            return code;
        JS_FreeValue(ctx, code); /* the context keeps it */
    }
    JSValue value = JS_DupValue(ctx, JS_MKPTR(JS_TAG_MODULE, module->definition));
    if (JS_ResolveModule(ctx, value) < 0) {
        JS_FreeValue(ctx, value);
        return JS_EXCEPTION;
    }
    JSValue done = JS_EvalFunction(ctx, value);
    if (JS_IsException(done))
        return done;
    JSPromiseStateEnum state = JS_PromiseState(ctx, done);
    JSValue reason = state == JS_PROMISE_REJECTED ? JS_PromiseResult(ctx, done) : JS_UNDEFINED;
    if (state == JS_PROMISE_REJECTED)
        JS_PromiseMarkAsHandled(ctx, done);
    JS_FreeValue(ctx, done);
    if (state == JS_PROMISE_REJECTED)
        return JS_Throw(ctx, reason);
    if (state == JS_PROMISE_PENDING)
        return JS_ThrowPlainError(ctx, "\"%s\" has a top-level await: import() it", module->name);
    return JS_GetModuleNamespace(ctx, module->definition);
}

static JSValue value_of(JSContext *ctx, Module *module)
{
    JSValue code;
    switch (module->type) {
    case MODULE_ESM:
        return namespace_now(ctx, module);
    case MODULE_COMMONJS:
        code = module_read(ctx, module);
        return JS_IsException(code) ? code : JS_EvalFunction(ctx, code);
    case MODULE_TEXT:
        return JS_NewStringLen(ctx, (const char *)module->bytes, module->size);
    case MODULE_DATA:
        return JS_NewArrayBufferCopy(ctx, module->bytes, module->size);
    case MODULE_JSON:
        return parse_json(ctx, module);
    default:
        return JS_UNDEFINED;
    }
}

/* file(name) → what require() of an uploaded file is: of CommonJS its function, yet to be run */
static JSValue file(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc;
    const char *name = JS_ToCString(ctx, argv[0]);
    if (!name)
        return JS_EXCEPTION;
    Module *module = modules_find(current, name);
    JS_FreeCString(ctx, name);
    return module ? value_of(ctx, module) : JS_UNDEFINED;
}

/* files() → [[name, type]…]: none after the top level has run */
static JSValue files(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc, (void)argv;
    JSValue list = JS_NewArray(ctx);
    uint32_t count = 0;
    for (uint32_t i = 0; current && i < current->count; i++) {
        Module *module = &current->modules[i];
        if (module->type == MODULE_UNKNOWN)
            continue;
        JSValue pair = JS_NewArray(ctx);
        if (JS_SetPropertyUint32(ctx, pair, 0, JS_NewString(ctx, module->name)) < 0 ||
            JS_SetPropertyUint32(ctx, pair, 1, JS_NewString(ctx, type_names[module->type])) < 0 ||
            JS_SetPropertyUint32(ctx, list, count++, pair) < 0)
            return JS_EXCEPTION;
    }
    return list;
}

void modules_define(JSContext *ctx, JSValueConst host)
{
    static const JSCFunctionListEntry functions[] = {
        JS_CFUNC_DEF("file", 1, file),
        JS_CFUNC_DEF("files", 0, files),
    };
    JS_SetPropertyFunctionList(ctx, host, functions, sizeof functions / sizeof *functions);
}

void modules_use(ModuleTable *table)
{
    current = table;
    JS_SetModuleLoaderFunc(engine_runtime, normalize, load, NULL);
}
