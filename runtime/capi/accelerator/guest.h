/* What a guest does, without Python: nothing in guest.c needs the GIL or touches an object. */
#include "bindings.h"

#include "spares.h"

enum { EXTERN_FUNC = 0, EXTERN_GLOBAL = 1, EXTERN_MEMORY = 3 }; /* wasmtime_extern_kind_t */

/* How far a guest's first slice got: runtime/capi/guest.py has the same numbers. An odd one has a call under way
 * (`frame->future`), which is driven on; an even one has a call that ended, whose outcome Python looks at. */
enum stage {
    INSTANTIATING = 1,
    INSTANTIATED = 2,
    INITIALIZING = 3,
    INITIALIZED = 4,
    ALLOCATING = 5,
    ALLOCATED = 6,
    HANDLING = 7,
    HANDLED = 8,
};

/* What one import needs when it falls back: `data` of its callback. */
struct import {
    host_function *fallback;
    uint64_t limit;
};

#define X(result, name, arguments) extern result(*name) arguments;
WASMTIME_FUNCTIONS(X)
#undef X

uint64_t thread_ns(void);
int start_ticker(void *engine, uint64_t tick_ns);
void guest_open(struct frame *frame, void *engine, int64_t memory_bytes, int64_t table_elements, struct spares *spares,
                uint64_t worker);
bool guest_find(struct frame *frame, const char *name, size_t size, uint8_t kind, uint8_t *into);
bool guest_failed(const struct frame *frame);
bool guest_poll(struct frame *frame, void *future);
enum stage guest_first_slice(struct frame *frame, void *pre, bool initialize, const char *handler,
                             size_t handler_size, const uint8_t *event, uint32_t event_size,
                             const uint8_t *delta, size_t delta_size);
bool guest_restore(struct frame *frame, const uint8_t *delta, size_t size);
const uint8_t *guest_result(struct frame *frame, uint64_t largest, uint64_t largest_memory, size_t *size);
bool guest_resume(struct frame *frame, void *results, uint32_t result);

host_function import_call;
host_function import_take;
