"""MessagePack of the module ABI, both ways. Pure: bytes and values, nothing else.

What comes from a guest is hostile: everything here ends in a value of the declared shape or in AbiViolation.
Source: docs/guest-abi.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgpack
import msgspec

from model.errors import OperationError
from model.messages import Header, IncomingRequest, RequestChanges
from runtime.abi.core_module.guest_headers import decode_changes, decode_headers
from runtime.capi.guest import AbiViolation

#: One `call`: its bytes, its operations, the depth of its values.
CALL_BYTES: Final = 1 << 20
CALL_OPERATIONS: Final = 64
NESTING: Final = 32
#: Of one call, or of what a `queue` handler returns: strings, numbers, arrays and maps, map keys not counted.
VALUES: Final = 32_768
#: Of fewer bytes nothing is counted: each value has at least one.
_FEW_VALUES_BYTES: Final = 16 * 1024
#: One reply; what does not fit is delivered by the next call.
REPLY_BYTES: Final = 1 << 20
#: A Response that a handler returns whole. Larger ones are streamed.
RESPONSE_BYTES: Final = 16 << 20
#: What of it is not the body: a byte of MessagePack can become a Python list of 56.
STRUCTURE_BYTES: Final = 256 * 1024
_RESPONSE_FIELDS: Final = 64

WaitMode = Literal["all", "any", "none"]

_pack: Final[Callable[[object], bytes]] = msgpack.Packer(use_bin_type=True).pack
#: The same bytes in a third of the time; but it takes more than MessagePack's own types (a set, a date).
_pack_known: Final[Callable[[object], bytes]] = msgspec.msgpack.Encoder().encode


def header_value(value: bytes) -> str | bytes:
    """`str` when it is ASCII, else `bin`, as the ABI says."""
    return value.decode("ascii") if value.isascii() else value


def encode_request(
    request: IncomingRequest, variables: Mapping[str, str], params: Mapping[str, str], body_stream: int | None
) -> bytes:
    """A Request. `body_stream` is the id of its body when that is not bytes."""
    client = request.client
    value: dict[str, object] = {
        "method": request.method,
        "url": request.url,
        # header_value, without a call for each.
        "headers": [
            (name.decode("ascii"), data.decode() if data.isascii() else data)
            for name, data in request.headers
        ],
        "vars": variables,
        "params": params,
        "client": {"ip": client.ip, "tls": client.tls, "ray": client.ray_id},
    }
    if body_stream is not None:
        value["body_stream"] = body_stream
    elif request.body is not None:
        value["body"] = request.body
    return _pack_known(value)


def encode(value: object) -> bytes:
    """Any value of ours. Raises AbiViolation for one that MessagePack cannot carry (an integer over 64 bits)."""
    try:
        return _pack(value)
    except (OverflowError, ValueError, TypeError) as error:
        raise AbiViolation(f"a value cannot be carried as MessagePack: {error}") from error


@dataclass(slots=True)
class Call:
    """What one `call` asks. `ops` are (id, name, binding, args)."""

    ops: list[tuple[int, str, object, list[Any]]]
    wait: WaitMode
    timeout_ms: int | None
    cancel: list[int]


def _no_extension(code: int, data: bytes) -> object:
    raise AbiViolation(f"MessagePack extension type {code} is not part of the ABI")


def decode(data: bytes, what: str) -> Any:
    """One MessagePack value of plain types, at most NESTING deep. Raises AbiViolation naming `what`."""
    value = _unpack(data, what)
    if value.__class__ not in _LEAVES:
        _check_depth(value, what)
    return value


def _unpack(data: bytes, what: str) -> Any:
    """As `decode`, but its types and depth are still to be checked."""
    try:
        if len(data) <= _FEW_VALUES_BYTES:
            return msgpack.unpackb(data, ext_hook=_no_extension)
        return _unpack_counted(data, what)
    except AbiViolation:
        raise
    except Exception as error:
        # msgpack raises ValueError, its own subclasses and UnicodeDecodeError, and for map keys TypeError.
        why = _WHY.get(type(error)) or f"{type(error).__name__}: {error}"
        raise AbiViolation(f"{what} is no MessagePack of the ABI: {why}") from error


#: Where msgpack's own exceptions say nothing.
_WHY: Final[dict[type[Exception], str]] = {
    msgpack.FormatError: "a byte that begins no value",
    msgpack.StackError: f"nested deeper than {NESTING}",
    msgpack.OutOfData: "it ends in the middle of a value",
}


def _unpack_counted(data: bytes, what: str) -> Any:
    """Large by its strings or not at all: a million empty maps would hold the loop up for 350 ms."""
    left = VALUES

    def count(container: Any) -> Any:
        nonlocal left
        left -= len(container)
        if left < 0:
            raise AbiViolation(f"{what} has more than {VALUES} values; larger data travels as bin or str")
        return container

    return msgpack.unpackb(
        data,
        ext_hook=_no_extension,
        list_hook=count,
        object_hook=count,
        max_array_len=VALUES,
        max_map_len=VALUES,
    )


def _check_depth(value: object, what: str) -> None:
    """Level by level: a call for each value would cost more than the decoding."""
    level = [value]
    for _ in range(NESTING):
        below: list[object] = []
        for container in level:
            if container.__class__ is list:
                items: Any = container
            elif container.__class__ is dict:
                items = container.values()
            else:
                raise AbiViolation(f"{what} has a {type(container).__name__}, which is not part of the ABI")
            # A comprehension costs a frame: too much for pairs, of which headers are made.
            for item in items:
                if item.__class__ not in _LEAVES:
                    below.append(item)  # noqa: PERF401
        if not below:
            return
        level = below
    raise AbiViolation(f"{what} is nested deeper than {NESTING}")


_LEAVES: Final = frozenset({str, bytes, int, float, bool, type(None)})


def decode_call(data: bytes) -> Call:
    """The argument of the import `call`. Raises AbiViolation: a malformed call is the worker's own bug."""
    value = _unpack(data, "call")
    if not _is_flat_call(value):
        _check_depth(value, "call")
    if not isinstance(value, dict):
        raise AbiViolation("call: a map is expected")
    ops = value.get("ops", [])
    wait = value.get("wait", "all")
    timeout_ms = value.get("timeout_ms")
    cancel = value.get("cancel", [])
    if not isinstance(ops, list) or len(ops) > CALL_OPERATIONS:
        raise AbiViolation(f"call: `ops` is a list of at most {CALL_OPERATIONS} operations")
    if wait not in ("all", "any", "none"):
        raise AbiViolation('call: `wait` is "all", "any" or "none"')
    if timeout_ms is not None and (not _is_int(timeout_ms) or timeout_ms < 0):
        raise AbiViolation("call: `timeout_ms` is a number of milliseconds, 0 or more")
    if not isinstance(cancel, list) or not all(map(_is_int, cancel)):
        raise AbiViolation("call: `cancel` is a list of operation ids")
    parsed = []
    for op in ops:
        if not isinstance(op, list) or len(op) < 2 or not _is_int(op[0]) or not isinstance(op[1], str):
            raise AbiViolation("call: an operation is [id, name, binding, args…] with an integer id")
        parsed.append((op[0], op[1], op[2] if len(op) > 2 else None, op[3:]))
    return Call(parsed, wait, timeout_ms, cancel)


def _is_flat_call(value: object) -> bool:
    """Whether it is as most are: a map of plain values and of arrays, whose arrays in turn hold plain values."""
    if value.__class__ is not dict:
        return value.__class__ in _LEAVES
    top: Any = value
    for item in top.values():
        if item.__class__ is list:
            for part in item:
                if part.__class__ is list:
                    for leaf in part:
                        if leaf.__class__ not in _LEAVES:
                            return False
                elif part.__class__ not in _LEAVES:
                    return False
        elif item.__class__ not in _LEAVES:
            return False
    return True


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def encode_result(operation_id: int, result: object) -> bytes:
    """`[id, {ok: value} | {error: {code, message}}]`, for encode_reply."""
    if isinstance(result, OperationError):
        return encode((operation_id, {"error": {"code": result.code.value, "message": result.message}}))
    return encode((operation_id, {"ok": result}))


def encode_reply(results: Sequence[bytes], pending: int) -> bytes:
    """`{done: […], pending}` from results that are packed already."""
    count = len(results)
    # fixarray or array 16: a Packer of its own, which could write the header, takes a buffer of 1 MiB first.
    header = bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
    return b"".join((b"\x82\xa7pending", _pack(pending), b"\xa4done", header, *results))


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


@dataclass(slots=True)
class GuestResponse:
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
    """The handler returned `{error: {code, message}}`: an exception of the worker."""


def decode_response(data: bytes) -> GuestResponse:
    """Raises GuestException, or AbiViolation for what is neither a Response nor `{continue: …}`."""
    if len(data) <= _FEW_VALUES_BYTES:
        plain = _decode_plain_response(data)
        if plain is not None:
            return plain
    elif len(data) > STRUCTURE_BYTES:
        _check_structure(data)
    value = _unpack(data, "the returned Response")
    if not isinstance(value, dict):
        raise AbiViolation("the returned Response is no map")
    for name, item in value.items():
        # decode_headers looks at every part of its argument anyway.
        if item.__class__ not in _LEAVES and name != "headers":
            _check_depth(value, "the returned Response")
    if "error" in value:
        raise GuestException(_error_text(value["error"]))
    if "continue" in value:
        return GuestResponse(0, [], b"", None, decode_changes(value))
    status = value.get("status", 200)
    body = value.get("body")
    body_stream = value.get("body_stream")
    if not _is_int(status):
        raise AbiViolation("Response: `status` is an integer")
    if body_stream is not None and (not _is_int(body_stream) or body is not None):
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
        raise GuestException(_error_text(value["error"]))
    return value


def _error_text(error: object) -> str:
    if isinstance(error, dict):
        code, message = error.get("code"), error.get("message")
        return f"{str(code)[:100]}: {str(message)[:2000]}"
    return str(error)[:2000]
