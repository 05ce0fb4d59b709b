"""Instances that are used again: each begins as one that was just made, whatever was done in it before; only those that
ended well are kept, and so many at most.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from runtime.abi.core_module.host_calls import GuestIo
from runtime.capi.accelerated_guest import MOST_SPARES, AcceleratedGuest, open_guest
from runtime.capi.accelerator.loading import available, load
from runtime.capi.failures import GuestTrap
from runtime.capi.guest import ALLOCATED, INSTANTIATED, Guest
from runtime.capi.library import bind
from runtime.capi.linker import DeltaPre, InstancePre
from runtime.capi.spares import Spares, make_spares
from runtime.linking import make_linker
from tests.support.guests import engine, wat
from tests.support.page_maps import put_page_of_zeros, told_of_another_process

if (_why_not := available()) is not None:
    pytest.skip(f"no accelerator: {_why_not}", allow_module_level=True)

memory_address = bind("wasmtime_memory_data")

#: Its handler obeys the first letter of the event, and returns the event. Its data is at 70,000, between zeros.
TOY = """
(module
  (memory (export "memory") 80)
  (global $sp (export "__stack_pointer") (mut i32) (i32.const 4096))
  (data (i32.const 70000) "as it began")
  (func (export "alloc") (param i32) (result i32) (i32.const 131072))
  (func (export "fetch") (param $at i32) (param $size i32) (result i64)
    (local $what i32)
    (local.set $what (i32.load8_u (local.get $at)))
    (if (i32.eq (local.get $what) (i32.const 102)) ;; f: fill
      (then
        (memory.fill (i32.const 0) (i32.const 170) (i32.const 131072))
        (memory.fill (i32.const 135168) (i32.const 170) (i32.const 126976))))
    (if (i32.eq (local.get $what) (i32.const 109)) ;; m: much
      (then (memory.fill (i32.const 262144) (i32.const 170) (i32.const 2097152))))
    (if (i32.eq (local.get $what) (i32.const 103)) ;; g: grow
      (then (drop (memory.grow (i32.const 1)))))
    (if (i32.eq (local.get $what) (i32.const 115)) ;; s: stack
      (then (global.set $sp (i32.const 1024))))
    (if (i32.eq (local.get $what) (i32.const 116)) ;; t: trap
      (then (memory.fill (i32.const 0) (i32.const 170) (i32.const 65536)) unreachable))
    (i64.or (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32)) (i64.extend_i32_u (local.get $size)))))
"""


@functools.cache
def toy() -> InstancePre:
    return make_linker(engine()).instantiate_pre(engine().compile(wat(TOY)))


@pytest.fixture
def spares() -> Iterator[Spares]:
    before, engine().accelerated = engine().accelerated, True
    load().let_go()  # other tests' of this process
    made = make_spares(engine(), toy(), "fetch")
    if made is None:
        pytest.skip("this kernel can't say which pages were written")
    yield made
    engine().accelerated = before
    load().let_go()


@functools.cache
def toy_of(worker: int) -> DeltaPre:
    """As each worker has one of its own."""
    return DeltaPre(toy(), b"")


def toy_with(spares: Spares, worker: int = 0) -> InstancePre:
    pre = toy_of(worker)
    pre.spares = spares
    return pre


def open_toy(spares: Spares, worker: int = 0) -> AcceleratedGuest:
    guest = open_guest(engine(), 16 << 20, 10**9, GuestIo(10, 1000), toy_with(spares, worker))
    assert isinstance(guest, AcceleratedGuest)
    return guest


def serve(guest: AcceleratedGuest, event: bytes) -> None:
    """The toy's handler, to its end. A tick may come at any stage: the rest is the other driver's then."""
    try:
        stage = guest.first_slice(toy(), "fetch", event, False)
        if stage % 2:
            wait(guest)
            stage += 1
        if stage == INSTANTIATED:
            guest.finish()
            guest.find_exports("fetch", needs_alloc=True)
            guest.begin_call("alloc", len(event))
            wait(guest)
            stage = ALLOCATED
        if stage == ALLOCATED:
            guest.finish()
            pointer = guest.result_i32()
            guest.write(pointer, event)
            guest.begin_call("handler", pointer, len(event))
            wait(guest)
        if guest.result_bytes is None:
            guest.finish()
            guest.conclude()
        assert guest.result_bytes == event
    finally:
        guest.close()


def wait(guest: Guest) -> None:
    while not guest.poll():
        pass


def run(spares: Spares, event: bytes) -> None:
    serve(open_toy(spares), event)


def begun(spares: Spares) -> tuple[bytes, bool]:
    """The memory that the next guest begins with, and whether its instance is used again. It is not kept."""
    guest = open_toy(spares)
    try:
        used = guest.begins_with_a_spare
        if not used:
            guest.begin_instantiate(toy())
            wait(guest)
            guest.finish()
        guest.find_exports("fetch", needs_alloc=True)
        return guest.read(0, guest.memory_size()), used
    finally:
        guest.close()


def test_what_an_event_wrote_is_not_there_when_its_instance_is_used_again(spares: Spares) -> None:
    fresh, used = begun(spares)
    assert not used
    assert fresh[70_000:70_011] == b"as it began"
    assert not fresh.replace(b"as it began", b"").strip(b"\0")
    for event in (b"nothing", b"fill", b"fill again", b"nothing"):
        run(spares, event)
    assert begun(spares) == (fresh, True)


@pytest.mark.parametrize(
    "event",
    [
        b"grow",  # memory never shrinks
        b"stack",  # its pointer is not where it was
        b"much",  # 2 MiB of pages that were written, and those of the event
    ],
)
def test_instance_that_cannot_be_put_back_is_not_used_again(spares: Spares, event: bytes) -> None:
    fresh, _ = begun(spares)
    run(spares, event)
    assert begun(spares) == (fresh, False)


def test_instance_of_an_event_that_failed_is_not_used_again(spares: Spares) -> None:
    fresh, _ = begun(spares)
    run(spares, b"nothing")
    with pytest.raises(GuestTrap):
        run(spares, b"trap")
    assert begun(spares) == (fresh, False)


def test_instance_of_an_event_that_was_given_up_is_not_used_again(spares: Spares) -> None:
    run(spares, b"fill")
    guest = open_toy(spares)
    assert guest.begins_with_a_spare
    guest.close()
    assert begun(spares)[1] is False


def test_so_many_are_kept_and_no_more(spares: Spares) -> None:
    guests = [open_toy(spares) for _ in range(MOST_SPARES + 3)]
    for guest in guests:
        serve(guest, b"fill")
    assert load().let_go() == MOST_SPARES
    assert begun(spares)[1] is False


def test_each_worker_gets_its_own_back_while_there_are_few(spares: Spares) -> None:
    """What a large worker wrote to is written over at the end of each event of whoever has its instance."""
    for worker in range(3):
        serve(open_toy(spares, worker), b"nothing")
    assert load().let_go() == 3
    for worker in (0, 1, 0, 1, 0):
        serve(open_toy(spares, worker), b"fill")
    assert load().let_go() == 2


def test_a_worker_without_one_gets_another_s_where_there_are_many(spares: Spares) -> None:
    fresh, _ = begun(spares)
    for worker in range(MOST_SPARES):
        serve(open_toy(spares, worker), b"fill")
    assert load().let_go() == 8
    for worker in range(MOST_SPARES):
        serve(open_toy(spares, worker), b"fill")
    guest = open_toy(spares, MOST_SPARES)
    try:
        assert guest.begins_with_a_spare
        guest.find_exports("fetch", needs_alloc=True)
        assert guest.read(0, guest.memory_size()) == fresh
    finally:
        guest.close()


def test_a_slot_is_wanted_more_than_a_spare_is(spares: Spares, monkeypatch: pytest.MonkeyPatch) -> None:
    run(spares, b"nothing")
    monkeypatch.setattr(engine(), "settings", replace(engine().settings, slots=MOST_SPARES))
    guest = open_toy(spares)
    try:
        assert not guest.begins_with_a_spare
    finally:
        guest.close()
    assert load().let_go() == 0


def test_limit_of_memory_is_the_event_s_own(spares: Spares) -> None:
    """Not that of the event which made the instance."""
    run(spares, b"nothing")
    guest = open_guest(engine(), 80 << 16, 10**9, GuestIo(10, 1000), toy_with(spares))
    assert isinstance(guest, AcceleratedGuest)
    assert guest.begins_with_a_spare
    serve(guest, b"grow")
    assert begun(spares)[1] is True, "the memory grew beyond its limit"


def test_limit_below_its_memory_is_met_as_by_a_new_instance(spares: Spares) -> None:
    run(spares, b"nothing")
    guest = open_guest(engine(), (80 << 16) - 1, 10**9, GuestIo(10, 1000), toy_with(spares))
    try:
        assert not guest.begins_with_a_spare
        guest.begin_instantiate(toy())
        wait(guest)
        with pytest.raises(GuestTrap, match="memory limits"):
            guest.finish()
    finally:
        guest.close()


def test_they_go_with_what_holds_them(spares: Spares) -> None:
    other = make_spares(engine(), toy(), "fetch")
    assert other is not None
    run(other, b"nothing")
    run(spares, b"nothing")
    del other
    assert load().let_go() == 1


def test_module_that_does_not_show_its_stack_pointer_has_none(spares: Spares) -> None:
    hidden = wat(TOY.replace('(export "__stack_pointer")', ""))
    assert (
        make_spares(engine(), make_linker(engine()).instantiate_pre(engine().compile(hidden)), "fetch")
        is None
    )


def test_ctypes_makes_each_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine(), "accelerated", False)
    assert make_spares(engine(), toy(), "fetch") is None


def serve_by_steps(
    guest: AcceleratedGuest, before_the_handler: Callable[[int], None] = lambda memory: None
) -> bool:
    """As `serve`, of an event that does nothing; its memory's address is given to what is done before."""
    try:
        if not guest.begins_with_a_spare:
            guest.begin_instantiate(toy())
            wait(guest)
            guest.finish()
        guest.find_exports("fetch", needs_alloc=True)
        guest.begin_call("alloc", 7)
        wait(guest)
        guest.finish()
        pointer = guest.result_i32()
        guest.write(pointer, b"nothing")
        before_the_handler(memory_address(guest._context, guest._memory))
        guest.begin_call("handler", pointer, 7)
        wait(guest)
        guest.finish()
        return guest.conclude()
    finally:
        guest.close()


def test_page_of_zeros_in_place_of_what_was_there_is_put_back(spares: Spares) -> None:
    """The kernel puts it there when it merges pages, and so forgets that somebody wrote."""
    fresh, _ = begun(spares)
    assert serve_by_steps(open_toy(spares), lambda memory: put_page_of_zeros(memory + 70_000 // 4096 * 4096))
    assert begun(spares) == (fresh, True)


def test_kernel_that_tells_of_another_process_is_not_believed(spares: Spares) -> None:
    """It finds nothing written in that one: what a tenant wrote would be left to the next."""
    run(spares, b"nothing")
    with told_of_another_process():
        run(spares, b"fill")
    assert load().let_go() == 0
    run(spares, b"fill")
    assert load().let_go() == 1
