/* The heap's memory is the instance's own, behind everything that was linked. */
#include "heap.h"

extern unsigned char __heap_base;

uintptr_t heap_start(uintptr_t *end)
{
    *end = (uintptr_t)__builtin_wasm_memory_size(0) * 65536;
    return (uintptr_t)&__heap_base;
}

size_t heap_extend(size_t pages)
{
    return __builtin_wasm_memory_grow(0, pages) == (size_t)-1 ? 0 : pages;
}
