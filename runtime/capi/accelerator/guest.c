/* The short way of a guest: see __init__.py. Each function here does what the ctypes driver's of the same purpose
 * does, in the same order; where a guest does anything but the usual, it leaves the frame as that driver would, and
 * that driver goes on (or the Python function of an import is called), so that refusals have one text and one place.
 *
 * A guest says: lengths and addresses (32 bits, added up in 64), and what its exports are. All are checked here against
 * its memory as it is now, before a byte is touched.
 */
#define _POSIX_C_SOURCE 200809L
#include "guest.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#define X(result, name, arguments) result(*name) arguments;
WASMTIME_FUNCTIONS(X)
#undef X

enum { KIND_I32 = 0 };                        /* wasmtime_valkind_t */
enum { CONTINUE = 0, YIELD = 1 };             /* wasmtime_update_deadline_kind_t */
enum { BUDGET_USED = 1, DOOMED = 2 };         /* frame->stopped */

/* wasmtime_async_continuation_t */
struct continuation {
    bool (*callback)(void *env);
    void *env;
    void (*finalizer)(void *env);
};

uint64_t thread_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* -- the epoch ---------------------------------------------------------------------------------------------- */

static struct {
    void *engine;
    struct timespec pause;
} ticker;

static void *tick(void *nothing) {
    (void)nothing;
    for (;;) {
        nanosleep(&ticker.pause, NULL);
        wasmtime_engine_increment_epoch(ticker.engine);
    }
    return NULL;
}

/* A thread that moves the epoch for as long as the process lives, as long as its engine does. It never waits for the GIL, and
 * no signal of the process is given to it. 0, or an errno. */
int start_ticker(void *engine, uint64_t tick_ns) {
    pthread_t thread;
    sigset_t all, before;
    ticker.engine = engine;
    ticker.pause.tv_sec = (time_t)(tick_ns / 1000000000u);
    ticker.pause.tv_nsec = (long)(tick_ns % 1000000000u);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread, NULL, tick, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!failed)
        pthread_detach(thread);
    return failed;
}

/* -- guests ------------------------------------------------------------------------------------------------- */

static void put_i32(void *value, uint32_t number) {
    *(uint8_t *)value = KIND_I32;
    memcpy((uint8_t *)value + VALUE_OF, &number, sizeof number);
}

static uint32_t get_i32(const void *value) {
    uint32_t number;
    memcpy(&number, (const uint8_t *)value + VALUE_OF, sizeof number);
    return number;
}

/* Where `size` bytes at `at` of the guest's memory are; NULL when there is no memory, or they are not all in it. */
static uint8_t *guest_bytes(struct frame *frame, uint64_t at, uint64_t size) {
    if (!frame->memory_handle)
        return NULL;
    if (at + size > wasmtime_memory_data_size(frame->context, frame->memory_handle))
        return NULL;
    return (uint8_t *)wasmtime_memory_data(frame->context, frame->memory_handle) + at;
}

/* At each tick: the same decision as `_on_epoch`, and without the GIL. */
static void *on_epoch(void *context, void *data, uint64_t *delta, uint8_t *kind) {
    struct frame *frame = data;
    uint64_t in_slice = thread_ns() - frame->slice_start;
    bool doomed = __atomic_load_n(&frame->doomed, __ATOMIC_RELAXED);
    (void)context;
    if (doomed || in_slice >= frame->cpu_left) {
        frame->stopped = doomed ? DOOMED : BUDGET_USED;
        return wasmtime_error_new("stopped by the host");
    }
    *delta = frame->slice_ticks;
    /* A guest that has waited finds its deadline long past: it has not had its slice yet. */
    *kind = in_slice < frame->tick / 2 ? CONTINUE : YIELD;
    return NULL;
}

void guest_open(struct frame *frame, void *engine, int64_t memory_bytes, int64_t table_elements, struct spares *spares,
                uint64_t worker) {
    memset(frame, 0, sizeof *frame);
    frame->reply = (void *)"";
    frame->spares = spares;
    frame->worker = worker;
    frame->is_instantiated = spares && spares_take(spares, frame, memory_bytes);
    if (frame->is_instantiated)
        wasmtime_context_set_data(frame->context, frame);
    else {
        frame->store = wasmtime_store_new(engine, frame, NULL);
        frame->context = wasmtime_store_context(frame->store);
    }
    wasmtime_store_limiter(frame->store, memory_bytes, table_elements, 1, 1, 1);
    wasmtime_store_epoch_deadline_callback(frame->store, (void *)on_epoch, frame, NULL);
    wasmtime_context_set_epoch_deadline(frame->context, 1);
}

bool guest_poll(struct frame *frame, void *future) {
    frame->wants = 0;
    return wasmtime_call_future_poll(future);
}

/* The first poll of a call, and the end of its future when that was all of it. */
static bool ended_at_once(struct frame *frame, void *future) {
    frame->future = future;
    if (!guest_poll(frame, future))
        return false;
    frame->future = NULL;
    wasmtime_call_future_delete(future);
    return true;
}

bool guest_failed(const struct frame *frame) { return frame->error || frame->trap; }

static void *begin_call(struct frame *frame, uint8_t *function, size_t arguments, size_t results) {
    return wasmtime_func_call_async(frame->context, function + EXTERN_OF, frame->args, arguments,
                                    frame->results, results, &frame->trap, &frame->error);
}

bool guest_find(struct frame *frame, const char *name, size_t size, uint8_t kind, uint8_t *into) {
    return wasmtime_instance_export_get(frame->context, frame->instance, name, size, into) && *into == kind;
}

static bool find_memory(struct frame *frame) {
    if (!guest_find(frame, "memory", 6, EXTERN_MEMORY, frame->memory))
        return false;
    frame->memory_handle = frame->memory + EXTERN_OF;
    return true;
}

static uint32_t get_u32(const uint8_t *at) {
    uint32_t number;
    memcpy(&number, at, sizeof number); /* the host is little-endian, as wasm is */
    return number;
}

/* Make the memory of a fresh instance what `delta` says: runtime/javascript/delta.py has the format. False, with some of it
 * done, when the memory can't grow so far or `delta` is none: the other driver begins anew, and says why. The caller has looked up the
 * memory. */
bool guest_restore(struct frame *frame, const uint8_t *delta, size_t size) {
    enum { PAGE = 64 * 1024, WORD = 8, HEAD = 8, RUN = 8 };
    if (size < HEAD)
        return false;
    uint64_t wanted = (uint64_t)get_u32(delta) * PAGE, count = get_u32(delta + 4);
    uint64_t data = HEAD + count * RUN;
    uint64_t now = wasmtime_memory_data_size(frame->context, frame->memory_handle);
    if (data > size)
        return false;
    if (wanted > now) {
        uint64_t before;
        void *error = wasmtime_memory_grow(frame->context, frame->memory_handle, (wanted - now) / PAGE, &before);
        if (error) {
            wasmtime_error_delete(error);
            return false;
        }
        now = wasmtime_memory_data_size(frame->context, frame->memory_handle);
    }
    uint8_t *memory = wasmtime_memory_data(frame->context, frame->memory_handle);
    for (uint64_t run = 0; run < count; run++) {
        uint64_t at = (uint64_t)get_u32(delta + HEAD + run * RUN) * WORD;
        uint64_t bytes = (uint64_t)get_u32(delta + HEAD + run * RUN + 4) * WORD;
        if (at + bytes > now || data + bytes > size)
            return false;
        memcpy(memory + at, delta + data, bytes);
        data += bytes;
    }
    return data == size;
}

enum stage guest_first_slice(struct frame *frame, void *pre, bool initialize, const char *handler,
                             size_t handler_size, const uint8_t *event, uint32_t event_size,
                             const uint8_t *delta, size_t delta_size) {
    enum stage before = INSTANTIATED;
    if (!frame->is_instantiated &&
        !ended_at_once(frame, wasmtime_instance_pre_instantiate_async(pre, frame->context, frame->instance,
                                                                     &frame->trap, &frame->error)))
        return INSTANTIATING;
    if (guest_failed(frame))
        return INSTANTIATED;
    if (initialize) {
        if (!find_memory(frame) || !guest_find(frame, "_initialize", 11, EXTERN_FUNC, frame->handler))
            return INSTANTIATED;
        if (!ended_at_once(frame, begin_call(frame, frame->handler, 0, 0)))
            return INITIALIZING;
        if (guest_failed(frame))
            return INITIALIZED;
        before = INITIALIZED;
    }
    if (!find_memory(frame) || !guest_find(frame, "alloc", 5, EXTERN_FUNC, frame->alloc) ||
        !guest_find(frame, handler, handler_size, EXTERN_FUNC, frame->handler))
        return before;
    if (delta_size && !guest_restore(frame, delta, delta_size))
        return before;

    put_i32(frame->args, event_size);
    if (!ended_at_once(frame, begin_call(frame, frame->alloc, 1, 1)))
        return ALLOCATING;
    if (guest_failed(frame))
        return ALLOCATED;
    uint32_t at = get_i32(frame->results);
    uint8_t *room = at ? guest_bytes(frame, at, event_size) : NULL;
    if (!room)
        return ALLOCATED;
    memcpy(room, event, event_size);

    put_i32(frame->args, at);
    put_i32(frame->args + VALUE_SIZE, event_size);
    return ended_at_once(frame, begin_call(frame, frame->handler, 2, 1)) ? HANDLED : HANDLING;
}

/* Where the bytes are that a handler's `pointer << 32 | length` names, of a guest that ended well and can be deleted
 * at once; NULL when it has to be looked at otherwise. Notes the memory's size, which was its peak. */
const uint8_t *guest_result(struct frame *frame, uint64_t largest, uint64_t largest_memory, size_t *size) {
    uint64_t result;
    if (guest_failed(frame) || !frame->store || !frame->memory_handle)
        return NULL;
    memcpy(&result, frame->results + VALUE_OF, sizeof result);
    frame->peak = wasmtime_memory_data_size(frame->context, frame->memory_handle);
    *size = (size_t)(result & 0xffffffffu);
    if (!result || *size > largest || frame->peak > largest_memory)
        return NULL;
    return guest_bytes(frame, result >> 32, *size);
}

/* -- imports ------------------------------------------------------------------------------------------------ */

/* "Are you ready?" of a suspended import. */
static bool is_ready(void *flag) { return *(const uint8_t *)flag != 0; }

static struct frame *frame_of(void *caller) {
    return wasmtime_context_get_data(wasmtime_caller_context(caller));
}

static void set_continuation(struct frame *frame, void *continuation, bool ready) {
    struct continuation *out = continuation;
    frame->flag[0] = ready;
    out->callback = is_ready;
    out->env = frame->flag;
    out->finalizer = NULL;
}

/* `call(pointer, size) -> i32`: park the guest. Its memory stays as it is until the poller has copied the request. */
void import_call(void *data, void *caller, void *args, size_t nargs, void *results, size_t nresults, void *trap,
                 void *continuation) {
    const struct import *import = data;
    struct frame *frame = frame_of(caller);
    uint32_t at = get_i32(args), size = get_i32((uint8_t *)args + VALUE_SIZE);
    if (!frame || size > import->limit || !guest_bytes(frame, at, size)) {
        import->fallback(NULL, caller, args, nargs, results, nresults, trap, continuation);
        return;
    }
    frame->wants = 1;
    frame->wanted_at = at;
    frame->wanted_size = size;
    frame->results_at = results;
    set_continuation(frame, continuation, false);
}

/* `take(pointer, offset, size) -> i32`: copy of the reply what is there. */
void import_take(void *data, void *caller, void *args, size_t nargs, void *results, size_t nresults, void *trap,
                 void *continuation) {
    const struct import *import = data;
    struct frame *frame = frame_of(caller);
    uint32_t at = get_i32(args), offset = get_i32((uint8_t *)args + VALUE_SIZE);
    uint32_t size = get_i32((uint8_t *)args + 2 * VALUE_SIZE);
    uint8_t *into = NULL;
    if (frame) {
        size_t left = offset < frame->reply_size ? frame->reply_size - offset : 0;
        size = size < left ? size : (uint32_t)left;
        into = guest_bytes(frame, at, size);
    }
    if (!into) {
        import->fallback(NULL, caller, args, nargs, results, nresults, trap, continuation);
        return;
    }
    memcpy(into, (const uint8_t *)frame->reply + (size ? offset : 0), size);
    put_i32(results, size);
    set_continuation(frame, continuation, true);
}

/* Answer the suspended import, whose results are at `results` or where `import_call` noted it: the next poll goes on
 * from there. False when none is suspended. */
bool guest_resume(struct frame *frame, void *results, uint32_t result) {
    if (!results)
        results = frame->results_at;
    frame->results_at = NULL;
    if (!results)
        return false;
    put_i32(results, result);
    frame->flag[0] = 1;
    return true;
}
