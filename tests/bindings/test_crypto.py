"""`crypto.*`: whatever a guest sends is answered or refused, and what is refused names the argument."""

from __future__ import annotations

import hashlib
import hmac
import inspect
import itertools
from typing import Any

import pytest

from bindings.memory import MemoryEvent
from bindings.operations import OPERATIONS
from model.errors import OperationError, OperationErrorCode
from model.messages import StreamClosed

NAMES = sorted(name for name in OPERATIONS if name.startswith("crypto."))
JUNK: list[Any] = [None, True, -1, 1 << 70, 1.5, "", "raw", b"", b"\x30\x80\x00", [], {}, {"name": []}]
ALGORITHMS = (
    "HMAC",
    "RSA-PSS",
    "ECDSA",
    "Ed25519",
    "AES-GCM",
    "AES-CBC",
    "AES-CTR",
    "AES-KW",
    "RSA-OAEP",
    "PBKDF2",
    "HKDF",
    "ECDH",
    "X25519",
)


async def ask(name: str, *args: object) -> object:
    result = OPERATIONS[name].run(MemoryEvent(), None, args)
    return await result if inspect.isawaitable(result) else result


@pytest.mark.parametrize("name", NAMES)
async def test_arguments_of_any_type_are_refused_by_name(name: str) -> None:
    for count, value in itertools.product(range(5), JUNK):
        with pytest.raises(OperationError) as refused:
            await ask(name, *[value] * count)
        assert refused.value.code is OperationErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize("name", ["crypto.sign", "crypto.encrypt", "crypto.decrypt", "crypto.derive_bits"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_an_algorithm_alone_is_not_enough(name: str, algorithm: str) -> None:
    last: object = 256 if name == "crypto.derive_bits" else b"data"
    for key in (b"", b"k" * 16, b"k" * 5000):
        with pytest.raises(OperationError) as refused:
            await ask(name, {"name": algorithm}, key, last)
        assert refused.value.code is OperationErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("crypto.digest", ("SHA-256", bytes(1_000_001))),
        ("crypto.derive_bits", ({"name": "PBKDF2", "hash": "SHA-1", "salt": b"", "iterations": 100_001}, b"k", 8)),
        # Four blocks.
        ("crypto.derive_bits", ({"name": "PBKDF2", "hash": "SHA-1", "salt": b"", "iterations": 100_000}, b"k", 488)),
        ("crypto.derive_bits", ({"name": "HKDF", "hash": "SHA-1", "salt": b"", "info": b""}, b"k", 8 * 8193)),
        ("crypto.generate_key", ({"name": "RSA-PSS", "modulus_length": 8192, "public_exponent": b"\1\0\1"},)),
        ("crypto.import_key", ("jwk", {"kty": "RSA", "n": "_" * 700, "e": "AQAB"}, {"name": "RSA-PSS"})),  # 4200 bits
        ("crypto.encrypt", ({"name": "AES-GCM", "iv": b"1234567"}, bytes(16), b"")),
        ("crypto.encrypt", ({"name": "AES-CTR", "counter": b"\xff" * 16, "length": 8}, bytes(16), bytes(17))),
    ],
)  # fmt: skip
async def test_what_costs_too_much_is_refused_before_it_is_computed(
    name: str, args: tuple[object, ...]
) -> None:
    with pytest.raises(OperationError) as refused:
        await ask(name, *args)
    assert refused.value.code is OperationErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize("field", ["kty", "crv", "x", "d"])
@pytest.mark.parametrize("given", [None, [], {}, 1, b"x"])
async def test_a_jwk_of_anything_is_a_key_or_refused(field: str, given: object) -> None:
    jwk = {"kty": "OKP", "crv": "X25519", "x": "A" * 43} | {field: given}
    with pytest.raises(OperationError) as refused:
        await ask("crypto.import_key", "jwk", jwk, {"name": "X25519"})
    assert refused.value.code is OperationErrorCode.INVALID_ARGUMENT


async def test_a_key_that_was_changed_is_no_key_however_often_the_right_one_was_used() -> None:
    algorithm = {"name": "RSA-PSS", "modulus_length": 2048, "public_exponent": b"\1\0\1"}
    pair: Any = await ask("crypto.generate_key", algorithm)
    used = {"name": "RSA-PSS", "hash": "SHA-256", "salt_length": 32}
    key = pair["private"]["key"]
    for _ in range(2):
        signature = await ask("crypto.sign", used, key, b"data")
        assert await ask("crypto.verify", used, pair["public"]["key"], signature, b"data") is True
    changed = key[:-200] + bytes([key[-200] ^ 1]) + key[-199:]
    with pytest.raises(OperationError, match="no private key"):
        await ask("crypto.sign", used, changed, b"data")


async def test_the_hash_of_a_stream_is_that_of_its_bytes_and_a_broken_one_has_none() -> None:
    event = MemoryEvent()
    parts = [b"a" * 100_000, b"b", b"c" * 10]
    stream = event.lend_stream(Parts(parts))
    plain = await OPERATIONS["crypto.digest_stream"].run(event, None, ("SHA-256", None, stream))  # type: ignore[misc]
    assert plain == hashlib.sha256(b"".join(parts)).digest()
    stream = event.lend_stream(Parts(parts))
    mac = await OPERATIONS["crypto.digest_stream"].run(event, None, ("SHA-1", b"k", stream))  # type: ignore[misc]
    assert mac == hmac.new(b"k", b"".join(parts), "sha1").digest()
    stream = event.lend_stream(Parts([b"a"], breaks=True))
    with pytest.raises(OperationError) as refused:
        await OPERATIONS["crypto.digest_stream"].run(event, None, ("SHA-1", None, stream))  # type: ignore[misc]
    assert refused.value.code is OperationErrorCode.CLOSED_STREAM


class Parts:
    """A ByteSource of these parts."""

    def __init__(self, parts: list[bytes], *, breaks: bool = False) -> None:
        self._parts = list(parts)
        self._breaks = breaks

    async def read(self) -> bytes:
        if not self._parts and self._breaks:
            raise StreamClosed("its sender left")
        return self._parts.pop(0) if self._parts else b""

    def close(self) -> None:
        self._parts.clear()
