/* Where the prelude's blocks lie. An event writes to many of them, a word or two each (what is referred to is counted in it), and
 * every page that it writes to is copied for it. So the blocks that events write to lie side by side.
 *
 * The engine is started twice while it is built, and allocates the same blocks in the same order both times. The first time it is
 * written down where each lies; ../training.py runs workers in what came out, and sees which blocks they wrote to; the
 * second time those get the places that ../placing.py chose for them.
 */
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "heap.h"

typedef struct {
    uint32_t number; /* of the allocation */
    uint32_t offset; /* in the arena */
} Place;

/* What the host gives: its places by their numbers. */
typedef struct {
    uint32_t arena_bytes, count;
    Place places[];
} Table;

typedef struct {
    uint32_t address, bytes;
} Block;

#define PAGE_BYTES 4096

size_t malloc_usable_size(void *block);

static uint32_t number; /* of the next allocation */
static Table *table;    /* NULL: the blocks are written down */
static uint32_t next;   /* of the places */
static char *arena;
static Block *blocks;
static uint32_t blocks_room;

static void write_down(const void *block, size_t wanted)
{
    if (number >= blocks_room) {
        blocks_room = blocks_room ? 2 * blocks_room : 1 << 16;
        blocks = realloc(blocks, blocks_room * sizeof *blocks);
    }
    blocks[number] = (Block){(uint32_t)(uintptr_t)block, (uint32_t)heap_block_bytes(wanted)};
}

/* The place of the next allocation, or NULL: it has none of its own. */
static void *place(size_t wanted)
{
    if (!table || next >= table->count || table->places[next].number != number)
        return NULL;
    void *block = arena + table->places[next++].offset;
    heap_adopt(block, heap_block_bytes(wanted));
    return block;
}

static void *done(void *block, size_t wanted)
{
    if (!table)
        write_down(block, wanted);
    number++;
    return block;
}

static void *placing_malloc(void *opaque, size_t size)
{
    (void)opaque;
    void *block = place(size);
    return done(block ? block : malloc(size), size);
}

static void *placing_calloc(void *opaque, size_t count, size_t size)
{
    (void)opaque; /* the arena is zeros, and no place is given out twice */
    void *block = place(count * size);
    return done(block ? block : calloc(count, size), count * size);
}

static void placing_free(void *opaque, void *block)
{
    (void)opaque;
    free(block);
}

static void *placing_realloc(void *opaque, void *block, size_t size)
{
    (void)opaque;
    void *moved = place(size);
    if (moved && block) {
        size_t held = malloc_usable_size(block);
        memcpy(moved, block, held < size ? held : size);
        free(block);
    }
    return done(moved ? moved : realloc(block, size), size);
}

static size_t placing_usable_size(const void *block)
{
    return malloc_usable_size((void *)block);
}

const JSMallocFunctions placing_functions = {
    placing_calloc, placing_malloc, placing_free, placing_realloc, placing_usable_size,
};

bool placing_end(void)
{
    if (!table)
        return true;
    bool is_whole = next == table->count;
    memset(table, 0, sizeof *table + table->count * sizeof *table->places);
    free(table);
    table = NULL;
    return is_whole;
}

/* Takes the table, before build_start. */
EXPORT(build_place) int64_t build_place(Table *given, size_t size)
{
    (void)size;
    table = given;
    char *room = calloc(1, table->arena_bytes + 2 * PAGE_BYTES);
    arena = (char *)(((uintptr_t)room + PAGE_BYTES) & ~(uintptr_t)(PAGE_BYTES - 1)) + 8;
    return 0;
}

/* After build_start without a table: [address, bytes] of each allocation, in their order. */
EXPORT(build_blocks) int64_t build_blocks(uint8_t *input, size_t size)
{
    (void)input, (void)size;
    return (int64_t)((uint64_t)(uintptr_t)blocks << 32 | (number * sizeof *blocks));
}
