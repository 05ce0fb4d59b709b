/* Time and randomness: the host's while an event is served, and neither while code is loaded, because what is
 * drawn then lies in every request's memory for ever.
 */
#include <errno.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "engine.h"

IMPORT("wasi_snapshot_preview1", "clock_time_get")
extern uint32_t host_clock_time_get(uint32_t clock, uint64_t precision, uint64_t *time);
IMPORT("wasi_snapshot_preview1", "random_get")
extern uint32_t host_random_get(uint8_t *bytes, size_t size);

/* The epoch while nothing is served, as elsewhere: a top level may look at the clock, and learns nothing. */
static uint64_t now_ns(void)
{
    uint64_t now = 0;
    if (engine_phase == SERVING)
        host_clock_time_get(0, 1000000, &now);
    return now;
}

/* These take the place of libc's: everything in QuickJS that tells the time comes here. */
int clock_gettime(clockid_t clock, struct timespec *time)
{
    (void)clock;
    uint64_t now = now_ns();
    time->tv_sec = (time_t)(now / 1000000000);
    time->tv_nsec = (long)(now % 1000000000);
    return 0;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
    (void)zone;
    uint64_t now = now_ns();
    time->tv_sec = (time_t)(now / 1000000000);
    time->tv_usec = (suseconds_t)(now / 1000 % 1000000);
    return 0;
}

double clock_now_ms(void)
{
    return (double)(now_ns() / 1000000);
}

/* -- Math.random: xorshift64*, as QuickJS's own ---------------------------------------------------------------- */

static uint64_t random_state; /* 0: not seeded */

void random_seed(const uint8_t *seed, size_t size)
{
    uint64_t state = 0x9e3779b97f4a7c15;
    for (size_t i = 0; i < size; i++)
        state = (state ^ seed[i]) * 0x100000001b3;
    random_state = state ? state : 1;
}

void random_unseed(void)
{
    random_state = 0;
}

static JSValue math_random(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc, (void)argv;
    if (random_state == 0) {
        /* Drawn when it is first asked for: most events never do. */
        uint8_t seed[16];
        if (!engine_may_ask(ctx))
            return JS_EXCEPTION;
        if (host_random_get(seed, sizeof seed) != 0)
            return JS_ThrowInternalError(ctx, "the host gave no randomness");
        random_seed(seed, sizeof seed);
    }
    uint64_t x = random_state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    random_state = x;
    union {
        uint64_t bits;
        double number;
    } unit = {.bits = (uint64_t)0x3ff << 52 | (x * 0x2545f4914f6cdd1d) >> 12};
    return JS_NewFloat64(ctx, unit.number - 1.0);
}

/* random(view) fills it, and returns it */
static JSValue fill_random(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc;
    size_t size;
    const uint8_t *bytes = bytes_of(ctx, &size, argv[0]);
    if (!bytes || !engine_may_ask(ctx))
        return JS_EXCEPTION;
    if (size && host_random_get((uint8_t *)bytes, size) != 0)
        return JS_ThrowInternalError(ctx, "the host gave no randomness");
    return JS_DupValue(ctx, argv[0]);
}

static JSValue now(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc, (void)argv;
    return JS_NewFloat64(ctx, clock_now_ms());
}

void clock_define(JSContext *ctx, JSValueConst host)
{
    static const JSCFunctionListEntry functions[] = {
        JS_CFUNC_DEF("now", 0, now),
        JS_CFUNC_DEF("fillRandom", 1, fill_random),
        JS_CFUNC_DEF("random", 0, math_random),
    };
    JS_SetPropertyFunctionList(ctx, host, functions, sizeof functions / sizeof *functions);
}
