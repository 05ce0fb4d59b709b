/* QuickJS's own source, and the few things that it lets nobody have from outside. Included, not patched: a release
 * that moves them fails to compile here.
 */

/* Its own allocator gives each size of block 4 KiB for itself, and writes all of them: an event would touch three times
 * as many pages. This makes it hand every block to heap.c. */
#define __SANITIZE_ADDRESS__ 1

/* Asked for by its own test for where labels have no addresses: in WebAssembly they have none, and a table of them is one look-up
 * more for each instruction. Nothing else here depends on it. */
#define EMSCRIPTEN 1

#include "engine.h"
#include "heap.h"

/* Blocks of one event are taken from the heap without a way through function pointers; while the engine is built it has
 * places for them (placing.c), and its own functions go the usual way. */
static void *take_block(JSRuntime *rt, size_t size);
static void give_block(JSRuntime *rt, void *block);
static size_t block_bytes(JSRuntime *rt, const void *block);
#define js_arena_malloc(runtime, ...) TAKE_OF_##runtime, __VA_ARGS__)
#define TAKE_OF_rt take_block(rt
#define TAKE_OF_JSRuntime arena_malloc(JSRuntime
#define js_arena_free(runtime, ...) GIVE_OF_##runtime, __VA_ARGS__)
#define GIVE_OF_rt give_block(rt
#define GIVE_OF_JSRuntime arena_free(JSRuntime
#define js_arena_usable_size(runtime, ...) BYTES_OF_##runtime, __VA_ARGS__)
#define BYTES_OF_rt block_bytes(rt
#define BYTES_OF_JSRuntime arena_usable_size(JSRuntime

/* What is called later is bound to the flow of now (flow.c). The two functions of QuickJS's that put something off are called
 * with `ctx` and declared with `JSContext *ctx`: so the calls come to ours, and ours call them. */
static int then_in_flow(JSContext *ctx, JSValueConst promise, JSValueConst *handlers, JSValueConst *settling);
static int enqueue_in_flow(JSContext *ctx, JSJobFunc *job, int argc, JSValueConst *argv);
#define perform_promise_then(context, ...) THEN_OF_##context, __VA_ARGS__)
#define THEN_OF_ctx then_in_flow(ctx
#define THEN_OF_JSContext perform_then(JSContext
#define JS_EnqueueJob(context, ...) ENQUEUE_OF_##context, __VA_ARGS__)
#define ENQUEUE_OF_ctx enqueue_in_flow(ctx
#define ENQUEUE_OF_fre JS_EnqueueJob(fre
#define ENQUEUE_OF_JSContext (JS_EnqueueJob)(JSContext

/* Whoever imports what is not there is named, too: `m`, wherever QuickJS calls its function for that with `ctx`. */
static void throw_export_to(JSModuleDef *importer, JSContext *ctx, int result, JSModuleDef *module, JSAtom name);
#define js_resolve_export_throw_error(context, ...) THROW_OF_##context, __VA_ARGS__)
#define THROW_OF_ctx throw_export_to(m, ctx
#define THROW_OF_JSContext throw_export(JSContext

/* Recursion. QuickJS looks at the stack in memory (STACK_BYTES of state.c), and the machine's own, which nobody can look at from
 * inside, has four times that. Some of its functions keep next to nothing in memory and hundreds of bytes on the machine's: these
 * take room in memory, too, a third of the other or more, so that the check comes first. Bytes of the machine's stack a level,
 * with wasmtime 50: JSON.parse 210, JSON.stringify 274, flat 242; a proxy's traps 177 to 742, an iterator's helper 460; an operand of
 * an expression 2,300, its unary operators 178, assignments and conditions 240. */
#define TAKE_ROOM(bytes)                                                                                                         \
    char room[bytes];                                                                                                              \
    __asm__ volatile("" : : "r"(room) : "memory")
enum { ROOM_A_LEVEL = 104, ROOM_OF_TRAP = 264, ROOM_OF_HELPER = 192, ROOM_OF_OPERAND = 512, ROOM_OF_OPERATOR = 56, ROOM_OF_ASSIGNMENT = 72 };

/* All that check by themselves, but for calls, whose frames are in memory. */
#define js_check_stack_overflow(runtime, size) CHECK_OF_##runtime, size)
#define CHECK_OF_JSRuntime js_check_stack_overflow(JSRuntime
#define CHECK_OF_rt js_check_stack_overflow(rt
#define CHECK_OF_ctx CHECK_WITH_ROOM(ctx
#define CHECK_OF_s CHECK_WITH_ROOM(s
#define CHECK_WITH_ROOM(runtime, size) ({ TAKE_ROOM(ROOM_A_LEVEL); (js_check_stack_overflow)(runtime, size); })

/* A proxy's trap checks in the function that looks for its handler, which has returned when it goes on. */
#define get_proxy_method(context, ...) TRAP_OF_##context, __VA_ARGS__)
#define TRAP_OF_JSContext get_proxy_method(JSContext
#define TRAP_OF_ctx TRAP_WITH_ROOM(ctx
#define TRAP_WITH_ROOM(ctx, ...) ({ TAKE_ROOM(ROOM_OF_TRAP); (get_proxy_method)(ctx, __VA_ARGS__); })

/* These don't check at all: the names of theirs are those of ours, below, wherever they are called. */
#define js_iterator_helper_next(...) iterator_helper_next(__VA_ARGS__)
#define js_iterator_wrap_next(...) iterator_wrap_next(__VA_ARGS__)
static JSValue (js_iterator_helper_next)(JSContext *, JSValueConst, int, JSValueConst *, int *, int);
static JSValue (js_iterator_wrap_next)(JSContext *, JSValueConst, int, JSValueConst *, int *, int);
struct JSParseState;
static __attribute__((noinline)) int operand_in_room(struct JSParseState *s, int flags);
static __attribute__((noinline)) int operator_in_room(struct JSParseState *s, int flags);
static __attribute__((noinline)) int assignment_in_room(struct JSParseState *s, int flags);
static __attribute__((noinline)) int statement_in_room(struct JSParseState *s, int mask);
#define js_parse_postfix_expr(state, ...) OPERAND_OF_##state, __VA_ARGS__)
#define OPERAND_OF_JSParseState parse_operand(JSParseState
#define OPERAND_OF_s operand_in_room(s
#define js_parse_unary(state, ...) OPERATOR_OF_##state, __VA_ARGS__)
#define OPERATOR_OF_JSParseState parse_operator(JSParseState
#define OPERATOR_OF_s operator_in_room(s
#define js_parse_assign_expr2(state, ...) ASSIGNMENT_OF_##state, __VA_ARGS__)
#define ASSIGNMENT_OF_JSParseState parse_assignment(JSParseState
#define ASSIGNMENT_OF_s assignment_in_room(s
#define js_parse_statement_or_decl(state, ...) STATEMENT_OF_##state, __VA_ARGS__)
#define STATEMENT_OF_JSParseState parse_statement(JSParseState
#define STATEMENT_OF_s statement_in_room(s

#include "quickjs.c"

#undef js_check_stack_overflow
#undef js_iterator_helper_next
#undef js_iterator_wrap_next
#undef js_arena_malloc
#undef js_arena_free
#undef js_arena_usable_size
#undef perform_promise_then
#undef JS_EnqueueJob
#undef js_resolve_export_throw_error

#define NEXT_WITH_ROOM(next)                                                                                                     \
    TAKE_ROOM(ROOM_OF_HELPER);                                                                                                     \
    if (js_check_stack_overflow(ctx->rt, 0)) {                                                                                     \
        *done = false;                                                                                                             \
        return JS_ThrowStackOverflow(ctx);                                                                                         \
    }                                                                                                                              \
    return next(ctx, this_value, argc, argv, done, magic)

static JSValue js_iterator_helper_next(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv, int *done, int magic)
{
    NEXT_WITH_ROOM(iterator_helper_next);
}

static JSValue js_iterator_wrap_next(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv, int *done, int magic)
{
    NEXT_WITH_ROOM(iterator_wrap_next);
}

/* Before the tokenizer's own check, which knows no line. */
enum { ROOM_OF_TOKEN = 2048 };
#define PARSE_WITH_ROOM(bytes, parse, flags)                                                                                     \
    TAKE_ROOM(bytes);                                                                                                              \
    if (js_check_stack_overflow(s->ctx->rt, ROOM_OF_TOKEN))                                                                        \
        return js_parse_error(s, "nested too deep");                                                                               \
    return parse(s, flags)

static int operand_in_room(JSParseState *s, int flags)
{
    PARSE_WITH_ROOM(ROOM_OF_OPERAND, parse_operand, flags);
}

static int operator_in_room(JSParseState *s, int flags)
{
    PARSE_WITH_ROOM(ROOM_OF_OPERATOR, parse_operator, flags);
}

static int assignment_in_room(JSParseState *s, int flags)
{
    PARSE_WITH_ROOM(ROOM_OF_ASSIGNMENT, parse_assignment, flags);
}

static int statement_in_room(JSParseState *s, int mask)
{
    PARSE_WITH_ROOM(ROOM_OF_ASSIGNMENT, parse_statement, mask);
}

static bool is_built;

static void *take_block(JSRuntime *rt, size_t size)
{
    if (!is_built)
        return arena_malloc(rt, size);
    JSMallocBlockHeader *block = heap_take(sizeof *block + size);
    if (!block)
        return NULL;
    block->u.block_idx = JS_ARENA_FREE_NIL;
    block->block_size_idx = 0xff;
    return block->user_data;
}

static void give_block(JSRuntime *rt, void *block)
{
    if (!is_built)
        arena_free(rt, block);
    else if (block)
        heap_give(container_of(block, JSMallocBlockHeader, user_data));
}

static size_t block_bytes(JSRuntime *rt, const void *block)
{
    if (!is_built)
        return arena_usable_size(rt, block);
    if (!block)
        return 0;
    return heap_size_of(container_of(block, JSMallocBlockHeader, user_data)) - HEAP_HEADER - sizeof(JSMallocBlockHeader);
}

static void throw_export_to(JSModuleDef *importer, JSContext *ctx, int result, JSModuleDef *module, JSAtom name)
{
    if (result != JS_RESOLVE_RES_NOT_FOUND || importer == module) {
        throw_export(ctx, result, module, name);
        return;
    }
    char wanted[ATOM_GET_STR_BUF_SIZE], in[ATOM_GET_STR_BUF_SIZE], from[ATOM_GET_STR_BUF_SIZE];
    JS_ThrowSyntaxError(ctx, "Could not find export '%s' in module '%s', imported from '%s'",
                        JS_AtomGetStr(ctx, wanted, sizeof wanted, name),
                        JS_AtomGetStr(ctx, in, sizeof in, module->module_name),
                        JS_AtomGetStr(ctx, from, sizeof from, importer->module_name));
}

static int then_in_flow(JSContext *ctx, JSValueConst promise, JSValueConst *handlers, JSValueConst *settling)
{
    if (!flow_is_there())
        return perform_then(ctx, promise, handlers, settling);
    JSValue bound[2] = {JS_UNDEFINED, JS_UNDEFINED};
    int done = 0;
    for (int i = 0; done == 0 && i < 2; i++) {
        if (JS_IsFunction(ctx, handlers[i]))
            bound[i] = flow_bind(ctx, handlers[i]);
        if (JS_IsException(bound[i]))
            done = -1;
    }
    if (done == 0)
        done = perform_then(ctx, promise, vc(bound), settling);
    JS_FreeValue(ctx, bound[0]);
    JS_FreeValue(ctx, bound[1]);
    return done;
}

/* A promise's reaction is bound already, by who registered it; a microtask, and the `then` of what is no promise, are not. */
static int enqueue_in_flow(JSContext *ctx, JSJobFunc *job, int argc, JSValueConst *argv)
{
    int which = job == js_microtask_job ? 0 : job == js_promise_resolve_thenable_job ? 2 : -1;
    if (which < 0 || !flow_is_there())
        return JS_EnqueueJob(ctx, job, argc, argv);
    JSValueConst given[3];
    memcpy(given, argv, argc * sizeof *argv);
    JSValue bound = flow_bind(ctx, argv[which]);
    if (JS_IsException(bound))
        return -1;
    given[which] = bound;
    int done = JS_EnqueueJob(ctx, job, argc, given);
    JS_FreeValue(ctx, bound);
    return done;
}

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

void engine_allocate_with(JSRuntime *rt, const JSMallocFunctions *functions)
{
    rt->mf = functions ? *functions : def_malloc_funcs;
    is_built = !functions;
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
