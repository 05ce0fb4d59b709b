/* Instances of the JavaScript engine that ended well, put back to how they began: docs/decisions/0020.
 *
 * What such an instance has that can change is its memory and one global, the shadow stack's pointer; its table can't
 * change, and it has no passive data (javascript/engine/snapshot.py sees to it). Which pages of the memory are no longer the
 * module's own the kernel knows, whoever wrote to them: those are written over with what they began with. Where anything is
 * not as expected, the instance is deleted, as all others are.
 */
#define _GNU_SOURCE
#include "spares.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "guest.h"

/* What is resident of them stays: at most so many, over all modules, of so much memory each. While there are few, each worker
 * gets one of its own: what a large one wrote to, a small one would have to write over each time. */
enum { MOST_SPARES = 16, FEW_SPARES = 8, MOST_BYTES = 2 << 20, MOST_REGIONS = 512 };

struct spares {
    size_t base_bytes, memory_bytes;
    uint32_t stack_pointer;
    uint8_t base[];
};

struct spare {
    struct spares *of;
    uint64_t worker;
    void *store;
    void *context;
    uint8_t instance[sizeof((struct frame *)0)->instance];
};

/* The one that was used last at the end. */
static struct spare kept[MOST_SPARES];
static unsigned kept_count;

/* -- which pages were written --------------------------------------------------------------------------------- */

/* linux/fs.h of Linux 6.7; older headers have none of it. */
struct region {
    uint64_t start, end, categories;
};

struct scan {
    uint64_t size, flags, start, end, walk_end, regions, regions_room, most_pages;
    uint64_t inverted, all_of, any_of, returned;
};

#define PAGEMAP_SCAN _IOWR('f', 16, struct scan)
enum { IS_FILE = 1 << 2, IS_PRESENT = 1 << 3, IS_SWAPPED = 1 << 4 };

static int pagemap = -1;
static pid_t pagemap_of; /* it tells of the process that opened it, for ever */

static bool open_pagemap(void) {
    if (pagemap_of == getpid())
        return pagemap >= 0;
    pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    pagemap_of = getpid();
    return pagemap >= 0;
}

/* The regions of a memory whose pages are no longer the module's file's. The page of zeros is not left out: where a memory
 * began with something else, the kernel may have put it in the place of a page that was made zero (it does so when it
 * merges what is the same). Their number; -1 when they are more than may be kept, or the kernel can't say. */
static int written_regions(const uint8_t *memory, size_t size, struct region *regions) {
    struct scan scan = {
        .size = sizeof scan,
        .start = (uint64_t)(uintptr_t)memory,
        .end = (uint64_t)(uintptr_t)memory + size,
        .regions = (uint64_t)(uintptr_t)regions,
        .regions_room = MOST_REGIONS,
        .inverted = IS_FILE,
        .all_of = IS_FILE,
        .any_of = IS_PRESENT | IS_SWAPPED,
    };
    if (!open_pagemap())
        return -1;
    int count = ioctl(pagemap, PAGEMAP_SCAN, &scan);
    if (count < 0 || count > MOST_REGIONS || scan.walk_end != scan.end)
        return -1;
    uint64_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += regions[i].end - regions[i].start;
    return bytes > MOST_BYTES ? -1 : count;
}

/* -- keeping -------------------------------------------------------------------------------------------------- */

static bool read_stack_pointer(struct frame *frame, uint32_t *pointer) {
    _Alignas(8) uint8_t found[sizeof frame->handler];
    _Alignas(8) uint8_t value[VALUE_SIZE];
    if (!guest_find(frame, "__stack_pointer", 15, EXTERN_GLOBAL, found))
        return false;
    wasmtime_global_get(frame->context, found + EXTERN_OF, value);
    memcpy(pointer, value + VALUE_OF, sizeof *pointer);
    return true;
}

struct spares *spares_new(struct frame *frame) {
    struct region regions[MOST_REGIONS];
    uint32_t stack_pointer;
    if (!frame->memory_handle || !read_stack_pointer(frame, &stack_pointer))
        return NULL;
    const uint8_t *memory = wasmtime_memory_data(frame->context, frame->memory_handle);
    size_t memory_bytes = wasmtime_memory_data_size(frame->context, frame->memory_handle);
    if (written_regions(memory, memory_bytes, regions) < 0)
        return NULL;
    size_t base_bytes = memory_bytes;
    while (base_bytes && !memory[base_bytes - 1])
        base_bytes--;
    struct spares *spares = malloc(sizeof *spares + base_bytes);
    if (!spares)
        return NULL;
    spares->base_bytes = base_bytes;
    spares->memory_bytes = memory_bytes;
    spares->stack_pointer = stack_pointer;
    memcpy(spares->base, memory, base_bytes);
    return spares;
}

static void delete_at(unsigned index) {
    wasmtime_store_delete(kept[index].store);
    memmove(kept + index, kept + index + 1, (--kept_count - index) * sizeof *kept);
}

void spares_delete(struct spares *spares) {
    for (unsigned index = kept_count; index-- > 0;)
        if (kept[index].of == spares)
            delete_at(index);
    free(spares);
}

unsigned spares_let_go(void) {
    unsigned count = kept_count;
    while (kept_count)
        delete_at(kept_count - 1);
    return count;
}

bool spares_take(struct spares *spares, struct frame *frame, int64_t memory_bytes) {
    if (memory_bytes < (int64_t)spares->memory_bytes)
        return false;
    unsigned chosen = kept_count;
    for (unsigned index = kept_count; index-- > 0;) {
        if (kept[index].of != spares)
            continue;
        if (kept[index].worker == frame->worker) {
            chosen = index;
            break;
        }
        if (kept_count >= FEW_SPARES)
            chosen = index;
    }
    if (chosen == kept_count)
        return false;
    struct spare *spare = kept + chosen;
    frame->store = spare->store;
    frame->context = spare->context;
    memcpy(frame->instance, spare->instance, sizeof frame->instance);
    memmove(spare, spare + 1, (--kept_count - chosen) * sizeof *kept);
    return true;
}

static bool is_among(const struct region *regions, int count, const uint8_t *byte) {
    uint64_t at = (uint64_t)(uintptr_t)byte;
    for (int i = 0; i < count; i++)
        if (regions[i].start <= at && at < regions[i].end)
            return true;
    return false;
}

/* Writes over what was written, with what it was. A kernel that does not tell of a byte that was `written` for certain is not
 * believed: it is another process's memory that it told of, or it is none that we know. */
static bool put_back(const struct spares *spares, uint8_t *memory, size_t size, uint32_t written) {
    struct region regions[MOST_REGIONS];
    int count = written_regions(memory, size, regions);
    if (!is_among(regions, count, memory + written))
        return false;
    for (int i = 0; i < count; i++) {
        size_t at = (size_t)(regions[i].start - (uint64_t)(uintptr_t)memory);
        size_t end = (size_t)(regions[i].end - (uint64_t)(uintptr_t)memory);
        size_t based = end < spares->base_bytes ? end : spares->base_bytes;
        if (at < based)
            memcpy(memory + at, spares->base + at, based - at);
        else
            based = at;
        memset(memory + based, 0, end - based);
    }
    return true;
}

bool spares_keep(struct spares *spares, struct frame *frame) {
    size_t size = wasmtime_memory_data_size(frame->context, frame->memory_handle);
    uint32_t stack_pointer, event;
    memcpy(&event, frame->args + VALUE_OF, sizeof event); /* the handler's first argument */
    if (size != spares->memory_bytes || !read_stack_pointer(frame, &stack_pointer) ||
        stack_pointer != spares->stack_pointer)
        return false;
    if (!put_back(spares, wasmtime_memory_data(frame->context, frame->memory_handle), size, event))
        return false;
    if (kept_count == MOST_SPARES)
        delete_at(0);
    struct spare *spare = kept + kept_count++;
    spare->of = spares;
    spare->worker = frame->worker;
    spare->store = frame->store;
    spare->context = frame->context;
    memcpy(spare->instance, frame->instance, sizeof spare->instance);
    return true;
}
