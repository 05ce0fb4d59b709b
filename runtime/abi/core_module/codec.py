"""Requests, responses and answers of the module ABI as MessagePack. Pure.

What comes from a guest is hostile: everything here ends in a value of the declared shape or in AbiViolation.
Source: docs/guest-abi.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgpack
import msgspec

from model.messages import Entry, Header, Headers, IncomingRequest, RequestChanges
from runtime.abi.core_module.guest_headers import decode_changes, decode_headers
from runtime.abi.core_module.values import (
    FEW_VALUES_BYTES,
    LEAVES,
    check_depth,
    decode,
    is_int,
    pack_known,
    unpack,
)
from runtime.capi.guest import AbiViolation

#: A Response that a handler returns whole. Larger ones are streamed.
RESPONSE_BYTES: Final = 16 << 20
#: What of it is not the body: a byte of MessagePack can become a Python list of 56.
STRUCTURE_BYTES: Final = 256 * 1024
_RESPONSE_FIELDS: Final = 64


def header_value(value: bytes) -> str | bytes:
    """`str` when it is ASCII, else `bin`, as the ABI says."""
    return value.decode("ascii") if value.isascii() else value


def encode_request(
    request: IncomingRequest,
    variables: Mapping[str, str],
    params: Mapping[str, str],
    body_stream: int | None,
    bindings: Sequence[tuple[str, str]] | None = None,
    cf: Mapping[str, str] | None = None,
) -> bytes:
    """A Request. `body_stream` is the id of its body when that is not bytes; `bindings` are (name, type), and `cf` what
    is known of the connection, for a worker that is to be told.
    """
    client = request.client
    value: dict[str, object] = {
        "method": request.method,
        "url": request.url,
        "headers": _told(request.headers),
        "vars": variables,
        "params": params,
        "client": {"ip": client.ip, "tls": client.tls, "ray": client.ray_id},
    }
    if bindings is not None:
        value["env"] = bindings
    if cf is not None:
        value["cf"] = cf
    if request.entry is not None:
        value["entry"] = _entry_value(request.entry)
    if body_stream is not None:
        value["body_stream"] = body_stream
    elif request.body is not None:
        value["body"] = request.body
    return pack_known(value)


def _entry_value(entry: Entry) -> dict[str, str]:
    told = {"name": entry.name, "props": entry.props, "call": entry.call}
    return {name: value for name, value in told.items() if value is not None}


def _told(headers: Headers) -> list[tuple[str, str | bytes]]:
    """Names and values, in as few steps where all of them are ASCII as if they were one."""
    together = b"\0".join(chain.from_iterable(headers))
    if together.isascii():
        texts = together.decode().split("\0")
        if len(texts) == 2 * len(headers):
            one_by_one = iter(texts)
            return list(zip(one_by_one, one_by_one, strict=True))
    return [(name.decode("ascii"), header_value(value)) for name, value in headers]


def _check_structure(data: bytes) -> None:
    """Of a large Response: that it is large by its strings alone. Nothing is decoded for it."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(data))
    unpacker.feed(data)
    structure = 0
    try:
        fields = unpacker.read_map_header()
        if fields > _RESPONSE_FIELDS:
            raise AbiViolation(f"Response: {fields} fields; at most {_RESPONSE_FIELDS}")
        for _ in range(2 * fields):
            start = unpacker.tell()
            unpacker.skip()
            if data[start] not in _STRINGS:
                structure += unpacker.tell() - start
    except AbiViolation:
        raise
    except Exception as error:
        # As in `decode`: whatever msgpack raises for bytes that are no MessagePack.
        raise AbiViolation(f"the returned Response is no MessagePack map: {type(error).__name__}") from error
    if structure > STRUCTURE_BYTES:
        raise AbiViolation(
            f"Response: {structure} bytes beside its body; at most {STRUCTURE_BYTES}, all headers included"
        )


#: First bytes of MessagePack's bin and long str.
_STRINGS: Final = frozenset((0xC4, 0xC5, 0xC6, 0xD9, 0xDA, 0xDB))


class GuestResponse(msgspec.Struct, gc=False):
    """What a `fetch` handler returned. At most one of `body` and `body_stream` is set.

    `changes`: it is no response, the request is to go on.
    """

    status: int
    headers: list[Header]
    body: bytes
    body_stream: int | None
    changes: RequestChanges | None = None


class _PlainResponse(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """As most are: decoded and checked in one go."""

    status: int = 200
    headers: list[tuple[str, str]] = []
    body: Any = b""


_decode_plain: Final = msgspec.msgpack.Decoder(_PlainResponse).decode


def _decode_plain_response(data: bytes) -> GuestResponse | None:
    """None for one that is wrong, or only unusual: `decode_response` looks closer."""
    try:
        plain = _decode_plain(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    body = plain.body
    if body.__class__ is str:
        body = body.encode()
    elif body.__class__ is not bytes:
        return None
    headers = [(name.lower().encode(), text.encode()) for name, text in plain.headers]
    return GuestResponse(plain.status, headers, body, None)


class GuestException(Exception):
    """The handler returned `{error: {code, message}}`: an exception of the worker. `answer` is the whole map, where
    it may say more.
    """

    def __init__(self, text: str, answer: object = None) -> None:
        super().__init__(text)
        self.answer = answer


def decode_response(data: bytes) -> GuestResponse:
    """Raises GuestException, or AbiViolation for what is neither a Response nor `{continue: …}`."""
    if len(data) <= FEW_VALUES_BYTES:
        plain = _decode_plain_response(data)
        if plain is not None:
            return plain
    elif len(data) > STRUCTURE_BYTES:
        _check_structure(data)
    value = unpack(data, "the returned Response")
    if not isinstance(value, dict):
        raise AbiViolation("the returned Response is no map")
    for name, item in value.items():
        # decode_headers looks at every part of its argument anyway.
        if item.__class__ not in LEAVES and name != "headers":
            check_depth(value, "the returned Response")
    if "error" in value:
        raise GuestException(_error_text(value["error"]))
    if "continue" in value:
        return GuestResponse(0, [], b"", None, decode_changes(value))
    status = value.get("status", 200)
    body = value.get("body")
    body_stream = value.get("body_stream")
    if not is_int(status):
        raise AbiViolation("Response: `status` is an integer")
    if body_stream is not None and (not is_int(body_stream) or body is not None):
        raise AbiViolation("Response: `body_stream` is a stream id, and excludes `body`")
    if isinstance(body, str):
        body = body.encode()
    elif body is not None and not isinstance(body, bytes):
        raise AbiViolation("Response: `body` is bin or str")
    return GuestResponse(status, decode_headers(value.get("headers", [])), body or b"", body_stream)


def decode_answer(data: bytes) -> object:
    """What a `queue` or `scheduled` handler returned: any value; `{error: …}` raises GuestException."""
    value = decode(data, "the returned value")
    if isinstance(value, dict) and "error" in value:
        raise GuestException(_error_text(value["error"]), value)
    return value


def _error_text(error: object) -> str:
    if isinstance(error, dict):
        code, message = error.get("code"), error.get("message")
        return f"{str(code)[:100]}: {str(message)[:2000]}"
    return str(error)[:2000]
