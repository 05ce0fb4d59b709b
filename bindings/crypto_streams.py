"""`crypto.digest_stream`: the hash of what no operation could carry at once, taken as it comes."""

from __future__ import annotations

import hmac
import inspect
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Final, Protocol

from bindings import crypto_algorithms as algorithms
from bindings.arguments import check_count, invalid
from bindings.computing import computed
from bindings.crypto_keys import KEY_BYTES, parse_bytes
from bindings.failures import broken_stream
from model.capabilities import GuestEvent, OperationResult
from model.errors import UpstreamError
from model.messages import ByteSource, StreamClosed

#: Up to here a part takes less time than a thread's beginning.
_SHORT_BYTES: Final = 64 * 1024


class _Hasher(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


def crypto_digest_stream(event: GuestEvent, lent: object, args: Sequence[object]) -> OperationResult:
    del lent
    check_count("crypto.digest_stream", args, 3, 3, "name, key, stream")
    name = args[0]
    key = None if args[1] is None else parse_bytes("key", args[1], KEY_BYTES)
    if not isinstance(name, str) or name not in algorithms.DIGESTS or (key is not None and name == "MD5"):
        invalid(f"name: {', '.join(algorithms.DIGESTS)} are right, the first without a key alone")
    hasher: _Hasher = (
        algorithms.hasher_of(name) if key is None else hmac.new(key, digestmod=algorithms.hashlib_name(name))
    )
    return _digested(event, event.borrow_stream(args[2]), hasher)


async def _digested(event: GuestEvent, source: ByteSource, hasher: _Hasher) -> bytes:
    try:
        while part := await source.read():
            taken = computed(event, len(part) <= _SHORT_BYTES, partial(hasher.update, part))
            if inspect.isawaitable(taken):
                waiting: Awaitable[object] = taken
                await waiting
    except (StreamClosed, UpstreamError) as error:
        raise broken_stream(error) from error
    finally:
        source.close()
    return hasher.digest()
