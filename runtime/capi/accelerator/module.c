/* The Python side of guest.c: arguments in, numbers and bytes out. Python's stable ABI, from 3.11 on.
 *
 * Frames are memory of a `runtime.capi.frame.Frame`, handed over as the address; whoever calls holds the guest, and so the frame.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#include "guest.h"

/* Of a status, below the nanoseconds: the call ended; it suspended itself and wants something; a tick ended it; it ended with
 * an error or a trap, which the frame holds. */
enum { DONE = 1, WANTS = 2, STOPPED = 4, FAILED = 8, STATUS_BITS = 4 };

static void *address(PyObject *number) { return PyLong_AsVoidPtr(number); }

static PyObject *wrong_count(const char *name) {
    return PyErr_Format(PyExc_TypeError, "%s: another number of arguments", name);
}

/* bind(addresses): the wasmtime functions, in the order of layout.FUNCTIONS. */
static PyObject *py_bind(PyObject *self, PyObject *addresses) {
    Py_ssize_t index = 0;
    (void)self;
#define X(result, name, arguments)                                \
    {                                                             \
        PyObject *given = PySequence_GetItem(addresses, index++); \
        if (!given)                                               \
            return NULL;                                          \
        *(void **)&name = address(given);                         \
        Py_DECREF(given);                                         \
        if (PyErr_Occurred())                                     \
            return NULL;                                          \
    }
    WASMTIME_FUNCTIONS(X)
#undef X
    Py_RETURN_NONE;
}

/* start_ticker(engine, tick_ns): once in a process. */
static PyObject *py_start_ticker(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    (void)self;
    if (count != 2)
        return wrong_count("start_ticker");
    void *engine = address(args[0]);
    uint64_t tick_ns = PyLong_AsUnsignedLongLong(args[1]);
    if (PyErr_Occurred())
        return NULL;
    int failed = start_ticker(engine, tick_ns);
    if (failed)
        return PyErr_Format(PyExc_OSError, "the ticker's thread can't be started: errno %d", failed);
    Py_RETURN_NONE;
}

/* open(frame, engine, memory_bytes, table_elements, spares or 0, worker) -> (store, context): spares know workers again by that
 * number. */
static PyObject *py_open(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    (void)self;
    if (count != 6)
        return wrong_count("open");
    struct frame *frame = address(args[0]);
    void *engine = address(args[1]);
    int64_t memory_bytes = PyLong_AsLongLong(args[2]);
    int64_t table_elements = PyLong_AsLongLong(args[3]);
    struct spares *spares = address(args[4]);
    uint64_t worker = PyLong_AsUnsignedLongLong(args[5]);
    if (PyErr_Occurred())
        return NULL;
    guest_open(frame, engine, memory_bytes, table_elements, spares, worker);
    return Py_BuildValue("KK", (unsigned long long)(uintptr_t)frame->store,
                         (unsigned long long)(uintptr_t)frame->context);
}

/* What the tick's callback reads, before each slice. */
static void begin_slice(struct frame *frame, uint64_t cpu_left, uint64_t slice_ticks, uint64_t tick) {
    frame->cpu_left = cpu_left;
    frame->slice_ticks = slice_ticks;
    frame->tick = tick;
    frame->slice_start = thread_ns();
}

static unsigned long long status_of(const struct frame *frame, bool done, uint64_t spent) {
    unsigned status = frame->stopped ? STOPPED : 0;
    if (done)
        status |= DONE | (guest_failed(frame) ? FAILED : 0);
    else if (frame->wants)
        status |= WANTS;
    return (unsigned long long)spent << STATUS_BITS | status;
}

/* poll(frame, future, cpu_left_ns, slice_ticks, tick_ns) -> spent_ns << 4 | status. DONE: the future is deleted. */
static PyObject *py_poll(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    (void)self;
    if (count != 5)
        return wrong_count("poll");
    struct frame *frame = address(args[0]);
    void *future = address(args[1]);
    uint64_t cpu_left = PyLong_AsUnsignedLongLong(args[2]);
    uint64_t slice_ticks = PyLong_AsUnsignedLongLong(args[3]);
    uint64_t tick = PyLong_AsUnsignedLongLong(args[4]);
    if (PyErr_Occurred())
        return NULL;
    bool done;
    uint64_t spent;
    Py_BEGIN_ALLOW_THREADS;
    begin_slice(frame, cpu_left, slice_ticks, tick);
    done = guest_poll(frame, future);
    if (done)
        wasmtime_call_future_delete(future);
    spent = thread_ns() - frame->slice_start;
    Py_END_ALLOW_THREADS;
    return PyLong_FromUnsignedLongLong(status_of(frame, done, spent));
}

static PyObject *wanted(struct frame *frame) {
    /* Within bounds when it was asked, and memory never shrinks. */
    const char *memory = wasmtime_memory_data(frame->context, frame->memory_handle);
    return PyBytes_FromStringAndSize(memory + frame->wanted_at, (Py_ssize_t)frame->wanted_size);
}

/* wanted(frame) -> the request of the import that suspended the guest just now. */
static PyObject *py_wanted(PyObject *self, PyObject *frame_address) {
    (void)self;
    struct frame *frame = address(frame_address);
    return PyErr_Occurred() ? NULL : wanted(frame);
}

/* offer(frame, reply): what `take` reads. The caller holds `reply` until it offers another, or the guest's end. */
static PyObject *py_offer(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    (void)self;
    if (count != 2)
        return wrong_count("offer");
    struct frame *frame = address(args[0]);
    char *reply = NULL;
    Py_ssize_t size = 0;
    if (PyErr_Occurred() || PyBytes_AsStringAndSize(args[1], &reply, &size) < 0)
        return NULL;
    frame->reply = reply;
    frame->reply_size = (size_t)size;
    Py_RETURN_NONE;
}

static PyObject *not_waiting(void) {
    return PyErr_Format(PyExc_ValueError, "this guest does not wait for the host");
}

/* resume(frame, results or 0, result) */
static PyObject *py_resume(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    (void)self;
    if (count != 3)
        return wrong_count("resume");
    struct frame *frame = address(args[0]);
    void *results = address(args[1]);
    unsigned long result = PyLong_AsUnsignedLong(args[2]);
    if (PyErr_Occurred())
        return NULL;
    if (!guest_resume(frame, results, (uint32_t)result))
        return not_waiting();
    Py_RETURN_NONE;
}

/* The bytes that the handler's result names, and the end of the store; None when the guest has to be looked at first. */
static PyObject *conclude(struct frame *frame, uint64_t largest, uint64_t largest_memory) {
    size_t size = 0;
    const uint8_t *bytes = guest_result(frame, largest, largest_memory, &size);
    if (!bytes)
        Py_RETURN_NONE;
    PyObject *result = PyBytes_FromStringAndSize((const char *)bytes, (Py_ssize_t)size);
    if (!result)
        return NULL;
    if (!frame->spares || !spares_keep(frame->spares, frame))
        wasmtime_store_delete(frame->store);
    frame->memory_handle = NULL;
    frame->store = frame->context = NULL;
    return result;
}

/* first_slice(frame, pre, initialize, handler, event, cpu_left_ns, slice_ticks, tick_ns, largest, largest_memory, delta)
 * -> (stage, spent_ns << 4 | status, what is left): the future of a call under way; of a handler that ended the bytes of
 * its result, the store being deleted then; or None. */
static PyObject *py_first_slice(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    (void)self;
    if (count != 11)
        return wrong_count("first_slice");
    struct frame *frame = address(args[0]);
    void *pre = address(args[1]);
    int initialize = PyObject_IsTrue(args[2]);
    char *handler = NULL, *event = NULL, *delta = NULL;
    Py_ssize_t handler_size = 0, event_size = 0, delta_size = 0;
    if (PyBytes_AsStringAndSize(args[3], &handler, &handler_size) < 0 ||
        PyBytes_AsStringAndSize(args[4], &event, &event_size) < 0 ||
        PyBytes_AsStringAndSize(args[10], &delta, &delta_size) < 0)
        return NULL;
    uint64_t cpu_left = PyLong_AsUnsignedLongLong(args[5]);
    uint64_t slice_ticks = PyLong_AsUnsignedLongLong(args[6]);
    uint64_t tick = PyLong_AsUnsignedLongLong(args[7]);
    uint64_t largest = PyLong_AsUnsignedLongLong(args[8]);
    uint64_t largest_memory = PyLong_AsUnsignedLongLong(args[9]);
    if (PyErr_Occurred())
        return NULL;
    if (event_size > UINT32_MAX)
        return PyErr_Format(PyExc_OverflowError, "an event of %zd bytes", event_size);
    enum stage stage;
    uint64_t spent;
    Py_BEGIN_ALLOW_THREADS;
    begin_slice(frame, cpu_left, slice_ticks, tick);
    stage = guest_first_slice(frame, pre, initialize, handler, (size_t)handler_size, (const uint8_t *)event,
                              (uint32_t)event_size, (const uint8_t *)delta, (size_t)delta_size);
    spent = thread_ns() - frame->slice_start;
    Py_END_ALLOW_THREADS;
    bool done = stage % 2 == 0;
    PyObject *left;
    if (!done)
        left = PyLong_FromVoidPtr(frame->future);
    else if (stage == HANDLED)
        left = conclude(frame, largest, largest_memory);
    else
        left = Py_NewRef(Py_None);
    if (!left)
        return NULL;
    return Py_BuildValue("iKN", (int)stage, status_of(frame, done, spent), left);
}

/* go_on(frame, future, reply, cpu_left_ns, slice_ticks, tick_ns, largest, largest_memory) -> (spent_ns << 4 | status, what it
 * has): `offer`, `resume` with the reply's size, `poll`, and what comes after it: the request as `wanted`, or the result as
 * `conclude`; or None. */
static PyObject *py_go_on(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    (void)self;
    if (count != 8)
        return wrong_count("go_on");
    struct frame *frame = address(args[0]);
    void *future = address(args[1]);
    char *reply = NULL;
    Py_ssize_t size = 0;
    if (PyBytes_AsStringAndSize(args[2], &reply, &size) < 0)
        return NULL;
    uint64_t cpu_left = PyLong_AsUnsignedLongLong(args[3]);
    uint64_t slice_ticks = PyLong_AsUnsignedLongLong(args[4]);
    uint64_t tick = PyLong_AsUnsignedLongLong(args[5]);
    uint64_t largest = PyLong_AsUnsignedLongLong(args[6]);
    uint64_t largest_memory = PyLong_AsUnsignedLongLong(args[7]);
    if (PyErr_Occurred())
        return NULL;
    frame->reply = reply;
    frame->reply_size = (size_t)size;
    if (!guest_resume(frame, NULL, (uint32_t)size))
        return not_waiting();
    bool done;
    uint64_t spent;
    Py_BEGIN_ALLOW_THREADS;
    begin_slice(frame, cpu_left, slice_ticks, tick);
    done = guest_poll(frame, future);
    if (done)
        wasmtime_call_future_delete(future);
    spent = thread_ns() - frame->slice_start;
    Py_END_ALLOW_THREADS;
    unsigned long long status = status_of(frame, done, spent);
    PyObject *has;
    if (done)
        has = conclude(frame, largest, largest_memory);
    else
        has = frame->wants ? wanted(frame) : Py_NewRef(Py_None);
    if (!has)
        return NULL;
    return Py_BuildValue("KN", status, has);
}

/* conclude(frame, largest, largest_memory) -> result or None, after a call's end. */
static PyObject *py_conclude(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    (void)self;
    if (count != 3)
        return wrong_count("conclude");
    struct frame *frame = address(args[0]);
    uint64_t largest = PyLong_AsUnsignedLongLong(args[1]);
    uint64_t largest_memory = PyLong_AsUnsignedLongLong(args[2]);
    if (PyErr_Occurred())
        return NULL;
    return conclude(frame, largest, largest_memory);
}

/* restore(frame, delta) -> whether it could, of an instance whose exports were found. */
static PyObject *py_restore(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    (void)self;
    if (count != 2)
        return wrong_count("restore");
    struct frame *frame = address(args[0]);
    char *delta = NULL;
    Py_ssize_t size = 0;
    if (PyErr_Occurred() || PyBytes_AsStringAndSize(args[1], &delta, &size) < 0)
        return NULL;
    bool restored;
    Py_BEGIN_ALLOW_THREADS;
    restored = guest_restore(frame, (const uint8_t *)delta, (size_t)size);
    Py_END_ALLOW_THREADS;
    return PyBool_FromLong(restored);
}

/* spares(frame) -> for `open`, of a fresh instance whose exports were found; 0: there can't be any. */
static PyObject *py_spares(PyObject *self, PyObject *frame_address) {
    (void)self;
    struct frame *frame = address(frame_address);
    return PyErr_Occurred() ? NULL : PyLong_FromVoidPtr(spares_new(frame));
}

/* drop_spares(spares): nobody may have them any more. */
static PyObject *py_drop_spares(PyObject *self, PyObject *spares_address) {
    (void)self;
    struct spares *spares = address(spares_address);
    if (PyErr_Occurred())
        return NULL;
    spares_delete(spares);
    Py_RETURN_NONE;
}

/* let_go() -> how many instances were kept, of whatever module: their slots are free now. */
static PyObject *py_let_go(PyObject *self, PyObject *nothing) {
    (void)self;
    (void)nothing;
    return PyLong_FromUnsignedLong(spares_let_go());
}

/* imports() -> {name: address}, for the linker. */
static PyObject *py_imports(PyObject *self, PyObject *nothing) {
    (void)self;
    (void)nothing;
    return Py_BuildValue("{sKsK}", "call", (unsigned long long)(uintptr_t)import_call, "take",
                         (unsigned long long)(uintptr_t)import_take);
}

#define FAST(name) {#name, (PyCFunction)(void (*)(void))py_##name, METH_FASTCALL, NULL}
static PyMethodDef methods[] = {
    {"bind", py_bind, METH_O, NULL},
    {"imports", py_imports, METH_NOARGS, NULL},
    {"wanted", py_wanted, METH_O, NULL},
    {"spares", py_spares, METH_O, NULL},
    {"drop_spares", py_drop_spares, METH_O, NULL},
    {"let_go", py_let_go, METH_NOARGS, NULL},
    FAST(start_ticker),
    FAST(open),
    FAST(poll),
    FAST(offer),
    FAST(resume),
    FAST(first_slice),
    FAST(go_on),
    FAST(conclude),
    FAST(restore),
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_accelerator", NULL, -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__accelerator(void) {
    PyObject *module = PyModule_Create(&definition);
    if (module && PyModule_AddStringConstant(module, "LAYOUT", LAYOUT) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
