"""A megabyte of tiny values is dear to decode: it is refused before it holds the loop up."""

from __future__ import annotations

import msgpack
import pytest

from runtime.abi.core_module.calls import CALL_BYTES, decode_call
from runtime.abi.core_module.values import VALUES, decode
from runtime.capi.guest import AbiViolation

_OP = b"\x81\xa3ops\x91\x93\x01\xa1x"  # {"ops": [[1, "x", …


def _array(count: int, item: bytes) -> bytes:
    return _OP + b"\xdd" + count.to_bytes(4, "big") + item * count


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(_array(1_000_000, b"\xc0"), id="nils"),
        pytest.param(_array(1_000_000, b"\x80"), id="empty maps"),
        pytest.param(_array(500_000, b"\x91\xc0"), id="arrays of one"),
        pytest.param(_array(30_000, b"\x82\xa1a\xc0\xa1b\xc0"), id="small maps"),
        pytest.param(
            _OP + b"\x91" * 20 + b"\xdc\x7f\xff" * 10 + b"\xc0" * 900_000, id="nested and unfinished"
        ),
        pytest.param(_OP + b"\xdd\xff\xff\xff\xff" + b"\xc0" * 20_000, id="an array of 2^32 - 1"),
        pytest.param(_OP + b"\xdf\xff\xff\xff\xff" + b"\xc0" * 20_000, id="a map of 2^32 - 1"),
    ],
)
def test_call_of_too_many_values_is_a_broken_guest(data: bytes) -> None:
    assert len(data) <= CALL_BYTES
    with pytest.raises(AbiViolation):
        decode_call(data)
    with pytest.raises(AbiViolation):
        decode(data, "the returned answer")


def test_values_are_counted_to_the_edge_and_bytes_are_not() -> None:
    # The list of operations, the operation, its id, its name and the array.
    around = 5
    items = VALUES - around
    assert len(decode_call(_array(items, b"\xc0")).ops) == 1
    with pytest.raises(AbiViolation, match="values"):
        decode_call(_array(items + 1, b"\xc0"))
    large = msgpack.packb({"ops": [[1, "x", None, b"x" * (CALL_BYTES - 100)]]})
    assert len(decode_call(large).ops) == 1
