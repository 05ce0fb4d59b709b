/* Blocks of every size, kept, resized and freed at random: none may overlap another, lose its bytes or its alignment,
 * and what calloc gives is zero. Linked with the engine's heap.c, whose names are others here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heap.h"

void *heap_malloc(size_t size);
void *heap_calloc(size_t count, size_t size);
void *heap_realloc(void *block, size_t size);
void heap_free(void *block);
size_t heap_usable(void *block);

#define SLOTS 600
#define ROUNDS 400000
#define MOST (256u << 20)

static unsigned char *arena;
static size_t arena_bytes = 65536;
static struct { unsigned char *block; size_t size; unsigned char byte; } slots[SLOTS];
static unsigned long long state = 88172645463325252ull;

uintptr_t heap_start(uintptr_t *end)
{
    *end = (uintptr_t)arena + arena_bytes;
    return (uintptr_t)arena;
}

size_t heap_extend(size_t pages)
{
    if (arena_bytes + pages * 65536 > MOST)
        return 0;
    arena_bytes += pages * 65536;
    return pages;
}

static size_t random_below(size_t limit)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (size_t)(state % limit);
}

static size_t random_size(void)
{
    switch (random_below(10)) {
    case 0: return random_below(200000);
    case 1: return random_below(40000);
    case 2: return random_below(3000);
    default: return random_below(200);
    }
}

static void fail(const char *what, size_t size)
{
    printf("%s, %zu bytes\n", what, size);
    exit(1);
}

static void check(size_t at, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (slots[at].block[i] != slots[at].byte)
            fail("a block has lost its bytes", size);
}

static void fill(size_t at, size_t size)
{
    if ((uintptr_t)slots[at].block % 8)
        fail("a block is not aligned", size);
    if (slots[at].block < arena || slots[at].block + heap_usable(slots[at].block) > arena + arena_bytes)
        fail("a block is outside of the heap", size);
    if (heap_usable(slots[at].block) < size)
        fail("a block is too small", size);
    slots[at].size = size;
    slots[at].byte = (unsigned char)(1 + random_below(255));
    memset(slots[at].block, slots[at].byte, heap_usable(slots[at].block) < size ? 0 : size);
}

int main(void)
{
    arena = aligned_alloc(65536, MOST);
    memset(arena, 0, MOST);
    for (int round = 0; round < ROUNDS; round++) {
        size_t at = random_below(SLOTS), size = random_size();
        if (round == ROUNDS / 2)
            heap_seal(100000);
        if (!slots[at].block) {
            bool zeroed = random_below(3) == 0;
            slots[at].block = zeroed ? heap_calloc(1, size) : heap_malloc(size);
            if (!slots[at].block)
                fail("no room", size);
            for (size_t i = 0; zeroed && i < size; i++)
                if (slots[at].block[i])
                    fail("calloc gave bytes that are not zero", size);
            fill(at, size);
        } else if (random_below(4) == 0) {
            size_t kept = size < slots[at].size ? size : slots[at].size;
            slots[at].block = heap_realloc(slots[at].block, size);
            if (!slots[at].block)
                fail("no room", size);
            check(at, kept);
            fill(at, size);
        } else {
            check(at, slots[at].size);
            heap_free(slots[at].block);
            slots[at].block = NULL;
        }
    }
    size_t held = 0;
    for (size_t at = 0; at < SLOTS; at++)
        if (slots[at].block) {
            check(at, slots[at].size);
            held += slots[at].size;
        }
    printf("%zu held in %zu\n", held, arena_bytes);
    return arena_bytes > 16 * held + (8 << 20);
}
