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

#endif
