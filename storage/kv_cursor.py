"""Cursors of listings: they name the last key given, so what is written in between moves nothing. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

from model.errors import OperationError, OperationErrorCode

_MAC_BYTES: Final = 16


def encode_cursor(secret: bytes, namespace_id: str, prefix: bytes, last: bytes) -> str:
    """Names the last key of a page. Signed, so that a cursor made up or of another listing is refused."""
    mac = _cursor_mac(secret, namespace_id, prefix, last)
    return base64.urlsafe_b64encode(mac + last).rstrip(b"=").decode()


def decode_cursor(secret: bytes, namespace_id: str, prefix: bytes, cursor: str) -> bytes:
    """The last key of the page before. Raises OperationError(invalid_argument)."""
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raw = b""
    last = raw[_MAC_BYTES:]
    if not hmac.compare_digest(raw[:_MAC_BYTES], _cursor_mac(secret, namespace_id, prefix, last)):
        raise OperationError(
            OperationErrorCode.INVALID_ARGUMENT,
            "cursor: not one that a listing of this namespace with this prefix gave; pass it on unchanged",
        )
    return last


def _cursor_mac(secret: bytes, namespace_id: str, prefix: bytes, last: bytes) -> bytes:
    text = b"%s\0%d\0%s%s" % (namespace_id.encode(), len(prefix), prefix, last)
    return hmac.digest(secret, text, hashlib.sha256)[:_MAC_BYTES]
