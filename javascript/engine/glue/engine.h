/* What the files of the engine's glue share. The engine is one WebAssembly module: QuickJS, this glue, and the
 * prelude (../prelude), which is evaluated when the engine is built and lies in its memory from then on.
 *
 * One instance serves one event, or one deployment; there is one runtime and one context in it.
 */
#ifndef TENANTRY_ENGINE_H
#define TENANTRY_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quickjs.h"

#define EXPORT(name) __attribute__((export_name(#name)))
#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))

/* -- quickjs_unit.c: what QuickJS keeps to itself ------------------------------------------------------------- */

/* Code may be made from text: while a deployment is compiled, and at no other time. */
void engine_allow_eval(JSContext *ctx, bool allowed);
/* Bytes that the heap has handed out. */
size_t engine_heap_bytes(JSRuntime *rt);

/* NULL: malloc and its like, without a detour. */
void engine_allocate_with(JSRuntime *rt, const JSMallocFunctions *functions);

/* JS_DefinePropertyValue for a plain object of our own making, in a tenth of the time; below 0: an exception. */
int engine_add_property(JSContext *ctx, JSValueConst object, JSAtom name, JSValue value);

/* -- state.c -------------------------------------------------------------------------------------------------- */

typedef enum {
    BUILDING, /* the prelude is evaluated: nothing may be asked of the host */
    LOADING,  /* a tenant's top level is evaluated: likewise */
    SERVING,  /* an event */
} Phase;

extern JSRuntime *engine_runtime;
extern JSContext *engine_context;
extern Phase engine_phase;

/* A runtime and a context with everything that code can see but the prelude. NULL: malloc and its like. */
bool engine_open(const JSMallocFunctions *functions);
/* At the start of every export: the shadow stack begins anew. */
void engine_enter(Phase phase);
/* Throws, and says false, unless an event is being served. `what` begins the message. */
bool engine_may_ask(JSContext *ctx);
/* Runs jobs until none is left. A job's own exception is reported, and does not end the others. */
void engine_run_jobs(void);

/* Functions of the prelude that the glue calls. */
typedef enum {
    ENTRY_HANDLE,    /* (handler, event) → promise of the result */
    ENTRY_TIMERS,    /* () runs the timers that are due */
    ENTRY_FAILURE,   /* ({code, message}) → the error of an operation that failed */
    ENTRY_REJECTION, /* (promise, reason, handled) a promise was rejected without, or got, a handler */
    ENTRY_REPORT,    /* () reports the rejections that nobody has handled */
    ENTRY_DESCRIBE,  /* (error) → {kind, message, file, line, column, stack} */
    ENTRY_RESOLVE,   /* (base, specifier) → the module's name, or throws */
    ENTRY_BUILTIN,   /* (name) → a namespace object of the platform's, or undefined */
    ENTRY_COMMONJS,  /* (name, run) → what module.exports is after it ran */
    ENTRY_CONFIGURE, /* (flags) the compatibility flags of what is compiled or loaded */
    ENTRY_LOADED,    /* (namespace | undefined) → {handlers, entrypoints}, or throws */
    ENTRY_COUNT,
} Entry;

extern const char *const engine_entry_names[ENTRY_COUNT];
bool engine_set_entries(JSValueConst entries);
/* The result, owned; JS_EXCEPTION with the exception pending. */
JSValue engine_call(Entry entry, int argc, JSValue *argv);

/* -- placing.c: while the engine is built ----------------------------------------------------------------------- */

extern const JSMallocFunctions placing_functions;
/* False: the blocks are not those that the table of places was made for. */
bool placing_end(void);

/* -- msgpack.c ------------------------------------------------------------------------------------------------ */

typedef struct {
    uint8_t *bytes;
    size_t size, room;
    size_t most;     /* bytes; beyond: RangeError */
    uint32_t values; /* containers' items so far, as the host counts them */
} Writer;

typedef struct {
    const uint8_t *at, *end;
} Reader;

void writer_free(Writer *writer);
/* These say false with an exception pending. */
bool write_raw(JSContext *ctx, Writer *writer, const void *bytes, size_t size);
bool write_array(JSContext *ctx, Writer *writer, uint32_t count);
bool write_map(JSContext *ctx, Writer *writer, uint32_t count);
bool write_text(JSContext *ctx, Writer *writer, const char *text);
bool write_bytes(JSContext *ctx, Writer *writer, const uint8_t *bytes, size_t size);
bool write_uint(JSContext *ctx, Writer *writer, uint64_t number);
/* Any value that MessagePack has a word for; `depth` is how deep containers may nest. Getters and proxies run. */
bool write_value(JSContext *ctx, Writer *writer, JSValueConst value, int depth);

/* Any value: maps become plain objects, bin becomes Uint8Array. */
JSValue read_value(JSContext *ctx, Reader *reader, int depth);
/* These say false, without an exception, when something else is there, or too little. */
bool read_array(Reader *reader, uint32_t *count);
bool read_map(Reader *reader, uint32_t *count);
bool read_uint(Reader *reader, uint32_t *number);
/* A str or a bin: borrowed from the reader's bytes. */
bool read_span(Reader *reader, const uint8_t **bytes, size_t *size);
bool span_is(const uint8_t *bytes, size_t size, const char *text);

/* -- text.c --------------------------------------------------------------------------------------------------- */

/* Any string as UTF-8, in which half surrogates are U+FFFD; freed with JS_FreeCString. NULL: an exception. */
const char *text_of(JSContext *ctx, size_t *size, JSValueConst value);
/* The bytes of a buffer or a view, borrowed until it changes; NULL with a TypeError. */
const uint8_t *bytes_of(JSContext *ctx, size_t *size, JSValueConst value);
/* What is no UTF-8 becomes U+FFFD, as often as the Encoding Standard says. */
JSValue text_from_utf8(JSContext *ctx, const uint8_t *bytes, size_t size);
void text_define(JSContext *ctx, JSValueConst host);

/* -- url.c, form.c -------------------------------------------------------------------------------------------- */

void url_define(JSContext *ctx, JSValueConst host);
void form_define(JSContext *ctx, JSValueConst host);

/* -- clock.c -------------------------------------------------------------------------------------------------- */

double clock_now_ms(void);
/* Math.random goes on from `seed`; without one it takes the host's randomness when it is first asked. */
void random_seed(const uint8_t *seed, size_t size);
void random_unseed(void);
void clock_define(JSContext *ctx, JSValueConst host);

/* -- flow.c --------------------------------------------------------------------------------------------------- */

/* A flow was entered, and is not left. */
bool flow_is_there(void);
/* A function that calls `function` in the flow of now; JS_EXCEPTION. */
JSValue flow_bind(JSContext *ctx, JSValueConst function);
/* Between two jobs there is none: each brings its own. */
void flow_leave(JSContext *ctx);
void flow_define(JSContext *ctx, JSValueConst host);

/* -- operations.c --------------------------------------------------------------------------------------------- */

/* What one turn of the event loop did. */
typedef enum {
    TURN_DONE,
    TURN_NOTHING_TO_WAIT_FOR,
    TURN_FAILED, /* an exception is pending */
} Turn;

Turn operations_turn(void);
/* At an event's end: hands over what was asked for and nobody waits for. */
bool operations_flush(void);
void operations_define(JSContext *ctx, JSValueConst host);

/* -- events.c ------------------------------------------------------------------------------------------------- */

void events_define(JSContext *ctx, JSValueConst host);

/* -- modules.c ------------------------------------------------------------------------------------------------ */

typedef enum { MODULE_ESM, MODULE_COMMONJS, MODULE_TEXT, MODULE_DATA, MODULE_JSON, MODULE_SCRIPT, MODULE_UNKNOWN } ModuleType;

typedef struct {
    char *name;
    ModuleType type;
    const uint8_t *bytes; /* source when compiling, else bytecode or data; borrowed from the export's argument */
    size_t size;
    JSValue compiled;        /* of code, when compiling */
    JSModuleDef *definition; /* of an ES module, when loading: it was read */
} Module;

typedef struct {
    Module *modules;
    uint32_t count;
    bool compiling;
} ModuleTable;

ModuleType module_type(const uint8_t *bytes, size_t size);
const char *module_type_name(ModuleType type);
/* From here on imports are looked up in `table`; NULL: no upload is at hand, only what is loaded already. */
void modules_use(ModuleTable *table);
/* For the prelude: files of the upload that an import() or a require() asks for. */
void modules_define(JSContext *ctx, JSValueConst host);
Module *modules_find(ModuleTable *table, const char *name);
/* Compiles a module's code, once. False with an exception pending. */
bool module_compile(JSContext *ctx, Module *module);
/* The function or module of a module's bytecode, owned; an exception otherwise. */
JSValue module_read(JSContext *ctx, Module *module);

#endif
