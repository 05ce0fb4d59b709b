/* Made by `python -m runtime.capi.accelerator.layout`: do not edit. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LAYOUT "e25df0241aa1a184"

struct frame {
    _Alignas(8) uint8_t instance[16];
    _Alignas(8) uint8_t memory[32];
    _Alignas(8) uint8_t alloc[32];
    _Alignas(8) uint8_t handler[32];
    _Alignas(8) uint8_t args[64];
    _Alignas(8) uint8_t results[32];
    void *error;
    void *trap;
    void *store;
    void *context;
    void *future;
    void *memory_handle;
    void *results_at;
    uint64_t wanted_at;
    uint64_t wanted_size;
    void *reply;
    uint64_t reply_size;
    uint64_t slice_start;
    uint64_t cpu_left;
    uint64_t tick;
    uint64_t slice_ticks;
    uint64_t peak;
    void *spares;
    uint64_t worker;
    _Alignas(1) uint8_t flag[2];
    uint8_t doomed;
    uint8_t stopped;
    uint8_t wants;
    uint8_t is_instantiated;
};

_Static_assert(offsetof(struct frame, instance) == 0, "instance");
_Static_assert(offsetof(struct frame, memory) == 16, "memory");
_Static_assert(offsetof(struct frame, alloc) == 48, "alloc");
_Static_assert(offsetof(struct frame, handler) == 80, "handler");
_Static_assert(offsetof(struct frame, args) == 112, "args");
_Static_assert(offsetof(struct frame, results) == 176, "results");
_Static_assert(offsetof(struct frame, error) == 208, "error");
_Static_assert(offsetof(struct frame, trap) == 216, "trap");
_Static_assert(offsetof(struct frame, store) == 224, "store");
_Static_assert(offsetof(struct frame, context) == 232, "context");
_Static_assert(offsetof(struct frame, future) == 240, "future");
_Static_assert(offsetof(struct frame, memory_handle) == 248, "memory_handle");
_Static_assert(offsetof(struct frame, results_at) == 256, "results_at");
_Static_assert(offsetof(struct frame, wanted_at) == 264, "wanted_at");
_Static_assert(offsetof(struct frame, wanted_size) == 272, "wanted_size");
_Static_assert(offsetof(struct frame, reply) == 280, "reply");
_Static_assert(offsetof(struct frame, reply_size) == 288, "reply_size");
_Static_assert(offsetof(struct frame, slice_start) == 296, "slice_start");
_Static_assert(offsetof(struct frame, cpu_left) == 304, "cpu_left");
_Static_assert(offsetof(struct frame, tick) == 312, "tick");
_Static_assert(offsetof(struct frame, slice_ticks) == 320, "slice_ticks");
_Static_assert(offsetof(struct frame, peak) == 328, "peak");
_Static_assert(offsetof(struct frame, spares) == 336, "spares");
_Static_assert(offsetof(struct frame, worker) == 344, "worker");
_Static_assert(offsetof(struct frame, flag) == 352, "flag");
_Static_assert(offsetof(struct frame, doomed) == 354, "doomed");
_Static_assert(offsetof(struct frame, stopped) == 355, "stopped");
_Static_assert(offsetof(struct frame, wants) == 356, "wants");
_Static_assert(offsetof(struct frame, is_instantiated) == 357, "is_instantiated");
_Static_assert(sizeof(struct frame) == 360, "frame");

#define VALUE_SIZE 32
#define VALUE_OF 8
#define EXTERN_OF 8

/* X(result, name, arguments) */
#define WASMTIME_FUNCTIONS(X) \
    X(void, wasmtime_engine_increment_epoch, (void *)) \
    X(void *, wasmtime_store_new, (void *, void *, void *)) \
    X(void, wasmtime_store_delete, (void *)) \
    X(void *, wasmtime_store_context, (void *)) \
    X(void, wasmtime_store_limiter, (void *, int64_t, int64_t, int64_t, int64_t, int64_t)) \
    X(void, wasmtime_store_epoch_deadline_callback, (void *, void *, void *, void *)) \
    X(void, wasmtime_context_set_epoch_deadline, (void *, uint64_t)) \
    X(void *, wasmtime_context_get_data, (void *)) \
    X(void, wasmtime_context_set_data, (void *, void *)) \
    X(void *, wasmtime_caller_context, (void *)) \
    X(void *, wasmtime_instance_pre_instantiate_async, (void *, void *, void *, void *, void *)) \
    X(bool, wasmtime_instance_export_get, (void *, void *, const void *, uint64_t, void *)) \
    X(void *, wasmtime_func_call_async, (void *, void *, void *, uint64_t, void *, uint64_t, void *, void *)) \
    X(bool, wasmtime_call_future_poll, (void *)) \
    X(void, wasmtime_call_future_delete, (void *)) \
    X(void *, wasmtime_memory_data, (void *, void *)) \
    X(uint64_t, wasmtime_memory_data_size, (void *, void *)) \
    X(void *, wasmtime_memory_grow, (void *, void *, uint64_t, void *)) \
    X(void, wasmtime_global_get, (void *, void *, void *)) \
    X(void *, wasmtime_error_new, (const void *)) \
    X(void, wasmtime_error_delete, (void *)) \

typedef void host_function(void *, void *, void *, uint64_t, void *, uint64_t, void *, void *);
