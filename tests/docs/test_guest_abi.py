"""docs/guest-abi.md names every import, export, limit and key of the ABI, with the values of the code."""

from __future__ import annotations

import re

import msgpack
import pytest

from model.identity import RayId
from model.messages import Client, Entry, IncomingRequest
from model.outcome import EventOutcome
from runtime import artifact, signatures, streams
from runtime.abi.core_module import calls, codec, event_streams, host_calls, session, values
from runtime.abi.core_module.wasi import WASI_FUNCTIONS
from runtime.background_event import _RESULT_BYTES
from runtime.signatures import FunctionType
from tests.docs.pages import code, number, read, section, table

PAGE = read("guest-abi.md")
CONSTANTS = {
    "CALL_BYTES": calls.CALL_BYTES,
    "CALL_OPERATIONS": calls.CALL_OPERATIONS,
    "NESTING": values.NESTING,
    "VALUES": values.VALUES,
    "REPLY_BYTES": calls.REPLY_BYTES,
    "RESPONSE_BYTES": codec.RESPONSE_BYTES,
    "PENDING": session.PENDING,
    "STREAMS": event_streams.STREAMS,
    "READ_BYTES": event_streams.READ_BYTES,
    "PIPE_BYTES": streams.PIPE_BYTES,
    "LINE_BYTES": host_calls.LINE_BYTES,
}


def shown(signature: FunctionType) -> str:
    return f"({', '.join(signature.params)}) -> {signature.results[0] if signature.results else '()'}"


def test_exports_and_their_types() -> None:
    told = {code(row[0]): row[1].strip("`") for row in table(PAGE, "## Exports")}
    assert told == {
        "memory": "memory",
        "alloc": shown(signatures.ALLOC_SIGNATURE),
        **dict.fromkeys(signatures.HANDLERS, shown(signatures.HANDLER_SIGNATURE)),
        "_initialize": shown(signatures.INITIALIZE_SIGNATURE),
    }


def test_imports_and_their_types() -> None:
    told = {(code(row[0]), code(row[1])): row[2].strip("`") for row in table(PAGE, "## Imports")}
    assert told == {
        (signatures.ABI_MODULE, name): shown(signature)
        for name, signature in signatures.ABI_SIGNATURES.items()
    }


def test_limits_of_a_call_have_the_values_of_the_code() -> None:
    told = {code(row[0]): number(row[1]) for row in table(PAGE, "## Call") if row[0][1].isupper()}
    limits = {}
    for row in re.findall(r"^\| `([A-Z_]+)`:[^|]*\| ([\d,]+)", PAGE, re.MULTILINE):
        limits[row[0]] = int(row[1].replace(",", ""))
    assert told == {}  # the first table is that of the fields
    assert limits == CONSTANTS


@pytest.mark.parametrize("field", ["ops", "wait", "timeout_ms", "cancel", "done", "pending"])
def test_fields_of_a_call_have_rows(field: str) -> None:
    assert field in [code(row[0]) for row in table(PAGE, "## Call")]


def test_keys_of_a_request_are_those_that_are_encoded() -> None:
    client = Client("192.0.2.1", True, RayId("0"))
    request = IncomingRequest("GET", "https://a.example/", "a.example", "/", [], b"x", 1, client, Entry())
    sent = msgpack.unpackb(codec.encode_request(request, {}, {}, None, (), {})).keys() | {"body_stream"}
    assert {code(row[0]) for row in table(PAGE, "### Request")} == sent


def test_every_function_of_wasi_is_covered() -> None:
    rows = [row[0] for row in table(PAGE, "## WASI preview 1")]
    named = set(re.findall(r"`([a-z_*]+)`", " ".join(rows)))
    assert signatures.WASI_MODULE in section(PAGE, "## WASI preview 1")
    for function in WASI_FUNCTIONS:
        prefixes = {function[: at + 1] + "*" for at, letter in enumerate(function) if letter == "_"}
        assert named & ({function} | prefixes), f"{function} is in no row"
    plain = {name for name in named if "*" not in name}
    assert plain <= WASI_FUNCTIONS.keys()


@pytest.mark.parametrize(
    "text",
    [
        f"at most {artifact.MAX_MODULE_BYTES >> 20} MiB",
        f"at most {artifact.MAX_MEMORY_BYTES >> 20} MiB",
        f"at most {artifact.MAX_TABLE_ELEMENTS:,} elements",
        f"at most {codec.RESPONSE_BYTES >> 20} MiB from `fetch` and {_RESULT_BYTES >> 20} MiB from",
        f"`{EventOutcome.EXCEPTION}`",
        f"`{EventOutcome.EXCEEDED_MEMORY}`",
    ],
)
def test_the_page_says(text: str) -> None:
    assert text in PAGE.replace("\n", " ")
