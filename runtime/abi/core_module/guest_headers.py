"""Headers as a guest writes them, and what an outbound worker changes of a request. Pure; hostile, as all of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from model.messages import Header, RequestChanges
from runtime.capi.guest import AbiViolation

_CHANGES: Final = frozenset({"url", "method", "set_headers"})


def decode_headers(value: object) -> list[Header]:
    """`[[name, value]…]` to bytes with lower-case names. Their content is checked where they leave."""
    if not isinstance(value, list):
        raise AbiViolation("`headers` is a list of [name, value]")
    headers = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise AbiViolation("`headers` is a list of [name, value] with names as str")
        name, text = pair
        if isinstance(text, str):
            text = text.encode()
        elif not isinstance(text, bytes):
            raise AbiViolation(f"header {name[:60]!r}: the value is str or bin")
        headers.append((name.lower().encode(), text))
    return headers


def decode_changes(value: Mapping[str, object]) -> RequestChanges:
    """Their content is checked where the request leaves."""
    changes = value["continue"]
    if len(value) > 1 or not isinstance(changes, dict) or not changes.keys() <= _CHANGES:
        raise AbiViolation("`continue` stands alone, and is a map of `url`, `method` and `set_headers`")
    for name in ("url", "method"):
        if not isinstance(changes.get(name), str | None):
            raise AbiViolation(f"continue: `{name}` is a str")
    headers: list[tuple[bytes, bytes | None]] = []
    given = changes.get("set_headers") or []
    if not isinstance(given, list):
        raise AbiViolation("continue: `set_headers` is a list of [name, value | nil]")
    for pair in given:
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) and pair[1] is None:
            headers.append((pair[0].lower().encode(), None))
        else:
            headers += decode_headers([pair])
    return RequestChanges(changes.get("method"), changes.get("url"), tuple(headers))
