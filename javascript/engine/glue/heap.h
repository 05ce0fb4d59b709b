/* What the heap needs from below, and gives besides malloc and its like (heap.c). */
#ifndef TENANTRY_HEAP_H
#define TENANTRY_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where free memory begins, and where it ends now. */
uintptr_t heap_start(uintptr_t *end);
/* So many pages of 64 KiB more, right behind: how many there are, all or none. */
size_t heap_extend(size_t pages);

/* -- the quick way, for whoever allocates all the time --------------------------------------------------------- */

/* Before each block, whose address is a multiple of 8: its bytes, these included. */
#define HEAP_HEADER 4
#define HEAP_SMALL 1024

typedef struct HeapFree {
    struct HeapFree *next;
} HeapFree;

extern uintptr_t heap_top, heap_end;              /* what was not given out yet */
extern uintptr_t heap_high;                       /* from here on nothing was ever written: zeros */
extern HeapFree *heap_small[HEAP_SMALL / 8 + 41]; /* freed blocks by their size's class */

void *heap_take_slowly(size_t wanted);
void heap_give_slowly(void *block);

static inline uint32_t heap_size_of(const void *block)
{
    uint32_t size;
    __builtin_memcpy(&size, (const char *)block - HEAP_HEADER, HEAP_HEADER);
    return size;
}

/* malloc. Most blocks are small, and most of those are cut from the end: an event has freed little yet. */
static inline void *heap_take(size_t wanted)
{
    size_t size = (wanted + HEAP_HEADER + 7) & ~(size_t)7;
    if (wanted > 8 && size <= HEAP_SMALL) {
        HeapFree *found = heap_small[size / 8];
        if (found) {
            heap_small[size / 8] = found->next;
            return found;
        }
        if (heap_end - heap_top >= size) {
            void *block = (char *)heap_top + HEAP_HEADER;
            uint32_t whole = (uint32_t)size;
            heap_top += size;
            if (heap_top > heap_high)
                heap_high = heap_top;
            __builtin_memcpy((char *)block - HEAP_HEADER, &whole, HEAP_HEADER);
            return block;
        }
    }
    return heap_take_slowly(wanted);
}

/* free, of a block that is there. */
static inline void heap_give(void *block)
{
    uint32_t size = heap_size_of(block);
    if ((uintptr_t)block - HEAP_HEADER + size == heap_top) /* as if it had never been */
        heap_top -= size;
    else if (size <= HEAP_SMALL) {
        ((HeapFree *)block)->next = heap_small[size / 8];
        heap_small[size / 8] = (HeapFree *)block;
    } else
        heap_give_slowly(block);
}

/* -- the rest -------------------------------------------------------------------------------------------------- */

/* What is here now is kept for long: forget its gaps, begin on a page of its own, with so much room at least. */
void heap_seal(size_t room);

/* How many bytes a block of `wanted` has, its header included: a multiple of 8. */
size_t heap_block_bytes(size_t wanted);
/* Makes a block of so many bytes of memory that the heap gave out as part of another; its address is a multiple of 8, and the 4
 * bytes in front are its header. It can be freed like any other. */
void heap_adopt(void *block, size_t bytes);

#endif
