/* What is called while the engine is built, and is no export of what comes out (../snapshot.py). */
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "heap.h"

bool engine_start(const uint8_t *prelude, size_t size);

/* There already, so that most events never have to grow the memory. */
#define ROOM_BYTES (256 << 10)

static int64_t answer(const void *bytes, size_t size)
{
    return (int64_t)((uint64_t)(uintptr_t)bytes << 32 | size);
}

/* A `!` and the pending exception, with its stack: bytecode never begins with one. */
static int64_t answer_failure(void)
{
    static char text[2000] = "!";
    if (!engine_context)
        return answer(text, 1);
    JSValue error = JS_GetException(engine_context);
    JSValue stack = JS_GetPropertyStr(engine_context, error, "stack");
    const char *parts[2] = {JS_ToCString(engine_context, error), JS_ToCString(engine_context, stack)};
    for (int i = 0; i < 2; i++)
        if (parts[i])
            strncat(strncat(text, parts[i], sizeof text - strlen(text) - 2), "\n", 1);
    return answer(text, strlen(text));
}

/* The prelude's source → its bytecode */
EXPORT(build_compile) int64_t build_compile(char *source, size_t size)
{
    if (!engine_open(NULL))
        return answer_failure();
    char *text = malloc(size + 1);
    memcpy(text, source, size);
    text[size] = 0;
    JSValue code = JS_Eval(engine_context, text, size, "tenantry:prelude", JS_EVAL_FLAG_COMPILE_ONLY);
    if (JS_IsException(code))
        return answer_failure();
    size_t length;
    uint8_t *bytes = JS_WriteObject(engine_context, &length, code, JS_WRITE_OBJ_BYTECODE | JS_WRITE_OBJ_STRIP_SOURCE);
    return bytes ? answer(bytes, length) : answer_failure();
}

/* Starts the engine with the prelude's bytecode: the memory is the engine's from then on. 0, or what went wrong. */
EXPORT(build_start) int64_t build_start(uint8_t *bytecode, size_t size)
{
    if (!engine_open(&placing_functions) || !engine_start(bytecode, size))
        return answer_failure();
    engine_allocate_with(engine_runtime, NULL);
    if (!placing_end()) {
        JS_ThrowInternalError(engine_context, "two evaluations of the prelude allocate different blocks");
        return answer_failure();
    }
    memset(bytecode, 0, size);
    free(bytecode);
    heap_seal(ROOM_BYTES);
    return 0;
}

/* Where the shadow stack ends now: the same before and after everything that is kept. */
EXPORT(build_stack_pointer) int64_t build_stack_pointer(uint8_t *input, size_t size)
{
    (void)input, (void)size;
    return (int64_t)(uintptr_t)__builtin_frame_address(0);
}
