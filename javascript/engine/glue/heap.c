/* malloc, made for instances that live for one event.
 *
 * Blocks are cut from the end of what was ever used, side by side whatever their size, so that an event touches few
 * pages that are not its predecessors' image. Freed blocks are kept by size and are given out again as they are; only
 * large ones are joined. What an instance was built or loaded with is sealed: its gaps are forgotten, and an event
 * begins on a page of its own.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "heap.h"

#define HEADER HEAP_HEADER
#define SMALL HEAP_SMALL
#define MEDIUM (32 << 10)
#define LARGE_UNIT 4096
#define CLASSES (SMALL / 8 + 1 + 5 * 8)
#define GROW_BYTES (256 << 10)
#define RESERVE_BYTES (128 << 10)
#define PAGE_BYTES 65536
#define SEAL_BYTES 4096

typedef HeapFree Free;

/* Of each block: [header: its bytes, the header's included][what was asked for…] */
uintptr_t heap_top, heap_end;
uintptr_t heap_high;
Free *heap_small[CLASSES];
static size_t reserve;     /* bytes behind `end` that are kept back */
static bool is_full;
static Free *large; /* by address */

static void set_size(void *block, uint32_t size)
{
    memcpy((char *)block - HEADER, &size, HEADER);
}

static uintptr_t end_of(const void *block)
{
    return (uintptr_t)block - HEADER + heap_size_of(block);
}

/* The size that a block is given for `wanted` bytes, and its class; CLASSES: a large one. 0: no such size. */
static uint32_t fit(size_t wanted, unsigned *class)
{
    if (wanted > UINT32_MAX - 2 * LARGE_UNIT)
        return 0;
    uint32_t size = ((uint32_t)wanted + HEADER + 7) & ~7u;
    if (size < 16)
        size = 16;
    if (size <= SMALL) {
        *class = size / 8;
        return size;
    }
    if (size <= MEDIUM) { /* eight sizes from one power of two to the next */
        unsigned shift = 31 - (unsigned)__builtin_clz(size - 1);
        uint32_t step = (1u << shift) >> 3;
        uint32_t steps = (size - (1u << shift) + step - 1) / step;
        *class = SMALL / 8 + (shift - 10) * 8 + steps;
        return (1u << shift) + steps * step;
    }
    *class = CLASSES;
    return (size + LARGE_UNIT - 1) & ~(uint32_t)(LARGE_UNIT - 1);
}

/* Kept back at the end once the memory has grown: the first time that it can grow no further, whoever asked gets
 * nothing, and whoever makes an error of that has this much to make it with. */
static bool grow(size_t missing)
{
    size_t kept = reserve ? 0 : RESERVE_BYTES;
    size_t wanted = (missing < GROW_BYTES ? GROW_BYTES : missing) + kept;
    size_t got = is_full ? 0 : heap_extend((wanted + PAGE_BYTES - 1) / PAGE_BYTES);
    if (got) {
        reserve = RESERVE_BYTES;
        heap_end += got * PAGE_BYTES - kept;
        return true;
    }
    is_full = true;
    heap_end += reserve;
    reserve = 0;
    return false;
}

static void start(void)
{
    uintptr_t limit;
    heap_top = ((heap_start(&limit) + 7) & ~(uintptr_t)7) + 8 - HEADER;
    heap_high = heap_top;
    heap_end = limit;
}

/* Cut from a large block that was freed: rather than let the memory grow. */
static void *cut_large(uint32_t size)
{
    for (Free **link = &large; *link; link = &(*link)->next) {
        Free *found = *link;
        uint32_t room = heap_size_of(found);
        if (room < size)
            continue;
        if (room - size < 64) {
            *link = found->next;
            return found; /* with a few bytes more */
        }
        Free *rest = (Free *)((char *)found + size);
        set_size(rest, room - size);
        rest->next = found->next;
        *link = rest;
        set_size(found, size);
        return found;
    }
    return NULL;
}

static void *cut(uint32_t size)
{
    if (!heap_top)
        start();
    if (heap_end - heap_top < size || heap_end < heap_top) {
        void *found = cut_large(size);
        if (found)
            return found;
        if (!grow(size - (heap_end - heap_top)))
            return NULL;
    }
    void *block = (char *)heap_top + HEADER;
    heap_top += size;
    set_size(block, size);
    return block;
}

/* Everything but the quick ways of malloc and calloc. `is_zero`: nothing was ever written there. */
static void *allocate(size_t wanted, bool *is_zero)
{
    unsigned class;
    uint32_t size = fit(wanted, &class);
    *is_zero = false;
    void *block = NULL;
    if (size && class < CLASSES) {
        block = heap_small[class];
        if (block) {
            heap_small[class] = heap_small[class]->next;
            return block;
        }
    } else if (size)
        block = cut_large(size);
    if (size && !block) {
        block = cut(size);
        if (block && heap_top > heap_high) {
            *is_zero = (uintptr_t)block - HEADER >= heap_high;
            heap_high = heap_top;
        }
    }
    if (!block)
        errno = ENOMEM;
    return block;
}

void *heap_take_slowly(size_t wanted)
{
    bool is_zero;
    return allocate(wanted, &is_zero);
}

void *malloc(size_t wanted)
{
    return heap_take(wanted);
}

void *calloc(size_t count, size_t size)
{
    size_t whole;
    bool is_zero = false;
    if (__builtin_mul_overflow(count, size, &whole)) {
        errno = ENOMEM;
        return NULL;
    }
    void *block = whole <= SMALL - 8 ? malloc(whole) : allocate(whole, &is_zero);
    if (block && !is_zero)
        memset(block, 0, whole);
    return block;
}

static void free_large(Free *block)
{
    Free **link = &large, *before = NULL;
    while (*link && *link < block) {
        before = *link;
        link = &before->next;
    }
    block->next = *link;
    *link = block;
    if (block->next && end_of(block) == (uintptr_t)block->next - HEADER) {
        set_size(block, heap_size_of(block) + heap_size_of(block->next));
        block->next = block->next->next;
    }
    if (before && end_of(before) == (uintptr_t)block - HEADER) {
        set_size(before, heap_size_of(before) + heap_size_of(block));
        before->next = block->next;
    }
}

void heap_give_slowly(void *block)
{
    uint32_t size = heap_size_of(block);
    unsigned class;
    if (fit(size - HEADER, &class) == size && class < CLASSES) {
        ((Free *)block)->next = heap_small[class];
        heap_small[class] = block;
    } else
        free_large(block);
}

void free(void *block)
{
    if (block)
        heap_give(block);
}

void *realloc(void *block, size_t wanted)
{
    if (!block)
        return malloc(wanted);
    unsigned class;
    uint32_t held = heap_size_of(block), size = fit(wanted, &class);
    if (!size) {
        errno = ENOMEM;
        return NULL;
    }
    if (end_of(block) == heap_top) { /* it ends where nothing is yet */
        if (size <= held || heap_end - heap_top >= size - held || grow(size - held - (heap_end - heap_top))) {
            heap_top = heap_top - held + size;
            if (heap_top > heap_high)
                heap_high = heap_top;
            set_size(block, size);
            return block;
        }
    } else if (size <= held && size > held / 2)
        return block;
    void *moved = malloc(wanted);
    if (!moved)
        return size <= held ? block : NULL;
    memcpy(moved, block, (size < held ? size : held) - HEADER);
    free(block);
    return moved;
}

size_t malloc_usable_size(void *block)
{
    return block ? heap_size_of(block) - HEADER : 0;
}

size_t heap_block_bytes(size_t wanted)
{
    unsigned class;
    return fit(wanted, &class);
}

void heap_adopt(void *block, size_t bytes)
{
    set_size(block, (uint32_t)bytes);
}

void heap_seal(size_t room)
{
    memset(heap_small, 0, sizeof heap_small);
    uintptr_t aligned = (heap_top + SEAL_BYTES - 1) & ~(uintptr_t)(SEAL_BYTES - 1);
    heap_top = aligned + 8 - HEADER;
    if (heap_end < heap_top + room)
        grow(heap_top + room - heap_end);
    if (heap_top > heap_high)
        heap_high = heap_top;
}
