/* What a worker can do wrong, by path: see README.md. Each ends this one event, and nothing else. */
#include "tenantry.h"
#include "wasi_preview1.h"

static void wait_ms(uint64_t ms);

/* /spin: computes for ever, or for something like ?ms= of CPU time: a guest has no clock to measure it. */
static uint64_t spin(tn_value request) {
    enum { ROUNDS_PER_MS = 500000 };
    uint64_t rounds = tn_number(tn_query(request, "ms", NULL), UINT64_MAX / ROUNDS_PER_MS) * ROUNDS_PER_MS;
    volatile uint32_t sink = 0;
    for (uint64_t i = 0; i < rounds; i++) sink++;
    return tn_respond_text(200, tn_str("done\n"));
}

/* /memory: grows and touches its memory until there is none, then fails as an allocator would.
 * ?mib= stops at so many MiB and answers. ?ms= then holds them for that long first. */
static uint64_t hog_memory(tn_value request) {
    uint64_t mib = tn_number(tn_query(request, "mib", NULL), UINT64_MAX), taken = 0;
    for (; taken < mib; taken++) {
        uint8_t *chunk = tn_alloc(1 << 20); /* traps when the limit is reached */
        for (uint32_t i = 0; i < 1 << 20; i += 4096) ((volatile uint8_t *)chunk)[i] = 1;
    }
    wait_ms(tn_number(tn_query(request, "ms", NULL), 0));
    return tn_respond_text(200, TN_CONCAT(tn_decimal(taken), tn_str(" MiB\n")));
}

/* /fill: one instruction that writes ?mib= (64) MiB cannot be interrupted; repeats it for ever. */
static uint64_t fill_memory(tn_value request) {
    uint32_t size = (uint32_t)tn_number(tn_query(request, "mib", NULL), 64) << 20;
    uint8_t *room = tn_alloc(size);
    for (uint32_t value = 0;; value++) {
        __builtin_memset(room, (int)value, size);
        __asm__ volatile("" ::: "memory");
    }
}

/* /log: logs for ever, or ?lines= lines. */
static uint64_t loop_on_log(tn_value request) {
    uint64_t lines = tn_number(tn_query(request, "lines", NULL), UINT64_MAX);
    for (uint64_t i = 0; i < lines; i++) tn_log(TN_INFO, tn_str("one more line"));
    return tn_respond_text(200, tn_str("done\n"));
}

/* /stdout: the same through WASI's fd_write. */
static uint64_t loop_on_stdout(tn_value request) {
    uint64_t lines = tn_number(tn_query(request, "lines", NULL), UINT64_MAX);
    static const char line[] = "one more line\n";
    uint32_t vector[2] = {(uint32_t)(uintptr_t)line, sizeof line - 1}, written;
    int32_t from = (int32_t)(uintptr_t)vector, count = (int32_t)(uintptr_t)&written;
    for (uint64_t i = 0; i < lines; i++) wasi_fd_write(1, from, 1, count);
    return tn_respond_text(200, tn_str("done\n"));
}

/* /clock: reads WASI's clock for ever; ?times= reads it so often and tells how often it had changed. */
static uint64_t loop_on_clock(tn_value request) {
    uint64_t times = tn_number(tn_query(request, "times", NULL), UINT64_MAX), now = 0, before = 0, seen = 0;
    for (uint64_t i = 0; i < times; i++, before = now) {
        wasi_clock_time_get(1, 0, (int32_t)(uintptr_t)&now);
        seen += now != before;
    }
    return tn_respond_text(200, TN_CONCAT(tn_decimal(seen), tn_str("\n")));
}

/* /calls: asks the host for nothing, for ever: `call` without operations, which is ready at once. */
static uint64_t loop_on_call(tn_value request) {
    uint64_t times = tn_number(tn_query(request, "times", NULL), UINT64_MAX);
    tn_writer nothing = {0};
    tn_write_map(&nothing, 2);
    tn_write_key(&nothing, "ops");
    tn_write_array(&nothing, 0);
    tn_write_key(&nothing, "wait");
    tn_write_key(&nothing, "none");
    for (uint64_t i = 0; i < times; i++) tn_abi_call(nothing.data, nothing.size);
    return tn_respond_text(200, tn_str("done\n"));
}

/* /sleeps: `sleep` of 0 ms, for ever: an operation each time. */
static uint64_t loop_on_sleep(tn_value request) {
    uint64_t times = tn_number(tn_query(request, "times", NULL), UINT64_MAX);
    for (uint64_t i = 0; i < times; i++) {
        tn_result slept = tn_sleep(0);
        if (!slept.ok) return tn_respond_failure(500, slept);
    }
    return tn_respond_text(200, tn_str("done\n"));
}

static void wait_ms(uint64_t ms) {
    if (ms) tn_sleep((int64_t)ms);
}

/* /wait: sleeps ?ms= (a minute): a guest that only waits. */
static uint64_t wait_long(tn_value request) {
    wait_ms(tn_number(tn_query(request, "ms", NULL), 60000));
    return tn_respond_text(200, tn_str("done\n"));
}

/* Calls every import there is; proc_exit only when `leave`. The deeper the stack, the less room the host's
 * own functions must get by with. */
static uint32_t call_every_import(bool leave) {
    static uint8_t scratch[4096];
    static const char line[] = "from the deep\n";
    static uint32_t io_vector[2];
    io_vector[0] = (uint32_t)(uintptr_t)line;
    io_vector[1] = sizeof line - 1;
    int32_t room = (int32_t)(uintptr_t)scratch, vector = (int32_t)(uintptr_t)io_vector;
    uint32_t calls = 0;
#define CALL(name, types, arguments) wasi_##name arguments, calls++;
    WASI_FUNCTIONS(CALL)
#undef CALL
    tn_log(TN_INFO, tn_str("from the deep"));
    tn_sleep(0); /* `call`, with an operation that is ready at once */
    tn_sleep(1); /* … and with one that suspends the fiber here; both `take` */
    calls += 3;
    if (leave) wasi_proc_exit(7);
    return calls;
}

static __attribute__((noinline)) uint32_t recurse(uint64_t depth, bool leave) {
    if (!depth) return call_every_import(leave);
    uint32_t calls = recurse(depth - 1, leave);
    __asm__ volatile("" ::: "memory"); /* something to do afterwards: no loop in place of the recursion */
    return calls;
}

/* /recurse: to ?depth= (for ever), then calls every import; ?exit ends with proc_exit(7) there. */
static uint64_t recurse_deep(tn_value request) {
    bool leave;
    tn_query(request, "exit", &leave);
    uint32_t calls = recurse(tn_number(tn_query(request, "depth", NULL), UINT64_MAX), leave);
    return tn_respond_text(200, TN_CONCAT(tn_decimal(calls), tn_str(" imports called\n")));
}

/* ---- answers that are none ---- */

static const uint8_t no_msgpack[] = {0xc1, 0xff, 0x00};

/* /bad-call?: what `call` is given. */
static uint64_t bad_call(tn_value request) {
    tn_text what = tn_query(request, "what", NULL);
    if (tn_is(what, "pointer")) tn_abi_call((void *)0xfffffff0u, 64);
    if (tn_is(what, "large")) tn_abi_call(tn_alloc(2 << 20), 2 << 20);
    if (tn_is(what, "msgpack")) tn_abi_call(no_msgpack, sizeof no_msgpack);
    if (tn_is(what, "take")) tn_abi_take((void *)0xfffffff0u, 0, 64);
    if (tn_is(what, "log")) tn_abi_log(TN_INFO, (void *)0xfffffff0u, 64);
    if (tn_is(what, "nested")) {
        tn_writer deep = {0};
        for (uint32_t i = 0; i < 100000; i++) tn_write_number(&deep, 0x91, 0, 0);
        tn_write_nil(&deep);
        tn_abi_call(deep.data, deep.size);
    }
    if (tn_is(what, "many")) {
        tn_writer many = {0};
        tn_write_map(&many, 1);
        tn_write_key(&many, "ops");
        tn_write_array(&many, 65);
        for (int64_t i = 1; i <= 65; i++) {
            tn_write_array(&many, 4);
            tn_write_int(&many, i);
            tn_write_key(&many, "sleep");
            tn_write_nil(&many);
            tn_write_int(&many, 0);
        }
        tn_abi_call(many.data, many.size);
    }
    if (tn_is(what, "twice")) { /* two operations with one id */
        tn_writer twice = {0};
        tn_write_map(&twice, 1);
        tn_write_key(&twice, "ops");
        tn_write_array(&twice, 2);
        for (uint32_t i = 0; i < 2; i++) {
            tn_write_array(&twice, 4);
            tn_write_int(&twice, 1);
            tn_write_key(&twice, "sleep");
            tn_write_nil(&twice);
            tn_write_int(&twice, 50);
        }
        tn_abi_call(twice.data, twice.size);
    }
    if (tn_is(what, "unknown")) {
        tn_result answer = tn_finish(tn_begin("no.such.operation", NULL, 0));
        return tn_respond_failure(200, answer);
    }
    if (tn_is(what, "binding")) {
        tn_result answer = tn_kv_get("SOMEBODY_ELSES", tn_str("key"));
        return tn_respond_failure(200, answer);
    }
    return tn_respond_text(200, tn_str("the host went on\n"));
}

static uint64_t respond_error(void) {
    tn_writer out = {0};
    tn_write_map(&out, 1);
    tn_write_key(&out, "error");
    tn_write_map(&out, 2);
    tn_write_key(&out, "code");
    tn_write_key(&out, "out_of_cheese");
    tn_write_key(&out, "message");
    tn_write_key(&out, "there is no cheese left");
    return tn_return(&out);
}

/* /smuggle: answers with a header that only the host may set, ?name=, of value ?value=. */
static uint64_t smuggle(tn_value request) {
    tn_writer out = {0};
    tn_write_map(&out, 2);
    tn_write_key(&out, "headers");
    tn_write_array(&out, 1);
    tn_write_array(&out, 2);
    tn_write_str(&out, tn_query(request, "name", NULL));
    tn_write_bin(&out, tn_query(request, "value", NULL));
    tn_write_key(&out, "body");
    tn_write_key(&out, "hello");
    return tn_return(&out);
}

/* /half: starts a response, writes a part, and traps. */
static uint64_t answer_half(void) {
    tn_response_start(200, "text/plain; charset=utf-8");
    tn_response_write(tn_str("the first half\n"));
    __builtin_trap();
}

/* /endless: a response that never ends. */
static uint64_t answer_for_ever(void) {
    static char chunk[65536];
    tn_response_start(200, "application/octet-stream");
    while (tn_response_write((tn_text){chunk, sizeof chunk}).ok) {}
    return 0;
}

TN_FETCH(request) {
    tn_text path = tn_path(request);
    if (tn_is(path, "/spin")) return spin(request);
    if (tn_is(path, "/memory")) return hog_memory(request);
    if (tn_is(path, "/fill")) return fill_memory(request);
    if (tn_is(path, "/log")) return loop_on_log(request);
    if (tn_is(path, "/stdout")) return loop_on_stdout(request);
    if (tn_is(path, "/clock")) return loop_on_clock(request);
    if (tn_is(path, "/calls")) return loop_on_call(request);
    if (tn_is(path, "/sleeps")) return loop_on_sleep(request);
    if (tn_is(path, "/wait")) return wait_long(request);
    if (tn_is(path, "/recurse")) return recurse_deep(request);
    if (tn_is(path, "/trap")) __builtin_trap();
    if (tn_is(path, "/exit")) wasi_proc_exit(7);
    if (tn_is(path, "/error")) return respond_error();
    if (tn_is(path, "/bad-pointer")) return 0xfffffff000000040;
    if (tn_is(path, "/bad-msgpack")) return (uint64_t)(uintptr_t)no_msgpack << 32 | sizeof no_msgpack;
    if (tn_is(path, "/no-response")) return 0;
    if (tn_is(path, "/bad-call")) return bad_call(request);
    if (tn_is(path, "/smuggle")) return smuggle(request);
    if (tn_is(path, "/half")) return answer_half();
    if (tn_is(path, "/endless")) return answer_for_ever();
    return tn_respond_text(200, tn_str("This worker behaves, on this path.\n"));
}
