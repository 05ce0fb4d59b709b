"""A worker in JavaScript is told what it is bound to, in each event; no other worker is."""

from __future__ import annotations

from dataclasses import replace

import msgpack
import pytest

from model.messages import Entry
from model.scripts import BindingKind, BindingSpec
from runtime.abi.core_module import codec, values
from runtime.worker import Worker
from tests.runtime.javascript.test_worker import worker
from tests.support.guests import Guests, context, request, sample
from tests.support.toy_engine import toy_engine

BINDINGS = (
    BindingSpec(BindingKind.PLAIN_TEXT, "GREETING", "hello"),
    BindingSpec(BindingKind.JSON, "SETTINGS", "{}"),
    BindingSpec(BindingKind.KV_NAMESPACE, "NOTES", "0" * 32),
    BindingSpec(BindingKind.SECRET_TEXT, "KEY", ""),
)
TOLD = [["SETTINGS", "json"], ["NOTES", "kv_namespace"], ["KEY", "secret_text"]]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What guests are given."""
    given: list[bytes] = []
    really = codec.encode_request

    def noted(*args: object) -> bytes:
        given.append(really(*args))  # type: ignore[arg-type]
        return given[-1]

    monkeypatch.setattr(codec, "encode_request", noted)
    return given


async def test_javascript_is_told_its_bindings_and_wasm_is_not(events: list[bytes]) -> None:
    guests = Guests(javascript=toy_engine())
    try:
        for module in (worker("a"), sample("hello")):
            made = guests.worker(module)
            bound = Worker(guests.host, replace(made.version, bindings=BINDINGS), made.env)
            for _ in range(2):
                await guests.fetch(bound)
    finally:
        guests.close()
    told = [msgpack.unpackb(event).get("env") for event in events]
    assert told == [TOLD, TOLD, None, None]


async def test_a_trusted_namespace_s_javascript_is_told_of_the_connection_and_nobody_else_is(
    events: list[bytes],
) -> None:
    guests = Guests(javascript=toy_engine())
    try:
        for module, trusted in ((worker("a"), True), (worker("a"), False), (sample("hello"), True)):
            made = guests.worker(module)
            bound = Worker(guests.host, replace(made.version, trusted=trusted), made.env)
            for protocol in ("HTTP/1.1", ""):
                incoming = request()
                incoming.client.protocol = protocol
                await guests.fetch(bound, incoming)
    finally:
        guests.close()
    told = [msgpack.unpackb(event).get("cf") for event in events]
    assert told == [{"httpProtocol": "HTTP/1.1"}, {}, None, None, None, None]


async def test_a_call_over_a_service_binding_is_told_with_it(events: list[bytes]) -> None:
    guests = Guests(javascript=toy_engine())
    try:
        incoming = request()
        await guests.fetch(guests.worker(worker("a")), incoming)
        incoming.entry = Entry("Admin", None, "add")
        await guests.fetch(guests.worker(worker("a")), incoming)
    finally:
        guests.close()
    told = [msgpack.unpackb(event).get("entry") for event in events]
    assert told == [None, {"name": "Admin", "call": "add"}]


async def test_background_events_tell_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    really = values.encode

    def noted(value: object) -> bytes:
        given.append(value)
        return really(value)

    monkeypatch.setattr(values, "encode", noted)
    guests = Guests(javascript=toy_engine())
    try:
        for module in (worker("a"), sample("hello")):
            made = guests.worker(module)
            bound = Worker(guests.host, replace(made.version, bindings=BINDINGS), made.env)
            # Both answer any event as they answer a fetch.
            await bound.background("fetch", {"cron": "* * * * *", "vars": {}}, context())
    finally:
        guests.close()
    told = [value.get("env") for value in given if isinstance(value, dict) and "cron" in value]
    assert told == [tuple(map(tuple, TOLD)), None]
