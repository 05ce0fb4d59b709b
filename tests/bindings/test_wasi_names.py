"""What the table says a component calls is in WASI's own interface files, and no word of those that we serve is left
out: wasi:http 0.2.8 with its wasi:io and wasi:clocks, wasi:keyvalue 0.2.0-draft2, wasi:messaging and wasi:config
0.2.0-draft.
"""

from __future__ import annotations

import re

import pytest

from bindings.operations import REFERENCE
from bindings.reference import reference

#: interface → its functions and methods, as its WIT file has them; of large ones those that do what an operation does.
FUNCTIONS = {
    "wasi:http/outgoing-handler": {"handle"},
    "wasi:http/types": {"outgoing-body.write", "outgoing-body.finish", "response-outparam.set"},
    "wasi:io/streams": {
        "input-stream",
        "input-stream.read",
        "input-stream.blocking-read",
        "output-stream.write",
        "output-stream.blocking-write-and-flush",
    },
    "wasi:clocks/monotonic-clock": {"now", "resolution", "subscribe-instant", "subscribe-duration"},
    "wasi:keyvalue/store": {
        "open",
        "bucket.get",
        "bucket.set",
        "bucket.delete",
        "bucket.exists",
        "bucket.list-keys",
    },
    "wasi:keyvalue/atomics": {"cas.new", "cas.current", "increment", "swap"},
    "wasi:keyvalue/batch": {"get-many", "set-many", "delete-many"},
    "wasi:messaging/producer": {"send"},
    "wasi:config/store": {"get", "get-all"},
}
NAMED = [(row.name, name) for row in REFERENCE for name in row.wasi]
#: Served by no operation: `open` names a binding, a `cas` is made of what kv.get read, `get-all` is the variables.
WITHOUT = {
    "wasi:keyvalue/store#open",
    "wasi:keyvalue/atomics#cas.new",
    "wasi:keyvalue/atomics#cas.current",
    "wasi:config/store#get-all",
}


@pytest.mark.parametrize(("operation", "name"), NAMED)
def test_name_is_one_of_the_standards(operation: str, name: str) -> None:
    interface, _, function = name.partition("#")
    assert function in FUNCTIONS[interface]


@pytest.mark.parametrize(
    "package", ["wasi:keyvalue", "wasi:messaging", "wasi:config", "wasi:http/outgoing-handler"]
)
def test_every_word_of_the_standard_has_an_operation(package: str) -> None:
    words = {
        f"{interface}#{function}"
        for interface, functions in FUNCTIONS.items()
        for function in functions
        if interface.startswith(package)
    }
    assert words - {name for _, name in NAMED} == words & WITHOUT


def test_operations_of_cloudflares_alone_have_none() -> None:
    without = {row.name for row in REFERENCE if not row.wasi}
    assert {name.partition(".")[0] for name in without} == {
        *("queue", "d1", "cache", "rate_limit", "analytics", "service", "dispatch", "crypto", "compression"),
        "visitor",  # whether the peer is there, wasi:http tells by a write that fails
    }
    assert "queue.send" not in without


def test_page_shows_them() -> None:
    rows = {row[1]: row[2] for row in re.findall(r"(\| \[`([^`]+)`\].*\| ([^|]+) \|)\n", reference())}
    for row in REFERENCE:
        assert rows[row.name] == (", ".join(f"`{name}`" for name in row.wasi) or "–")
