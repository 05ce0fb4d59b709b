"""What a guest asks with `call`, and the reply to it, as MessagePack. Pure.

Source: docs/guest-abi.md.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Final, Literal

import msgspec

from model.errors import OperationError
from runtime.abi.core_module.values import (
    FEW_VALUES_BYTES,
    LEAVES,
    check_depth,
    encode,
    is_int,
    pack_known,
    unpack,
)
from runtime.capi.guest import AbiViolation

#: One `call`: its bytes, its operations.
CALL_BYTES: Final = 1 << 20
CALL_OPERATIONS: Final = 64
#: One reply; what does not fit is delivered by the next call.
REPLY_BYTES: Final = 1 << 20

WaitMode = Literal["all", "any", "none"]


class Call(msgspec.Struct, gc=False):
    """What one `call` asks. `ops` are (id, name, binding, args)."""

    ops: list[tuple[int, str, object, list[Any]]]
    wait: WaitMode = "all"
    timeout_ms: int | None = None
    cancel: list[int] = []


def decode_call(data: bytes) -> Call:
    """The argument of the import `call`. Raises AbiViolation: a malformed call is the worker's own bug."""
    plain = _decode_plain_call(data) if len(data) <= FEW_VALUES_BYTES else None
    return _decode_any_call(data) if plain is None else plain


class _PlainCall(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """As most are: operations with a binding, or nil, and plain values."""

    ops: Annotated[list[list[Any]], msgspec.Meta(max_length=CALL_OPERATIONS)] = []
    wait: WaitMode = "all"


_decode_plain: Final = msgspec.msgpack.Decoder(_PlainCall).decode


def _decode_plain_call(data: bytes) -> Call | None:
    """None for one that is wrong, or only unusual: that is looked at more closely."""
    try:
        plain = _decode_plain(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    parsed = []
    for op in plain.ops:
        if len(op) < 3 or not LEAVES.issuperset(map(type, op)):
            return None
        operation_id, name, binding, *args = op
        if type(operation_id) is not int or type(name) is not str:
            return None
        parsed.append((operation_id, name, binding, args))
    return Call(parsed, plain.wait)


def _decode_any_call(data: bytes) -> Call:
    value = unpack(data, "call")
    if value.__class__ not in LEAVES:
        check_depth(value, "call")
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
    if timeout_ms is not None and (not is_int(timeout_ms) or timeout_ms < 0):
        raise AbiViolation("call: `timeout_ms` is a number of milliseconds, 0 or more")
    if not isinstance(cancel, list) or not all(map(is_int, cancel)):
        raise AbiViolation("call: `cancel` is a list of operation ids")
    parsed = []
    for op in ops:
        if not isinstance(op, list) or len(op) < 2 or not is_int(op[0]) or not isinstance(op[1], str):
            raise AbiViolation("call: an operation is [id, name, binding, args…] with an integer id")
        parsed.append((op[0], op[1], op[2] if len(op) > 2 else None, op[3:]))
    return Call(parsed, wait, timeout_ms, cancel)


def encode_result(operation_id: int, result: object) -> bytes:
    """`[id, {ok: value} | {error: {code, message}}]`, for encode_reply."""
    if isinstance(result, OperationError):
        return encode((operation_id, {"error": {"code": result.code.value, "message": result.message}}))
    return encode((operation_id, {"ok": result}))


def encode_reply(results: Collection[bytes], pending: int) -> bytes:
    """`{done: […], pending}` from results that are packed already."""
    count = len(results)
    # fixarray or array 16: a Packer of its own, which could write the header, takes a buffer of 1 MiB first.
    header = bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
    return b"".join((b"\x82\xa7pending", pack_known(pending), b"\xa4done", header, *results))
