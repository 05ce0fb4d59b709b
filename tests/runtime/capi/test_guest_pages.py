"""The kernel tells which pages of this process were written to, and only those are compared: none may be missing."""

from __future__ import annotations

import itertools
import mmap
import os
from collections.abc import Iterator

import pytest

from runtime.capi.guest import Guest
from runtime.capi.guest_pages import PageMap
from runtime.linking import make_linker
from tests.support.guests import engine, wat

PAGE = mmap.PAGESIZE
WASM_PAGE = 65_536
#: What is in its memory at first fills one page of five.
DATA_AT = 3 * WASM_PAGE
POKES = wat(
    f"""(module
      (memory (export "memory") 5)
      (data (i32.const {DATA_AT}) "as it was")
      (func (export "alloc") (param i32) (result i32) (i32.store8 (local.get 0) (i32.const 7)) (local.get 0))
      (func (export "grow") (param i32 i32) (result i64) (i64.extend_i32_s (memory.grow (local.get 0))))
    )"""
)


@pytest.fixture
def pages() -> Iterator[PageMap]:
    opened = PageMap()
    yield opened
    opened.close()


@pytest.fixture
def guest() -> Iterator[Guest]:
    """A fresh instance: of a slot that nobody had, or that another had before."""
    module = engine().compile(POKES)
    pre = make_linker(engine()).instantiate_pre(module)
    guest = Guest(engine(), 64 << 20, 1_000_000_000)
    guest.begin_instantiate(pre)
    assert guest.poll()
    guest.finish()
    guest.find_exports("grow", needs_alloc=True)
    yield guest
    guest.close()
    pre.close()
    module.close()


def call(guest: Guest, what: str, *arguments: int) -> None:
    guest.begin_call(what, *arguments)
    while not guest.poll():
        pass
    guest.finish()


def copied(guest: Guest, pages: PageMap | None) -> bytes:
    """The memory, as far as it is said to have been written to; zeros elsewhere."""
    memory = bytearray(guest.memory_size())
    for at, data in guest.written(pages):
        memory[at : at + len(data)] = data
    return bytes(memory)


@pytest.mark.parametrize("at", [0, PAGE - 1, PAGE, DATA_AT - 1, DATA_AT, DATA_AT + PAGE, 5 * WASM_PAGE - 1])
def test_page_that_was_written_to_is_told(guest: Guest, pages: PageMap, at: int) -> None:
    call(guest, "alloc", at)
    assert copied(guest, pages)[at] == 7


def test_page_that_was_only_read_is_not_told(guest: Guest, pages: PageMap) -> None:
    at = DATA_AT // PAGE * PAGE
    assert guest.read(DATA_AT, 9) == b"as it was"
    assert copied(guest, pages)[at : at + PAGE] == bytes(PAGE)
    call(guest, "alloc", DATA_AT + 9)
    assert copied(guest, pages)[DATA_AT : DATA_AT + 10] == b"as it was\x07"


def test_pages_that_the_memory_grew_by_are_told_when_they_are_written_to(
    guest: Guest, pages: PageMap
) -> None:
    call(guest, "grow", 2, 0)
    size = guest.memory_size()
    assert size == 7 * WASM_PAGE
    call(guest, "alloc", size - 1)
    assert copied(guest, pages)[size - 1] == 7
    told = guest.written(pages)
    assert told[-1].at + len(told[-1].data) == size
    assert sum(len(data) for _, data in told) < size


def test_neighbours_are_one_stretch(guest: Guest, pages: PageMap) -> None:
    for at in (DATA_AT - 2 * PAGE, DATA_AT - PAGE, DATA_AT):
        call(guest, "alloc", at)
    told = guest.written(pages)
    assert [len(data) for at, data in told if at == DATA_AT - 2 * PAGE] == [3 * PAGE]
    assert all(before.at + len(before.data) < after.at for before, after in itertools.pairwise(told))


def test_all_is_told_where_the_kernel_says_nothing(
    guest: Guest, pages: PageMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = guest.read(0, guest.memory_size())
    assert guest.written(None) == [(0, whole)]
    monkeypatch.setattr(os, "pread", lambda *_: b"")
    assert guest.written(pages) == [(0, whole)]
