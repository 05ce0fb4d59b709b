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

/* What is here now is kept for long: forget its gaps, begin on a page of its own, with so much room at least. */
void heap_seal(size_t room);

/* How many bytes a block of `wanted` has, its header included: a multiple of 8. */
size_t heap_block_bytes(size_t wanted);
/* Makes a block of so many bytes of memory that the heap gave out as part of another; its address is a multiple of 8, and the 4
 * bytes in front are its header. It can be freed like any other. */
void heap_adopt(void *block, size_t bytes);

#endif
