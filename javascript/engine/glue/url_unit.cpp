// ada (the URL Standard's parser, of Node.js and Workers), and the little of C++'s library that it needs: its strings
// and the heap. The library itself is not linked, since zig would first compile all of it: half a minute, and tables
// of locales in the engine. What ada comes to need beyond this fails to link.
#include <cstdarg>
#include <cstdlib>
#include <new>
#include <string>

#define ADA_INCLUDE_URL_PATTERN 0
#include "ada.cpp"

template class std::basic_string<char>;

// ada's numbers are ports and lengths.
static std::string decimal(unsigned long number)
{
    char digits[24], *at = digits + sizeof digits;
    do
        *--at = char('0' + number % 10);
    while (number /= 10);
    return std::string(at, size_t(digits + sizeof digits - at));
}

std::string std::to_string(int number)
{
    return number < 0 ? "-" + decimal(0ul - (unsigned long)number) : decimal((unsigned long)number);
}

std::string std::to_string(unsigned number)
{
    return decimal(number);
}

std::string std::to_string(unsigned long number)
{
    return decimal(number);
}

// There are no exceptions: where memory ends, the instance does. url.c asks for room before it lets ada work.
static void *allocate(size_t size)
{
    void *block = malloc(size ? size : 1);
    if (!block)
        __builtin_trap();
    return block;
}

void *operator new(size_t size)
{
    return allocate(size);
}

void *operator new[](size_t size)
{
    return allocate(size);
}

void *operator new(size_t size, const std::nothrow_t &) noexcept
{
    return malloc(size ? size : 1);
}

void *operator new[](size_t size, const std::nothrow_t &) noexcept
{
    return malloc(size ? size : 1);
}

void operator delete(void *block) noexcept
{
    free(block);
}

void operator delete[](void *block) noexcept
{
    free(block);
}

void operator delete(void *block, size_t) noexcept
{
    free(block);
}

void operator delete[](void *block, size_t) noexcept
{
    free(block);
}

namespace std {
inline namespace __1 {
[[noreturn]] void __libcpp_verbose_abort(const char *, ...) noexcept
{
    __builtin_trap();
}
}
}

extern "C" [[noreturn]] void __cxa_pure_virtual()
{
    __builtin_trap();
}
